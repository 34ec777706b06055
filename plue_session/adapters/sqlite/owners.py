"""Which processes on a store live: each has a number, and a lock of the kernel's on the byte at that place of a file.

The lock is the process's own (fcntl), so it ends with the process, however that ends, and a forked child has none. The
file stays open as long as the store: to close any descriptor of it would drop all locks of the process on it.
"""

import fcntl
import os
import struct

from plue_session.adapters import private
from plue_session.adapters.descriptor import Descriptor
from plue_session.adapters.sqlite import failures
from plue_session.primitives import allocate_lock

NAME = "owners.lock"
#: How a lock is asked for: its type, from where it counts, its place, its length, and whose it is.
_LOCK = struct.Struct("hhqqi4x")
#: Of this process, by the file's path: the file, its number, and how many stores use it.
_own: dict = {}
_guard = allocate_lock()


class Owners:
    """Those of one store in `data_dir`. Thread-safe."""

    def __init__(self, data_dir):
        self._path, self._is_used = os.path.join(data_dir, NAME), False

    def owner(self):
        """Return this process's number; it is taken when it is first asked for."""
        with _guard:
            return self._open()[1]

    def is_alive(self, owner):
        """Return whether the process with this number lives, and has the store open."""
        with _guard:
            file, own, _ = self._open()
            if owner == own:
                return True
            asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, owner, 1, 0)
            with failures.translated(self._path, "lock"):
                found = fcntl.fcntl(file.fd, fcntl.F_GETLK, asked)
            return _LOCK.unpack(found)[0] != fcntl.F_UNLCK

    def close(self):
        """Give the number up, unless another store of this process uses it. Harmless without, and twice."""
        with _guard:
            if not self._is_used:
                return
            self._is_used = False
            file, own, users = _own.pop(self._path)
            if users > 1:
                _own[self._path] = file, own, users - 1
            else:
                file.close()

    def _open(self):
        known = _own.get(self._path)
        if known is not None and not known[0].is_ours():  # a host has closed our descriptors: the lock went with it
            known = None
        if known is None:
            with failures.translated(self._path, "open"):
                file = Descriptor(private.open_own_file(self._path, os.O_RDWR))
            try:
                known = file, self._take(file), 0
            except BaseException:
                file.close()
                raise
        file, own, users = known
        if not self._is_used:
            self._is_used, users = True, users + 1
        _own[self._path] = file, own, users
        return file, own, users

    def _take(self, file):
        while True:
            number = int.from_bytes(os.urandom(6), "big") or 1
            try:
                fcntl.lockf(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                continue
            except OSError as error:
                raise failures.system(error, self._path, "lock") from error
            return number
