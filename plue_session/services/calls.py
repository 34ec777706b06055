"""The calls that are under way with the server, so that an abort or the shutdown can end them."""

import threading
import time

from plue_session import call, errors
from plue_session.services.alarms import Alarms

#: Seconds that a call has, once its session is aborted, to end by itself: what is about to end may.
GRACE = 0.5


class Call(call.Call):
    """One call of a host's, or work of our own like one: `name`, `session` (its id or None), and `since` when it waits
    (monotonic seconds)."""

    __slots__ = ("name", "session", "since", "_calls")

    def __init__(self, name, session, deadline, since, calls):
        super().__init__(deadline)
        self.name, self.session, self.since, self._calls = name, session, since, calls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._calls.end(self)


class Calls:
    """The registry of calls. Thread-safe."""

    def __init__(self):
        self._changed = threading.Condition()
        self._alarms = Alarms(lambda: None)
        self._running = set()
        self._aborting = {}  # session id: how many aborts are under way
        self._holds = {}  # session id: how many hold back its prompts, and until when (ms)
        self._closed = False
        #: returns the id that a session has by now; a call may have named it by its first one
        self.resolve = lambda session_id: session_id

    def begin(self, name, session, deadline, since=None):
        """Register a call, until its `end` or for as long as it is used as a context manager; `since`: when it was
        made, if that was not just now. `CLOSED` when the library is shutting down."""
        made = Call(name, session, deadline, time.monotonic() if since is None else since, self)
        with self._changed:
            if self._closed:
                raise errors.closed()
            self._running.add(made)
        return made

    def end(self, call):
        """Forget a call."""
        with self._changed:
            self._running.discard(call)

    def close(self):
        """End every call with `CLOSED`, and those to come."""
        with self._changed:
            self._closed = True
            running = list(self._running)
        for each in running:
            each.set(errors.closed())

    # -- aborts --------------------------------------------------------------------------------------------------------
    def begin_abort(self, session_id):
        """Note that an abort of the session begins, and end the other calls blocked on it with `ABORTED` in `GRACE`
        seconds: also those that were made before, and are registered only then."""
        now = time.monotonic()
        with self._changed:
            self._aborting[session_id] = self._aborting.get(session_id, 0) + 1
        try:
            self._alarms.set(now + GRACE, lambda: self._interrupt(session_id, now))
        except errors.StoreIo:  # ending them needs no thread, waiting does
            self._interrupt(session_id, now)

    def end_abort(self, session_id):
        """Note that an abort of the session has ended, whatever came of it."""
        with self._changed:
            left = self._aborting.pop(session_id) - 1
            if left:
                self._aborting[session_id] = left

    def is_aborting(self, session_id):
        """Return whether an abort of the session is under way here."""
        return session_id in self._aborting

    def hold(self, session_id, until):
        """Note that somebody here holds back the session's prompts, until then (ms) at most."""
        with self._changed:
            count, before = self._holds.get(session_id, (0, 0))
            self._holds[session_id] = count + 1, max(until, before)

    def let_go(self, session_id):
        """Note that one of them has ended. Return until when they have held prompts back, or None: another one still
        does."""
        with self._changed:
            count, until = self._holds.pop(session_id)
            if count == 1:
                return until
            self._holds[session_id] = count - 1, until
            return None

    def _is_of(self, call, session_id):
        try:
            return call.session == session_id or self.resolve(call.session) == session_id
        except errors.PlueError:  # the store cannot be read: others must not wait for this one's id
            return False

    def _interrupt(self, session_id, until):
        with self._changed:
            waiting = [call for call in self._running if call.session and call.since <= until]
        for each in waiting:
            if each.name != "plue_session_abort" and self._is_of(each, session_id):
                each.set(
                    errors.Aborted(
                        "plue_session_abort() interrupted it; whether it took effect will be seen in the "
                        "session's state",
                        "Make the call again if it is still wanted.",
                        session=session_id,
                    )
                )
