"""How long a call may take, and its right to go on."""

import math
import threading
import time


class Call:
    """One call's `deadline` (seconds of the monotonic clock) and its cancellation. Thread-safe; cancelled once, for
    good. A part of a call, `within` it, ends earlier and is cancelled with it."""

    __slots__ = ("deadline", "_lock", "_wakers", "_errors")

    def __init__(self, deadline=math.inf, whole=None):
        self.deadline = deadline
        if whole is None:
            self._lock, self._wakers, self._errors = threading.Lock(), [], []
        else:
            self._lock, self._wakers, self._errors = whole._lock, whole._wakers, whole._errors

    def within(self, seconds):
        """Return a part of this call that ends in so many seconds, or with it."""
        return self.until(time.monotonic() + seconds)

    def until(self, deadline):
        """Return a part of this call that ends at that time (monotonic seconds), or with it."""
        return Call(min(self.deadline, deadline), self)

    @property
    def left(self):
        """How many seconds are left, at least 0, as a lock takes them."""
        return min(max(self.deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)

    @property
    def error(self):
        """The error that the call fails with because it was cancelled, or None."""
        return self._errors[0] if self._errors else None

    def check(self):
        """Raise the error if the call is cancelled."""
        if self._errors:
            raise self._errors[0]

    def set(self, error):
        """Cancel: end whatever waits with `error` (a `PlueError`); the first one counts. Runs the wakers on this
        thread."""
        with self._lock:
            if self._errors:
                return
            self._errors.append(error)
            wakers = self._wakers[:]
            self._wakers.clear()
        for wake in wakers:
            wake()

    def watch(self, wake):
        """Have `wake()` called once when the call is cancelled, from any thread; at once if it is. It must not block or
        fail."""
        with self._lock:
            if not self._errors:
                self._wakers.append(wake)
                return
        wake()

    def wait(self, changed, ready):
        """Wait until `ready()`, called while the condition `changed` is held, returns something, and return that; None
        at the deadline. Raise the error if the call is cancelled."""

        def wake():
            with changed:
                changed.notify_all()

        self.watch(wake)
        try:
            with changed:
                while (found := ready()) is None:
                    self.check()
                    if not self.left:
                        break
                    changed.wait(self.left)
                return found
        finally:
            self.unwatch(wake)

    def unwatch(self, wake):
        """Forget `wake`. Unless the call is cancelled by now, it will not be called."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)
