"""Following a turn from its prompt to its proven end.

The status is asked for before the messages: what has ended by the time at which the server was idle has ended for good.
"""

import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model.turn import CLAIMED, RUNNING
from plue_session.rules import asks, outcomes, turn_proof
from plue_session.rules.jsontext import loads
from plue_session.services.turns import ask_rows, prompt, queue, turn_rows

#: Newest messages that are read at first, and then at a time, to find the prompt.
NEWEST, FURTHER = 4, 32
#: Seconds between two looks at a turn that runs: where events come, and where none do.
POLL = 5.0, 0.4
#: The same while something is about to follow.
SOON = 0.1
#: The same while a prompt was sent and has not begun, where events come: on a server that is busy with it, and on one
#: that is idle, and may have failed it.
UNBEGUN = 1.0, 0.5
#: Seconds that the end of a message may come after the session is idle (60 ms were measured). Later it never comes: the
#: server was killed in mid-turn (O-048).
TRAILING = 1.0
#: Seconds after which a prompt that was taken, and is not stored, or is stored and not begun while the server is idle,
#: is sent once more; after the same time again it is given up (O-068). A cold server takes 4 s (O-050).
LOST = 8.0
#: Times that a prompt is sent which the server fails to take.
TRIES = 3
#: Seconds within which a prompt that was taken begins, if it is to end: on a server that has run turns, and on another
#: one, which must not be aborted before the model's message is there, or it runs no turn any more (O-068).
BEGINS = 1.2, 10.0
#: Seconds that ending a turn on the server may take at a time.
ABORTING = 10.0
#: Seconds that sending a prompt may take at a time.
POSTING = 15.0
#: Seconds that a command may take until its first message is there.
LONGEST = 600.0
#: Commands that may be under way without a first message, about: each has a thread and a connection. The others wait
#: in their queues.
ASKING = 32
#: Seconds between two looks for whether there are fewer.
FULL = 1.0
#: Ms by which the server's messages may be older than a turn of theirs.
SKEW_MS = 20_000
#: Seconds that withdrawing on the server what an ended turn has asked may take: its end is certain without it.
WITHDRAWING = 2.0
#: Failures that do not say what the server makes of a prompt.
NO_WORD = (
    errors.NotFound,
    errors.Connection,
    errors.Timeout,
    errors.AccessDenied,
    errors.Busy,
    errors.Aborted,
    errors.Closed,
)


class Follower:
    """Of one `driver`. Thread-safe: a session is in one step at a time."""

    def __init__(self, on, driver):
        self._on, self._driver = on, driver
        self._asking = set()  # the calls of commands without a first message
        self._warm = None  # when the server was known to have run a turn: by the count of its connections

    @property
    def is_full(self):
        """Whether no further command may be sent for now."""
        return len(self._asking) >= ASKING

    def step(self, session, turn, watch, call):
        """Go on with an open turn; see `Driver._step`."""
        on, is_ours = self._on, turn.claim_id is not None
        if is_ours and not self._keep(session, turn, watch, call):
            return 0.0
        status = on.server.status(call, session.directory).get(session.id)
        page = self._page(session, turn, call)
        if turn.message_id is None:
            self._find(session, turn, page, call)
        proof = turn_proof.judge(page, turn.message_id, status is not None)
        if proof.answer is not None:
            watch.prompt_id, self._warm, watch.has_begun = proof.prompt_id, on.link.connections, True
            if watch.asking is not None:
                watch.asking.set(_OVER)
        if proof.state == turn_proof.OVER:
            return self._end(session, turn, watch, self._outcome(turn, watch, proof), call)
        if proof.state == turn_proof.CIRCLING:
            on.server.abort(session.id, call.within(ABORTING), directory=session.directory, turn_id=proof.prompt_id)
            return self._end(session, turn, watch, _broken(), call)
        if proof.state == turn_proof.RUNNING:
            watch.idle = None
            return self._runs(session, turn, watch, proof, status, call)
        watch.idle = (watch.idle or time.monotonic()) if status is None else None
        if proof.state == turn_proof.CUT:
            if watch.idle is not None and time.monotonic() - watch.idle < TRAILING:
                return SOON
            return self._end(session, turn, watch, self._outcome(turn, watch, proof), call)
        return self._begins(session, turn, watch, proof.state == turn_proof.UNBEGUN, status, call)

    def _runs(self, session, turn, watch, proof, status, call):
        on = self._on
        if turn.cancelled is not None:
            on.server.abort(session.id, call.within(ABORTING), directory=session.directory, turn_id=proof.prompt_id)
            return 0.0
        state = turn_rows.state_of(status, on.store, session.id)
        if turn.state != state and not (turn.state == CLAIMED and state == RUNNING):
            on.writer.run(lambda transaction: turn_rows.set_state(transaction, session.id, turn.id, state), call)
        return POLL[not on.link.streaming]

    def _begins(self, session, turn, watch, is_stored, status, call):
        """Go on with a turn to whose prompt no answer has begun."""
        on, now = self._on, time.monotonic()
        if status is None and watch.failure is not None:
            return self._end(session, turn, watch, outcomes.outcome_of([], watch.failure), call)
        if watch.refusal is not None:
            outcome = outcomes.STOPPED, outcomes.SUBMITTED_ERROR, _told(watch.refusal)
            return self._end(session, turn, watch, outcome, call)
        if turn.claim_id is None:  # another client's, whose message was removed
            outcome = outcomes.outcome_of([])
            return POLL[1] if is_stored or status else self._end(session, turn, watch, outcome, call)
        if watch.sent is None and is_stored:  # by a process that has died, or for a server that has
            watch.sent, watch.sends, watch.lost = now, 1, now + TRAILING
        if turn.cancelled is not None:
            return self._cancel(session, turn, watch, status, call)
        if watch.sent is None or status is None and watch.asking is None and now > watch.lost:
            if watch.sends >= TRIES:
                return self._give_up(session, turn, watch, is_stored, call)
            return self._again(session, turn, watch, call)
        if not on.link.streaming:
            return SOON
        return UNBEGUN[status is None]  # the beginning is heard of

    def _cancel(self, session, turn, watch, status, call):
        """End a turn that is to end, and has not begun. Aborted before the model's message is there, a server that has
        run no turn yet would run none any more."""
        on = self._on
        if watch.sent is not None:
            since, is_cold = time.monotonic() - watch.sent, self._warm != on.link.connections
            if since < BEGINS[is_cold or status is not None]:
                return SOON
            on.server.stop(session.id, call.within(ABORTING), session.directory)
        return self._end(session, turn, watch, _CANCELLED, call)

    def _give_up(self, session, turn, watch, is_stored, call):
        cause = "the server has stored the prompt, and does not run it" if is_stored else "the server did not take it"
        error = {
            "code": errors.Server.name,
            "message": f"{cause}: it was sent {watch.sends} times",
            "remedy": "Restart the OpenCode server, then send the input again.",
        }
        return self._end(session, turn, watch, (outcomes.STOPPED, outcomes.SUBMITTED_ERROR, error), call)

    # -- sending -------------------------------------------------------------------------------------------------------
    def _again(self, session, turn, watch, call):
        """Send a prompt that the server does not have, or does not run."""
        on = self._on
        inputs = on.writer.run(lambda transaction: queue.inputs_of(transaction.store, turn), call)
        said = prompt.of(inputs)
        model = self._driver.taker.model(session, loads(inputs[0].content), call)
        return self.send(session, turn, watch, said, model, call)

    def send(self, session, turn, watch, said, model, call):
        """Send a prompt; what the server refuses ends the turn, what it may not have heard is seen by the next step."""
        watch.failure = watch.refusal = None
        if said.command is not None:
            return self._ask(session, turn, watch, said, model)
        watch.reading = call
        try:
            parts = said.parts(turn.message_id, call)
        except errors.InvalidParam as error:
            return self._end(session, turn, watch, (outcomes.STOPPED, "invalid_input", _told(error)), call)
        finally:
            watch.reading = None
        watch.sends += 1
        watch.posting = call.within(POSTING)
        try:
            self._on.server.prompt(
                session.id, turn.message_id, parts, model, watch.posting, directory=session.directory, agent=said.agent
            )
        except errors.PlueError as error:
            if not self._is_refusal(watch, error):
                raise
            outcome = outcomes.STOPPED, outcomes.SUBMITTED_ERROR, _told(error)
            return self._end(session, turn, watch, outcome, call)
        finally:
            watch.posting = None
        watch.sent = time.monotonic()
        watch.lost = watch.sent + LOST
        return SOON if turn.cancelled else 1.0

    @staticmethod
    def _is_refusal(watch, error):
        """Return whether the server has refused a prompt for good; else it is seen whether it has it."""
        is_refusal = not isinstance(error, NO_WORD) and (not isinstance(error, errors.Server) or watch.sends >= TRIES)
        if not is_refusal and (error.details or {}).get("sent") is not False:
            watch.sent = time.monotonic()
            watch.lost = watch.sent + TRAILING
        return is_refusal

    def _ask(self, session, turn, watch, said, model):
        """Send a command, whose answer comes with the end of its turn: a thread waits for that, or until the turn's
        first message is seen (O-053)."""
        if self.is_full:
            return FULL
        on, where, before = self._on, session.directory, watch.sent
        watch.sends += 1
        watch.sent = time.monotonic()
        watch.asking = call = Call(watch.sent + LONGEST)
        self._asking.add(call)

        def run():
            try:
                with self._driver.lasting(call):
                    if said.is_compaction:
                        on.server.summarize(session.id, model, call, directory=where)
                    else:
                        on.server.command(
                            session.id, turn.message_id, said.command, said.arguments, model, call, where, said.agent
                        )
            except Exception as failure:
                error = errors.known(failure)
                if call.error is None and self._is_refusal(watch, error):
                    watch.refusal = error
            finally:
                self._asking.discard(call)
                watch.asking = None
            self._driver.poke(session.id)

        try:
            threads.start(run, "plue-command")
        except errors.StoreIo:  # the next step sends it, or ends the turn
            self._asking.discard(call)
            watch.sent, watch.asking = before, None
            watch.sends -= 1
            raise
        return SOON

    # -- reading -------------------------------------------------------------------------------------------------------
    def _page(self, session, turn, call):
        """Return the newest messages with their parts, oldest first, back to the prompt, or to what is older than the
        turn."""
        transcript, before, limit, found = self._on.transcript, None, NEWEST, []
        oldest = turn.started + self._on.server.ahead() - SKEW_MS
        while True:
            page, before = transcript.read(session, call, limit=limit, before=before)
            found = page + found
            is_there = any(
                each.id == turn.message_id or each.role == "assistant" and each.parent_id == turn.message_id
                for each, _ in found
            )
            if before is None or is_there or not page or page[0][0].created < oldest:
                return found
            limit = FURTHER

    def _find(self, session, turn, page, call):
        """Find the message that the server has made for a compaction, and that is no other turn's: it takes no id of
        ours."""
        oldest = turn.started + self._on.server.ahead() - SKEW_MS // 10
        for message, parts in reversed(page):
            if message.role != "user" or message.created < oldest or not turn_proof.is_compaction(parts):
                continue
            if self._on.store.read_turn(session.id, message.id) is None:
                turn.message_id = message.id
                self._on.writer.run(
                    lambda transaction: turn_rows.named(transaction, session.id, turn.id, turn.message_id), call
                )
                return

    # -- rows ----------------------------------------------------------------------------------------------------------
    def _keep(self, session, turn, watch, call):
        """See that the turn is this process's, and stays so; False: look again."""
        now, lease = time.monotonic(), self._driver.lease
        if not watch.is_ours or watch.claim_id != turn.claim_id:
            taken = self._on.writer.run(
                lambda transaction: turn_rows.take_over(
                    transaction, session.id, turn.id, self._driver.owner, lease.ttl_ms
                ),
                call,
            )
            if taken is not None:
                watch.is_ours, watch.claim_id, watch.renewed = True, taken.claim_id, now
                self._on.turns.mine(session.id, turn.id)
            return False
        if now - watch.renewed >= lease.renew_ms / 1000:
            watch.renewed = now
            self._on.writer.run(lambda transaction: turn_rows.renew(transaction, turn, lease.ttl_ms), call)
        return True

    @staticmethod
    def _outcome(turn, watch, proof):
        outcome = outcomes.outcome_of([proof.answer], watch.failure)
        answer = proof.answer
        is_cut = outcome[1] in (outcomes.CANCELLED, outcomes.INCOMPLETE) and answer.finish is None
        if is_cut and proof.has_circled and turn.cancelled is None:
            return _broken()  # the server did what an abort of ours asked for, and its answer was not heard
        if answer.failure is None and (turn.cancelled or watch.retry) and (not answer.ended or answer.finish is None):
            return _CANCELLED  # aborted while it tries again, a message ends without a word (O-035)
        return outcome

    def _end(self, session, turn, watch, outcome, call):
        """Note the end of the turn, and have the session go on."""
        if watch.asking is not None:
            watch.asking.set(_OVER)
        on, asked = self._on, []

        def close(transaction, session, turn):
            by = asks.ABORT if outcome[1] == outcomes.CANCELLED else asks.OTHER
            asked[:] = ask_rows.end_all(transaction, session, turn, by)
            return [*on.transcript.close(transaction, session, turn.id, outcome), *asked]

        on.writer.run(
            lambda transaction: turn_rows.end(transaction, session.id, turn.id, turn.claim_id, outcome, close), call
        )
        if asked:  # the server keeps its questions (O-037)
            try:
                on.asks.withdraw(session.id, call.within(WITHDRAWING))
            except errors.PlueError:
                on.jobs.add("withdraw", session.id)
        return 0.0


_CANCELLED = outcomes.STOPPED, outcomes.CANCELLED, None
_OVER = errors.Aborted("the turn is followed without it")


def _broken():
    return outcomes.STOPPED, outcomes.PROVIDER_ERROR, outcomes.broken()


def _told(error):
    """Return an error of ours as a turn's."""
    return {"code": error.name, "message": error.cause, "remedy": error.remedy}
