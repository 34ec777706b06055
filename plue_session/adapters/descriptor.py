"""A descriptor that a host may close: it closes what it does not know, and what it opens next may get the number."""

import fcntl
import os

_MARK = 64  # the last real-time signal


class Descriptor:
    """A descriptor of ours.

    It is told by the signal that it would send if it were asked to: nobody asks it, and no other file has one.
    """

    def __init__(self, fd):
        self.fd = fd
        self._status = os.fstat(fd)
        try:
            fcntl.fcntl(fd, fcntl.F_SETSIG, _MARK)
            self._marked = True
        except (AttributeError, OSError):  # another system
            self._marked = False

    def is_ours(self):
        """Return whether it is still that of the file that it was opened for."""
        try:
            if self._marked:
                return fcntl.fcntl(self.fd, fcntl.F_GETSIG) == _MARK
            return os.path.samestat(os.fstat(self.fd), self._status)
        except OSError:
            return False

    def close(self):
        """Close it, if it is still ours to be closed."""
        if self.is_ours():
            os.close(self.fd)
