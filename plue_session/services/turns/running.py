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

#: Seconds between two looks for the end of a turn, should nothing tell of it, or the store not be read.
LOOK = 0.5
#: How the store fails for a moment: others have locked it, most likely.
FOR_NOW = errors.Busy, errors.StoreIo
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
    """Who waits for the end of the turn of one input, and until when; `is_abort`: who has asked for it. `turn_id`: of
    the turn that the input has, or is to have; the input itself may be vacuumed as soon as that has ended."""

    __slots__ = ("session_id", "seq", "turn_id", "later", "is_abort", "is_committed", "is_doubtful")

    def __init__(self, deadline, begin=None, is_abort=False):
        self.session_id = self.seq = self.turn_id = None  # until `Turns._wait`
        self.is_abort, self.later = is_abort, Later(deadline, BEYOND, begin)
        self.is_committed, self.is_doubtful = is_abort, False  # its input is; was looked for before that


class Turns:
    """The turns that a server or attached agents run. Thread-safe. A wait takes no thread: while there are any, one
    looks at those that may have ended, and again at what it could not see for the moment."""

    def __init__(self, on: "Backend", publisher):
        self._on, self._publisher = on, publisher
        self._lock, self._finished = threading.Lock(), threading.Condition()
        self._changed = threading.Condition(self._lock)
        self._waiters, self._due = {}, []  # by input's seq; what is to be done by the thread that looks
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
                noted = self.mine(on.resolve(session_id), _turn_id_of(row), row.seq)
            if timeout_ms and row.state not in (COMPLETED, CANCELLED):
                waiter = self._wait(waiter, transaction.load(on.resolve(session_id)).id, row, deadline)

        with on.calls.begin("plue_session_run_turn", session_id, deadline if timeout_ms else math.inf) as call:
            try:
                on.writer.run(change, call.within(on.seconds))
            except BaseException:
                self._drop(waiter)
                self._unmine(noted)
                raise
        if waiter is not None:
            waiter.is_committed = True
            if waiter.is_doubtful:
                self._have_done(partial(self._check, waiter))
        row = operation.row
        if not timeout_ms:
            return f'{{"turnId":{quote(_turn_id_of(row))},"inputId":{quote(row.name)}}}'
        if waiter is None:
            return on.named(session_id, lambda now: self._result(now, row, _turn_id_of(row)))
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
        waiter = known or Waiter(deadline, lambda: on.agents.hurry(session_id), is_abort=True)
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

    def _without(self, session_id, names):
        """Forget the turns that these inputs were to have: they have ended."""
        seqs = {inputs.seq_of(name) for name in names}
        for turn_id, seq in list(self._own.get(session_id, {}).items()):
            if seq in seqs:
                self._over(session_id, turn_id)

    def cancel(self, session_id):
        """Have the turns of the session that are this process's end: what waits is cancelled, what runs is aborted
        behind its caller's back (L-063). Its caller was told so: what cannot be done now is done as soon as it can."""
        with self._lock:
            own = set(self._own.get(session_id, ()))
        work = partial(self._cancel, session_id, own)
        try:
            work()
        except FOR_NOW as error:
            self._on.log.write("warning", error.message("plue_session_cancel_turns"))
            self._have_done(work)

    def _cancel(self, session_id, own):
        now = self._on.resolve(session_id)
        with self._lock:  # it is perhaps not heard yet that it has another id
            there = {*self._own.get(session_id, ()), *self._own.get(now, ())}
        if own.isdisjoint(there):  # they have ended
            return
        self._on.writer.run(lambda transaction: turn_rows.cancel_all(transaction, now, own))
        self.hurried(now)

    def _wait(self, known, session_id, row, deadline):
        """Have somebody wait, from before the commit on: the turn may end at once."""
        waiter = known or Waiter(deadline)
        with self._lock:
            if known:  # the change runs again, and the input may get another number
                self._forget(known)
            waiter.session_id, waiter.seq, waiter.turn_id = session_id, row.seq, _turn_id_of(row)
            closed = self._closed
            self._waiters.setdefault(row.seq, [])
            if waiter not in self._waiters[row.seq]:
                self._waiters[row.seq].append(waiter)
            self._changed.notify_all()
        if closed:
            self._end(waiter, errors.closed())
            return waiter
        try:
            self._hire()
        except errors.StoreIo:
            if not waiter.is_abort:  # that is not refused: the next event finds a thread
                self._drop(waiter)
                raise
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
            self._changed.notify_all()

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
            self._changed.notify_all()
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
                data = _data(row)
                self._over(row.session_id, data["turnId"])
                self._without(row.session_id, data["inputIds"])  # should the turn not have got the id foreseen
            elif row.kind == _QUEUE:
                self._without(row.session_id, _data(row)["ids"])
        if self._waiters or row is None and self._own:
            self._have_done(partial(self._see, row))

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
        with self._lock:
            known = {session_id: dict(own) for session_id, own in self._own.items()}
        self._on.writer.run(lambda transaction: None)  # what is known is committed then, or was given up
        for session_id, own in known.items():
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
            waits = seq is not None and store.input_waits(session_id, seq, self._on.writer.clock())
            if turn.state == ENDED if turn is not None else not waits:
                over.append(turn_id)
        return session_id, store.info(session_id) is not None, over

    def _gone(self, session_id):
        with self._lock:
            self._own.pop(session_id, None)
            self._publisher.turns(session_id, 0)

    # -- the thread that looks -----------------------------------------------------------------------------------------
    def _have_done(self, work):
        """Have the thread that looks do something; must not wait."""
        with self._lock:
            self._due.append(work)
            self._changed.notify_all()
        try:
            self._hire()
        except errors.StoreIo as error:  # nobody waits, or there were one: the next event finds a thread
            self._on.log.write("warning", error.message("plue_session_run_turn"))

    def _hire(self):
        """See that there is a thread that looks; `IO` when none can be started."""
        with self._lock:
            if not self._looks:
                threads.start(self._look, "plue-answers")
                self._looks = True

    def _look(self):
        """Do what is due, as long as there are waits. What fails for the moment is done again."""
        try:
            self._publisher.adopt()
            told = None
            while due := self._take():
                left = []
                for work in due:
                    try:
                        work()
                    except Exception as failure:
                        error = errors.known(failure)
                        if isinstance(error, FOR_NOW):
                            left.append(work)
                        if told != (told := error.message("plue_session_run_turn")):
                            self._on.log.write("warning", told)
                if left:
                    self._postpone(left)
        except BaseException:  # of memory, most likely: the next event, or wait, starts another one
            self._looks = False
            raise

    def _take(self):
        """Wait for what is due, and return it; nothing when this thread is to leave."""
        while True:
            with self._changed:
                if self._due or self._closed or not self._waiters:
                    due, self._due = ([] if self._closed else self._due), []
                    self._looks = bool(due)
                    return due
                until = min(each.later.deadline for each in self._all()) + LOOK
                self._changed.wait(min(max(until - time.monotonic(), 0), threading.TIMEOUT_MAX))
                now = time.monotonic()
                left = [each for each in self._all() if each.later.deadline + LOOK <= now]
            for each in left:  # their callers have left
                self._end(each, errors.Timeout("the turn has not ended in time", BEYOND))

    def _postpone(self, works):
        """Have works be due again, in a while."""
        with self._changed:
            if not self._closed:
                self._changed.wait(LOOK)
            self._due[:0] = works

    def _see(self, row):
        """See which waits have ended, by what was told."""
        if row is None:
            self._compare()
        if row is None or row.kind in (_DELETED, _RELAY):
            with self._lock:
                waiters = [each for each in self._all() if row is None or each.session_id == row.session_id]
        else:
            data = _data(row)
            with self._lock:
                names = data["ids" if row.kind == _QUEUE else "inputIds"]
                waiters = [each for name in names for each in self._waiters.get(inputs.seq_of(name), ())]
            if row.kind == _FINISHED:
                for each in waiters:
                    each.turn_id = data["turnId"]
        failure = None
        for each in waiters:
            try:
                self._check(each)
            except FOR_NOW as error:  # of this one, perhaps
                failure = error
            except Exception as error:
                self._end(each, errors.known(error))
        if failure is not None:
            raise failure

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
        row = on.store.read_input(session_id, waiter.seq)
        if row is None and not waiter.is_committed:  # its change is under way
            waiter.is_doubtful = True
            return None
        if row is None or row.state in (COMPLETED, CANCELLED):
            return self._result(session_id, row, waiter.turn_id if row is None else _turn_id_of(row))
        if row.turn_id is None and on.server is None and not self._is_attached(session_id):  # it was cleaned
            return _runs_none(session_id)
        return None

    def _result(self, session_id, row, turn_id):
        """Return how the turn of an input that has ended was, as JSON. `row` is the input's; None: it was vacuumed."""
        store = self._on.store
        turn = None if row is not None and row.turn_id is None else store.read_turn(session_id, turn_id)
        if turn is None and row is not None and row.state == COMPLETED:  # by a delete that the server has refused
            raise errors.NotFound(
                "what is known of the turn was removed meanwhile",
                "See the messages of the session.",
                session=session_id,
            )
        if turn is None:  # it was cancelled, and never had one
            usage = transcripts.render_usage([])
            return (
                f'{{"turnId":{quote(turn_id)},"outcome":"stopped","reason":"cancelled","messages":[],"usage":{usage}}}'
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


def _turn_id_of(row):
    """Return the id of the turn that an input has, or is to have."""
    return row.turn_id or inputs.turn_id_of(row)


def _data(row):
    """Return the data of an event of the log."""
    return loads(row.tail[row.tail.index('"data":') + 7 : -1])
