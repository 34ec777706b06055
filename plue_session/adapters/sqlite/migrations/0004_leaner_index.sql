-- The index of lists held each info a second time, so that a list need not look at the table. But each change writes what its
-- indexes hold, and with entries of that size a page had room for a few only: a create wrote two pages more, an update one. A list
-- of 10,000 sessions takes some 2 ms longer now.

DROP INDEX session_updated;
CREATE INDEX session_updated ON session (scope, updated);
