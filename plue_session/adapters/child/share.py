"""Where processes meet that want the same command: the first one starts it, the others join it.

The guard keeps what is there (users.h): a socket to join by, and a file with what the first one has noted. Its lock on
that file decides who is first; it ends with the guard, however that ends. So nothing has to be cleaned up, and nobody
holds anything here that a forked child could keep alive.
"""

import fcntl
import os
import socket

from plue_session.adapters.child.guard import Lifeline
from plue_session.errors import StoreIo


class Share:
    """Commands of the name `name` in `folder`, an existing folder of the owner's. The name has 40 bytes at most."""

    def __init__(self, folder, name):
        #: the file, 0600, with what is noted of a command that runs; it is there as long as the command
        self.file = os.path.join(folder, name + ".json")
        #: what the guard is told
        self.words = ["share", folder, name]
        self._folder, self._socket = folder, name + ".socket"

    def read(self):
        """Return what is noted of the command that runs; "" if none does, or it is not ready. `OSError` if that is not
        to be known."""
        try:
            file = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a guard that starts meanwhile is started again
            return ""
        except BlockingIOError:
            return os.read(file, 8192).decode()
        finally:
            os.close(file)

    def join(self, command):
        """Return a `Lifeline` of the command if it runs, else None. Does not wait. `IO` when no descriptor is left."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _lacking(error) from None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.setblocking(False)
                # A path of its own may be longer than an address holds.
                line.connect(f"/proc/self/fd/{folder}/{self._socket}")
                above = fcntl.fcntl(line.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)  # a host may have closed 0 to 2
            return Lifeline(socket.socket(fileno=above), command)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, PermissionError):
            return None  # nobody is there, or not any more, or everybody comes at once
        except OSError as error:
            raise _lacking(error) from None
        finally:
            os.close(folder)


def _lacking(error):
    return StoreIo(
        f"what others have started cannot be joined: {error.strerror}",
        "Close some files, or raise the limit (ulimit -n).",
    )
