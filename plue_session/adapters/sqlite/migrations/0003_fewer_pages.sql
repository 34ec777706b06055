-- Each page that a change touches is written to the log and waited for. A create wrote three that it can do without:
--
--   sqlite_sequence, where AUTOINCREMENT keeps the largest number ever used. It is the largest one in the table, unless that was
--   erased: meta.retired says which was, and is written when a session is erased.
--   scope, where the active sessions are counted, which only a configured limit asks for: now table counted, in which a scope has a row
--   from the first time that it is asked for.
--   session_id, for an id that is made of the number is found by it.
--
-- A process that runs the library of before would go on to give numbers that are taken. It cannot: its creates and deletes miss table
-- scope and fail, with nothing changed, until it is started anew, and with them what shares a commit with one. What else it does goes on.

INSERT INTO meta (name, value) VALUES ('retired', ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'session'), 0));

CREATE TABLE session_next (
  number         INTEGER PRIMARY KEY,      -- never used again, also after its session was erased. One sequence for all scopes
  scope          TEXT NOT NULL,
  id             TEXT NOT NULL,
  updated        INTEGER NOT NULL,
  rev            INTEGER NOT NULL,
  info           TEXT NOT NULL,
  key            TEXT,
  parent_id      TEXT,
  title          TEXT NOT NULL,
  description    TEXT,
  tags           TEXT NOT NULL,
  metadata       TEXT NOT NULL,
  created        INTEGER NOT NULL,
  archived       INTEGER,
  ended          INTEGER,
  version        TEXT,
  status         TEXT NOT NULL,
  aborted        INTEGER NOT NULL,
  backend        TEXT NOT NULL,
  directory      TEXT,
  provider_id    TEXT,
  model_id       TEXT,
  role           TEXT,
  relay_state    TEXT,
  relay_messages INTEGER NOT NULL,
  relay_active   INTEGER,
  residency      TEXT,
  message_count  INTEGER NOT NULL,
  artifact_count INTEGER NOT NULL,
  share_url      TEXT,
  share_expires  INTEGER,
  title_fold     TEXT NOT NULL,
  search         TEXT NOT NULL,
  remote_updated INTEGER,
  token          TEXT,
  titled         INTEGER,
  unshared       INTEGER,
  abort_mark     TEXT,
  forked         INTEGER,
  seen           INTEGER
) STRICT;
INSERT INTO session_next SELECT * FROM session;
DROP TABLE session;
ALTER TABLE session_next RENAME TO session;

CREATE UNIQUE INDEX session_id ON session (scope, id) WHERE id <> 'session_' || number;
CREATE UNIQUE INDEX session_key ON session (scope, key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX session_role ON session (scope, role)
  WHERE role IS NOT NULL AND relay_state IS NOT NULL AND relay_state <> 'CLEANED';
CREATE INDEX session_updated ON session (scope, updated, number, info);
CREATE INDEX session_created ON session (scope, created);
CREATE INDEX session_title ON session (scope, title_fold);
CREATE INDEX session_artifacts ON session (scope, artifact_count);
CREATE INDEX session_parent ON session (scope, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX session_token ON session (scope, token, created) WHERE token IS NOT NULL;

ALTER TABLE scope RENAME TO counted;
