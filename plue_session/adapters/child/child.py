"""A command that is kept running: started, waited for, read, checked, started anew when it ends, ended.

One thread does it all, around one `poll`: what the guard says, what the command prints, and who wants what. It never
waits for anything else, so that the command can never block on a full pipe (O-003). A second one asks whether the
command is well.

Processes may share one command (`share.py`). Then this starts it, or joins the one that runs; whichever, it is kept
running by all who use it, and ended by the last.
"""

import os
import queue
import random
import select
import threading
import time

from plue_session import errors, threads
from plue_session.adapters.child.guard import PROGRAM, Guarded

#: Seconds between two questions whether somebody still waits for the command to be ready.
GLANCE = 0.1
#: Seconds until a command must be ready (a server: 1.3 to 3.2 were measured).
START = 30.0
#: A command that lived so long has not failed to start: the next one is started soon. Seconds.
STEADY = 10.0
#: Seconds from an end to the next start, doubled each time until the longest.
BACK_OFF = 0.2, 30.0
#: Seconds until a start is tried again that somebody else was in the way of.
AGAIN = 0.02, 0.1
#: Seconds between health checks, and how many must fail in a row before the command is started anew.
CHECK, CHECKS = 10.0, 3
#: Bytes of stderr that are kept for errors.
TAIL = 4096


class Child:
    """A command under the guard. Thread-safe.

    `output()` makes a reader for each start: its `feed(data)` takes what the command prints and returns what that is
    ready with (for a server its URL), or None; its error is that of the command, which is ended.

    `on_change(value)` is called on the command's thread when it is ready and, with None, when it is gone; it must not
    block. `on_lifeline(fd, open)` tells of descriptors that a forked child must close. `check(value)` raises when the
    command is not well; None: no checks. `children` as for `Guarded`. `share`: the `Share` where others may use the
    command too, or None; `describe` and `adopt` are then what they tell each other of it.
    """

    def __init__(
        self,
        command,
        output,
        *,
        on_change=None,
        on_lifeline=None,
        check=None,
        program=PROGRAM,
        back_off=BACK_OFF,
        children=None,
        share=None,
    ):
        self._command, self._output, self._program, self._children = command, output, program, children
        self._share = share
        self._on_change, self._on_lifeline, self._check = on_change or _ignore, on_lifeline or _ignore, check
        self._back_off = back_off
        self._state = threading.Condition()
        self._value = self._failure = self._process = None
        self._stopping = self._ended = False
        self._thread = self._checker = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.starts = 0  # how many times it was ready

    def begin(self):
        """Begin to start the command; returns at once. `IO` when there are no threads for it."""
        if self._check:
            self._checker = _Checker(self._check, self._poke)
        try:
            self._thread = threads.start(self._run, "plue-child")
        except errors.StoreIo:
            self.end()
            raise

    def start(self, call, given_up=None):
        """Start the command, if that has not begun, and return what it is ready with.

        Fails with `IO` (it cannot be run), `SERVER` (it ended before it was ready: the end of its stderr is in the
        message), `TIMEOUT`, or `CLOSED` once `given_up()`, which is asked every now and then; then nothing is left of
        it.
        """
        name, does = self._command.name, self._command.does
        if self._thread is None:
            self.begin()
        while True:
            try:
                return self.wait(call.within(GLANCE) if given_up else call)
            except (errors.Timeout, errors.Connection):
                given = given_up is not None and given_up()
                if given or time.monotonic() >= call.deadline:
                    self.stop()
                    raise (
                        errors.Closed(f"the library was shut down before {name} {does}ed", "Call plue_init again.")
                        if given
                        else errors.Timeout(
                            f"{name} does not {does} in time",
                            "See whether it starts in a terminal, or raise requestTimeoutMs.",
                        )
                    ) from None
            except errors.PlueError:
                self._thread.join(10)
                raise

    def wait(self, call):
        """Return what the running command is ready with, waiting for a new start: `CONNECTION` at the end, `TIMEOUT`
        before it was ever ready."""
        name = self._command.name

        def ready():
            if self._value is None and self._failure is not None and (self._ended or not self.starts):
                raise self._failure
            if self._value is None and (self._stopping or self._ended):
                raise errors.Closed(f"{name} was stopped meanwhile", "Call plue_init again.")
            return self._value

        value = call.wait(self._state, ready)
        if value is None and not self.starts:
            raise errors.Timeout(f"{name} does not {self._command.does} in time", "Try again.")
        if value is None:
            raise errors.Connection(f"{name} is being restarted", "Try again.")
        return value

    @property
    def pid(self):
        """The process id of the running command, which is its group's; None while there is none."""
        process = self._process
        return process.pid if process else None

    @property
    def place(self):
        """`(what it is ready with, process id)` of the running command, each None while there is none."""
        with self._state:
            return self._value, self.pid

    def describe(self, value):
        """Return what others have to know of the command that is ready with `value`: a line of text."""
        return value

    def adopt(self, note):
        """Return what the command is ready with that another process has started and described."""
        return note

    def end(self):
        """Begin to end the command and its processes, unless others use it: TERM, TERM, KILL. Returns at once, and
        needs nothing that may be lacking. Twice is harmless."""
        with self._state:
            self._stopping = True
            self._state.notify_all()
        self._poke()
        if self._checker is not None:
            self._checker.end()

    def stop(self, seconds=7.0):
        """End the command and its processes, unless others use it, and wait; 5 s are enough. Twice is harmless."""
        self.end()
        if self._thread is not None:
            self._thread.join(seconds)
        with self._state:
            if self._wake_write is not None and (self._thread is None or not self._thread.is_alive()):
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_read = self._wake_write = None

    def _poke(self):
        with self._state:
            if self._wake_write is not None:
                try:
                    os.write(self._wake_write, b"x")
                except BlockingIOError:  # it has been poked often enough
                    pass

    # -- the command's thread ------------------------------------------------------------------------------------------
    def _run(self):
        delay, most = self._back_off
        failure = joined = None
        while not self._stopping:
            began = time.monotonic()
            try:
                failure = self._once(joined)
            except Exception as error:  # a defect, too: who asks for the command must see it
                failure = errors.known(error)
            if self._stopping or failure is not None and not self.starts:
                break
            if failure is None:
                joined = self._pause(random.uniform(*AGAIN))
                continue
            if time.monotonic() - began > STEADY:
                delay = self._back_off[0]
            joined = self._pause(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, most)
        if joined is not None:
            joined.close()
        with self._state:
            self._ended = True
            self._failure = None if self._stopping else failure
            self._state.notify_all()

    def _once(self, joined):
        """Run the command from start to end, or use one that runs; returns the error that its end is. None: it was not
        to be had just now, and never ready."""
        process = joined or self._join() or Guarded(self._command, self._program, self._children, self._share)
        self._on_lifeline(process.lifeline, True)
        self._process = process
        try:
            failure = _Watch(self, process).run()
        finally:
            self._on_lifeline(process.lifeline, False)
            process.close()
            with self._state:
                was, self._value, self._process = self._value, None, None
            if was is not None:
                self._on_change(None)
        never = was is None and not process.is_own and not self.starts
        return None if process.is_busy or never else failure

    def _join(self):
        return self._share.join(self._command) if self._share else None

    def _ready(self, value):
        with self._state:
            self._value, self.starts = value, self.starts + 1
            self._state.notify_all()
        self._on_change(value)

    def _pause(self, seconds):
        """Wait until it is time to start the command, or somebody else has: then return the way to it."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            if poll.poll((min(left, GLANCE) if self._share else left) * 1000):
                self._drain_wake()
            else:
                try:
                    if joined := self._join():
                        return joined
                except errors.StoreIo:  # whoever starts it meets that, too, and says so
                    pass
        return None

    def _drain_wake(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass


class _Watch:
    """The life of one process, for `Child`."""

    def __init__(self, owner, process):
        self.owner, self.process, self.output = owner, process, owner._output()
        self.value, self.refused, self.tail = None, None, b""
        self.stopped = self.described = self.announced = False
        self.failed_checks = 0  # in a row

    def run(self):
        owner, process = self.owner, self.process
        poll = select.poll()
        for fd in (process.lifeline, process.stdout, process.stderr, owner._wake_read):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        due = time.monotonic() + START  # when to give up, or to check, next
        while not process.gone:
            sick = self.refused or self.failed_checks >= CHECKS
            if not self.stopped and (owner._stopping or sick):
                self.stopped = True
                if sick:
                    process.stop()
                else:
                    process.leave()
            for fd, _ in poll.poll(max(due - time.monotonic(), 0) * 1000):
                if fd == process.lifeline:
                    process.listen()
                elif fd == owner._wake_read:
                    owner._drain_wake()
                elif not self.read(fd):
                    poll.unregister(fd)
            if self.value is None and process.note is not None:
                self.value = owner.adopt(process.note)
            if self.value is not None and not self.announced and process.pid:  # the guard may be late
                if process.is_own and owner._share and process.note is None:
                    if not self.described:  # it is ready once all can know
                        self.described = True
                        process.tell(owner.describe(self.value))
                else:
                    self.announced = True
                    due = time.monotonic() + CHECK
                    owner._ready(self.value)
            if time.monotonic() >= due:
                if self.value is None:
                    process.leave()
                elif owner._checker:
                    owner._checker.examine(self)
                due = time.monotonic() + CHECK
        for fd in (process.stdout, process.stderr) if process.is_own else ():
            os.set_blocking(fd, False)
            while self.read(fd):
                pass
        if self.refused:
            return self.refused
        command, said = owner._command, " ".join(self.tail.decode("utf-8", "replace").split()) or "nothing"
        when = "ended" if self.value is not None else f"ended before it {command.does}ed"
        return errors.Server(
            f"{command.name} {when} ({process.exit or 'unknown'}); its last words: {said[-1000:]}",
            f"Correct what it says, or {command.key}.",
            details={"exit": process.exit, "stderr": said},
        )

    def read(self, fd):
        """Take in what the command printed; returns False at the end."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if fd == self.process.stderr:
            self.tail = (self.tail + data)[-TAIL:]
        elif self.value is None and self.refused is None:
            try:
                self.value = self.output.feed(data)
            except errors.PlueError as error:
                self.refused = error
        return bool(data)


class _Checker:
    """Asks whether the command is well, on a thread of its own: a question may hang. The thread is there from the
    start, because later there may be none to be had, which is no fault of the command's."""

    def __init__(self, check, done):
        self._check, self._done = check, done
        self._asked, self._busy = queue.SimpleQueue(), False
        threads.start(self._run, "plue-health")

    def examine(self, watch):
        """Have the command of a watch checked. Does nothing while a check is under way."""
        if not self._busy:
            self._busy = True
            self._asked.put(watch)

    def end(self):
        """End the thread, after its check; returns at once."""
        self._asked.put(None)

    def _run(self):
        while (watch := self._asked.get()) is not None:
            self._examine(watch)
            self._busy = False
            self._done()

    def _examine(self, watch):
        try:
            self._check(watch.value)
        except (errors.StoreIo, MemoryError):  # something is lacking here: that says nothing of the command
            return
        except Exception:  # whatever it met, the command is not known to be well; three in a row are told by its end
            watch.failed_checks += 1
        else:
            watch.failed_checks = 0


def _ignore(*_):
    return None
