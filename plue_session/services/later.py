"""Outcomes that no thread waits for."""

from plue_session.primitives import allocate_lock


class Later:
    """The outcome of a call, to be known later, and once. Thread-safe. Its caller leaves at `deadline` (monotonic
    seconds); `beyond` tells who leaves earlier what becomes of it, if anything does. `begin()`, when given, is called
    once somebody waits: of a change's outcome, when that is committed."""

    __slots__ = ("deadline", "beyond", "_begin", "_lock", "_tell", "_outcomes")

    def __init__(self, deadline, beyond="", begin=None):
        self.deadline, self.beyond, self._begin = deadline, beyond, begin
        self._lock, self._tell, self._outcomes = allocate_lock(), None, []

    def then(self, tell):
        """Have `tell(outcome)` called, by whoever ends this; at once if it is known."""
        with self._lock:
            self._tell = tell
            known = list(self._outcomes)
            begin, self._begin = self._begin, None
        for outcome in known:
            tell(outcome)
        if begin and not known:
            begin()

    def end(self, outcome):
        """Set the outcome, an exception if the call has failed. Only the first one counts."""
        with self._lock:
            if self._outcomes:
                return
            self._outcomes.append(outcome)
            tell = self._tell
        if tell:
            tell(outcome)
