-- What is attached to sessions.

-- name: attachment
SELECT {attachment} FROM attachment WHERE number = ?;

-- name: keep_attachment
INSERT INTO attachment ({attachment}) VALUES ({attachment?}) ON CONFLICT (number) DO UPDATE SET {attachment=};

-- name: erase_attachment
DELETE FROM attachment WHERE number = ?;

-- name: read_attachment
SELECT {attachment} FROM attachment WHERE number = {of_session};

-- name: read_attachments
SELECT session.id, {attachment.} FROM attachment CROSS JOIN session ON session.number = attachment.number
WHERE session.scope = ? ORDER BY attachment.number;
