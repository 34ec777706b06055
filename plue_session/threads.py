"""Threads of the Python half. In the library C makes them (capi/spawn.c): with a stack of their own size, no signals,
and the scheduling that the process began with, whichever thread of the host's makes the call that needs them."""

from plue_session.errors import StoreIo
from plue_session.primitives import allocate_lock

#: What makes a thread: `make(name, run)`; the library's own puts itself here.
make = None


class Thread:
    """A thread that `start` has started."""

    def __init__(self):
        self._running = allocate_lock()
        self._running.acquire()

    def is_alive(self):
        return self._running.locked()

    def join(self, seconds):
        """Wait for its end, at most so many seconds."""
        if self._running.acquire(timeout=max(seconds, 0)):
            self._running.release()


def start(work, name):
    """Start a thread that calls `work`, and return it; it does not keep the process from ending. The name has 15 bytes
    at most.

    What `work` raises is lost, so it has to report its failures itself. `IO` when no thread can be started.
    """
    thread = Thread()

    def run():
        try:
            work()
        finally:
            thread._running.release()

    try:
        (make or _make)(name, run)
    except (RuntimeError, MemoryError):
        raise StoreIo("no thread can be started", "Raise the limit on threads (ulimit -u) or free memory.") from None
    return thread


def _make(name, run):
    import threading

    threading.Thread(target=run, name=name, daemon=True).start()
