"""The files that inputs name by path, read for whoever is told them: a server, or an agent.

A path may lead to anything: a pipe that nobody writes to, a device, a file of a disk that does not answer. What is no
regular file is not opened. What never answers is waited for by a thread, which who gives up leaves behind.
"""

import os
import stat
import threading
import time

from plue_session import errors, threads

#: Bytes that a file may have.
MOST = 20 << 20
#: Seconds that reading one may take.
LONGEST = 10.0
#: Threads that may be left behind; as long as there are so many, no file is read.
LEFT = 16
_changed = threading.Condition()
#: `(path, when its time is up)` of those that are
_left: list = []


def encoded(path, call):
    """Return what is in a file, in base64. `INVALID_PARAM` names the file: it is no regular one, too large, cannot be
    read, or not in time."""
    from binascii import b2a_base64

    return b2a_base64(_wait(path, call, _read), newline=False).decode()


def check(path, call):
    """Fail as `encoded` does unless a file can be opened."""
    _wait(path, call, _check)


def _wait(path, call, work):
    mine, outcome = (path, time.monotonic() + LONGEST), []
    with _changed:
        is_known = any(of == path and until <= time.monotonic() for of, until in _left)
        if is_known:
            raise _slow(path)
        if len(_left) >= LEFT:
            raise errors.Busy(
                f"{LEFT} other files that inputs name are read, and do not end", "Wait, or free their disk."
            )

    def run():
        try:
            result = work(path)
        except Exception as error:
            result = errors.known(error)
        with _changed:
            outcome.append(result)
            if mine in _left:
                _left.remove(mine)
            _changed.notify_all()

    threads.start(run, "plue-file")
    try:
        call.until(mine[1]).wait(_changed, lambda: outcome or None)
    finally:
        with _changed:
            if not outcome:
                _left.append(mine)
    if not outcome:
        raise _slow(path)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _read(path):
    fd = _open(path)
    try:
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(fd)
    if data is None:  # what the system has in place of a file, and is empty for now
        raise _unreadable(path, "there is nothing to read yet")
    if len(data) > MOST:
        raise errors.InvalidParam(f"the file {path} has more than {MOST >> 20} MiB", "Pass a shorter one, or a url.")
    return data


def _check(path):
    os.close(_open(path))


def _open(path):
    """Return a descriptor of a regular file. What is none is not opened as long as it stays so: that may start
    something."""
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    raise errors.InvalidParam(f"{path} is no regular file", "Pass one.")


def _unreadable(path, error):
    why = getattr(error, "strerror", None) or error
    return errors.InvalidParam(f"the file {path} cannot be read: {why}", "Enqueue the input again when it can be.")


def _slow(path):
    return _unreadable(path, "its disk does not answer in time")
