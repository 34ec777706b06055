"""Following a turn from its prompt to its proven end.

The status is asked for before the messages: what has ended by the time at which the server was idle has ended for good.
"""

import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.rules import outcomes, turn_proof
from plue_session.rules.jsontext import loads
from plue_session.services.turns import prompt, queue, turn_rows

#: Newest messages that are read at first, and then at a time, to find the prompt.
NEWEST, FURTHER = 4, 32
#: Seconds between two looks at a turn that runs: where events come, and where none do.
POLL = 5.0, 0.4
#: The same while something is about to follow.
SOON = 0.1
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
AWAY = (errors.Connection, errors.Timeout, errors.AccessDenied, errors.Busy, errors.Aborted, errors.Closed)


class Follower:
    """Of one `driver`. Thread-safe: a session is in one step at a time."""

    def __init__(self, on, driver):
        self._on, self._driver = on, driver
        self._warm = None  # when the server was known to have run a turn: by the count of its connections

    def step(self, session, turn, watch, call):
        """Go on with an open turn; see `Driver._step`."""
        on, is_ours = self._on, turn.claim_id is not None
        if is_ours and not self._keep(session, turn, watch, call):
            return 0.0
        if turn.message_id is None:
            self._find(session, turn, watch, call)
        retry = watch.retry
        status = on.server.status(call, session.directory).get(session.id)
        proof = turn_proof.judge(self._messages(session, turn, call), turn.message_id, status is not None)
        watch.prompt_id = proof.prompt_id
        if proof.answer is not None:
            self._warm, watch.begun = on.link.connections, True
        if status is not None or proof.state in (turn_proof.OVER, turn_proof.RUNNING):
            watch.idle = None
        else:
            watch.idle = watch.idle or time.monotonic()
        idle = time.monotonic() - (watch.idle or time.monotonic())
        if proof.state == turn_proof.OVER:
            return self._end(session, turn, watch, self._outcome(turn, watch, proof), call)
        if proof.state == turn_proof.CUT:
            if idle < TRAILING:
                return SOON
            return self._end(session, turn, watch, self._outcome(turn, watch, proof), call)
        if proof.state == turn_proof.CIRCLING:
            watch.circles = True
            on.server.abort(session.id, call.within(ABORTING), directory=session.directory, turn_id=proof.prompt_id)
            outcome = outcomes.STOPPED, outcomes.PROVIDER_ERROR, outcomes.broken()
            return self._end(session, turn, watch, outcome, call)
        if proof.state == turn_proof.RUNNING:
            if turn.cancelled is not None:
                on.server.abort(session.id, call.within(ABORTING), directory=session.directory, turn_id=proof.prompt_id)
                return 0.0
            is_retrying = status is not None and status.get("type") == "retry"
            if is_retrying != (turn.state == "retrying") or retry is not watch.retry:
                self._show(session, turn, is_retrying, call)
            return POLL[not on.link.streaming]
        return self._begins(session, turn, watch, proof, status, call)

    def _begins(self, session, turn, watch, proof, status, call):
        """Go on with a turn to whose prompt no answer has begun."""
        on, is_ours = self._on, turn.claim_id is not None
        is_stored, since = proof.state == turn_proof.UNBEGUN, time.monotonic() - (watch.sent or 0.0)
        if watch.failure is not None and status is None:
            return self._end(session, turn, watch, outcomes.outcome_of([], watch.failure), call)
        if not is_ours:
            if status is None and not is_stored:
                return self._end(session, turn, watch, outcomes.outcome_of([]), call)
            return POLL[1] if is_stored or status is None else POLL[not on.link.streaming]
        if turn.cancelled is not None:
            return self._cancel(session, turn, watch, is_stored, status, since, call)
        if watch.sent is None and not is_stored or watch.sent is not None and since > LOST and status is None:
            if watch.sends >= TRIES:
                return self._give_up(session, turn, watch, is_stored, call)
            return self._again(session, turn, watch, call)
        if watch.sent is None:  # it was stored, by the process that has died or a server that has
            watch.sent = time.monotonic() - (LOST - TRAILING if status is None else 0.0)
        return SOON if since < 1.0 or not on.link.streaming else 0.5

    def _cancel(self, session, turn, watch, is_stored, status, since, call):
        """End a turn that is to end, and has not begun. Aborted before the model's message is there, a server that has
        run no turn yet would run none any more."""
        on = self._on
        if watch.sent is None and not is_stored:
            return self._end(session, turn, watch, _CANCELLED, call)
        if watch.sent is None:
            watch.sent, since = time.monotonic(), 0.0
        if since < BEGINS[self._warm != on.link.connections] or status is not None and since < BEGINS[1]:
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
        server, where = self._on.server, session.directory
        watch.sends += 1
        watch.failure = None
        try:
            if said.command is not None:
                return self._send_command(session, turn, watch, said, model)
            parts = said.parts(turn.message_id)
        except errors.InvalidParam as error:
            return self._end(session, turn, watch, (outcomes.STOPPED, "invalid_input", _told(error)), call)
        try:
            server.prompt(session.id, turn.message_id, parts, model, call, directory=where, agent=said.agent)
        except errors.PlueError as error:
            return self._refused(session, turn, watch, error, call)
        watch.sent = time.monotonic()
        return SOON if turn.cancelled else 1.0

    def _refused(self, session, turn, watch, error, call):
        if isinstance(error, (errors.NotFound, *AWAY)) or isinstance(error, errors.Server) and watch.sends < TRIES:
            if (error.details or {}).get("sent") is not False:
                watch.sent = time.monotonic() - LOST + 1.0  # soon it shows whether it was heard
            raise error
        return self._end(session, turn, watch, (outcomes.STOPPED, outcomes.SUBMITTED_ERROR, _told(error)), call)

    def _send_command(self, session, turn, watch, said, model):
        """Send a command, whose answer comes with the end of its turn: a thread waits for that, until the turn's first
        message is seen (O-053)."""
        on, call = self._on, Call()

        def run():
            try:
                if said.is_compaction:
                    on.server.summarize(session.id, model, call, directory=session.directory)
                else:
                    on.server.command(
                        session.id,
                        turn.message_id,
                        said.command,
                        said.arguments,
                        model,
                        call,
                        directory=session.directory,
                        agent=said.agent,
                    )
            except errors.PlueError as error:
                if call.error is None and not isinstance(error, AWAY):
                    watch.refusal = error
            watch.sending = None
            self._driver.poke(session.id)

        watch.sending, watch.sent = call, time.monotonic()
        threads.start(run, "plue-command")
        return SOON

    # -- reading -------------------------------------------------------------------------------------------------------
    def _messages(self, session, turn, call):
        """Return the newest messages, oldest first, back to the prompt, or to what is older than the turn."""
        server, before, limit, found = self._on.server, None, NEWEST, []
        oldest = turn.started + server.ahead() - 60_000
        while True:
            page, before = server.messages(session.id, call, session.directory, limit=limit, before=before)
            found = [message for message, _ in page] + found
            is_there = any(
                each.id == turn.message_id or each.role == "assistant" and each.parent_id == turn.message_id
                for each in found
            )
            if before is None or is_there or not page or page[0][0].created < oldest:
                return found
            limit = FURTHER

    def _find(self, session, turn, watch, call):
        """Find the message that the server has made for a compaction: it takes no id of ours."""

    # -- rows ----------------------------------------------------------------------------------------------------------
    def _keep(self, session, turn, watch, call):
        """See that the turn is this process's, and stays so; False: look again."""
        now, lease = time.monotonic(), self._driver.lease
        if not watch.ours or watch.claim_id != turn.claim_id:
            taken = self._on.writer.run(
                lambda transaction: turn_rows.take_over(
                    transaction, session.id, turn.id, self._driver.owner, lease.ttl_ms
                ),
                call,
            )
            if taken is not None:
                watch.ours, watch.claim_id, watch.renewed = True, taken.claim_id, now
                self._on.turns.mine(session.id, turn.id)
            return False
        if now - watch.renewed >= lease.renew_ms / 1000:
            watch.renewed = now
            self._on.writer.run(lambda transaction: turn_rows.renew(transaction, turn, lease.ttl_ms), call)
        return True

    def _show(self, session, turn, is_retrying, call):
        self._on.writer.run(
            lambda transaction: turn_rows.set_state(transaction, session.id, turn.id, is_retrying), call
        )

    @staticmethod
    def _outcome(turn, watch, proof):
        outcome = outcomes.outcome_of([proof.answer], watch.failure)
        if turn.cancelled is not None and outcome[1] == outcomes.INCOMPLETE and not proof.answer.ended:
            return _CANCELLED
        return outcome

    def _end(self, session, turn, watch, outcome, call):
        """Note the end of the turn, and have the session go on."""
        if watch.sending is not None:
            watch.sending.set(errors.Aborted("the turn has ended", ""))
        self._on.writer.run(
            lambda transaction: turn_rows.end(transaction, session.id, turn.id, turn.claim_id, outcome), call
        )
        return 0.0


_CANCELLED = outcomes.STOPPED, outcomes.CANCELLED, None


def _told(error):
    """Return an error of ours as a turn's."""
    return {"code": error.name, "message": error.cause, "remedy": error.remedy}
