"""The process of an agent, and the lines that go back and forth.

One thread does it all, around one `poll`: it writes what is queued, reads what is said, and keeps the end of stderr,
each as it can go on, so that none waits for another. What is said is read while lines are taken.
"""

import os
import select
import threading
import time
from collections import deque

from plue_session import errors, threads
from plue_session.adapters.child.guard import PROGRAM, Guarded

#: Milliseconds from TERM to the second TERM, and from there to KILL: 5 s in all.
DELAYS = 4500, 500
#: Bytes of a line, and of what waits to be written.
LINE, QUEUED = 64 << 20, 64 << 20
#: Bytes of stderr that are kept for errors.
TAIL = 4096
#: Seconds from the end of a stream to the end of the process: more, and it is ended.
GRACE = 2.0
#: Bytes of a read and a write.
_CHUNK = 65536


class Pipe:
    """An agent's process. Thread-safe.

    On its thread, and not to block: `on_news()` is called when the guard has told something, its `pid` first;
    `on_line(line)` with each line that the agent says, and returns whether another one can be taken; `on_exit(error)`
    when it answers no more, `on_gone(error)` when nothing is left of it, each once. `on_lifeline(fd, open)` tells of
    descriptors that a forked child must close.
    """

    def __init__(
        self, command, on_line, on_exit, on_gone, *, on_news=None, on_lifeline=None, children=None, program=PROGRAM
    ):
        self._command, self._children, self._program = command, children, program
        self._on_line, self._on_exit, self._on_gone = on_line, on_exit, on_gone
        self._on_news = on_news or (lambda: None)
        self._on_lifeline = on_lifeline or (lambda fd, is_open: None)
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._thread = self._process = self._wake = None
        self._queue, self._queued = deque(), 0  # what waits to be written, and its bytes
        self._lines, self._partial, self._length = deque(), [], 0
        self._is_full = False  # the last line was the last one that could be taken, until `go_on`
        self._tail = b""
        self._closing = self._ended = self._told = self._hung_up = False
        self._failure = self._doom = None  # what its end is, once that is known; what others end it for
        self._due = None  # until when, and why, the process must have ended, after a stream of its has

    @property
    def pid(self):
        """Its process id, which is its group's; None before it runs and once it is gone."""
        process = self._process
        return process.pid if process and not self._ended else None

    @property
    def is_over(self):
        """Whether its end has begun."""
        return self._closing or self._doom is not None or self._failure is not None

    @property
    def words(self):
        """The last of what it said on stderr, in one line."""
        return " ".join(self._tail.decode("utf-8", "replace").split())

    def start(self):
        """Start it, once. `IO` when there is nothing to start it with; that it cannot be run is told by `on_exit`."""
        with self._starting:
            if self._closing:
                raise self._closed()
            process = Guarded(self._command, self._program, self._children, talks=True, delays=DELAYS)
            os.set_blocking(process.stdout, False)
            os.set_blocking(process.stderr, False)
            self._process = process
            try:
                for fd in (process.lifeline, process.stdin):
                    self._on_lifeline(fd, True)
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._thread = threads.start(self._run, "plue-agent")
            except BaseException as error:
                self._release()
                if not isinstance(error, (OSError, errors.StoreIo)):
                    raise
                raise errors.StoreIo(
                    f"{self._command.name} cannot be started: {error}", "Close some files, or raise limits (ulimit)."
                ) from None

    def send(self, line):
        """Queue a line (bytes, without its end); once it is closed that is lost. `QUEUE_FULL` when too much waits."""
        with self._lock:
            if self._ended or self._closing or self._failure:
                return
            if self._queued and self._queued + len(line) > QUEUED:
                raise errors.QueueFull(
                    f"{self._command.name} does not read: {self._queued >> 20} MiB wait for it", "Abort its turn."
                )
            self._queue += memoryview(line), memoryview(b"\n")
            self._queued += len(line) + 1
            self._poke()

    def go_on(self):
        """Take lines again."""
        with self._lock:
            self._is_full = False
            self._poke()

    def give_up(self, error):
        """Have it ended, for that reason."""
        with self._lock:
            self._doom = self._doom or error
            self._poke()

    def close(self):
        """Begin to end it: its streams are closed, then TERM, 5 s, KILL. Returns at once. Twice is harmless."""
        with self._lock:
            self._closing = True
            self._poke()

    def join(self, seconds):
        """Wait for its end, and return whether nothing is left of it."""
        with self._starting:
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _poke(self):
        if self._wake is not None:
            os.eventfd_write(self._wake, 1)

    # -- its thread --------------------------------------------------------------------------------------------------
    def fail(self, error):
        """End it, for that reason; the first one counts."""
        if self._failure is None:
            self._failure = error
        self._hang_up()

    def _run(self):
        while not self._process.gone or self._has_more():
            try:
                self._step()
            except Exception as error:  # it cannot be run, or a defect: whoever waits must see it
                self.fail(errors.known(error))
            if self._failure is None and (self._closing or self._process.exit and not self._has_more()):
                self._failure = self._closed() if self._closing else self._exited()
            self._tell_exit()
        if self._failure is None:
            self._failure = self._closed() if self._closing else self._exited()
        self._tell_exit()
        with self._lock:
            self._ended = True
            self._release()
        self._on_gone(self._failure)

    def _tell_exit(self):
        if self._failure is not None and not self._told:
            self._told = True
            self._on_exit(self._failure)

    def _has_more(self):
        """Return whether something that it has said is still to be handed on."""
        return not self._closing and self._failure is None and (self._process.stdout is not None or bool(self._lines))

    def _step(self):
        """Wait until something can go on, and do it."""
        process, poll = self._process, select.poll()
        if self._doom is not None and self._failure is None:
            self.fail(self._doom)
        if self._closing or self._failure is not None:
            self._hang_up()
        self._hand_on()
        poll.register(self._wake, select.POLLIN)
        if not process.gone:
            poll.register(process.lifeline, select.POLLIN)
        if process.stderr is not None:
            poll.register(process.stderr, select.POLLIN)
        if process.stdout is not None and not self._is_full:
            poll.register(process.stdout, select.POLLIN)
        if process.stdin is not None and self._queue:
            poll.register(process.stdin, select.POLLOUT)
        ready = dict(poll.poll(self._patience()))
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if process.lifeline in ready:
            process.listen()
            self._on_news()
        if process.stdin in ready:
            self._write()
        if process.stderr in ready:
            self._read_errors()
        if process.stdout in ready:
            self._read()
        if process.exit and not self._is_full:
            self._drain()
        if self._due is not None and time.monotonic() >= self._due[0]:
            raise errors.Server(self._due[1], "Start it again.", details={"stderr": self.words})

    def _patience(self):
        """Return how long to wait, in milliseconds, or None: until something happens."""
        if self._due is None or self._process.exit or self._failure is not None:
            self._due = None
            return None
        return max(self._due[0] - time.monotonic(), 0) * 1000 + 1

    def _write(self):
        process = self._process
        while self._queue:
            try:
                size = os.write(process.stdin, self._queue[0][:_CHUNK])
            except BlockingIOError:
                return
            except OSError:  # it has closed its standard input: it should end now
                self._shut("stdin")
                self._wait_for_end("stopped reading")
                with self._lock:
                    self._queue.clear()
                    self._queued = 0
                return
            with self._lock:
                self._queued -= size
                if size == len(self._queue[0]):
                    self._queue.popleft()
                else:
                    self._queue[0] = self._queue[0][size:]

    def _read_errors(self):
        data = self._bytes("stderr")
        if data:
            self._tail = (self._tail + data)[-TAIL:]
        return bool(data)

    def _read(self):
        """Read once; returns whether there may be more now."""
        data = self._bytes("stdout")
        if data:
            first, *rest = data.split(b"\n")
            self._partial.append(first)
            self._length += len(first)
            for piece in rest:
                self._lines.append(b"".join(self._partial))
                self._partial, self._length = [piece], len(piece)
            if self._length > LINE:
                raise errors.Server(
                    f"{self._command.name} says a line of more than {LINE >> 20} MiB",
                    "Have it answer with less at once.",
                )
        elif self._process.stdout is None:
            self._end_line()
        self._hand_on()
        return bool(data)

    def _bytes(self, name):
        """Read a stream; returns None if there is nothing now. At its end, and when it fails, it is closed."""
        fd = getattr(self._process, name)
        if fd is None:
            return None
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return None
        if not data:
            self._shut(name)
            if name == "stdout":
                self._wait_for_end("closed its standard output")
        return data

    def _drain(self):
        """Read the rest of what an agent said that has ended. What it has left behind may hold its streams open."""
        while self._read_errors():
            pass
        while not self._is_full and self._read():
            pass
        if not self._is_full and self._process.stdout is not None:
            self._shut("stdout")
            self._end_line()
            self._hand_on()

    def _end_line(self):
        """Take what was said before the end, in the middle of a line."""
        if self._length:
            self._lines.append(b"".join(self._partial))
            self._partial, self._length = [], 0

    def _hand_on(self):
        while self._lines and not self._is_full and self._failure is None and not self._closing:
            self._is_full = True  # before: `go_on` may come before the answer is here
            if self._on_line(self._lines.popleft()):
                self._is_full = False

    def _wait_for_end(self, what):
        if self._due is None:
            self._due = time.monotonic() + GRACE, f"{self._command.name} {what}, and goes on running"

    def _shut(self, name):
        fd = getattr(self._process, name)
        if name == "stdin":
            self._on_lifeline(fd, False)
        setattr(self._process, name, None)
        os.close(fd)

    def _hang_up(self):
        """Close its streams and have it ended, once."""
        if not self._hung_up:
            self._hung_up = True
            for name in ("stdin", "stdout", "stderr"):
                if getattr(self._process, name) is not None:
                    self._shut(name)
            self._process.stop()

    def _release(self):
        """Close the descriptors."""
        process = self._process
        self._on_lifeline(process.lifeline, False)
        if process.stdin is not None:
            self._shut("stdin")
        process.close()
        if self._wake is not None:
            os.close(self._wake)
            self._wake = None

    def _closed(self):
        return errors.Closed(f"{self._command.name} was closed", "Attach one to go on.")

    def _exited(self):
        exit, words = self._process.exit or "unknown", self.words
        return errors.Server(
            f"{self._command.name} ended ({exit}); its last words: {words[-1000:] or 'nothing'}",
            "Correct what it says, or attach it again.",
            details={"exit": exit, "stderr": words},
        )
