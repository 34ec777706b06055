"""Turns as callers see them: run one and wait for its end, ask for the end of those that run."""

import math
import threading
import time
from functools import partial

from plue_session import errors, threads
from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.model.input import CANCELLED, COMPLETED
from plue_session.model.turn import ENDED
from plue_session.rules import info, inputs, transcripts
from plue_session.rules.jsontext import loads, quote
from plue_session.services.later import Later
from plue_session.services.turns import queue, turn_rows
from plue_session.services.turns.inputs import Enqueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.backend import Backend

#: Seconds between two looks for the end of a turn, should nothing tell of it.
LOOK = 0.5
#: What becomes of a turn that is no longer waited for.
BEYOND = "The turn goes on, and turn.finished tells of its end."
_FINISHED, _DELETED = EVENT_NUMBER["turn.finished"], EVENT_NUMBER["session.deleted"]
_QUEUE, _UPDATED = EVENT_NUMBER["queue.changed"], EVENT_NUMBER["session.updated"]
_RELAY = EVENT_NUMBER["relay.changed"]
#: What the log says of inputs that were cancelled: they have no turn that could end.
_CANCELLED = '"change":"cancelled"'
#: And of a session whose agent is gone for good.
_CLEANED = '"event":"CLEAN"'


class Waiter:
    """Who waits for the end of the turn of one input, and until when; `is_abort`: who has asked for it."""

    __slots__ = ("session_id", "number", "seq", "later", "is_abort")

    def __init__(self, session_id, row, deadline, begin=None, is_abort=False):
        self.session_id, self.number, self.seq, self.is_abort = session_id, row.number, row.seq, is_abort
        self.later = Later(deadline, BEYOND, begin)


class Turns:
    """The turns that a server or attached agents run. Thread-safe. A wait takes no thread: one looks at those that may
    have ended."""

    def __init__(self, on: "Backend", publisher):
        self._on, self._publisher = on, publisher
        self._lock, self._finished = threading.Lock(), threading.Condition()
        self._waiters, self._ended = {}, []  # by input's seq; `(session id or None, row of the log or None)` to be seen
        self._looks, self._closed = False, False
        #: session id: the turns that are this process's: {id: its input's seq, or None}
        self._own: dict = {}
        for kind in (_FINISHED, _DELETED, _QUEUE, _RELAY):
            on.writer.hear(kind, self._told)
        on.writer.hear(_UPDATED, self._updated)

    # -- running -------------------------------------------------------------------------------------------------------
    def run(self, session_id, given, timeout_ms):
        """Enqueue an input that has a turn of its own, and return the end of that turn, as `Later`; for 0 its ids."""
        on = self._on
        is_attached = self._is_attached(session_id)
        if on.server is None and not is_attached:
            raise _runs_none(session_id)
        operation = Enqueue(on, session_id, given, alone=True)
        deadline = time.monotonic() + timeout_ms / 1000
        waiter = noted = None

        def change(transaction):
            nonlocal waiter, noted
            self._unmine(noted)  # it runs again, and the turn may get another id
            noted = None
            operation.preview(transaction)
            row = operation.row
            if row.state not in (COMPLETED, CANCELLED):
                noted = self.mine(on.resolve(session_id), row.turn_id or inputs.turn_id_of(row), row.seq)
            if timeout_ms and row.state not in (COMPLETED, CANCELLED):
                waiter = self._wait(waiter, transaction.load(on.resolve(session_id)).id, row, deadline)

        with on.calls.begin("plue_session_run_turn", session_id, deadline if timeout_ms else math.inf) as call:
            try:
                on.writer.run(change, call.within(on.seconds))
            except BaseException:
                self._drop(waiter)
                self._unmine(noted)
                raise
        row = operation.row
        if not timeout_ms:
            turn_id = row.turn_id or inputs.turn_id_of(row)
            return f'{{"turnId":{quote(turn_id)},"inputId":{quote(row.name)}}}'
        if waiter is None:
            return on.named(session_id, lambda now: self._result(now, row))
        if is_attached:
            on.agents.watch(on.resolve(session_id))
        return waiter.later

    def _is_attached(self, session_id):
        """Return whether the turns of a session are its agent's."""
        return self._on.known(session_id).relay_agent == ACP

    # -- of agents -----------------------------------------------------------------------------------------------------
    def abort(self, transaction, session, turn, known):
        """Return a `Later` that ends with an agent's turn, whose end was just asked for; `known` is the one that was
        returned when this change ran before, or None."""
        on = self._on
        row = next(iter(queue.inputs_of(transaction.store, turn)), None)
        if row is None:
            return None
        session_id, deadline = session.id, time.monotonic() + on.seconds
        waiter = known or Waiter(session_id, row, deadline, lambda: on.agents.hurry(session_id), is_abort=True)
        return self._wait(waiter, session_id, row, deadline)

    def abort_turn(self, session_id, turn_id):
        """Ask for the end of one turn of an agent's; returns that as `Later`, or None: it is over."""
        waiter = None

        def change(transaction):
            nonlocal waiter
            session, store = transaction.load(self._on.resolve(session_id)), transaction.store
            found = store.turn(session.number, turn_id) or store.turn_of_message(session.number, turn_id)
            turn = found and turn_rows.cancel(transaction, session, found.id)
            waiter = self.abort(transaction, session, turn, waiter) if turn else None

        self._on.writer.run(change)
        return waiter and waiter.later

    def is_awaited(self, session_id):
        """Return whether somebody here waits for a turn of the session."""
        with self._lock:
            return any(self._on.resolve(each.session_id) == session_id for each in self._all())

    def hurried(self, session_id):
        """Have whoever runs the session's turn see that it is to end."""
        if self._on.driver is not None:
            self._on.driver.hurried(session_id)
        self._on.agents.poke(session_id)

    # -- this process's own --------------------------------------------------------------------------------------------
    def mine(self, session_id, turn_id, seq=None):
        """Note a turn that this process has begun, or that is waited for here: `cancel` ends it. `seq`: of the input
        that it is to have. Return what was noted, or None: it was noted before."""
        with self._lock:
            own = self._own.setdefault(session_id, {})
            is_new = turn_id not in own
            own[turn_id] = seq
            self._publisher.turns(session_id, len(own))
        return (session_id, turn_id) if is_new else None

    def _unmine(self, noted):
        """Take back a note of a turn that will not come."""
        if noted is not None:
            self._over(*noted)

    def _over(self, session_id, turn_id):
        with self._lock:
            own = self._own.get(session_id, {})
            if turn_id in own:
                del own[turn_id]
                if not own:
                    del self._own[session_id]
                self._publisher.turns(session_id, len(own))

    def _cancelled(self, session_id, names):
        """Forget the turns that cancelled inputs were to have."""
        seqs = {inputs.seq_of(name) for name in names}
        for turn_id, seq in list(self._own.get(session_id, {}).items()):
            if seq in seqs:
                self._over(session_id, turn_id)

    def cancel(self, session_id):
        """Have the turns of the session that are this process's end: what waits is cancelled, what runs is aborted
        behind its caller's back (L-063)."""
        on = self._on
        with self._lock:
            own = set(self._own.get(session_id, ()))
        on.writer.run(lambda transaction: turn_rows.cancel_all(transaction, session_id, own))
        self.hurried(session_id)

    def _wait(self, known, session_id, row, deadline):
        """Have somebody wait, from before the commit on: the turn may end at once."""
        waiter = known or Waiter(session_id, row, deadline)
        with self._lock:
            if known:  # the change runs again, and the input may get another number
                self._forget(known)
            waiter.session_id, waiter.number, waiter.seq = session_id, row.number, row.seq
            closed = self._closed
            now = time.monotonic()
            left = [each for each in self._all() if each.later.deadline <= now]
            self._waiters.setdefault(row.seq, [])
            if waiter not in self._waiters[row.seq]:
                self._waiters[row.seq].append(waiter)
        for each in left:  # their callers have left
            self._end(each, errors.Timeout("the turn has not ended in time", BEYOND))
        if closed:
            self._end(waiter, errors.closed())
        return waiter

    def _drop(self, waiter):
        if waiter is not None:
            with self._lock:
                self._forget(waiter)

    def _all(self):
        return [each for of in self._waiters.values() for each in of]

    def _forget(self, waiter):
        of = self._waiters.get(waiter.seq, [])
        if waiter in of:
            of.remove(waiter)
        if not of:
            self._waiters.pop(waiter.seq, None)

    def _end(self, waiter, outcome):
        with self._lock:
            self._forget(waiter)
        waiter.later.end(outcome)

    def stop(self, session_id, turn, call, directory, seen=None):
        """Have a turn that is to end be ended, on the server if it is that's (see `Server.abort`), and return once that
        is recorded."""
        if turn.message_id is not None and not self._is_attached(session_id):
            self._on.server.abort(session_id, call, directory=directory, turn_id=turn.message_id, seen=seen)
        self.await_end(session_id, turn, call)

    def await_end(self, session_id, turn, call):
        """Return once a turn has ended, and that is recorded; `TIMEOUT`: it has not."""

        def ready():
            found = self._on.store.read_turn(session_id, turn.id)
            return True if found is None or found.state == ENDED else None

        self._on.agents.poke(session_id)
        while not call.within(LOOK).wait(self._finished, ready):
            if not call.left:
                raise errors.Timeout(
                    "the turn has not ended in time", "Try again; it is to end all the same.", session=session_id
                )
            self.hurried(session_id)
        self._on.writer.run(lambda transaction: None, call)  # what is committed may be yet to be told

    # -- ends ----------------------------------------------------------------------------------------------------------
    def aborted(self, session_id):
        """End the waits for turns of a session that is being aborted."""
        with self._lock:
            waiters = [
                each for each in self._all() if not each.is_abort and self._on.resolve(each.session_id) == session_id
            ]
        for each in waiters:
            self._end(
                each,
                errors.Aborted(
                    "plue_session_abort() interrupted it; turn.finished tells how the turn ends",
                    "Make the call again if it is still wanted.",
                    session=session_id,
                ),
            )

    def close(self):
        """End all waits."""
        with self._lock:
            self._closed = True
            waiters = self._all()
        for each in waiters:
            self._end(each, errors.closed())

    def _told(self, row):
        """Hear what was committed; must not wait."""
        if row is not None and (
            row.kind == _QUEUE and _CANCELLED not in row.tail or row.kind == _RELAY and _CLEANED not in row.tail
        ):
            return
        with self._finished:
            self._finished.notify_all()
        if row is not None and row.session_id in self._own:
            if row.kind == _DELETED:
                self._gone(row.session_id)
            elif row.kind == _FINISHED:
                self._over(row.session_id, _data(row)["turnId"])
            elif row.kind == _QUEUE:
                self._cancelled(row.session_id, _data(row)["ids"])
        with self._lock:
            if not (self._waiters or row is None and self._own):
                return
            self._ended.append(row)
            starts, self._looks = not self._looks, True
        if starts:
            try:
                threads.start(self._look, "plue-answers")
            except errors.StoreIo as error:  # the next event finds one
                self._looks = False
                self._on.log.write("warning", error.message("plue_session_run_turn"))

    def _updated(self, row):
        """Hear that a session has got the server's id in place of its own; must not wait."""
        if row is not None and (self._own or self._waiters) and info.tells_alias(row):
            for before in _data(row)["aliases"]:
                self._renamed(before, row.session_id)

    def _renamed(self, before, session_id):
        with self._lock:
            for each in self._all():
                if each.session_id == before:
                    each.session_id = session_id
            moved = self._own.pop(before, None)
            if moved:
                own = self._own[session_id] = {**moved, **self._own.get(session_id, {})}
                self._publisher.turns(before, 0)
                self._publisher.turns(session_id, len(own))

    def _compare(self):
        """See which turns of this process are still to end: not all of it was told."""
        for session_id, own in list(self._own.items()):
            now, is_there, over = self._on.named(session_id, partial(self._ended_of, own))
            if now != session_id:
                self._renamed(session_id, now)
            if not is_there:
                self._gone(now)
            for turn_id in over:
                self._over(now, turn_id)

    def _ended_of(self, own, session_id):
        """Return a session's id, whether it is there, and which of its turns have ended."""
        store, over = self._on.store, []
        for turn_id, seq in list(own.items()):
            turn = store.read_turn(session_id, turn_id)
            waits = seq is not None and any(
                each.seq == seq for each in store.read_inputs(session_id, self._on.writer.clock())
            )
            if turn.state == ENDED if turn is not None else not waits:
                over.append(turn_id)
        return session_id, store.info(session_id) is not None, over

    def _gone(self, session_id):
        with self._lock:
            self._own.pop(session_id, None)
            self._publisher.turns(session_id, 0)

    def _look(self):
        """See which waits have ended, by what was told."""
        self._publisher.adopt()
        while True:
            with self._lock:
                rows, self._ended = self._ended, []
                if not rows:
                    self._looks = False
                    return
            try:
                for row in rows:
                    self._see(row)
            except Exception as error:
                self._on.log.write("warning", errors.known(error).message("plue_session_run_turn"))

    def _see(self, row):
        if row is None:
            self._compare()
        if row is None or row.kind in (_DELETED, _RELAY):
            with self._lock:
                waiters = [each for each in self._all() if row is None or each.session_id == row.session_id]
        else:
            names = _data(row)["ids" if row.kind == _QUEUE else "inputIds"]
            with self._lock:
                waiters = [each for name in names for each in self._waiters.get(inputs.seq_of(name), ())]
        for each in waiters:
            self._check(each)

    def _check(self, waiter):
        """End a wait if its input has ended."""
        outcome = self._on.named(waiter.session_id, partial(self._outcome, waiter))
        if outcome is not None:
            self._end(waiter, outcome)

    def _outcome(self, waiter, session_id):
        """Return what a wait ends with, None: its input has not ended."""
        on = self._on
        if on.store.info(session_id) is None:
            return errors.gone(session_id)
        row = on.writer.run(lambda transaction: transaction.store.input(waiter.number, waiter.seq))
        if row is None or row.state in (COMPLETED, CANCELLED):
            try:
                return self._result(session_id, row)
            except errors.PlueError as error:
                return error
        if row.turn_id is None and on.server is None and not self._is_attached(session_id):  # it was cleaned
            return _runs_none(session_id)
        return None

    def _result(self, session_id, row):
        """Return how the turn of an input that has ended was, as JSON."""
        store = self._on.store
        turn = row and row.turn_id and store.read_turn(session_id, row.turn_id)
        if not turn:
            if row is not None and row.state == CANCELLED:  # it never had one
                turn_id, usage = quote(inputs.turn_id_of(row)), transcripts.render_usage([])
                return f'{{"turnId":{turn_id},"outcome":"stopped","reason":"cancelled","messages":[],"usage":{usage}}}'
            raise errors.NotFound(
                "what is known of the turn was removed meanwhile",
                "See the messages of the session.",
                session=session_id,
            )
        messages, usage = transcripts.render_turn(store.read_turn_messages(session_id, turn.id))
        text = f'{{"turnId":{quote(turn.id)},"outcome":{quote(turn.outcome)}'
        if turn.reason is not None:
            text += f',"reason":{quote(turn.reason)}'
        if turn.error is not None:
            text += f',"error":{turn.error}'
        return f'{text},"messages":{messages},"usage":{usage}}}'


def _runs_none(session_id):
    """Return the error for a turn that neither a server nor an agent would run."""
    return errors.Unsupported(
        "the embedded backend has no model: the host runs turns",
        "Enqueue the input, and have the host claim it; attach an agent; or use the backend opencode.",
        session=session_id,
    )


def _data(row):
    """Return the data of an event of the log."""
    return loads(row.tail[row.tail.index('"data":') + 7 : -1])
