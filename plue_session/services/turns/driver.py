"""The driver: it has the inputs of sessions answered, one turn of a session at a time.

One process of those on a store drives: the one that has a lock of the kernel's, which ends with the process. It takes a
session's next inputs, commits that, sends them under an id that it has chosen before, follows the turn and commits its
end. What the server tells are hints; what it answers is the proof. Between any two steps the process may die: the rows
say how far it has come, and the server whether it has the prompt.
"""

import contextlib
import os
import threading
import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import loads
from plue_session.rules.outbox import is_waiting
from plue_session.services.turns import turn_rows
from plue_session.services.turns.following import Follower
from plue_session.services.turns.taking import Taker
from plue_session.services.turns.watch import Watch

#: Sessions that are attended to at a time.
WORKERS = 4
#: Seconds between two looks at what other processes have put there, while there is work; and for whether the one that
#: drives now has ended.
LOOK = 0.5
#: Seconds until a step that has failed is tried again, at first and at most.
AGAIN = 0.25, 8.0
#: Seconds that one step may take.
STEP = 30.0
#: Events after which a session may have something to do.
WAKES = "queue.changed", "turn.started", "turn.finished", "session.updated", "relay.changed"
_QUEUE, _STARTED, _UPDATED = map(EVENT_NUMBER.get, ("queue.changed", "turn.started", "session.updated"))
#: What events say: of another client's turn, of an abort, and of inputs that a step has taken.
_FOREIGN, _ABORTED, _TAKEN = '"inputIds":[]', '"aborted"', '"change":"claimed"'


class Driver:
    """What is due, by session, and the threads that see to it: none while nothing is said. Thread-safe."""

    def __init__(self, on, publisher, settings, tell):
        self._on, self._publisher = on, publisher
        self.owner, self.lease = os.urandom(8).hex(), settings.lease
        self._call, self._changed = Call(), threading.Condition()
        self._due, self._busy = {}, {}  # session id: when, in monotonic seconds; session id: the `Call` of its step
        self._watches, self._failed = {}, {}  # session id: of its open turn; how often in a row a step has failed
        self._parked = set()  # sessions that wait for a change of theirs
        #: sessions in which something may run that is of no turn of ours
        self.doubtful = set()
        self._workers = self._idle = 0
        self._drives, self._closed = False, True  # until `begin`
        self._looked = 0.0
        self._tell = tell
        self.follower, self.taker = Follower(on, self), Taker(on, self, settings)
        back = on.link.back

        def hurry(was_away=False):
            back(was_away)
            self.hurry()

        on.link.back = hurry
        on.transcript.begins = self._begins
        for kind in WAKES:
            on.writer.hear(EVENT_NUMBER[kind], self._told)

    # -- life ----------------------------------------------------------------------------------------------------------
    def begin(self):
        """Begin, first with what an earlier process has left. Returns at once."""
        self._closed = False
        self.hurry()

    def end(self):
        """Stop: what is under way is cut, and goes on with the next process. Returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._call.set(errors.closed())

    @contextlib.contextmanager
    def lasting(self, call):
        """Have a call end with the driver, for as long as it is used."""

        def close():
            call.set(errors.closed())

        self._call.watch(close)
        try:
            yield call
        finally:
            self._call.unwatch(close)

    def poke(self, session_id, after=0.0):
        """Have a session be looked at, in so many seconds or before."""
        at = time.monotonic() + after if after else 0.0
        with self._changed:
            self._due[session_id] = min(self._due.get(session_id, at), at)
        self._hire()

    def hurry(self):
        """See what is to be done, for the server is there."""
        self._look()
        self._hire()

    def hurried(self, session_id):
        """Have a session looked at whose turn is to end: a prompt that is being sent all this time is cut off."""
        watch = self._watches.get(session_id)
        posting = watch and watch.posting
        if posting:
            posting.set(errors.Aborted("the turn is to end", session=session_id))
        self.poke(session_id)

    # -- what is heard -------------------------------------------------------------------------------------------------
    def _told(self, row):
        """Hear what was committed, by whichever process. Must not wait."""
        if row is None:
            with self._changed:
                self._looked = 0.0
            self._hire()
        elif self._is_news(row):
            self.poke(row.session_id)

    def _is_news(self, row):
        """Return whether an event says what the step that tells it, if one does, does not know."""
        session_id = row.session_id
        if row.kind == _UPDATED:
            return session_id in self._parked or session_id in self._watches and _ABORTED in row.tail
        if row.kind == _STARTED:
            return session_id not in self._busy or _FOREIGN in row.tail
        return session_id not in self._busy or row.kind != _QUEUE or _TAKEN not in row.tail

    def _begins(self, transaction, session, message):
        """Note the turn of another client's whose first answer begins; see `Transcript.begins`."""
        if message.parent_id is None or message.ended or session.relay_agent == ACP:
            return []
        return turn_rows.begin_foreign(transaction, session, message.parent_id)

    def hear(self, change):
        """Hear what the server tells of a session: hints. Must not wait."""
        session_id, watch = change.session_id, self._watches.get(change.session_id)
        if change.kind == "failed":
            if watch is not None and watch.failure is None and watch.is_meant(change.value):
                watch.failure = change.value  # the first one says why
                self.poke(session_id)
        elif change.kind == "message":
            message = change.value
            is_ours = watch is not None and watch.knows(message)
            if message.role == "assistant" and (message.ended or not is_ours or not watch.has_begun):
                if not (message.ended or is_ours):
                    self.doubtful.add(session_id)
                self.poke(session_id)
        elif change.kind == "status":
            if change.value["type"] == "retry":
                self._retries(session_id, watch, change.value)
            elif change.value["type"] == "busy" and watch is not None and watch.retry:
                watch.retry = None
                self.poke(session_id)
        elif watch is not None or session_id in self._parked:  # idle
            self.poke(session_id)

    def _retries(self, session_id, watch, status):
        """Tell that a turn tries the model again, whichever process follows it."""
        if watch is not None:
            watch.retry, turn_id = status, watch.turn_id
            self.poke(session_id)
        else:
            session = self._on.store.read(session_id)
            if session is None or session.turn is None:
                return
            turn_id = loads(session.turn)["turnId"]
        data = {"turnId": turn_id, "kind": "retry"}
        for name, key, of in (("attempt", "attempt", int), ("next", "next", int), ("message", "text", str)):
            if type(status.get(name)) is of:
                data[key] = status[name]
        self._tell(session_id, "turn.activity", data)

    def watch(self, session_id, turn):
        """Return what is known of an open turn here."""
        watch = self._watches.get(session_id)
        if watch is None or watch.turn_id != turn.id:
            watch = self._watches[session_id] = Watch(turn)
        return watch

    def has_work(self, session_ids):
        """Return whether something is said, or waits to be, in some of the sessions."""
        store = self._on.store
        said = {session_id for session_id, _ in store.read_open_turns()}
        return not said.union(store.sessions_with_inputs()).isdisjoint(session_ids)

    def forget(self, session_id):
        """Forget what was known of a session's turn."""
        self._watches.pop(session_id, None)

    # -- threads -------------------------------------------------------------------------------------------------------
    def _is_there(self):
        return self._on.link.connected and self._on.sync.has_listed

    def _hire(self):
        """See that somebody does what is due."""
        with self._changed:
            wanted = self._due and not self._closed and self._is_there()
            hires = wanted and not self._idle and self._workers < WORKERS
            self._workers += bool(hires)
            self._changed.notify()
        if hires:
            try:
                threads.start(self._run, "plue-turns")
            except errors.StoreIo as error:  # no thread is left: the next change, or comparison, asks again
                self._left()
                self._on.log.write("warning", error.message("turns"))

    def _left(self):
        with self._changed:
            self._workers -= 1

    def _run(self):
        self._publisher.adopt()
        try:
            while (taken := self._next()) is not None:
                self._hire()  # there may be more than one can do
                session_id, call = taken
                after, error = None, None
                try:
                    with self.lasting(call):
                        after = self._step(session_id, call)
                except Exception as failure:
                    error = errors.known(failure)
                finally:
                    with self._changed:
                        del self._busy[session_id]
                self._done(session_id, after, error)
        except BaseException:  # of `_next`: else that one has counted us out, in the moment in which nothing was due
            self._left()
            raise

    def _done(self, session_id, after, error):
        if error is None:
            self._failed.pop(session_id, None)
        elif isinstance(error, errors.NotFound) or self._closed:
            after = None if isinstance(error, errors.NotFound) and self._on.store.info(session_id) is None else LOOK
        elif isinstance(error, errors.Aborted):
            after = 0.0
        else:
            self._failed[session_id] = times = self._failed.get(session_id, 0) + 1
            after = min(AGAIN[0] * 2 ** min(times - 1, 10), AGAIN[1])
            self._on.link.refused(error)
            level = "error" if isinstance(error, errors.Unknown) else "warning"
            self._on.log.write(level, error.message(f"turn {session_id}"))
        with self._changed:
            if after is not None:
                at = time.monotonic() + after
                self._due[session_id] = min(self._due.get(session_id, at), at)
            self._changed.notify()

    def _next(self):
        """Wait for a session whose time has come, and take it; None: there is nothing to wait for, or somebody else
        waits for it, and this thread is to leave."""
        while True:
            if time.monotonic() - self._looked > LOOK:
                self._look()
            with self._changed:
                if self._closed or not self._is_there() or not (self._due or self._busy):
                    self._rest(may_be_due=True)  # a server that is away from here need not be so from elsewhere
                    self._workers -= 1
                    return None
                now = time.monotonic()
                due = [(at, each) for each, at in self._due.items() if each not in self._busy]
                at, first = min(due, default=(None, None))
                if first is not None and at <= now and self._may_drive():
                    del self._due[first]
                    self._parked.discard(first)
                    self._busy[first] = call = Call(now + STEP)
                    return first, call
                if self._idle:
                    self._workers -= 1
                    return None
                self._rest()
                self._idle += 1
                self._changed.wait(LOOK if first is None or at <= now else min(at - now, LOOK))
                self._idle -= 1

    def _may_drive(self):
        """Return whether this process is the one that drives."""
        if not self._drives:
            self._drives = self._on.store.begin_drive()
        return self._drives

    def _rest(self, may_be_due=False):
        """Let another process drive, for nothing is to be done here now, or nothing can be."""
        if self._drives and not self._busy and (may_be_due or not self._due):
            self._drives = False
            self._on.store.end_drive()

    def _look(self):
        """See what is to be done, also what other processes have put there or left."""
        self._looked = time.monotonic()
        try:
            there = {session_id for session_id, _ in self._on.store.read_open_turns()}
            there.update(self._on.store.sessions_with_inputs())
        except errors.PlueError as error:
            if not self._closed:
                self._on.log.write("warning", error.message("turns"))
            return
        with self._changed:
            for session_id in there:
                if session_id not in self._busy and session_id not in self._parked:
                    self._due.setdefault(session_id, 0.0)

    # -- a step --------------------------------------------------------------------------------------------------------
    def _step(self, session_id, call):
        """Do what can be done for a session now; return after how many seconds to look again, None: when something is
        heard."""
        on = self._on
        session = on.store.read(session_id)
        if session is None:
            self.forget(session_id)
            self.doubtful.discard(session_id)  # it is of no concern here, or deleted
            if (now := on.resolve(session_id)) != session_id:  # it was given another id
                self.poke(now)
            return None
        if session.relay_agent == ACP:  # that runs its turns
            self.forget(session_id)
            return None
        turn = on.store.read_open_turn(session_id)
        if turn is not None:
            return self.follower.step(session, turn, self.watch(session_id, turn), call)
        self.forget(session_id)
        if is_given_here(session_id) or is_waiting(session) or on.session_locks.is_held(session_id):
            return LOOK
        if turn_rows.is_held(session, on.writer.clock()):
            return LOOK  # what clears it tells nobody of other processes
        return self.taker.step(session, call)

    def park(self, session_id, seconds):
        """Have a session wait for a change of its own, or for an event of the server's, at most so long."""
        self._parked.add(session_id)
        return seconds
