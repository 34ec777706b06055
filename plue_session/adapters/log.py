"""The library's own log: lines in a file of the host's choosing, and `log` events. Never the host's stdout or stderr."""

import os
import time

from plue_session.errors import PlueError, StoreIo

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Writes records of `level` and above. `tell(level, message)` sends them as events; `path` None: no file."""

    def __init__(self, level, path, tell):
        self._least = LEVELS.index(level)
        self._tell = tell
        self._fd = None
        if path:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
            except OSError as error:
                raise StoreIo(f"the log file {path} cannot be opened: {error.strerror}", "Correct log.file, or leave it out.") from None

    def write(self, level, message):
        """Log one record. A file that cannot be written loses the line, an event that cannot be sent is lost, never the caller's work."""
        if LEVELS.index(level) < self._least:
            return
        if self._fd is not None:
            now = time.time_ns() // 1_000_000
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000))
            line = f"{stamp}.{now % 1000:03d}Z {level} {message}".replace("\n", " ") + "\n"
            try:
                os.write(self._fd, line.encode("utf-8", "replace"))
            except OSError:  # a full disk must not turn a warning into a failure
                self._fd, fd = None, self._fd
                os.close(fd)
        try:
            self._tell(level, message)
        except (PlueError, OSError, MemoryError):  # most likely what there is to tell of has a part in it
            return

    def close(self):
        """Close the file. Twice is harmless."""
        if self._fd is not None:
            self._fd, fd = None, self._fd
            os.close(fd)
