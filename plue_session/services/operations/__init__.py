"""Changes that may reach a server, as data: what `Executor` runs."""

from __future__ import annotations

import contextlib

from plue_session import errors
from plue_session.services.sync.numbers import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from plue_session.services.backend import Backend

#: How often a session is asked for at most that other processes change meanwhile, and seconds that this may take.
TIMES, ASKING = 5, 2.0


class Operation:
    """One change of a session: the session's id (None: it makes one), and arguments.

    `on` is the `Backend` that it works with, `call` the `services.calls.Call` that it runs for. Four parts carry it
    out; each may run again, also in another process.
    """

    #: the record as `check` found it
    known: Any = None
    #: seconds that it waits for others to unlock the store; None: as long as the call may take
    patience: float | None = None
    _overtaken = False

    def __init__(self, on: Backend, session=None):
        self.on, self.session = on, session

    def check(self, call):
        """Return whether the server is to be asked; fails if the operation cannot be done. As a rule it only reads."""
        return True

    def send(self, call):
        """Make the request and return the server's answer. If it runs twice, it must not do the thing twice."""
        raise NotImplementedError

    def record(self, transaction, answer):
        """Make the change that the answer means (None: the server was not asked), and return the operation's result."""
        return self.preview(transaction)

    def preview(self, transaction):
        """Make the change that the operation means by itself, and return its result. Without a server this is all."""
        raise NotImplementedError

    # -- around them ---------------------------------------------------------------------------------------------------
    def locks(self, call):
        """Return a context manager that keeps others from what the operation changes."""
        return self.on.session_locks.hold(self.session, call)

    def refused(self, error):
        """Raise what the call fails with; or return, to record that there is no answer."""
        raise error

    def undo(self, answer):
        """Have the server take back what could not be recorded here."""

    def recorded(self, answer, result):
        """Note that the server's answer is in the store."""
        self.on.mirror.recorded(answer, result)

    def is_overtaken(self, session, answer):
        """Return whether something else that the server keeps was recorded since `check`, as another process on the
        store does, which may be newer than the answer: then neither is replaced by the other, and `done` asks for the
        session."""
        self._overtaken = shown(session) != shown(self.known) and self.on.mirror.would_change(session, answer)
        return self._overtaken

    def done(self, call, result):
        """Return the call's result, once all else has been done."""
        if self._overtaken:
            with contextlib.suppress(errors.PlueError):
                self._ask_again(call)
        return result

    def _ask_again(self, call):
        """Ask for the session until nothing overtakes the answer; should that fail, a job does."""
        on = self.on
        on.jobs.add("reread", self.session, ASKING)
        for _ in range(TIMES):
            since = on.mirror.now()
            found = on.server.get(self.session, call, directory=self.known.directory)
            if not on.mirror.would_change(on.mirror.take(found, since, call), found):
                on.jobs.drop("reread", self.session)
                break
        on.writer.run(lambda transaction: None, call)  # another process may have recorded it: have that told


class Executor:
    """Runs operations with the server: asked first, then one commit, and only then the world is told."""

    def __init__(self, writer, link):
        self._writer, self._link = writer, link

    def run(self, operation, call):
        """Run the operation for a call, and return its result. What the server refuses changes nothing here."""
        with operation.locks(call):
            answer = None
            if operation.check(call):
                try:
                    with self._link.asking(operation.session):
                        answer = operation.send(call)
                except errors.PlueError as error:
                    operation.refused(error)
            part = call if operation.patience is None else call.within(operation.patience)
            try:
                result = self._writer.run(lambda transaction: operation.record(transaction, answer), part)
            except BaseException:
                if answer is not None:
                    operation.undo(answer)
                raise
            if answer is not None:
                operation.recorded(answer, result)
        return operation.done(call, result)


def unlocked():
    """Return a context manager for an operation that keeps nobody from anything."""
    return contextlib.nullcontext()
