-- Every statement the store runs but those put together in rows.py and pages.py. Text is bound, never spliced.

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: data_version
PRAGMA data_version;

-- name: savepoint
SAVEPOINT part;

-- name: release
RELEASE part;

-- name: undo
ROLLBACK TO part;

-- name: find
-- By the number that is in the id, or by the index of the ids that have none. `info`, below, likewise.
SELECT number, id, key, parent_id, title, description, tags, metadata, created, updated, archived, ended, version,
       status, aborted, backend, directory, provider_id, model_id, role, relay_state, relay_messages, relay_active,
       residency, message_count, artifact_count, share_url, share_expires, remote_updated, token, title_defended_at, unshare_pending, abort_mark,
       is_fork, imported, rev, info, title_fold, search
FROM session WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number);

-- name: total
SELECT count(*) FROM session;

-- name: id_of_key
SELECT id FROM session WHERE scope = ? AND key = ?;

-- name: id_of_role
SELECT id FROM session WHERE scope = ? AND role = ? AND relay_state IS NOT NULL AND relay_state <> 'CLEANED';

-- name: id_of_token
SELECT id FROM session WHERE scope = ? AND token = ? ORDER BY created, number LIMIT 1;

-- name: children
SELECT id FROM session WHERE scope = ? AND parent_id = ? AND is_fork IS NULL ORDER BY number;

-- name: active_count
SELECT active FROM counted WHERE name = ?;

-- name: count_active
SELECT count(*) FROM session WHERE scope = ? AND status IN ('active', 'suspended') AND imported IS NULL;

-- name: begin_counting
INSERT INTO counted (name, active) VALUES (?, ?);

-- name: gain_active
UPDATE counted SET active = active + ? WHERE name = ?;

-- name: largest_number
SELECT max(ifnull((SELECT max(number) FROM session), 0), (SELECT value FROM meta WHERE name = 'retired'));

-- name: retire_number
UPDATE meta SET value = max(value, ?) WHERE name = 'retired';

-- name: erase_session
DELETE FROM session WHERE number = ?;

-- name: erase_log
DELETE FROM log WHERE session_id = ? AND scope = ?;

-- name: remember_erased
UPDATE meta SET value = ? WHERE name = 'erased';

-- name: add_tag
INSERT OR IGNORE INTO session_tag (tag, number) VALUES (?, ?);

-- name: drop_tag
DELETE FROM session_tag WHERE tag = ? AND number = ?;

-- name: share
SELECT session_id, share_id, url, created, expires FROM share WHERE scope = ? AND session_id = ?;

-- name: put_share
INSERT INTO share (session_id, share_id, url, created, expires, scope) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, session_id) DO UPDATE SET
  share_id = excluded.share_id, url = excluded.url, created = excluded.created, expires = excluded.expires;

-- name: drop_share
DELETE FROM share WHERE scope = ? AND session_id = ?;

-- name: append
INSERT INTO log (id, session_id, kind, time, tail, scope) VALUES (?, ?, ?, ?, ?, ?);

-- name: log_state
-- What trimming removed is noted for each scope; 'floor' is of a library that noted it for all of them together.
SELECT (SELECT max(value) FROM meta WHERE name IN ('floor', 'floor ' || ?)),
       max(ifnull((SELECT max(id) FROM log), 0), (SELECT value FROM meta WHERE name = 'erased'));

-- name: trim_session
DELETE FROM log
WHERE session_id IS ?1 AND scope = ?2 AND id < (SELECT max(id) FROM log)
  AND id <= (SELECT id FROM log WHERE session_id IS ?1 AND scope = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)
RETURNING id, scope;

-- name: first_times
SELECT min(time), max(time) FROM (SELECT time FROM log ORDER BY id LIMIT ?);

-- name: trim_old
-- Looks at the oldest rows only, so that its cost is bounded; times rise with ids but for a clock set back.
DELETE FROM log
WHERE id IN (SELECT id FROM (SELECT id, time FROM log WHERE id < (SELECT max(id) FROM log) ORDER BY id LIMIT ?2)
             WHERE time < ?1 OR time > ?3)
RETURNING id, scope;

-- name: raise_floor
INSERT INTO meta (name, value) VALUES ('floor ' || ?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: store_id
SELECT value FROM meta WHERE name = 'store_id';

-- name: info
SELECT rev, info FROM session
WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number);

-- name: ids
SELECT id, directory FROM session WHERE scope = ?;

-- name: list
-- One row, for Python's sqlite3 gives the interpreter lock away for each. The order is that of the named index, which ends with the
-- number as each does; to say so by an ordered subquery takes twice as long. The contract tests hold it. It is the order of the rows
-- themselves, so each page is read once; in that of the last change a list goes to and fro, which takes SQLite three times as long.
SELECT group_concat(info, ',') FROM session INDEXED BY session_created WHERE scope = ?;

-- name: list_mark
SELECT created, number FROM session INDEXED BY session_created WHERE scope = ? AND (created, number) > (?, ?) ORDER BY created, number LIMIT 1 OFFSET ?;

-- name: list_part
SELECT group_concat(info, ',') FROM session INDEXED BY session_created WHERE scope = ? AND (created, number) > (?, ?) AND (created, number) <= (?, ?);

-- name: events_after
SELECT id, session_id, kind, time, tail FROM log WHERE id > ? AND scope = ? ORDER BY id LIMIT ?;

-- name: texts
SELECT id, info, metadata, tags FROM session;

-- name: stray_tags
SELECT 'tag without session ' || number FROM session_tag WHERE number NOT IN (SELECT number FROM session) LIMIT 100;

-- name: stray_shares
SELECT 'share without session ' || session_id FROM share
WHERE (scope, session_id) NOT IN (SELECT scope, id FROM session) LIMIT 100;

-- name: miscounted
SELECT 'scope ' || name || ' counts ' || active || ' active sessions' FROM counted WHERE active <> (
  SELECT count(*) FROM session WHERE session.scope = counted.name AND status IN ('active', 'suspended') AND imported IS NULL);
