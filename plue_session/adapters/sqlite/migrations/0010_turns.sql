-- What is said in sessions, and what is still to be said. Rows name their session by its number, which it keeps whatever its id becomes.
--
-- What waits to be said: the queue of inputs. `seq` is the log's id of the event that told of it, so it is never used again: not
-- AUTOINCREMENT's, which writes a page more. What has ended lies behind all that is open: no index has to tell them apart, and however
-- much has ended, what is open is together.
CREATE TABLE input (
  closed         INTEGER NOT NULL CHECK (closed = (state IN ('cancelled', 'completed'))),
  seq            INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  source_key     TEXT,
  ingress        TEXT NOT NULL,            -- JSON: "nextTurn" or {"activeTurn":{"turnId","boundary"}}
  state          TEXT NOT NULL,            -- pending_active, deferred_next_turn, accepted, cancelled, completed
  enqueued       INTEGER NOT NULL,
  content        TEXT NOT NULL,            -- JSON, its keys sorted: what was to be said, as it was given
  alone          INTEGER NOT NULL,         -- it shares its turn with no other
  wanted         TEXT,                     -- the id that its turn is to have
  claim_id       INTEGER,
  turn_id        TEXT,                     -- the turn that has taken it
  PRIMARY KEY (closed, number, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX input_source ON input (number, source_key) WHERE source_key IS NOT NULL;
CREATE INDEX input_active ON input (number, seq) WHERE state = 'pending_active';
CREATE INDEX input_wanted ON input (number, wanted) WHERE wanted IS NOT NULL;

-- Who has taken inputs, and until when they are his. The id is the fencing token as well: a later claim has a larger one.
CREATE TABLE claim (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  number         INTEGER NOT NULL,
  owner          TEXT NOT NULL,
  turn_id        TEXT NOT NULL,
  expires        INTEGER NOT NULL
) STRICT;
CREATE INDEX claim_session ON claim (number);

CREATE TABLE turn (
  seq            INTEGER PRIMARY KEY,      -- in the order of their beginning
  number         INTEGER NOT NULL,
  id             TEXT NOT NULL,
  message_id     TEXT,                     -- of the user's message that it answers, chosen before that is sent
  state          TEXT NOT NULL,            -- claimed, running, waiting, retrying, ended
  inputs         TEXT NOT NULL,            -- JSON array of input ids; [] for another client's
  claim_id       INTEGER,
  cancelled      INTEGER,                  -- when its end was asked for
  outcome        TEXT,
  reason         TEXT,
  error          TEXT,                     -- JSON
  started        INTEGER NOT NULL,
  ended          INTEGER
) STRICT;
CREATE UNIQUE INDEX turn_id ON turn (number, id);
CREATE INDEX turn_message ON turn (number, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX turn_open ON turn (number) WHERE state <> 'ended';

CREATE TABLE message (
  number         INTEGER NOT NULL,
  id             TEXT NOT NULL,
  role           TEXT NOT NULL,
  turn_id        TEXT,
  created        INTEGER NOT NULL,
  completed      INTEGER,
  model          TEXT,                     -- JSON {"providerId","modelId"}
  error          TEXT,                     -- JSON
  usage          TEXT,                     -- JSON: tokens and cost
  PRIMARY KEY (number, id)
) STRICT;
CREATE INDEX message_order ON message (number, created, id);
CREATE INDEX message_turn ON message (number, turn_id, created, id) WHERE turn_id IS NOT NULL;

CREATE TABLE part (
  number         INTEGER NOT NULL,
  message_id     TEXT NOT NULL,
  id             TEXT NOT NULL,
  finished       INTEGER NOT NULL,         -- nothing more comes
  body           TEXT NOT NULL,            -- JSON, as callers get it
  PRIMARY KEY (number, message_id, id)
) STRICT;

-- Tokens and cost of a session's messages, by model.
CREATE TABLE usage (
  number         INTEGER NOT NULL,
  model          TEXT NOT NULL,            -- JSON {"providerId","modelId"}
  sums           TEXT NOT NULL,            -- JSON
  PRIMARY KEY (number, model)
) STRICT, WITHOUT ROWID;

-- What is known of a transcript as a whole; without a row: nothing.
CREATE TABLE transcript (
  number         INTEGER PRIMARY KEY,
  complete       INTEGER NOT NULL,         -- all that was said is in the store
  before         TEXT,                     -- else: the server's cursor for what is older than the oldest here
  todos          TEXT                      -- JSON array; NULL: not known
) STRICT;

-- Permissions and questions that a turn waits for; those that have ended are kept until another turn asks.
CREATE TABLE ask (
  number         INTEGER NOT NULL,
  id             TEXT NOT NULL,
  kind           TEXT NOT NULL,            -- permission, question
  turn_id        TEXT,
  message_id     TEXT,
  body           TEXT NOT NULL,            -- JSON, as it is listed
  asked          INTEGER NOT NULL,
  deadline       INTEGER NOT NULL,
  answer         TEXT,                     -- JSON: what one of ours answers, from before that is sent
  ended          TEXT,                     -- by whom: host, deadline, abort, other; NULL: it is open
  PRIMARY KEY (number, id)
) STRICT;
CREATE INDEX ask_open ON ask (deadline) WHERE ended IS NULL;

-- Of the session: its turn that runs, as its info shows it, and until when an abort holds back what waits to be said.
ALTER TABLE session ADD COLUMN turn TEXT;
ALTER TABLE session ADD COLUMN held_until INTEGER;
