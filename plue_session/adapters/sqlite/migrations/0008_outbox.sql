-- Changes that show here and that the server is yet to be told. A session made while it was away has the id 'session_<number>'
-- until the server gives its own; that one stays an alias.
ALTER TABLE session ADD COLUMN aliased INTEGER;
ALTER TABLE session ADD COLUMN outbox TEXT;
ALTER TABLE session ADD COLUMN beneath TEXT;
CREATE TABLE outbox (
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: callers name an operation by it
  scope          TEXT NOT NULL,
  session_id     TEXT NOT NULL,
  op             TEXT NOT NULL,
  arguments      TEXT NOT NULL,            -- JSON
  base           TEXT NOT NULL,            -- JSON: what was there before
  state          TEXT NOT NULL,
  attempts       INTEGER NOT NULL,
  due            INTEGER NOT NULL,
  since          INTEGER NOT NULL,
  error          TEXT
) STRICT;
CREATE INDEX outbox_session ON outbox (scope, session_id);
INSERT INTO outbox (scope, session_id, op, arguments, base, state, attempts, due, since)
  SELECT scope, session_id, 'unshare', '{}', '{}', 'pending', 0, 0, created FROM operation
  WHERE kind = 'unshare' AND session_id IS NOT NULL;
DELETE FROM operation WHERE kind = 'unshare';
