"""What ends a command at once, also inside a call of the C library: Ctrl-C, and for `watch` a reader that leaves.

A handler of Python's runs when the main thread is back from C, which may take half a minute, and a write alone would
notice at the next event that nobody reads. So a thread waits for each and ends the process. Nothing is shut down: what
was acknowledged is durable, and a spawned server ends with its host, however that ends.
"""

# `signal` loads enum, and meanwhile Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]
import _thread
import os

_last_acts = []
_instead = None


def begin():
    """Obey SIGINT from now on, unless it is ignored: a shell has its background jobs ignore it."""
    if _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGINT, lambda *_: None)  # it takes a handler of Python's to have the pipe written to
    _thread.start_new_thread(_end_when_interrupted, (reading,))


def last(act):
    """Have `act` called before an interrupt ends the process."""
    _last_acts.append(act)


def instead(act):
    """From now on have an interrupt call `act`, on the thread that waits for it; it ends the process if that returns
    False."""
    global _instead
    _instead = act


def end_when_unread(fd):
    """From now on end with 141 when nobody reads what is written to this descriptor any more."""
    _thread.start_new_thread(_end_when_unread, (fd,))


def _end_when_unread(fd):
    import select

    poll = select.poll()
    poll.register(fd, 0)  # errors and hang-ups come unasked
    poll.poll()
    os._exit(141)


def _end_when_interrupted(reading):
    while os.read(reading, 1) and _instead is not None and _instead():
        pass
    try:
        for act in _last_acts:
            act()
    finally:
        os._exit(130)
