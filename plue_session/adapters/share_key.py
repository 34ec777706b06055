"""The key that share secrets are derived from: a file beside the database, never inside it (P-097)."""

import errno
import os
import stat

from plue_session.errors import Integrity, StoreIo
from plue_session.rules.shares import KEY_SIZE

NAME = "share.key"


class ShareKeyFile:
    """The key in `share.key` of `folder`, which exists. Made on first use, by exactly one of racing processes."""

    def __init__(self, folder):
        self.path = os.path.join(folder, NAME)
        self._folder = folder
        self._key = None

    def load(self):
        """Return the key's 32 bytes, made now if there is none yet. Thread-safe.

        `IO` when it cannot be read or made, or others may read it; `INTEGRITY` when it is not a key. A damaged key is
        never replaced: that would silently end every link that was given away.
        """
        try:
            while self._key is None:
                self._key = self._read() or self._make()
        except OSError as error:
            remedy = ("Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Close some files." if error.errno in (errno.EMFILE, errno.ENFILE)
                      else "Make the data directory readable and writable for this user.")
            raise StoreIo(f"the share key {self.path} cannot be used: {error.strerror}", remedy) from None
        return self._key

    def _read(self):
        # O_NONBLOCK: whatever lies there, opening it must not wait (a FIFO would).
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size != KEY_SIZE:
                raise Integrity(f"the share key {self.path} is not a file of {KEY_SIZE} bytes",
                                "Restore it from a backup; or remove it, then all links given so far stop working.")
            if status.st_mode & 0o077:
                raise StoreIo(f"the share key {self.path} is open to other users", f"Run: chmod 600 {self.path}")
            return os.read(fd, KEY_SIZE)
        finally:
            os.close(fd)

    def _make(self):
        """Make a key and return it, or None when another process was first. Written under a name of its own and linked
        into place, so that nobody ever sees half a key."""
        key = os.urandom(KEY_SIZE)
        draft = f"{self.path}.{os.getpid()}.{os.urandom(4).hex()}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)  # whatever the umask
                file.write(key)
                file.flush()
                os.fsync(fd)
            os.link(draft, self.path)
        except FileExistsError:
            return None
        finally:
            os.unlink(draft)
        self._sync_folder()
        return key

    def _sync_folder(self):
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class ShareKeyMemory:
    """The twin for stores in memory: a key that ends with the process."""

    def __init__(self):
        self._key = os.urandom(KEY_SIZE)

    def load(self):
        """Return the key's 32 bytes."""
        return self._key
