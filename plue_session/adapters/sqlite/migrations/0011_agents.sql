-- What is attached to sessions to run their turns.
CREATE TABLE attachment (
  number         INTEGER PRIMARY KEY,
  kind           TEXT NOT NULL,            -- host, acp
  command        TEXT NOT NULL,            -- JSON array
  worktree       TEXT NOT NULL,
  options        TEXT NOT NULL,            -- JSON: what else was asked for
  owner          INTEGER,                  -- of the process that has the agent's pipes; NULL: none has
  pid            INTEGER,                  -- of the agent, and of its group
  conversation   TEXT,                     -- the agent's own name of what was said
  lost           TEXT,                     -- JSON: the error by which the agent was lost
  closing        INTEGER NOT NULL,         -- whoever has the agent is to end it
  attached       INTEGER NOT NULL
) STRICT;

ALTER TABLE session ADD COLUMN relay_worktree TEXT;
ALTER TABLE session ADD COLUMN relay_agent TEXT;
ALTER TABLE session ADD COLUMN relay_lost INTEGER;
