-- What is said in sessions, and what is still to be said. {of_session}: the number of the session ?2 of the scope ?1; ?3 is the number
-- in its id. States are named as the partial indexes name them, or SQLite would not use these.

-- name: add_input
INSERT INTO input (closed, {input}) VALUES (?, {input?});

-- name: input
SELECT {input} FROM input WHERE closed IN (0, 1) AND number = ? AND seq = ?;

-- name: input_of_key
SELECT {input} FROM input WHERE number = ? AND source_key = ?;

-- name: input_that_wants
SELECT {input} FROM input
WHERE number = ? AND wanted = ? AND closed = 0 ORDER BY seq LIMIT 1;

-- name: inputs_from
SELECT {input} FROM input WHERE closed = 0 AND number = ?1 AND seq >= ?2
UNION ALL SELECT {input} FROM input WHERE closed = 1 AND number = ?1 AND seq >= ?2 ORDER BY seq;

-- name: open_inputs
SELECT {input} FROM input WHERE closed = 0 AND number = ? AND seq > ? ORDER BY seq LIMIT ?;

-- name: bare_inputs
SELECT {bare_input} FROM input WHERE closed = 0 AND number = ? ORDER BY seq;

-- name: active_inputs
SELECT {bare_input} FROM input WHERE number = ? AND state = 'pending_active' ORDER BY seq;

-- name: inputs_have_room
-- There are no more than their numbers span; they are counted where that is not enough.
SELECT CASE WHEN (SELECT max(seq) FROM input WHERE closed = 0 AND number = ?1)
  - (SELECT min(seq) FROM input WHERE closed = 0 AND number = ?1) + 1 < ?2 THEN 1
  ELSE (SELECT count(*) FROM (SELECT 1 FROM input WHERE closed = 0 AND number = ?1 LIMIT ?2)) < ?2 END;

-- name: keep_input
UPDATE input SET closed = ?, alone = ?, ingress = ?, state = ?, claim_id = ?, turn_id = ?
WHERE closed IN (0, 1) AND number = ? AND seq = ?;

-- name: vacuum_inputs
DELETE FROM input WHERE closed = 1 AND number = ?;

-- name: add_claim
INSERT INTO claim ({claim}) VALUES ({claim?}) RETURNING id;

-- name: claim
SELECT {claim} FROM claim WHERE id = ?;

-- name: keep_claim
UPDATE claim SET expires = ? WHERE id = ?;

-- name: drop_claim
DELETE FROM claim WHERE id = ?;

-- name: read_inputs
SELECT {input} FROM input
WHERE closed = 0 AND number = {of_session} AND state <> 'accepted'
  AND (claim_id IS NULL OR claim_id NOT IN (SELECT id FROM claim WHERE claim.number = {of_session} AND expires > ?4))
ORDER BY seq;

-- name: read_next_input
SELECT {input} FROM input
WHERE closed = 0 AND number = {of_session} AND seq = ifnull(
  (SELECT seq FROM input
   WHERE closed = 0 AND number = {of_session} AND state = 'deferred_next_turn'
     AND (claim_id IS NULL OR claim_id NOT IN (SELECT id FROM claim WHERE claim.number = {of_session} AND expires > ?4))
   ORDER BY seq LIMIT 1),
  (SELECT seq FROM input
   WHERE number = {of_session} AND state = 'pending_active'
     AND (claim_id IS NULL OR claim_id NOT IN (SELECT id FROM claim WHERE claim.number = {of_session} AND expires > ?4))
   ORDER BY seq LIMIT 1));

-- name: input_waits
SELECT 1 FROM input
WHERE closed = 0 AND number = {of_session} AND seq = ?5 AND state <> 'accepted'
  AND (claim_id IS NULL OR claim_id NOT IN (SELECT id FROM claim WHERE claim.number = {of_session} AND expires > ?4));

-- name: read_input
SELECT {input} FROM input WHERE closed IN (0, 1) AND number = {of_session} AND seq = ?4;

-- name: sessions_with_inputs
SELECT session.id FROM input CROSS JOIN session ON session.number = input.number
WHERE input.closed = 0 AND input.state <> 'accepted' AND session.scope = ?
GROUP BY input.number ORDER BY min(input.seq);

-- name: add_turn
INSERT INTO turn ({turn}) VALUES ({turn?}) RETURNING seq;

-- name: keep_turn
INSERT INTO turn ({turn}) VALUES ({turn?}) ON CONFLICT (seq) DO UPDATE SET {turn=};

-- name: turn
SELECT {turn} FROM turn WHERE number = ? AND id = ?;

-- name: turn_of_message
SELECT {turn} FROM turn WHERE number = ? AND message_id = ?;

-- name: open_turn
SELECT {turn} FROM turn WHERE number = ? AND state <> 'ended' ORDER BY seq LIMIT 1;

-- name: read_turn
SELECT {turn} FROM turn WHERE seq = ifnull(
  (SELECT seq FROM turn WHERE number = {of_session} AND id = ?4),
  (SELECT seq FROM turn WHERE number = {of_session} AND message_id = ?4 LIMIT 1));

-- name: read_turns
SELECT {turn} FROM turn WHERE number = {of_session} ORDER BY seq;

-- name: read_open_turn
SELECT {turn} FROM turn WHERE number = {of_session} AND state <> 'ended' ORDER BY seq LIMIT 1;

-- name: read_open_turns
SELECT session.id, {turn.} FROM turn INDEXED BY turn_open CROSS JOIN session ON session.number = turn.number
WHERE turn.state <> 'ended' AND session.scope = ? ORDER BY turn.seq;

-- name: message
SELECT {message} FROM message WHERE number = ? AND id = ?;

-- name: keep_message
INSERT INTO message ({message}) VALUES ({message?}) ON CONFLICT (number, id) DO UPDATE SET {message=};

-- name: drop_message
DELETE FROM message WHERE number = ? AND id = ?;

-- name: drop_parts
DELETE FROM part WHERE number = ? AND message_id = ?;

-- name: messages_of_turn
SELECT {message} FROM message WHERE number = ? AND turn_id = ? ORDER BY created, id;

-- name: parts
SELECT {part} FROM part WHERE number = ? AND message_id = ? ORDER BY id;

-- name: part
SELECT {part} FROM part WHERE number = ? AND message_id = ? AND id = ?;

-- name: keep_part
INSERT INTO part ({part}) VALUES ({part?}) ON CONFLICT (number, message_id, id) DO UPDATE SET {part=};

-- name: drop_part
DELETE FROM part WHERE number = ? AND message_id = ? AND id = ?;

-- name: transcript
SELECT {transcript} FROM transcript WHERE number = ?;

-- name: keep_transcript
INSERT INTO transcript ({transcript}) VALUES ({transcript?}) ON CONFLICT (number) DO UPDATE SET {transcript=};

-- name: usage_of
SELECT sums FROM usage WHERE number = ? AND model = ?;

-- name: keep_usage
INSERT INTO usage (number, model, sums) VALUES (?, ?, ?) ON CONFLICT (number, model) DO UPDATE SET sums = excluded.sums;

-- name: read_message
SELECT {message} FROM message WHERE number = {of_session} AND id = ?4;

-- name: newest_messages
SELECT {message} FROM message WHERE number = {of_session} ORDER BY created DESC, id DESC LIMIT ?4;

-- name: older_messages
SELECT {message} FROM message WHERE number = {of_session} AND (created, id) < (?5, ?6) ORDER BY created DESC, id DESC LIMIT ?4;

-- name: turn_messages
SELECT {message} FROM message WHERE number = {of_session} AND turn_id = ?4 ORDER BY created, id;

-- name: read_transcript
SELECT {transcript} FROM transcript WHERE number = {of_session};

-- name: read_usage
SELECT model, sums FROM usage WHERE number = {of_session} ORDER BY model;

-- name: ask
SELECT {ask} FROM ask WHERE number = ? AND id = ?;

-- name: keep_ask
INSERT INTO ask ({ask}) VALUES ({ask?}) ON CONFLICT (number, id) DO UPDATE SET {ask=};

-- name: asks
SELECT {ask} FROM ask WHERE number = ? AND ended IS NULL ORDER BY asked, id;

-- name: drop_ended_asks
DELETE FROM ask WHERE number = ? AND ended IS NOT NULL AND turn_id IS NOT ?;

-- name: read_ask
SELECT {ask} FROM ask WHERE number = {of_session} AND id = ?4;

-- name: read_asks
SELECT {ask} FROM ask WHERE number = {of_session} AND kind = ?4 AND ended IS NULL ORDER BY asked, id;

-- name: read_ask_bodies
SELECT body FROM ask WHERE number = {of_session} AND kind = ?4 AND ended IS NULL ORDER BY asked, id;

-- name: open_asks
SELECT session.id, {ask.} FROM ask INDEXED BY ask_open CROSS JOIN session ON session.number = ask.number
WHERE ask.ended IS NULL AND session.scope = ? ORDER BY ask.deadline, ask.id;

-- name: erase_input
DELETE FROM input WHERE closed IN (0, 1) AND number = ?;

-- name: erase_claim
DELETE FROM claim WHERE number = ?;

-- name: erase_turn
DELETE FROM turn WHERE number = ?;

-- name: erase_message
DELETE FROM message WHERE number = ?;

-- name: erase_part
DELETE FROM part WHERE number = ?;

-- name: erase_usage
DELETE FROM usage WHERE number = ?;

-- name: erase_transcript
DELETE FROM transcript WHERE number = ?;

-- name: erase_ask
DELETE FROM ask WHERE number = ?;
