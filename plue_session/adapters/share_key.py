"""The key that share secrets are derived from: a file beside the database, never inside it (P-097)."""

import fcntl
import os
import stat

from plue_session.adapters import private, remedies
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
            raise StoreIo(
                f"the share key {self.path} cannot be used: {error.strerror}", remedies.remedy(error)
            ) from None
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
                raise Integrity(
                    f"the share key {self.path} is not a file of {KEY_SIZE} bytes",
                    "Restore it from a backup; or remove it, then all links given so far stop working.",
                )
            if status.st_mode & 0o077:
                raise StoreIo(
                    f"the share key {self.path} is open to other users",
                    "On a file system without permissions, mount it for this user alone (umask=077). On others: "
                    + remedies.chmod("600", self.path),
                )
            return os.read(fd, KEY_SIZE)
        finally:
            os.close(fd)

    def _make(self):
        """Make a key and return it, or None when it is to be looked for again: another process was first.

        Written under another name and renamed, so that nobody ever sees half a key; by whoever has that other file
        locked, so that nobody's is replaced. Not by a link, which needs no lock: not every file system has links.
        """
        draft = self.path + ".new"
        fd = private.open_own_file(draft, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _names(draft, fd):  # who had it locked has renamed or removed it
                return None
            try:
                if os.path.lexists(self.path):
                    os.unlink(draft)
                    return None
                key = os.urandom(KEY_SIZE)
                os.fchmod(fd, 0o600)
                os.ftruncate(fd, 0)
                os.pwrite(fd, key, 0)
                os.fsync(fd)
                os.rename(draft, self.path)
            except OSError:
                os.unlink(draft)
                raise
        finally:
            os.close(fd)
        private.sync(self._folder)
        return key


def _names(path, fd):
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


class ShareKeyMemory:
    """The twin for stores in memory: a key that ends with the process."""

    def __init__(self):
        self._key = os.urandom(KEY_SIZE)

    def load(self):
        """Return the key's 32 bytes."""
        return self._key
