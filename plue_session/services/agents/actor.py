"""Who runs the turns of a session that an agent is attached to: one thread for each attachment, by which all is done
that concerns the agent.

What the agent says is taken from its inbox; what others do to the session, in whichever process, is a row, and whoever
hears of it only pokes: the actor looks at the rows. So a change that is missed is found by the next look.
"""

import os
import time

from plue_session import errors
from plue_session.model import said as agent
from plue_session.model.input import DEFERRED
from plue_session.rules import asks, outcomes, relay
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.agents.asking import Asking
from plue_session.services.agents.choosing import Choosing, bound_model
from plue_session.services.agents.recording import Recording, outcome_of, parts_of, told
from plue_session.services.agents.turn import LOOK, Turn
from plue_session.services.turns import ask_rows, prompt, turn_rows
from plue_session.services.turns.views import record_plan

#: Seconds until what the store could not take is tried again.
AGAIN = 1.0
#: Seconds of silence after which what was said outside a turn is taken for whole.
PAUSE = 1.0
#: The title of a session that nobody has named.
UNTITLED = "Untitled"
#: Seconds until inputs that an abort holds back are looked at again.
HELD = 0.1
#: Lines of an agent's that are no messages, and are logged.
NOISE = 20


class Actor:
    """Of one attachment. `on` is the `Agents` that it is one of, `inbox` what its `agent` speaks into, `options` those
    of the attachment. `run` is the work of its thread; all other methods may be called by any, and do not wait."""

    def __init__(self, on, session_id, agent, inbox, options):
        self._on, self.session_id, self.agent, self._inbox, self.options = on, session_id, agent, inbox, options
        self._owner = os.urandom(8).hex()
        self._recording = Recording(on, session_id)
        self._asking = Asking(on, session_id, agent, on.settings.permissions)
        self._choosing = Choosing(on, session_id, agent, options)
        self._turn = None
        self._asked, self._plan, self._title, self._heard = [], None, None, 0.0
        self._error = None  # by which the agent is to end, or has
        self._has_exited = self._is_left = False  # nothing more comes but its end; that was recorded
        self._is_gone = self._is_closing = self._is_deleted = self._is_over = self._must_look = False
        self._again, self._looked = False, 0.0
        self._noise = 0
        self.offer = None

    # -- from any thread -----------------------------------------------------------------------------------------------
    def poke(self):
        """Have the rows be looked at."""
        self._inbox.poke()

    def close(self, error):
        """Have the agent be ended, whatever it is about; `error` says why."""
        self._error = self._error or error
        self._is_closing = True
        self.agent.close()
        self._inbox.poke()

    # -- the thread ----------------------------------------------------------------------------------------------------
    def run(self, restored):
        """Attend to the agent until it is gone; `restored`: what was kept of its conversation, if that had begun
        before."""
        self._on.publisher.adopt()
        try:
            self._begin(restored)
            seconds = 0.0
            while not self._is_over:
                said, is_poked = self._inbox.take(seconds)
                self._must_look |= is_poked
                for each in said:
                    self._take(each)
                seconds = self._attend()
        except BaseException as error:  # a defect: the agent is of no use without its actor
            failure = errors.known(error)
            self._on.log.write("error", failure.message(f"agent {self.session_id}"))
            self._on.fail(self, failure)
            raise
        finally:
            self.agent.close()
            self._on.left(self)

    def _begin(self, restored):
        self._recording.name, self.offer = self.agent.name, self.agent.offer()
        if restored is not None:
            self._choosing.restored(restored.get("chosen"))
            self._recording.restored(restored.get("cost", 0.0))
        self._must_look = True

    def _attend(self):
        """Do what is due, and return after how many seconds to do so again, None: when something happens. What the
        store cannot take now is tried again."""
        try:
            self._step()
        except errors.PlueError as error:
            if isinstance(error, errors.NotFound) and self._is_lost():
                return 0.0
            if self._on.is_closed and self._is_gone:
                self._is_over = True
            self._on.log.write("warning", error.message(f"agent {self.session_id}"))
            self._must_look = True
            return AGAIN
        return self._due()

    def _step(self):
        waits = bool(self._asking or self._asked)  # its silence until now was for the user's answer
        if not self._is_deleted:
            began = time.monotonic()
            try:
                self._record()
            finally:  # nobody has listened meanwhile, and the store may have been locked
                if self._turn is not None:
                    self._turn.sign += time.monotonic() - began
        if self._is_gone:
            self._depart()
        elif self._turn is not None:
            self._watch(waits or bool(self._asking))
        elif self._is_closing:
            self._leave()
        elif not self._has_exited and not self.agent.is_over:  # else what waits is for the next agent
            self._rest()

    def _record(self):
        """Record what was said, and see what others do."""
        self._recording.flush()
        self._keep()
        if self._must_look or self._turn is not None and time.monotonic() - self._looked >= LOOK:
            self._must_look, self._looked = False, time.monotonic()
            self._look()
        elif self._asking.due == 0.0:
            self._asking.look()

    def _leave(self):
        """The session was terminated: it is left at whose wish, in whatever process, the agent ends."""
        row = self._on.store.read_attachment(self.session_id)
        if self._is_deleted or row is None or row.closing or self._on.is_closed:
            self.agent.close()

    def _due(self):
        now, waits = time.monotonic(), []
        if self._is_over:
            return 0.0
        if self._must_look:
            waits.append(0.0)
        if self._again:
            waits.append(HELD)
        if self._is_closing:
            waits.append(LOOK)
        if self._turn is not None:
            waits.append(self._turn.due(now, bool(self._asking)))
            waits.append(self._asking.due)
        elif self._recording.is_open:
            waits.append(max(self._heard + PAUSE - now, 0.0))
        return min((each for each in waits if each is not None), default=None)

    # -- what is said --------------------------------------------------------------------------------------------------
    def _take(self, said):
        """Take one thing that was said. It touches no store, so that nothing is lost when that is locked."""
        kind = type(said)
        self._heard = time.monotonic()
        if kind not in (agent.Noise, agent.Gone):
            self._sign()
        if kind is agent.Said:
            self._recording.say(said)
        elif kind is agent.Tool:
            self._recording.use(said)
        elif kind is agent.Shown:
            self._recording.show(said)
        elif kind is agent.Answered:
            self._answered(said)
        elif kind is agent.Asked:
            self._asked.append(said)
        elif kind is agent.Withdrawn:
            self._asked = [each for each in self._asked if each.request != said.request]
            self._asked.append(said)
        elif kind is agent.Planned:
            self._plan = said.todos
        elif kind is agent.Metered:
            self._recording.metered(said)
        elif kind is agent.Offer:
            self.offer = said
            self._choosing.heard(said)
        elif kind is agent.Named:
            self._title = said.title
        elif kind is agent.Noise:
            self._noted(said.text)
        elif kind is agent.Gone:
            self._is_gone = True
            self._error = self._error or said.error

    def _sign(self):
        if self._turn is not None:
            self._turn.sign = self._heard

    def _answered(self, said):
        turn, is_choice = self._turn, said.ticket == self._choosing.ticket
        if said.error is not None and "exit" in said.error.details:  # whatever it was asked
            self._has_exited, self._error = True, self._error or said.error
        if is_choice and not self._has_exited:
            self._choosing.answered(said.error)
        elif turn is not None and turn.outcome is None and (is_choice or said.ticket == turn.ticket):
            turn.ticket = None
            if said.error is not None:
                turn.failed(said.error)
            else:
                # One that was to end, and has said nothing, has not come to its end by itself (OpenCode's "end_turn").
                is_cut = turn.cancelled is not None and not self._recording.is_open
                turn.outcome = outcome_of("cancelled" if is_cut else said.value.reason)
                turn.tokens = said.value.tokens

    def _noted(self, text):
        self._noise += 1
        if self._noise <= NOISE:
            more = "; more of it is not logged" if self._noise == NOISE else ""
            self._on.log.write("warning", f"agent {self.session_id}: skipped what is no message: {text}{more}")

    def _keep(self):
        """Record what was said that is no message."""
        while self._asked:
            each = self._asked[0]
            if type(each) is agent.Withdrawn:
                self._asking.withdraw(each.request)
            else:
                turn = self._turn
                is_open = turn is not None and turn.cancelled is None and turn.outcome is None
                place = self._recording.place_of(each.call_id) if is_open else None
                self._asking.ask(each, turn.id if is_open else None, place)
            del self._asked[0]
        if self._plan is not None:
            plan = dumps(self._plan)
            if self._recording.takes(len(plan)):
                self._on.writer.run(lambda transaction: record_plan(self.session_id, plan, transaction))
            self._plan = None
        if self._title is not None:
            title = self._title
            self._on.writer.run(lambda transaction: self._name(transaction, title))
            self._title = None

    def _name(self, transaction, title):
        session = transaction.load(self.session_id)
        if session.title == UNTITLED and title:
            session.title = title
            transaction.save(session, "session.updated", {"id": session.id})

    # -- what others do ------------------------------------------------------------------------------------------------
    def _look(self):
        """See what has become of the session, its turn, and what that asks."""
        if self._is_lost():
            return
        session = self._on.read(self.session_id)
        if session.relay_state != relay.ACTIVE and not self._is_closing:
            self._is_closing = True
            self._error = self._error or errors.Closed("the session was terminated")
        turn = self._turn
        if turn is not None:
            row = self._on.store.read_turn(self.session_id, turn.id)
            if row is not None and row.cancelled is not None and turn.cancelled is None:
                self._cancel(None)
        self._asking.look()

    def _is_lost(self):
        """Return whether the session was deleted; it may have got another id."""
        now, info = self._on.named(self.session_id, lambda now: (now, self._on.store.info(now)))
        if now != self.session_id:
            self._on.renamed(self, now)
            for each in (self, self._recording, self._asking, self._choosing):
                each.session_id = now
        if info is None:
            self._deleted()
        return self._is_deleted

    def _deleted(self):
        """The session was deleted: nothing of it is recorded any more."""
        self._is_deleted = self._is_closing = True
        self._error = self._error or errors.gone(self.session_id)
        self._turn = None
        self._asking.over()
        self.agent.cancel()
        self._on.forget(self.agent)
        self.agent.close()

    # -- a turn --------------------------------------------------------------------------------------------------------
    def _rest(self):
        """No turn runs: begin the next one, if something waits."""
        on = self._on
        if self._recording.is_too_much:
            self._error = self._error or _too_much("the agent says more between turns than it may")
            self.agent.close()
            return
        if self._recording.is_open and time.monotonic() - self._heard >= PAUSE:
            self._recording.pause()
        first = on.store.read_next_input(self.session_id, on.writer.clock())
        if first is None or first.state != DEFERRED:
            self._again = False  # what was held back is gone
            return
        self._recording.pause()
        self._start(first)

    def _start(self, first):
        """Take the next inputs, and have them be said."""
        on, now = self._on, self._on.writer.clock()
        message_id, bound = prompt.message_id(now), None

        def begin(transaction):
            nonlocal bound
            session = transaction.load(self.session_id)
            bound = bound_model(session, self.offer)
            if session.relay_state != relay.ACTIVE:
                return None
            begun = turn_rows.begin(
                transaction, self.session_id, message_id, self._owner, on.settings.lease.ttl_ms, first.seq
            )
            if begun is not None:
                self._recording.record(transaction, Recording.asked(begun.inputs, message_id, now))
                count_message(transaction, self.session_id)
            return begun

        begun = on.writer.run(begin)
        self._again = begun is None  # an abort holds it back, of whose end nobody tells, or others are next by now
        if begun is None:
            return
        says = {**({"model": bound} if bound else {}), **loads(begun.inputs[0].content)}
        self._turn = Turn(begun.turn, parts_of(begun.inputs), says, self.options)
        self._recording.begin(begun.turn.id, message_id, now)
        on.began(self.session_id, begun.turn.id)
        self._must_look = True

    def _watch(self, waits):
        """Go on with the turn: have chosen what it wants, say it, see that it ends. `waits`: the agent does, for an
        answer of the user's."""
        turn, now = self._turn, time.monotonic()
        if self._is_closing and turn.cancelled is None:
            self._cancel(self._error if self._on.is_closed else None)
        if turn.outcome is None and not turn.is_said and turn.cancelled is None:
            self._say(turn)
        if turn.outcome is None and turn.cancelled is not None and not turn.is_said:
            turn.outcome = outcome_of("cancelled")
        if turn.outcome is not None:
            self._end(turn)
        elif self._recording.is_too_much and turn.cancelled is None:
            self._cancel(_too_much("the agent says more than a turn may"))
        elif turn.is_silent(now, waits):
            self._cancel(
                errors.Timeout(
                    f"the agent has said nothing for {self.options['silenceMs'] / 1000:g} s",
                    "Send the input again; raise silenceMs for an agent that works silently.",
                )
            )
        elif turn.is_overdue(now):
            self._error = self._error or errors.Timeout(
                "the agent did not end its turn when it was asked to, and was ended", "Attach the session again."
            )
            self.agent.close()
        elif now >= turn.renewal:
            turn.renewal = now + self._on.settings.lease.renew_ms / 1000
            self._on.writer.run(
                lambda transaction: turn_rows.renew(transaction, turn.row, self._on.settings.lease.ttl_ms)
            )

    def _say(self, turn):
        """Choose what the turn's inputs name, one thing after the other, and then say it."""
        try:
            if self._choosing.choose(turn.says, self.offer):
                self._recording.model = self._choosing.model(self.offer)
                turn.is_said = True
                turn.sign = time.monotonic()
                turn.ticket = self.agent.prompt(turn.parts)
        except (errors.InvalidParam, errors.Unsupported) as error:
            turn.outcome = outcomes.STOPPED, "invalid_input", told(error)
        except errors.PlueError as error:
            turn.failed(error)

    def _cancel(self, error):
        """Ask the agent to end its turn; `error` says why, None: because somebody wants that."""
        turn = self._turn
        turn.cancel(time.monotonic(), error)
        if turn.is_said:
            self.agent.cancel()
        self._asking.end_all()

    def _end(self, turn):
        """Record how the turn has ended, with all that was said."""
        if self._recording.is_cut and turn.outcome[0] == outcomes.FINISHED:
            turn.outcome = outcomes.STOPPED, outcomes.INCOMPLETE, told(_too_much("the agent says more than a turn may"))
        outcome = turn.final()
        changes = self._recording.end(outcome[2] is None and outcome[1] != outcomes.CANCELLED, turn.tokens)

        def close(transaction, session, row):
            by = asks.ABORT if outcome[1] == outcomes.CANCELLED else asks.OTHER
            session.relay_active = max(transaction.now, session.relay_active or 0)
            return [
                *self._recording.events(transaction, session, changes),
                *self._on.recorder.close(transaction, session, row.id, outcome),
                *ask_rows.end_all(transaction, session, row, by),
            ]

        def end(transaction):
            turn_rows.end(transaction, self.session_id, turn.id, turn.row.claim_id, outcome, close)
            self._keep_cost(transaction)
            if is_last:  # who hears of the end may attach another one at once
                self._on.lost(transaction, self.session_id, self._error, self._is_closing)

        is_last = self._is_gone or self._has_exited
        self._on.writer.run(end)
        self._is_left = is_last
        self._recording.over()
        self._asking.over()
        self._turn, self._must_look = None, True
        if isinstance(turn.error, errors.Timeout) and outcome[0] != outcomes.FINISHED:  # it was silent, and may stay so
            self._error = self._error or turn.error
            self.agent.close()
        self._inbox.poke()

    def _keep_cost(self, transaction):
        """Note how much of what the conversation costs messages have, for an agent that takes it up again."""
        session = transaction.store.load(self.session_id)
        row = session and transaction.store.attachment(session.number)
        if row and self._recording.counted != self._recording.told_cost:
            row.options = dumps({**loads(row.options), "cost": self._recording.counted})
            transaction.store.keep_attachment(row)

    # -- the end -------------------------------------------------------------------------------------------------------
    def _depart(self):
        """The agent is gone: its turn ends with it."""
        if self._is_deleted:
            self._is_over = True
            return
        if self._turn is not None:
            if self._turn.outcome is None:
                self._turn.failed(self._error)
            self._end(self._turn)
        elif not self._is_left:
            self._recording.pause()
            self._on.writer.run(
                lambda transaction: self._on.lost(transaction, self.session_id, self._error, self._is_closing)
            )
        if not self._is_closing:
            self._on.failed(self.session_id, self._error)
        self._is_over = True


def _too_much(cause):
    return errors.LimitExceeded(cause, "Ask it for less at a time.")


def count_message(transaction, session_id):
    """Count what is said to the agent, as hosts do theirs."""
    session = transaction.load(session_id)
    session.relay_messages += 1
    session.relay_active = transaction.now
    transaction.save(session, "session.updated", {"id": session.id}, touch=False)
