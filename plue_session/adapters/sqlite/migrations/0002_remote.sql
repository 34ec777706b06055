-- What is kept of sessions that live on a server. Columns are added, none is rewritten: rows of before stay as they are, and a
-- process that has the store open with the library of before goes on with it.
--
-- All may be NULL, also those that say yes or no (1 or NULL): what is NULL is not even named when a session is stored.

ALTER TABLE session ADD COLUMN remote_updated INTEGER;   -- the server's time of update that was last applied
ALTER TABLE session ADD COLUMN token TEXT;               -- what a create carried, to be found by when its answer is lost
ALTER TABLE session ADD COLUMN titled INTEGER;           -- when a title was set here over an automatic one
ALTER TABLE session ADD COLUMN unshared INTEGER;         -- 1: withdrawn here, the server is yet to be told
ALTER TABLE session ADD COLUMN abort_mark TEXT;          -- where the transcript stood when the session was aborted
ALTER TABLE session ADD COLUMN forked INTEGER;           -- 1: the parent is the session it is a copy of: it outlives that one
ALTER TABLE session ADD COLUMN seen INTEGER;             -- 1: only seen on the server; scope.active does not count these

-- Not unique: the token is in the server's metadata, of which a fork or a copy by somebody else may have the same. Then the
-- session that was created first is meant, and the copy is a session all the same: refusing it would hide it.
CREATE INDEX session_token ON session (scope, token, created) WHERE token IS NOT NULL;
