-- How far the server's sequence of each session was applied here.
ALTER TABLE session ADD COLUMN remote_seq INTEGER;
