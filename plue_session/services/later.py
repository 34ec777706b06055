"""Outcomes that nobody's thread waits for."""

from plue_session.primitives import allocate_lock


class Later:
    """What a call will have come to. Thread-safe; known once. `deadline` (monotonic seconds): its caller leaves
    then."""

    __slots__ = ("deadline", "_lock", "_tell", "_outcomes")

    def __init__(self, deadline):
        self.deadline, self._lock, self._tell, self._outcomes = deadline, allocate_lock(), None, []

    def then(self, tell):
        """Have `tell(outcome)` called, by whoever ends this; at once if it is known."""
        with self._lock:
            self._tell = tell
            known = list(self._outcomes)
        for outcome in known:
            tell(outcome)

    def end(self, outcome):
        """Say the outcome, an exception if the call has failed. Only the first one counts."""
        with self._lock:
            if self._outcomes:
                return
            self._outcomes.append(outcome)
            tell = self._tell
        if tell:
            tell(outcome)
