"""The library's own log: lines in a file of the host's choosing, and `log` events. Never the host's stdout or
stderr."""

import os
import time
from functools import partial

from plue_session.adapters import private
from plue_session.adapters.descriptor import Descriptor
from plue_session.errors import StoreIo

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Writes records of `level` and above. `tell(level, message)` sends them as events; `path` None: no file.

    `trace(message)` writes a debug record, to the file alone; it is None where none are wanted, for those who would
    otherwise put them together in vain.
    """

    def __init__(self, level, path, tell):
        self._least = LEVELS.index(level)
        self._tell = tell
        self._file = self.trace = None
        if path:
            if level == "debug":
                self.trace = partial(self._put, level)
            try:
                self._file = Descriptor(private.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
            except OSError as error:
                raise StoreIo(
                    f"the log file {path} cannot be opened: {error.strerror}",
                    "Correct log.file or PLUE_SESSION_LOG, or leave it out.",
                ) from None

    def wants(self, level):
        """Return whether records of this level are written."""
        return LEVELS.index(level) >= self._least

    def write(self, level, message):
        """Log one record. A file that cannot be written loses the line, an event that cannot be sent is lost, never the
        caller's work: many threads call this when something else has failed, and none of them may end by it."""
        if not self.wants(level):
            return
        lack = self._put(level, message)
        try:
            self._tell(level, f"{message} (not written: {lack})" if lack else message)
        except Exception:  # most likely what there is to tell of has a part in it
            return

    def _put(self, level, message):
        """Append a line to the file; returns what there was too little of for that, if anything. Never raises."""
        file = self._file
        if file is not None:
            try:
                if file.is_ours():
                    os.write(file.fd, _line(level, message))
                else:
                    self._file = None
            except OSError:  # a full disk must not turn a warning into a failure
                self.close()
            except (MemoryError, OverflowError, ValueError) as error:  # no room for the line, or no text for the time
                return type(error).__name__
        return None

    def trace_call(self, name, began, outcome, session="", left=False):
        """Trace how a call has ended that began at `began`, in monotonic ns; `session` is an id, `left` whether its
        caller is gone. For want of memory it loses the line."""
        if self.trace:
            try:
                ms = (time.monotonic_ns() - began) / 1e6
                session, left = session and f" session={session}", " caller=left" if left else ""
                self.trace(f"call name={name}{session} ms={ms:.1f} outcome={outcome}{left}")
            except MemoryError:
                return

    def close(self):
        """Close the file. Twice is harmless."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _line(level, message):
    seconds, milliseconds = divmod(int(time.clock_gettime(time.CLOCK_REALTIME) * 1000), 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return (f"{stamp}.{milliseconds:03d}Z {level} {message}".replace("\n", " ") + "\n").encode("utf-8", "replace")
