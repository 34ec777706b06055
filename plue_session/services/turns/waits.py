"""Waits for the ends of turns. None takes a thread: while there are any, one does what is due to them."""

import threading
import time

from plue_session import errors, threads
from plue_session.rules import inputs
from plue_session.services.later import Later

#: Seconds between two looks for the end of a turn, should nothing tell of it, or the store not be read.
LOOK = 0.5
#: How the store fails for a moment: others have locked it, most likely.
FOR_NOW = errors.Busy, errors.StoreIo
#: What becomes of a turn that is no longer waited for.
BEYOND = "The turn goes on, and turn.finished tells of its end."


class Waiter:
    """Who waits for the end of the turn of one input, and until when; `is_abort`: who has asked for it. `turn_id`: of
    the turn that the input has, or is to have; the input itself may be vacuumed as soon as that has ended."""

    __slots__ = ("session_id", "seq", "turn_id", "later", "is_abort", "is_committed", "is_doubtful")

    def __init__(self, deadline, begin=None, is_abort=False):
        self.session_id = self.seq = self.turn_id = None  # until `Waits.add`
        self.is_abort, self.later = is_abort, Later(deadline, BEYOND, begin)
        self.is_committed, self.is_doubtful = is_abort, False  # its input is; was looked for before that


class Waits:
    """Those of one backend's turns, and the thread that looks at those that may have ended. Thread-safe."""

    def __init__(self, on, publisher):
        self._on, self._publisher, self._changed = on, publisher, threading.Condition()
        self._waiters, self._due = {}, []  # by input's seq; what is to be done by the thread that looks
        self._looks, self._closed = False, False

    def __bool__(self):
        return bool(self._waiters)

    def add(self, known, session_id, seq, turn_id, deadline):
        """Have somebody wait, from before the commit on: the turn may end at once. `known`: who waits already, when the
        change runs again."""
        waiter = known or Waiter(deadline)
        with self._changed:
            if known:  # the input may have got another number
                self._forget(known)
            waiter.session_id, waiter.seq, waiter.turn_id = session_id, seq, turn_id
            closed = self._closed
            self._waiters.setdefault(seq, []).append(waiter)
            self._changed.notify_all()
        if closed:
            self.end(waiter, errors.closed())
            return waiter
        try:
            self._hire()
        except errors.StoreIo:
            if not waiter.is_abort:  # that is not refused: the next event finds a thread
                self.drop(waiter)
                raise
        return waiter

    def committed(self, waiter, check):
        """Note that the input of a wait is committed; `check()` sees whether that has ended by now."""
        waiter.is_committed = True
        if waiter.is_doubtful:
            self.have_done(check)

    def drop(self, waiter):
        """Forget a wait, or None."""
        if waiter is not None:
            with self._changed:
                self._forget(waiter)

    def end(self, waiter, outcome):
        """End a wait."""
        self.drop(waiter)
        waiter.later.end(outcome)

    def of_session(self, session_id):
        """Return the waits for turns of a session."""
        with self._changed:
            return [each for each in self._all() if each.session_id == session_id]

    def of_inputs(self, names):
        """Return the waits for the turns of these inputs."""
        with self._changed:
            return [each for name in names for each in self._waiters.get(inputs.seq_of(name), ())]

    def all(self):
        """Return all waits."""
        with self._changed:
            return self._all()

    def renamed(self, before, session_id):
        """Note that a session has got another id."""
        with self._changed:
            for each in self._all():
                if each.session_id == before:
                    each.session_id = session_id

    def close(self):
        """End all waits, and those to come, with `CLOSED`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiters = self._all()
        for each in waiters:
            self.end(each, errors.closed())

    def _all(self):
        return [each for of in self._waiters.values() for each in of]

    def _forget(self, waiter):
        of = self._waiters.get(waiter.seq, [])
        if waiter in of:
            of.remove(waiter)
        if not of:
            self._waiters.pop(waiter.seq, None)
            self._changed.notify_all()

    # -- the thread that looks -----------------------------------------------------------------------------------------
    def have_done(self, work):
        """Have the thread that looks do something; must not wait."""
        with self._changed:
            self._due.append(work)
            self._changed.notify_all()
        try:
            self._hire()
        except errors.StoreIo as error:  # nobody waits, or there were one: the next event finds a thread
            self._on.log.write("warning", error.message("plue_session_run_turn"))

    def _hire(self):
        """See that there is a thread that looks; `IO` when none can be started."""
        with self._changed:
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
                self.end(each, errors.Timeout("the turn has not ended in time", BEYOND))

    def _postpone(self, works):
        """Have works be due again, in a while."""
        with self._changed:
            if not self._closed:
                self._changed.wait(LOOK)
            self._due[:0] = works
