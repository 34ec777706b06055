"""What is to happen at a time, should nothing come before."""

import threading
import time

from plue_session import threads


class Alarms:
    """Calls what was set at its time, on a thread that is there only while something is set. Thread-safe. `adopt()` is
    called on the thread first."""

    def __init__(self, adopt):
        self._adopt, self._changed, self._set, self._runs = adopt, threading.Condition(), {}, False

    def set(self, at, ring):
        """Have `ring()` called at that time (monotonic seconds), and return what `drop` takes; it must not wait or
        fail. `IO` when there is no thread for it."""
        alarm = object()
        with self._changed:
            if not self._runs:
                threads.start(self._keep, "plue-alarms")
                self._runs = True
            self._set[alarm] = at, ring
            self._changed.notify_all()
        return alarm

    def drop(self, alarm):
        """Forget an alarm, or None. It may have been called, or be called just now."""
        with self._changed:
            self._set.pop(alarm, None)
            if not self._set:
                self._changed.notify_all()

    def _keep(self):
        try:
            self._adopt()
            while due := self._due():
                for ring in due:
                    ring()
        except BaseException:  # of memory, most likely: the next one that is set starts another thread
            with self._changed:
                self._runs = False
            raise

    def _due(self):
        """Wait for the next of what is set, and return it; nothing when nothing is set."""
        with self._changed:
            while self._set:
                now = time.monotonic()
                due = [alarm for alarm, (at, _) in self._set.items() if at <= now]
                if due:
                    return [self._set.pop(alarm)[1] for alarm in due]
                first = min(at for at, _ in self._set.values())
                self._changed.wait(min(first - now, threading.TIMEOUT_MAX))
            self._runs = False  # under the lock: who sets one from now on starts another thread
            return []
