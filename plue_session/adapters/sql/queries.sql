-- What the store asks of any database; each adds what is its own. Text is bound, never spliced.

-- name: find
-- By the number that is in the id, or by the index of the ids that have none. `info`, below, likewise.
SELECT {session} FROM session
WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number);

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

-- name: erase_session
DELETE FROM session WHERE number = ?;

-- name: erase_log
DELETE FROM log WHERE session_id = ? AND scope = ?;

-- name: remember_erased
UPDATE meta SET value = ? WHERE name = 'erased';

-- name: add_tag
INSERT INTO session_tag (tag, number) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: drop_tag
DELETE FROM session_tag WHERE tag = ? AND number = ?;

-- name: share
SELECT {share} FROM share WHERE scope = ? AND session_id = ?;

-- name: put_share
INSERT INTO share ({share}, scope) VALUES ({share?}, ?) ON CONFLICT (scope, session_id) DO UPDATE SET {share=};

-- name: drop_share
DELETE FROM share WHERE scope = ? AND session_id = ?;

-- name: operation
-- By its name, which the index of the names holds; so do those below.
SELECT {operation} FROM operation WHERE scope = ? AND kind = ? AND coalesce(session_id, subject) = ?;

-- name: replace_operation
DELETE FROM operation WHERE scope = ? AND kind = ? AND coalesce(session_id, subject) = ? RETURNING due;

-- name: add_operation
INSERT INTO operation ({operation}, scope) VALUES ({operation?}, ?) RETURNING id;

-- name: retry_operation
UPDATE operation SET due = ?, tries = tries + 1 WHERE id = ? AND scope = ?;

-- name: drop_operation
DELETE FROM operation WHERE scope = ?1 AND kind = ?2 AND coalesce(session_id, subject) = ?3 AND id = coalesce(?4, id);

-- name: drop_operations_of
DELETE FROM operation WHERE scope = ?1 AND coalesce(session_id, subject) = ?2 AND session_id = ?2;

-- name: operations
SELECT {operation} FROM operation WHERE scope = ? AND due <= ? ORDER BY due, id LIMIT ?;

-- name: count_operations
SELECT count(*) FROM operation WHERE scope = ? AND kind = coalesce(?, kind);

-- name: add_outgoing
INSERT INTO outbox ({outbox}, scope) VALUES ({outbox?}, ?) RETURNING id;

-- name: outgoing_has_room
-- Ids grow, so there are no more rows than they span; they are counted where that is not enough.
SELECT CASE WHEN (SELECT max(id) FROM outbox) - (SELECT min(id) FROM outbox) + 1 < ?1 THEN 1
  ELSE (SELECT count(*) FROM outbox WHERE scope = ?2) < ?1 END;

-- name: has_outgoing
SELECT 1 FROM outbox WHERE id = ? AND scope = ? AND session_id = ?;

-- name: keep_outgoing
UPDATE outbox SET arguments = ?, base = ?, state = ?, attempts = ?, due = ?, error = ? WHERE id = ? AND scope = ?;

-- name: drop_outgoing
DELETE FROM outbox WHERE id = ? AND scope = ?;

-- name: drop_outgoing_of
DELETE FROM outbox WHERE scope = ? AND session_id = ?;

-- name: outgoing
SELECT {outbox} FROM outbox WHERE scope = ? AND session_id = ? ORDER BY id;

-- name: all_outgoing
SELECT {outbox} FROM outbox WHERE scope = ? ORDER BY id LIMIT ?;

-- name: next_outgoing
WITH last AS (SELECT id, op FROM outbox WHERE scope = ?1 AND session_id = ?2 AND state = 'pending' ORDER BY id DESC LIMIT 1)
SELECT {outbox} FROM outbox WHERE id = coalesce(
  (SELECT id FROM last WHERE op = 'delete'),
  (SELECT id FROM outbox WHERE scope = ?1 AND session_id = ?2 AND state = 'pending' ORDER BY id LIMIT 1)
);

-- name: is_being_deleted
SELECT 1 FROM outbox, json_each(outbox.base, '$.family') AS member
WHERE outbox.scope = ? AND outbox.op = 'delete' AND member.value = ? LIMIT 1;

-- name: due_outgoing
-- Not a child whose parent is yet to be made, nor what goes with an ancestor when the delete of that is done.
SELECT session_id, due FROM outbox
WHERE scope = ?1 AND id IN (SELECT min(id) FROM outbox WHERE scope = ?1 AND state = 'pending' GROUP BY session_id)
  AND CASE op
    WHEN 'create' THEN NOT EXISTS (
      SELECT 1 FROM session AS child JOIN session AS parent ON parent.number = CAST(substr(child.parent_id, 9) AS INTEGER)
      WHERE child.number = CAST(substr(session_id, 9) AS INTEGER) AND parent.scope = ?1 AND parent.id = child.parent_id)
    WHEN 'delete' THEN 1
    ELSE EXISTS (SELECT 1 FROM session WHERE scope = ?1 AND session.id = session_id AND session.id <> 'session_' || number)
      OR session_id NOT IN (
        SELECT member.value FROM outbox AS erased, json_each(erased.base, '$.family') AS member
        WHERE erased.scope = ?1 AND erased.op = 'delete' AND member.value <> erased.session_id)
  END
ORDER BY id;

-- name: count_outgoing
SELECT count(*) FROM outbox WHERE scope = ? AND state = coalesce(?, state);

-- name: id_of_alias
SELECT id FROM session WHERE number = ? AND scope = ? AND aliased = 1;

-- name: rename_session
UPDATE session SET id = ? WHERE scope = ? AND id = ? AND number = ?;

-- name: rename_share
UPDATE share SET session_id = ? WHERE scope = ? AND session_id = ?;

-- name: rename_operations
UPDATE operation SET session_id = ? WHERE scope = ? AND session_id = ?;

-- name: rename_outgoing
UPDATE outbox SET session_id = ? WHERE scope = ? AND session_id = ?;

-- name: rename_log
UPDATE log SET session_id = ? WHERE scope = ? AND session_id = ?;

-- name: append
INSERT INTO log ({log}, scope) VALUES ({log?}, ?);

-- name: first_times
SELECT min(time), max(time) FROM (SELECT time FROM log ORDER BY id LIMIT ?);

-- name: trim_old
-- Looks at the oldest rows only, so that its cost is bounded; times rise with ids but for a clock set back. None goes from behind one
-- that stays: who was given that one would miss it, and what the log still has says that nothing is missing (rules/replay.py).
WITH oldest AS (SELECT id, time FROM log WHERE id < (SELECT max(id) FROM log) ORDER BY id LIMIT ?2)
DELETE FROM log
WHERE id IN (SELECT id FROM oldest)
  AND id < ifnull((SELECT min(id) FROM oldest WHERE time BETWEEN ?1 AND ?3), 9223372036854775807)
RETURNING id, scope;

-- name: store_id
SELECT value FROM meta WHERE name = 'store_id';

-- name: info
SELECT rev, info FROM session
WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number);

-- name: ids
SELECT id, directory FROM session WHERE scope = ?;

-- name: events_after
SELECT {log} FROM log WHERE id > ? AND scope = ? ORDER BY id LIMIT ?;

-- name: session_events_after
SELECT {log} FROM log WHERE id > ? AND scope = ? AND session_id = ? ORDER BY id LIMIT ?;

-- name: events_to
-- How many events there are after an id, counted up to a limit.
SELECT count(*) FROM (SELECT 1 FROM log WHERE id > ? AND scope = ? LIMIT ?);

-- name: most_events
SELECT ifnull(max(n), 0) FROM (SELECT count(*) AS n FROM log WHERE id > ? AND scope = ? GROUP BY session_id);

-- name: first_time
SELECT time FROM log WHERE id > ? AND scope = ? ORDER BY id LIMIT 1;

-- name: session_window
SELECT (SELECT count(*) FROM (SELECT 1 FROM log WHERE session_id = ?2 AND scope = ?1 AND id > ?4 LIMIT ?5)),
       (SELECT time FROM log WHERE session_id = ?2 AND scope = ?1 AND id > ?4 ORDER BY id LIMIT 1),
       EXISTS (SELECT 1 FROM log WHERE session_id = ?2 AND scope = ?1 AND id <= ?4),
       (SELECT kind FROM log WHERE session_id = ?2 AND scope = ?1 ORDER BY id LIMIT 1),
       (SELECT rev FROM session
        WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number));

-- name: state
SELECT revision, info, turn, imported IS NULL AND is_fork IS NULL FROM session
WHERE (number = ?3 AND scope = ?1 AND id = ?2) OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number);

-- name: infos
SELECT info FROM session WHERE scope = ? ORDER BY created, number;

-- name: texts
SELECT 'session ' || id, info, metadata, tags FROM session
UNION ALL SELECT 'operation ' || id, arguments, '0', '0' FROM operation
UNION ALL SELECT 'outbox ' || id, arguments, base, '0' FROM outbox
UNION ALL SELECT 'turn of session ' || number, turn, '0', '0' FROM session WHERE turn IS NOT NULL
UNION ALL SELECT 'input ' || seq, content, ingress, '0' FROM input
UNION ALL SELECT 'turn ' || seq, inputs, ifnull(error, '0'), '0' FROM turn
UNION ALL SELECT 'message ' || id, ifnull(model, '0'), ifnull(error, '0'), ifnull(usage, '0') FROM message
UNION ALL SELECT 'part ' || id, body, '0', '0' FROM part
UNION ALL SELECT 'usage of session ' || number, model, sums, '0' FROM usage
UNION ALL SELECT 'transcript of session ' || number, ifnull(todos, '0'), '0', '0' FROM transcript
UNION ALL SELECT 'ask ' || id, body, ifnull(answer, '0'), '0' FROM ask
UNION ALL SELECT 'attachment of session ' || number, command, options, ifnull(lost, '0') FROM attachment;

-- name: stray_tags
SELECT 'tag without session ' || number FROM session_tag WHERE number NOT IN (SELECT number FROM session) LIMIT 100;

-- name: stray_shares
SELECT 'share without session ' || session_id FROM share
WHERE (scope, session_id) NOT IN (SELECT scope, id FROM session) LIMIT 100;

-- name: stray_rows
-- What goes by a session's number.
SELECT kind || ' without session ' || number FROM (
  SELECT DISTINCT 'input' AS kind, number FROM input UNION SELECT 'claim', number FROM claim UNION SELECT 'turn', number FROM turn
  UNION SELECT 'message', number FROM message UNION SELECT 'part', number FROM part UNION SELECT 'usage', number FROM usage
  UNION SELECT 'transcript', number FROM transcript UNION SELECT 'ask', number FROM ask
  UNION SELECT 'attachment', number FROM attachment
) WHERE number NOT IN (SELECT number FROM session) LIMIT 100;

-- name: stray_parts
SELECT 'part ' || id || ' without message ' || message_id FROM part
WHERE (number, message_id) NOT IN (SELECT number, id FROM message) LIMIT 100;

-- name: stray_inputs
SELECT 'input ' || seq || ' without turn ' || ifnull(turn_id, '') FROM input
WHERE state = 'accepted' AND (number, turn_id) NOT IN (SELECT number, id FROM turn) LIMIT 100;

-- name: miscounted
SELECT 'scope ' || name || ' counts ' || active || ' active sessions' FROM counted WHERE active <> (
  SELECT count(*) FROM session WHERE session.scope = counted.name AND status IN ('active', 'suspended') AND imported IS NULL);
