-- The first store: sessions, their tags and shares, the log of their events, and what the store knows of itself.
--
-- Text may hold NUL characters: only =, <, IN, instr() and length-aware functions are used on it, never length() or LIKE.

CREATE TABLE session (
  -- AUTOINCREMENT: a number is never used again, also after its session was erased. One sequence for all scopes.
  number         INTEGER PRIMARY KEY AUTOINCREMENT,
  scope          TEXT NOT NULL,
  id             TEXT NOT NULL,
  -- Lists read only these; they come first so that a long row's overflow pages stay untouched.
  updated        INTEGER NOT NULL,
  rev            INTEGER NOT NULL,
  info           TEXT NOT NULL,
  key            TEXT,
  parent_id      TEXT,
  title          TEXT NOT NULL,
  description    TEXT,
  tags           TEXT NOT NULL,            -- JSON array; table session_tag holds the same for the filter
  metadata       TEXT NOT NULL,            -- JSON object
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
  title_fold     TEXT NOT NULL,            -- case-folded title: what sorting by title compares, and searching looks at
  search         TEXT NOT NULL             -- case-folded description: what searching looks at beside it
) STRICT;

-- Every index ends with the rowid, which is the number: (scope, updated) is an index over (scope, updated, number).
CREATE UNIQUE INDEX session_id ON session (scope, id);
CREATE UNIQUE INDEX session_key ON session (scope, key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX session_role ON session (scope, role)
  WHERE role IS NOT NULL AND relay_state IS NOT NULL AND relay_state <> 'CLEANED';
CREATE INDEX session_updated ON session (scope, updated, number, info);
CREATE INDEX session_created ON session (scope, created);
CREATE INDEX session_title ON session (scope, title_fold);
CREATE INDEX session_artifacts ON session (scope, artifact_count);
CREATE INDEX session_parent ON session (scope, parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE session_tag (
  tag            TEXT NOT NULL,
  number         INTEGER NOT NULL,
  PRIMARY KEY (tag, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE scope (
  name           TEXT PRIMARY KEY,
  active         INTEGER NOT NULL          -- sessions that are active or suspended: asked for at each create
) STRICT, WITHOUT ROWID;

CREATE TABLE share (
  scope          TEXT NOT NULL,
  session_id     TEXT NOT NULL,
  share_id       TEXT NOT NULL UNIQUE,     -- the secret is derived from it with a key that is not in this file
  url            TEXT NOT NULL,
  created        INTEGER NOT NULL,
  expires        INTEGER,
  PRIMARY KEY (scope, session_id)
) STRICT, WITHOUT ROWID;

-- One sequence of ids for all scopes; the writer gives them and never gives one twice.
CREATE TABLE log (
  id             INTEGER PRIMARY KEY,
  scope          TEXT NOT NULL,
  session_id     TEXT,
  kind           INTEGER NOT NULL,
  time           INTEGER NOT NULL,
  tail           TEXT NOT NULL
) STRICT;
CREATE INDEX log_session ON log (session_id, scope);

CREATE TABLE meta (
  name           TEXT PRIMARY KEY,
  value          ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- floor: the largest log id that trimming removed. erased: the newest log id at the last erasing, so that the sequence
-- goes on from there even if that row is gone.
INSERT INTO meta (name, value) VALUES
  ('store_id', lower(hex(randomblob(4)))),
  ('created', CAST(strftime('%s', 'now') AS INTEGER)),
  ('floor', 0),
  ('erased', 0);
