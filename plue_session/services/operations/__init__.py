"""Changes that may reach a server, as data: what `Executor` runs."""

from __future__ import annotations

import contextlib

from plue_session import errors
from plue_session.model import Outgoing
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import dumps
from plue_session.rules.outbox import MOST, is_waiting
from plue_session.services.queued import Early, Intent
from plue_session.services.sync.jobs import INTENT, postpone
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

    # -- its intent ----------------------------------------------------------------------------------------------------
    def has_intent(self):
        """Return, after `check`, whether what it records can be recovered from its intent."""
        return False

    def is_sure(self):
        """Return whether nothing can come in between, so that its caller need not wait for the commit."""
        return True

    @property
    def intent_name(self):
        """What its note is known by."""
        return self.session

    def intend(self, transaction):
        """Note what the server is about to be asked, for a restart to see what has become of it; return the note's id.
        `record` drops the note."""
        return postpone(transaction, INTENT, self.session, dumps({}))

    def forget(self, transaction, id=None):
        """Drop the note (with this id, if it still is that one), and return whether it was there: else another process
        has replaced it, or seen to it already."""
        noted = transaction.store.operation(INTENT, self.intent_name)
        is_there = noted is not None and id in (None, noted.id)
        if is_there:
            transaction.store.drop_operation(INTENT, self.intent_name, noted.id)
        return is_there

    def is_shown(self, answer):
        """Note that handles show what the server has answered."""
        self.on.mirror.refreshed(answer.id)

    def recover(self, answer):
        """Have recorded what could not be, though its caller knows of it: it is in the note, and on the server."""
        self.on.jobs.add(INTENT, self.session)

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

    @property
    def has_more(self):
        """Whether something is done after `record` that its caller waits for."""
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


#: What `Executor._record` returns of a change whose caller knows of it, and that could not be recorded.
LOST = object()


class Executor:
    """Runs operations with the server: asked first, then one commit, and only then the world is told."""

    def __init__(self, writer, link):
        self._writer, self._link = writer, link

    def run(self, operation, call, tell=None):
        """Run the operation for a call, and return its result. What the server refuses changes nothing here; what it
        cannot be told, because it is away, waits in the outbox.

        `tell(result)`, when given, may be called first, by any thread: a restart would recover the change, and handles
        show it, but its commit is yet to end. From then on nothing fails.
        """
        while True:
            operation.resolve()
            try:
                with operation.locks(call):
                    if not operation.resolve():  # else it has got the server's id while we waited
                        result = self._run(operation, call, tell)
                        break
            except errors.NotFound:
                if not operation.resolve():  # likewise: a list, or another process, needs none of our locks
                    raise
        return operation.done(call, result)

    def _run(self, operation, call, tell):
        may_queue = operation.is_queued and operation.on.queues
        if may_queue and (self._link.is_away or operation.waits()):
            return self._queue(operation, call, None)
        answer, is_sent, intent = None, False, None
        is_made = operation.session is None or not is_given_here(operation.session)
        try:
            if operation.check(call) and (is_made or operation.asks_unmade()):
                if tell and operation.has_intent() and operation.on.store.flushes:
                    intent = Intent(operation.intend)
                    self._writer.run_beside(intent)
                is_sent = True
                with self._link.asking(operation.session):
                    answer = operation.send(call)
        except errors.PlueError as error:
            if may_queue and self._is_away(error):
                try:
                    return self._queue(operation, call, error, intent)
                except BaseException:
                    operation.lost()
                    raise
            if not is_sent:
                raise
            self._forget(operation, intent)
            operation.refused(error)
        part = call if operation.patience is None else call.within(operation.patience)
        try:
            result = self._record(operation, answer, part, intent, tell)
        except BaseException:
            if answer is not None:
                operation.undo(answer)
            self._forget(operation, intent)
            raise
        if result is LOST:
            return None
        if answer is not None:
            operation.recorded(answer, result)
        return result

    def _record(self, operation, answer, call, intent, tell):
        is_noted = False

        def record(transaction):
            nonlocal is_noted
            if intent is not None:
                is_noted = operation.forget(transaction, intent.outcome) and intent.is_durable
            return operation.record(transaction, answer)

        def may_tell():
            return is_noted and operation.is_sure() and not operation.has_more

        def show(result):
            with contextlib.suppress(Exception):  # of memory, most likely
                operation.is_shown(answer)
            tell(result)

        if intent is None:
            return self._writer.run(record, call)
        early = Early(record, may_tell, show)
        try:
            return self._writer.run_early(early, call)
        except BaseException as error:
            if not early.is_told:
                raise
            with contextlib.suppress(Exception):  # its caller knows of it: nothing fails any more
                operation.recover(answer)
                operation.on.log.write("warning", errors.known(error).message("record"))
            return LOST

    def _forget(self, operation, intent):
        if intent is not None:
            self._writer.run_later(operation.forget)

    def _is_away(self, error):
        """Return whether a failure says that the server is away: it cannot be reached, or is known not to answer. That
        it has not answered this time says nothing: the call's time is up, and its caller is to know."""
        return isinstance(error, errors.Connection) or isinstance(error, errors.Timeout) and self._link.is_away

    def _queue(self, operation, call, error, intent=None):
        self._link.answered_stale()  # it may be back
        sent = error is not None and (error.details or {}).get("sent") is not False

        def queue(transaction):
            if intent is not None:
                operation.forget(transaction)
            return operation.queue(transaction, sent)

        try:
            result = self._writer.run(queue, call)
        except BaseException:
            self._forget(operation, intent)
            raise
        operation.on.outbox.poke(getattr(result, "id", operation.session))
        return result


def unlocked():
    """Return a context manager for an operation that keeps nobody from anything."""
    return contextlib.nullcontext()
