"""A queue of sessions with something to do: each at its time, and each by one thread at a time.

One process of those on a store works: the one that has the lead, a lock of the kernel's, which ends with the process.
"""

import threading
import time
from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush

from plue_session import errors, threads
from plue_session.call import Call

#: Sessions that are attended to at a time.
WORKERS = 4
#: Seconds between two looks at what other processes have put there, while there is work; and for whether the one that
#: has the lead now has ended.
LOOK = 0.5


class DueTimes:
    """Session ids and when each is due, in monotonic seconds. Not thread-safe."""

    def __init__(self):
        self._times, self._heap = {}, []  # the heap also has times that hold no more

    def __len__(self):
        return len(self._times)

    def __iter__(self):
        return iter(self._times)

    def get(self, session_id):
        """Return when one is due, or None."""
        return self._times.get(session_id)

    def set(self, session_id, at):
        """Have one be due then, whenever it was before."""
        self._times[session_id] = at
        heappush(self._heap, (at, session_id))
        if len(self._heap) > 2 * len(self._times) + 64:
            self._heap = [(at, session_id) for session_id, at in self._times.items()]
            heapify(self._heap)

    def pop(self, session_id):
        """Forget one; return when it was due, or None."""
        return self._times.pop(session_id, None)

    def clear(self):
        self._times.clear()
        self._heap.clear()

    def first(self):
        """Return `(at, session_id)` of what is due first, or None."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0] if self._heap else None


class WorkQueue(ABC):
    """The queue and its threads: none while there is nothing to do. Thread-safe. A subclass says what is done, and for
    which sessions."""

    #: What the threads are called ("plue-" and this) and the records of the log.
    name = ""
    #: Whether this process keeps the lead while something is due later only.
    keeps_lead = True

    def __init__(self, publisher, log):
        self._publisher, self._log = publisher, log
        self._call, self._changed = Call(), threading.Condition()
        self._due, self._busy, self._again = DueTimes(), set(), DueTimes()  # _again: the busy ones, due once more
        self._renamed = {}  # the ids of busy ones by those that they had when they were taken
        self._workers = self._idle = 0
        self._leads, self._closed = False, True  # until `begin`
        self._looked = 0.0

    # -- a subclass says -----------------------------------------------------------------------------------------------
    @abstractmethod
    def _is_ready(self):
        """Return whether anything can be done now. Called with the lock held."""

    @abstractmethod
    def _find(self):
        """Return what is to be done by what the store has: when each session is due, by its id."""

    @abstractmethod
    def _take_lead(self):
        """Try to get the lead; return whether this process has it. Called with the lock held."""

    @abstractmethod
    def _leave_lead(self):
        """Let another process have the lead. Called with the lock held."""

    @abstractmethod
    def _attend(self, session_id):
        """Do what is due for a session; return after how many seconds to do so again, or None. When it
        raises, that is logged, and done again: after LOOK, unless it has said when (`_postpone`)."""

    def _when(self, at):
        """Return when what is due at this time may be done. Called with the lock held."""
        return at

    # -- life ----------------------------------------------------------------------------------------------------------
    def begin(self):
        """Begin, first with what an earlier process has left. Returns at once."""
        self._closed = False
        self.look()

    def end(self):
        """Stop: what is under way is cut, and goes on with the next process. Returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._call.set(errors.closed())

    # -- what is due ---------------------------------------------------------------------------------------------------
    def poke(self, session_id, after=0.0):
        """Have a session be attended to in so many seconds, or before."""
        at = time.monotonic() + after if after else 0.0
        with self._changed:
            self._put(session_id, at)
        self._hire()

    def look(self):
        """See what is to be done, also what other processes have put there or left, and have it done."""
        self._look()
        self._hire()

    def _look_soon(self):
        """Have a thread look, so that who calls need not wait."""
        with self._changed:
            self._looked = 0.0
        self._hire(anyway=True)

    def _put(self, session_id, at):
        session_id = self._renamed.get(session_id, session_id)
        there = self._again if session_id in self._busy else self._due
        before = there.get(session_id)
        if before is None or at < before:
            there.set(session_id, at)

    def _postpone(self, session_id, after):
        """Have a session be attended to in so many seconds, not before."""
        with self._changed:
            there = self._again if session_id in self._busy else self._due
            there.set(session_id, time.monotonic() + after)

    def _rename(self, session_id, name):
        """Note that a session has another id by now: who is attended to by the one is not to be by the other, too."""
        with self._changed:
            if session_id in self._busy and name not in self._busy:
                self._renamed[session_id] = name
                self._busy.remove(session_id)
                self._busy.add(name)
                for at in self._again.pop(session_id), self._due.pop(name):
                    if at is not None:
                        self._put(name, at)

    def _is_due(self, session_id):
        """Return whether a session is to be attended to, beside what is done for it now."""
        with self._changed:
            session_id = self._renamed.get(session_id, session_id)
            return (self._again if session_id in self._busy else self._due).get(session_id) is not None

    def _look(self):
        self._looked = time.monotonic()
        try:
            found = self._find()
        except errors.PlueError as error:
            if not self._closed:
                self._log.write("warning", error.message(self.name))
            return
        with self._changed:
            for session_id, at in found.items():
                if self._renamed.get(session_id, session_id) not in self._busy and self._due.get(session_id) is None:
                    self._due.set(session_id, at)

    # -- threads -------------------------------------------------------------------------------------------------------
    def _hire(self, anyway=False):
        """See that somebody does what is due; `anyway`, that somebody looks for more."""
        with self._changed:
            wanted = (self._due or anyway) and not self._closed and self._is_ready()
            hires = wanted and not self._idle and self._workers < WORKERS
            self._workers += bool(hires)
            self._changed.notify()
        if hires:
            try:
                threads.start(self._run, f"plue-{self.name}")
            except errors.StoreIo as error:  # no thread is left: the next change, or comparison, asks again
                self._left()
                self._log.write("warning", error.message(self.name))

    def _left(self):
        with self._changed:
            self._workers -= 1

    def _run(self):
        self._publisher.adopt()
        try:
            while (session_id := self._next()) is not None:
                self._hire()  # there may be more than one can do
                after = LOOK
                try:
                    after = self._try(session_id)
                finally:
                    self._done(session_id, after)
        except BaseException:  # of `_next`: else that one has counted us out, in the moment in which nothing was due
            self._left()
            raise

    def _try(self, session_id):
        try:
            return self._attend(session_id)
        except Exception as failure:
            error = errors.known(failure)
            if not self._closed:
                level = "error" if isinstance(error, errors.Unknown) else "warning"
                self._log.write(level, error.message(f"{self.name} {session_id}"))
            return None if self._is_due(session_id) else LOOK

    def _done(self, session_id, after):
        with self._changed:
            session_id = self._renamed.pop(session_id, session_id)
            self._busy.discard(session_id)
            if (at := self._again.pop(session_id)) is not None:
                self._put(session_id, at)
            if after is not None:
                self._put(session_id, time.monotonic() + after)
            self._changed.notify()

    def _next(self):
        """Wait for a session whose time has come, and take it; None: there is nothing to wait for, or somebody else
        waits for it, and this thread is to leave."""
        while True:
            if time.monotonic() - self._looked > LOOK:
                self._look()
            with self._changed:
                if self._closed or not self._is_ready() or not (self._due or self._busy):
                    self._rest()  # though more be due: who has no server here need not be without elsewhere
                    self._workers -= 1
                    return None
                now = time.monotonic()
                at, first = self._due.first() or (None, None)
                at = None if first is None else self._when(at)
                if first is not None and at <= now and self._may_lead():
                    self._due.pop(first)
                    self._busy.add(first)
                    return first
                if self._idle:
                    self._workers -= 1
                    return None
                if not (self._due and self.keeps_lead):
                    self._rest()
                self._idle += 1
                self._changed.wait(LOOK if first is None or at <= now else min(at - now, LOOK))
                self._idle -= 1

    def _may_lead(self):
        if not self._leads:
            self._leads = self._take_lead()
        return self._leads

    def _rest(self):
        """Let another process lead, for nothing is done here now."""
        if self._leads and not self._busy:
            self._leads = False
            self._leave_lead()
