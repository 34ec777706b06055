-- SQLite's own statements, beside those in adapters/sql.

-- name: largest_number
SELECT max(ifnull((SELECT max(number) FROM session), 0), (SELECT value FROM meta WHERE name = 'retired'));

-- name: retire_number
UPDATE meta SET value = max(value, ?) WHERE name = 'retired';

-- name: log_state
-- What trimming removed is noted for each scope; 'floor' is of a library that noted it for all of them together.
SELECT (SELECT max(value) FROM meta WHERE name IN ('floor', 'floor ' || ?)),
       max(ifnull((SELECT max(id) FROM log), 0), (SELECT value FROM meta WHERE name = 'erased'));

-- name: trim_session
DELETE FROM log
WHERE session_id IS ?1 AND scope = ?2 AND id < (SELECT max(id) FROM log)
  AND id <= (SELECT id FROM log WHERE session_id IS ?1 AND scope = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)
RETURNING id, scope;

-- name: raise_floor
INSERT INTO meta (name, value) VALUES ('floor ' || ?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: list
-- One row, for Python's sqlite3 gives the interpreter lock away for each. The order is that of the named index, which ends with the
-- number as each does; to say so by an ordered subquery takes twice as long. The contract tests hold it. It is the order of the rows
-- themselves, so each page is read once; in that of the last change a list goes to and fro, which takes SQLite three times as long.
SELECT group_concat(info, ',') FROM session INDEXED BY session_created WHERE scope = ?;

-- name: list_mark
SELECT created, number FROM session INDEXED BY session_created WHERE scope = ? AND (created, number) > (?, ?) ORDER BY created, number LIMIT 1 OFFSET ?;

-- name: list_part
SELECT group_concat(info, ',') FROM session INDEXED BY session_created WHERE scope = ? AND (created, number) > (?, ?) AND (created, number) <= (?, ?);
