"""A token that ends what waits on it, whichever thread waits and whichever gives up."""

import threading
import time


class Cancel:
    """One call's right to go on. Thread-safe; set once, never cleared."""

    def __init__(self):
        self._lock = threading.Lock()
        self._wakers = []
        #: the error that the cancelled call fails with, or None
        self.error = None

    def set(self, error):
        """End whatever waits with `error` (a `PlueError`); the first one counts. Runs the wakers on this thread."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def watch(self, wake):
        """Have `wake()` called once when the token is set, from any thread; at once if it is. It must not block or
        fail."""
        with self._lock:
            if self.error is None:
                self._wakers.append(wake)
                return
        wake()

    def unwatch(self, wake):
        """Forget `wake`; harmless if it was called already."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)

    def wait(self, changed, ready, deadline):
        """Wait until `ready()`, called while the condition `changed` is held, returns something, and return that; None
        at the deadline (monotonic seconds). Raise the error if the token is set."""

        def wake():
            with changed:
                changed.notify_all()

        self.watch(wake)
        try:
            with changed:
                while (found := ready()) is None:
                    self.check()
                    left = deadline - time.monotonic()
                    if left <= 0:
                        break
                    changed.wait(left)
                return found
        finally:
            self.unwatch(wake)

    def check(self):
        """Raise the error if the token is set."""
        if self.error is not None:
            raise self.error
