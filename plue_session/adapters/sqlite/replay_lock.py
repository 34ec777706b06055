"""One process at a time sends what the outboxes of a store hold; for each scope there is a byte of a file.

The kernel lets go of the lock with the process, however that ends. It is the process's own (fcntl, not flock): a forked
child does not keep it. So a file is closed only by who has the lock, and `_taken` keeps apart two stores in one
process.
"""

import fcntl
import os
import zlib

from plue_session.adapters import private
from plue_session.adapters.descriptor import Descriptor
from plue_session.adapters.sqlite import failures
from plue_session.primitives import allocate_lock

NAME = "outbox.lock"
#: The same for who drives turns.
DRIVER = "turns.lock"
_taken: set = set()  # the path and scope of each that is ours
_guard = allocate_lock()


class ReplayLock:
    """The lock of one store in `data_dir`, `name` is its file's. The file is open while it is held. Thread-safe."""

    def __init__(self, data_dir, name=NAME):
        self._path, self._name, self._file = os.path.join(data_dir, name), None, None

    def take(self, scope):
        """Return whether the lock is ours now: it was free, or ours before."""
        name = self._path, scope
        with _guard:
            if self._file is not None and self._file.is_ours():
                return True
            if any(path == self._path for path, _ in _taken):
                return False
            with failures.translated(self._path, "open"):
                file = Descriptor(private.open_own_file(self._path, os.O_RDWR))
            try:
                fcntl.lockf(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(scope.encode()))
            except OSError as error:
                file.close()
                if isinstance(error, (BlockingIOError, PermissionError)):
                    return False
                raise failures.system(error, self._path, "lock") from error
            self._file, self._name = file, name
            _taken.add(name)
            return True

    def leave(self):
        """Let another process take it. Harmless without. Never fails."""
        with _guard:
            file, self._file = self._file, None
            if file is not None:
                _taken.discard(self._name)
                file.close()
