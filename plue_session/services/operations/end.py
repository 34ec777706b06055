"""Ending what runs, and sessions themselves."""

import contextlib
import threading

from plue_session import errors
from plue_session.model.attachment import ACP
from plue_session.model.turn import ENDED
from plue_session.rules import ids, turns
from plue_session.services import descendants
from plue_session.services.operations import Operation, unlocked
from plue_session.services.outgoing import family_of, remember
from plue_session.services.queued import NOT_WRITTEN
from plue_session.services.turns import turn_rows

#: Seconds for which an abort holds back prompts at most, and ms more than it may take.
HELD, SPARE_MS = 600.0, 1_000
#: Seconds that an abort waits to learn from the store which turn runs.
KNOWING = 0.25
#: Seconds that a delete waits for the end of a turn of ours that may not be with the server yet.
ENDING = 5.0


class Delete(Operation):
    """Ends what runs in a session, then erases it and its descendants in one commit, children before parents, with one
    `session.deleted` each (P-146)."""

    is_queued = True

    def has_intent(self):
        return True

    def preview(self, transaction):
        transaction.load(self.session)
        descendants.erase(transaction, self.session)

    def queue(self, transaction, sent):
        """Erase what is known; should the server refuse, it is made again of what is kept here."""
        on, store = self.on, transaction.store
        directory, family = transaction.load(self.session).directory, family_of(transaction, self.session)
        if ids.is_given_here(self.session):  # the server has not made it, or what it has made is taken back
            on.mirror.erase(transaction, self.session)
            return
        base = remember(store, [member for member in family if not ids.is_given_here(member)])
        elsewhere = {session["directory"] for session in base["sessions"]} - {directory, None}
        base.update(directory=directory, elsewhere=sorted(elsewhere))
        for member in family:
            store.drop_operations_of(member)
            on.mirror.give_up(transaction, member)
            on.mirror.ended(member)
        descendants.erase(transaction, self.session)
        self.put(transaction, "delete", self.session, sent, base=base)

    # -- with a server -------------------------------------------------------------------------------------------------
    def locks(self, call):
        on, self._call = self.on, call
        self.directory = on.read(self.session).directory
        self.family = descendants.members(on.store.read_children, self.session)
        return on.session_locks.hold(self.session, call, self.family)

    def send(self, call):
        """OpenCode: DELETE /session/{id}."""
        on = self.on
        elsewhere = {member.directory for each in self.family[1:] if (member := on.store.read(each))}
        elsewhere -= {self.directory, None}
        if on.driver.has_work(self.family):  # of what comes from now on, the sessions' locks keep this process
            self._hold(on.writer.clock() + int(min(call.left, HELD) * 1000) + SPARE_MS, call)
        on.server.delete(self.session, call, directory=self.directory, elsewhere=sorted(elsewhere))
        return True

    def _hold(self, until, call):
        """Have no prompt be sent to the sessions until then (None: from now on they may), and turns of ours end that
        may not be with the server yet."""
        on = self.on

        def change(transaction):
            found = []
            for session in filter(None, map(transaction.store.load, self.family)):
                session.held_until = until
                turn = turn_rows.cancel(transaction, session) if until is not None else None
                if turn is not None:
                    found.append((session.id, turn))
                transaction.store.save(session)
            return found

        held = on.writer.run_later(change).outcome
        for session_id, turn in held if type(held) is list and until is not None else ():
            on.driver.poke(session_id)
            with contextlib.suppress(errors.Timeout):
                on.turns.await_end(session_id, turn, call.within(ENDING))

    def refused(self, error):
        if isinstance(error, errors.NotFound):  # another client was faster: here too it is no more
            self.on.sync.missing(self.session, self._call)
            raise errors.gone(self.session) from None
        self.undo(None)
        raise error

    def record(self, transaction, answer):
        self.on.mirror.erase(transaction, self.session)

    def is_shown(self, answer):
        """Nothing is left that a handle could show."""

    def recover(self, answer):
        self.undo(answer)

    def undo(self, answer):
        """Ask what has become of the sessions, instead of guessing."""
        if self.on.driver.has_work(self.family):
            self._hold(None, None)
        for member in self.family:
            self.on.driver.poke(member)
            self.on.jobs.add("reread", member)

    def recorded(self, answer, result):
        """Expect no echo: what has ended has ended for ever."""


class Ending(Operation):
    """Ends a turn, by a request of its own beside the driver's, which would meet the next turn if it came late: so no
    prompt of ours is sent while it may be under way."""

    #: until when (ms) prompts are held back
    until = None

    @contextlib.contextmanager
    def holding(self, call):
        """Have `hold` be good for as long as this is used, and no longer than the call may take."""
        on, session_id = self.on, self.session
        self.until = on.writer.clock() + int(min(call.left, HELD) * 1000) + SPARE_MS
        on.calls.hold(session_id, self.until)
        try:
            yield
        finally:
            until = on.calls.let_go(session_id)
            if until is not None:
                on.writer.run_later(lambda transaction: self._let_go(transaction, session_id, until))
                on.driver.poke(session_id)

    def hold(self, session):
        """Hold back the session's prompts; to be saved by the caller."""
        session.held_until = max(self.until, session.held_until or 0)

    @staticmethod
    def _let_go(transaction, session_id, until):
        session = transaction.store.load(session_id)
        if session is not None and session.held_until is not None and session.held_until <= until:
            session.held_until = None
            transaction.store.save(session)


class Abort(Ending):
    """Sets the session's abort flag, ends the calls that are blocked on it, and its turn; returns after the turn's own
    end is proven and recorded (T-01). Until then no prompt of ours is sent there. The flag clears when the next turn
    starts; set already, nothing happens. Where the store is locked, it follows."""

    patience = 0.5
    #: the turn that is to end
    turn = waits = None

    def __init__(self, on, session):
        super().__init__(on, session)
        self._known = threading.Event()  # the turn is

    def preview(self, transaction):
        session = transaction.load(self.session)
        session.abort_mark = turns.abort_mark(transaction.now)
        self.turn = turn_rows.cancel(transaction, session)
        self._known.set()
        if self.until is not None:
            self.hold(session)
        if session.aborted:
            transaction.store.save(session)
        else:
            session.aborted = True
            transaction.save(session, "session.updated", {"id": session.id})
        return self._end_of_turn(transaction, session) if self.on.server is None else None

    def _end_of_turn(self, transaction, session):
        """Without a server: send home who waits for the session's turn, and return the end of that, as `Later`, if an
        agent runs one."""
        on = self.on
        on.turns.aborted(session.id)
        on.agents.aborted(session.id)
        if self.turn is None or session.relay_agent != ACP or on.agents.settle(transaction, session):
            return None
        self.waits = on.turns.abort(transaction, session, self.turn, self.waits)
        return self.waits and self.waits.later

    # -- with a server -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def locks(self, call):
        """Lock nothing: an abort sends other calls home instead."""
        on = self.on
        known = on.read(self.session)
        self.directory, self.is_attached = known.directory, known.relay_agent == ACP
        with self.holding(call):
            on.calls.begin_abort(self.session)
            try:
                yield
            finally:
                on.calls.end_abort(self.session)

    def check(self, call):
        """Set the flag first. Nothing is asked before the abort is sent, nor waited for but a moment: should that fail,
        the turn would run on."""
        self._flag = self.on.writer.run_later(self.preview)
        self._known.wait(min(KNOWING, call.left))
        self.on.turns.aborted(self.session)
        self.on.agents.aborted(self.session)
        self.on.driver.poke(self.session)
        return True

    def send(self, call):
        """OpenCode: POST /session/{id}/abort."""
        on, newest = self.on, []
        turn, where = self.turn, self.directory
        if self.is_attached:  # the server knows nothing of its agent's turn
            if turn is not None:
                on.agents.settle_now(self.session)
                on.turns.await_end(self.session, turn, call)
            return
        try:
            if turn is None:
                on.server.abort(self.session, call, directory=where, seen=newest.append)
            else:
                on.turns.stop(self.session, turn, call, where, newest.append)
        finally:  # if the turn runs on, it is not taken for a new one
            on.follow_ups.mark_abort(self.session, call, directory=where, mark=newest[0] if newest else None)

    def record(self, transaction, answer):
        """Record nothing more: the flag and the mark were queued before this. Fail if the flag could not be set."""
        outcome = self._flag.outcome
        if isinstance(outcome, Exception) and outcome is not NOT_WRITTEN:
            raise outcome


class AbortTurn(Ending):
    """Ends one turn, named by its id or by that of the user's message that began it, if it runs; another turn is not
    touched."""

    def __init__(self, on, session, turn_id):
        super().__init__(on, session)
        self.turn_id = turn_id

    def locks(self, call):
        return unlocked()

    def send(self, call):
        """OpenCode: POST /session/{id}/abort."""
        on, where = self.on, self.on.read(self.session).directory
        known = on.store.read_turn(self.session, self.turn_id)
        if known is not None and known.state == ENDED or known is None and not ids.is_message_id(self.turn_id):
            return

        def change(transaction):
            session = transaction.load(self.session)
            turn = known and turn_rows.cancel(transaction, session, known.id)
            if (turn is not None or known is None) and session.relay_agent != ACP:
                self.hold(session)
                transaction.store.save(session)
            return turn

        with self.holding(call):
            turn = on.writer.run(change, call)
            if turn is not None:
                on.driver.poke(self.session)
                on.turns.stop(self.session, turn, call, where)
            elif known is None:  # another client's, of which nothing was heard
                on.server.abort(self.session, call, directory=where, turn_id=self.turn_id)

    def record(self, transaction, answer):
        """Record nothing: the turn's end is."""

    def preview(self, transaction):
        """Without a server no turn runs: the one that is named is over."""
        transaction.load(self.session)
