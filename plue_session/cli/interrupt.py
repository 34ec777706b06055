"""Ctrl-C ends the command with 130 at once, also inside a call of the C library.

A handler of Python's runs when the main thread is back from C, which may take half a minute. So a thread waits for the
signal and ends the process. Nothing is shut down: what was acknowledged is durable, and a spawned server ends with its
host, however that ends.
"""

import _thread
import os
import signal

_last_acts = []


def begin():
    """Obey SIGINT from now on, unless it is ignored: a shell has its background jobs ignore it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)  # it takes a handler of Python's to have the pipe written to
    _thread.start_new_thread(_wait, (reading,))


def last(act):
    """Have `act` called before an interrupt ends the process."""
    _last_acts.append(act)


def _wait(reading):
    os.read(reading, 1)
    try:
        for act in _last_acts:
            act()
    finally:
        os._exit(130)
