-- The names that the field uses.
ALTER TABLE session RENAME COLUMN seen TO imported;
ALTER TABLE session RENAME COLUMN titled TO title_defended_at;
ALTER TABLE session RENAME COLUMN unshared TO unshare_pending;
ALTER TABLE session RENAME COLUMN forked TO is_fork;
