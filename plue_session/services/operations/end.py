"""Ending what runs, and sessions themselves."""

import contextlib

from plue_session import errors
from plue_session.rules import ids, turns
from plue_session.services import descendants
from plue_session.services.operations import Operation, unlocked
from plue_session.services.outgoing import family_of, remember
from plue_session.services.writer import NOT_WRITTEN


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
        on.server.delete(self.session, call, directory=self.directory, elsewhere=sorted(elsewhere))
        return True

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
        for member in self.family:
            self.on.jobs.add("reread", member)

    def recorded(self, answer, result):
        """Expect no echo: what has ended has ended for ever."""


class Abort(Operation):
    """Sets the session's abort flag, ends the calls that are blocked on it, and its turn; returns after the turn's own
    end (T-01). The flag clears when the next turn starts; set already, nothing happens. Where the store is locked, it
    follows."""

    patience = 0.5

    def preview(self, transaction):
        session = transaction.load(self.session)
        session.abort_mark = turns.abort_mark(transaction.now)
        if session.aborted:
            transaction.store.save(session)
        else:
            session.aborted = True
            transaction.save(session, "session.updated", {"id": session.id})

    # -- with a server -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def locks(self, call):
        """Lock nothing: an abort sends other calls home instead."""
        on = self.on
        self.directory = on.read(self.session).directory
        on.calls.begin_abort(self.session)
        try:
            yield
        finally:
            on.calls.end_abort(self.session)

    def check(self, call):
        """Set the flag first. Nothing is asked or waited for before the abort is sent: should that fail, the turn would
        run on."""
        self._flag = self.on.writer.run_later(self.preview)
        return True

    def send(self, call):
        """OpenCode: POST /session/{id}/abort."""
        on, newest = self.on, []
        try:
            on.server.abort(self.session, call, directory=self.directory, seen=newest.append)
        finally:  # if the turn runs on, it is not taken for a new one
            on.follow_ups.mark_abort(self.session, call, directory=self.directory, mark=newest[0] if newest else None)

    def record(self, transaction, answer):
        """Record nothing more: the flag and the mark were queued before this. Fail if the flag could not be set."""
        outcome = self._flag.outcome
        if isinstance(outcome, Exception) and outcome is not NOT_WRITTEN:
            raise outcome


class AbortTurn(Operation):
    """Ends the turn that this message of the user's began, if it runs; another turn is not touched."""

    def __init__(self, on, session, turn_id):
        super().__init__(on, session)
        self.turn_id = turn_id

    def locks(self, call):
        return unlocked()

    def send(self, call):
        """OpenCode: POST /session/{id}/abort."""
        directory = self.on.read(self.session).directory
        self.on.server.abort(self.session, call, directory=directory, turn_id=self.turn_id)

    def record(self, transaction, answer):
        """Record nothing: turns are not kept here."""

    def preview(self, transaction):
        """Without a server no turn runs: the one that is named is over."""
        transaction.load(self.session)
