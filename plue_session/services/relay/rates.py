"""How fast messages may come."""

from collections import deque

from plue_session.errors import LimitExceeded
from plue_session.primitives import allocate_lock

#: Sessions that are remembered; the rest had none for longest.
MOST = 1_000


class Rates:
    """Counts the messages of each session's last second, in this process. Thread-safe."""

    def __init__(self):
        self._lock, self._taken = allocate_lock(), {}

    def take(self, session_id, most, now):
        """Count a message at `now` (ms); `LIMIT_EXCEEDED` if there were `most` in the second before."""
        with self._lock:
            taken = self._taken.pop(session_id, None) or deque()
            while taken and not now - 1000 < taken[0] <= now:
                taken.popleft()
            is_over = len(taken) >= most
            if not is_over:
                taken.append(now)
            self._taken[session_id] = taken  # the last one
            if len(self._taken) > MOST:
                del self._taken[next(iter(self._taken))]
        if is_over:
            raise LimitExceeded(
                f"messagesPerSecond is {most}, and so many came within a second",
                "Wait, or attach with a higher limit.",
                session=session_id,
            )
