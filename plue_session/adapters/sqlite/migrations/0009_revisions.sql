-- How many durable changes a session has had, which observers go by. Of those before this nothing is known any more.
ALTER TABLE session ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
