"""What the event stream has said of late, for those who wait for it: the end of a turn, the text behind a bare 500."""

import threading
import time

from plue_session.call import Call

#: Failures remembered, the oldest forgotten first.
MOST = 1024


class EventSignal:
    """The last things heard. Thread-safe; `hear` never waits for those who wait."""

    def __init__(self):
        self._changed = threading.Condition()
        self._count = 0
        self._failures = {}  # session id: (monotonic time, text)
        #: whether there is a stream to hear from; else waiting is polling
        self.connected = False

    def hear(self, change):
        """Take a `Change`; harmless for those of no interest."""
        if change.kind not in ("failed", "idle", "status", "deleted", "message"):
            return
        with self._changed:
            if change.kind == "failed":
                self._failures.pop(change.session_id, None)  # the newest is last
                self._failures[change.session_id] = time.monotonic(), change.value.text or change.value.name
                if len(self._failures) > MOST:
                    del self._failures[next(iter(self._failures))]
            self._count += 1
            self._changed.notify_all()

    def failure(self, session_id, since, seconds):
        """Return the text of a `session.error` of the session heard after `since` (monotonic), waiting for it so long;
        or None.

        Behind "Unexpected server error" it alone says what happened (O-014).
        """
        call = Call(time.monotonic() + seconds)
        while True:
            count = self._count
            when, text = self._failures.get(session_id, (0, None))
            if text is not None and when >= since:
                return text
            if not self.connected or not self.wait(count, call):
                return None

    @property
    def count(self):
        """A number that grows with everything heard: for `wait`."""
        return self._count

    def wait(self, count, call):
        """Wait until more than `count` things were heard; False when the call's time is up first."""
        return call.wait(self._changed, lambda: self._count != count or None) is not None
