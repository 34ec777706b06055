-- What must still be sent to a server, or done later, and survives the process. No commit touches it unless it has to do with one.
CREATE TABLE operation (
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: who tries one finds out by it whether another was put meanwhile
  scope          TEXT NOT NULL,
  kind           TEXT NOT NULL,
  session_id     TEXT,
  subject        TEXT,                     -- what it is about where there is no session yet
  arguments      TEXT NOT NULL,            -- JSON
  created        INTEGER NOT NULL,
  due            INTEGER NOT NULL,
  tries          INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX operation_name ON operation (scope, coalesce(session_id, subject), kind);
CREATE INDEX operation_due ON operation (scope, due);
INSERT INTO operation (scope, kind, session_id, arguments, created, due, tries)
  SELECT scope, 'unshare', id, '{}', updated, updated, 0 FROM session WHERE unshare_pending = 1;
