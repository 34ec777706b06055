"""The library's own log: lines in a file of the host's choosing, and `log` events. Never the host's stdout or
stderr."""

import os
import time

from plue_session.adapters import private
from plue_session.errors import StoreIo

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Writes records of `level` and above. `tell(level, message)` sends them as events; `path` None: no file."""

    def __init__(self, level, path, tell):
        self._least = LEVELS.index(level)
        self._tell = tell
        self._fd = self._file = None
        if path:
            try:
                self._fd = private.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
                self._file = os.fstat(self._fd)
            except OSError as error:
                raise StoreIo(
                    f"the log file {path} cannot be opened: {error.strerror}", "Correct log.file, or leave it out."
                ) from None

    def write(self, level, message):
        """Log one record. A file that cannot be written loses the line, an event that cannot be sent is lost, never the
        caller's work: many threads call this when something else has failed, and none of them may end by it."""
        if LEVELS.index(level) < self._least:
            return
        if self._fd is not None:
            try:
                if self._is_ours():
                    os.write(self._fd, _line(level, message))
                else:
                    self._fd = None
            except OSError:  # a full disk must not turn a warning into a failure
                self.close()
            except (MemoryError, OverflowError, ValueError) as error:  # no room for the line, or no text for the time
                message = f"{message} (not written: {type(error).__name__})"
        try:
            self._tell(level, message)
        except Exception:  # most likely what there is to tell of has a part in it
            return

    def close(self):
        """Close the file. Twice is harmless."""
        if self._fd is not None:
            ours, fd, self._fd = self._is_ours(), self._fd, None
            if ours:
                os.close(fd)

    def _is_ours(self):
        """Return whether the descriptor is still that of the file: a host may have closed it and opened something else
        under its number."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._file)
        except OSError:
            return False


def _line(level, message):
    seconds, milliseconds = divmod(int(time.clock_gettime(time.CLOCK_REALTIME) * 1000), 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return (f"{stamp}.{milliseconds:03d}Z {level} {message}".replace("\n", " ") + "\n").encode("utf-8", "replace")
