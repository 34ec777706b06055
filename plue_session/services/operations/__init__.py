"""Changes that may reach a server, as data: what `Executor` runs."""

from __future__ import annotations

import contextlib

from plue_session import errors
from plue_session.model import Outgoing
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import dumps
from plue_session.rules.outbox import MOST, is_waiting
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
    #: whether it is put into the outbox while the server is away
    is_queued = False
    _overtaken = False

    def __init__(self, on: Backend, session=None):
        self.on, self.session = on, session

    def resolve(self):
        """Name each session by the id that it has by now; return whether one has got another since."""
        before, self.session = self.session, self.on.resolve(self.session)
        return self.session != before

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

    # -- while the server is away --------------------------------------------------------------------------------------
    def waits(self):
        """Return whether it comes after changes of its session that the server is yet to be told."""
        session = None if self.session is None else self.on.store.read(self.session)
        return session is not None and is_waiting(session)

    def asks_unmade(self):
        """Return whether the server is to be asked though it is yet to be told of the session: nothing runs there, and
        it has no link."""
        return False

    def queue(self, transaction, sent):
        """Make the change that the operation means, put what the server is to be told into the outbox, and return the
        operation's result. `sent`: the server may have heard of it."""
        raise NotImplementedError

    def put(self, transaction, op, session_id, sent, arguments=None, base=None):
        """Put a change into the outbox and return it; `QUEUE_FULL` when that has no room."""
        store = transaction.store
        if not store.has_room(MOST):
            raise errors.QueueFull(
                f"{MOST:,} changes wait for the server already",
                "Wait until it is back; see plue_session_sync_status().",
            )
        row = Outgoing(session_id=session_id, op=op, since=transaction.now, attempts=int(sent))
        row.arguments, row.base = dumps(arguments or {}), dumps(base or {})
        row.id = store.put_outgoing(row)
        return row

    # -- around them ---------------------------------------------------------------------------------------------------
    def locks(self, call):
        """Return a context manager that keeps others from what the operation changes."""
        return self.on.session_locks.hold(self.session, call)

    def lost(self):
        """Note that the server may have done what was asked, though the call fails."""

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
        """Run the operation for a call, and return its result. What the server refuses changes nothing here; what it
        cannot be told, because it is away, waits in the outbox."""
        while True:
            operation.resolve()
            try:
                with operation.locks(call):
                    if not operation.resolve():  # else it has got the server's id while we waited
                        result = self._run(operation, call)
                        break
            except errors.NotFound:
                if not operation.resolve():  # likewise: a list, or another process, needs none of our locks
                    raise
        return operation.done(call, result)

    def _run(self, operation, call):
        may_queue = operation.is_queued and operation.on.queues
        if may_queue and (self._link.is_away or operation.waits()):
            return self._queue(operation, call, None)
        answer, is_sent = None, False
        is_made = operation.session is None or not is_given_here(operation.session)
        try:
            if operation.check(call) and (is_made or operation.asks_unmade()):
                is_sent = True
                with self._link.asking(operation.session):
                    answer = operation.send(call)
        except errors.PlueError as error:
            if may_queue and self._is_away(error):
                try:
                    return self._queue(operation, call, error)
                except BaseException:
                    operation.lost()
                    raise
            if not is_sent:
                raise
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
        return result

    def _is_away(self, error):
        """Return whether a failure says that the server is away: it cannot be reached, or is known not to answer. That
        it has not answered this time says nothing: the call's time is up, and its caller is to know."""
        return isinstance(error, errors.Connection) or isinstance(error, errors.Timeout) and self._link.is_away

    def _queue(self, operation, call, error):
        self._link.answered_stale()  # it may be back
        sent = error is not None and (error.details or {}).get("sent") is not False
        result = self._writer.run(lambda transaction: operation.queue(transaction, sent), call)
        operation.on.outbox.added(getattr(result, "id", operation.session))
        return result


def unlocked():
    """Return a context manager for an operation that keeps nobody from anything."""
    return contextlib.nullcontext()
