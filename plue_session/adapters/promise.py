"""Readers that wait for a commit, because callers were told before it of what it holds."""

from plue_session.primitives import allocate_lock, get_ident

#: Seconds that a reader waits: a disk that hangs longer must not keep what is committed from everybody.
PATIENCE = 1.0


class Promise:
    """`make` and `keep` are the writer's, one thread at a time; anybody may `wait`."""

    def __init__(self):
        self._lock = None  # held from `make` to `keep`, and a new one each time: who has waited lets it go late
        self._maker = None

    def make(self):
        """Have readers wait from now on. Twice is harmless."""
        if self._lock is None:
            lock = allocate_lock()
            lock.acquire()
            self._maker, self._lock = get_ident(), lock

    def keep(self):
        """Let them go on. Harmless when nothing was promised."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def wait(self):
        """Return when nothing is promised; at once for who has made the promise."""
        lock = self._lock
        if lock is not None and self._maker != get_ident() and lock.acquire(timeout=PATIENCE):
            lock.release()
