"""A server of our own: spawned, waited for, read, restarted, ended.

One thread does it all, around one `poll`: what the guard says, what the server prints, and who wants what. It never
waits for anything else, so that the server can never block on a full pipe (O-003). A second one asks whether the server
is well.
"""

import os
import random
import re
import select
import threading
import time

from plue_session import errors, threads
from plue_session.adapters.opencode.guard import PROGRAM, Guarded

#: Seconds between two questions whether somebody still waits for the server to start.
GLANCE = 0.1
#: Seconds until a server must listen (1.3 to 3.2 were measured).
START = 30.0
#: A server that lived so long has not failed to start: the next one is started soon. Seconds.
STEADY = 10.0
#: Seconds from a crash to the restart, doubled each time until the longest.
BACK_OFF = 0.2, 30.0
#: Seconds between health checks, and how many must fail in a row before the server is restarted.
CHECK, CHECKS = 10.0, 3
#: Bytes of stderr that are kept for errors.
TAIL = 4096

#: A URL that a server may listen on, with its port.
_PLACE = re.compile(r"https?://(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?(?:/\S*)?", re.ASCII)

#: What keeps OpenCode from downloading: npm packages for plugins (63 MB), itself, the list of models (O-006).
ENVIRONMENT = {"npm_config_offline": "true", "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}


class OwnServer:
    """An OpenCode server under the guard. Thread-safe.

    `command` is the program with what precedes "serve"; `environment` is the host's, `overrides` (`spawn.env`) wins
    over everything. Without a password in them a random one is set: a port of 127.0.0.1 is open to every user of the
    machine, and OpenCode runs commands for whoever asks. `username` and `password` are what the server takes.

    `on_change(url)` is called on the server's thread when it listens and, with None, when it is gone; it must not
    block. `on_lifeline(fd, open)` tells of descriptors that a forked child must close. `check(url)` raises when the
    server is not well; None: no checks. `children` as for `Guarded`.
    """

    def __init__(
        self,
        command,
        directory,
        environment,
        overrides,
        *,
        on_change=None,
        on_lifeline=None,
        check=None,
        program=PROGRAM,
        back_off=BACK_OFF,
        children=None,
    ):
        self._environment = {**environment, **ENVIRONMENT, **overrides}
        self.username = self._environment.get("OPENCODE_SERVER_USERNAME") or "opencode"
        self.password = self._environment.get("OPENCODE_SERVER_PASSWORD")
        if not self.password and "OPENCODE_SERVER_PASSWORD" not in overrides:
            self.password = self._environment["OPENCODE_SERVER_PASSWORD"] = os.urandom(24).hex()
        self._command = list(command) + (
            [] if "serve" in command[1:] else ["serve", "--hostname", "127.0.0.1", "--port", "0"]
        )
        self._directory, self._program, self._children = directory, program, children
        self._on_change, self._on_lifeline, self._check = on_change or _ignore, on_lifeline or _ignore, check
        self._back_off = back_off
        self._state = threading.Condition()
        self._url = self._failure = self._process = None
        self._stopping = self._ended = False
        self._thread = self._checker = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.starts = 0  # how many times it has listened

    def begin(self):
        """Begin to spawn the server; returns at once. `IO` when there are no threads for it."""
        if self._check:
            self._checker = _Checker(self._check, self._poke)
        try:
            self._thread = threads.start(self._run, "plue-server")
        except errors.StoreIo:
            self.end()
            raise

    def start(self, deadline, given_up=None):
        """Spawn the server, if that has not begun, and return its URL once it listens; `deadline` is in seconds of the
        monotonic clock.

        Fails with `IO` (the command cannot be run), `SERVER` (it ended before it listened: the end of its stderr is in
        the message), `TIMEOUT`, or `CLOSED` once `given_up()`, which is asked every now and then; then nothing is left
        of it.
        """
        if self._thread is None:
            self.begin()
        while True:
            try:
                return self.url(min(deadline, time.monotonic() + GLANCE) if given_up else deadline)
            except (errors.Timeout, errors.Connection):
                given = given_up is not None and given_up()
                if given or time.monotonic() >= deadline:
                    self.stop()
                    raise (
                        errors.Closed("the library was shut down before the server listened", "Call plue_init again.")
                        if given
                        else errors.Timeout(
                            "the server does not listen in time",
                            "See whether it starts in a terminal, or raise requestTimeoutMs.",
                        )
                    ) from None
            except errors.PlueError:
                self._thread.join(10)
                raise

    def url(self, deadline, cancel=None):
        """Return the URL of the running server, waiting for a restart: `CONNECTION` at the end, `TIMEOUT` before it
        ever ran."""

        def wake():
            with self._state:
                self._state.notify_all()

        if cancel is not None:
            cancel.watch(wake)
        try:
            with self._state:
                while self._url is None:
                    if cancel is not None:
                        cancel.check()
                    if self._failure is not None and (self._ended or not self.starts):
                        raise self._failure
                    if self._stopping or self._ended:
                        raise errors.Closed("the server was stopped meanwhile", "Call plue_init again.")
                    left = deadline - time.monotonic()
                    if left <= 0:
                        if not self.starts:
                            raise errors.Timeout("the server does not listen in time", "Try again.")
                        raise errors.Connection("the server is being restarted", "Try again.")
                    self._state.wait(left)
                return self._url
        finally:
            if cancel is not None:
                cancel.unwatch(wake)

    @property
    def pid(self):
        """The process id of the running command, which is its group's; None while there is none."""
        process = self._process
        return process.pid if process else None

    @property
    def place(self):
        """`(url, process id)` of the running server, each None while there is none."""
        with self._state:
            return self._url, self.pid

    def end(self):
        """Begin to end the server and its processes: TERM, TERM, KILL. Returns at once, and needs nothing that may be
        lacking. Twice is harmless."""
        with self._state:
            self._stopping = True
            self._state.notify_all()
        self._poke()
        if self._checker is not None:
            self._checker.end()

    def stop(self, seconds=7.0):
        """End the server and its processes, and wait for it; 5 s are enough. Twice is harmless."""
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

    # -- the server's thread ---------------------------------------------------------------------------------------
    def _run(self):
        delay, most = self._back_off
        failure = None
        while not self._stopping:
            began = time.monotonic()
            try:
                failure = self._once()
            except errors.PlueError as error:
                failure = error
            except (
                Exception
            ) as error:  # a defect must be seen by who asks for the server, and not by Python on the host's stderr
                failure = errors.Unknown(f"internal error, {type(error).__name__}: {error}", "Please report it.")
            if self._stopping or not self.starts:
                break
            if time.monotonic() - began > STEADY:
                delay = self._back_off[0]
            self._pause(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, most)
        with self._state:
            self._ended = True
            self._failure = None if self._stopping else failure
            self._state.notify_all()

    def _once(self):
        """Run one server from start to end; returns the error that its end is."""
        process = Guarded(self._command, self._directory, self._environment, self._program, self._children)
        self._on_lifeline(process.lifeline, True)
        self._process = process
        try:
            return _Watch(self, process).run()
        finally:
            self._on_lifeline(process.lifeline, False)
            process.close()
            with self._state:
                was, self._url, self._process = self._url, None, None
            if was:
                self._on_change(None)

    def _listens(self, url):
        with self._state:
            self._url, self.starts = url, self.starts + 1
            self._state.notify_all()
        self._on_change(url)

    def _pause(self, seconds):
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                self._drain_wake()

    def _drain_wake(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass


class _Watch:
    """The life of one process, for `OwnServer`."""

    def __init__(self, owner, process):
        self.owner, self.process = owner, process
        self.url, self.refused, self.printed, self.tail = None, None, b"", b""
        self.stopped = self.announced = False
        self.failed_checks = 0  # in a row

    def run(self):
        owner, process = self.owner, self.process
        poll = select.poll()
        for fd in (process.lifeline, process.stdout, process.stderr, owner._wake_read):
            poll.register(fd, select.POLLIN)
        due = time.monotonic() + START  # when to give up, or to check, next
        while not process.gone:
            if not self.stopped and (owner._stopping or self.refused or self.failed_checks >= CHECKS):
                self.stopped = True
                process.stop()
            for fd, _ in poll.poll(max(due - time.monotonic(), 0) * 1000):
                if fd == process.lifeline:
                    process.listen()
                elif fd == owner._wake_read:
                    owner._drain_wake()
                elif not self.read(fd):
                    poll.unregister(fd)
            if self.url and not self.announced and process.pid:  # the line may be heard before the guard's word
                self.announced = True
                due = time.monotonic() + CHECK
                owner._listens(self.url)
            if time.monotonic() >= due:
                if self.url is None:
                    process.stop()
                elif owner._checker:
                    owner._checker.examine(self)
                due = time.monotonic() + CHECK
        for fd in (process.stdout, process.stderr):
            os.set_blocking(fd, False)
            while self.read(fd):
                pass
        if self.refused:
            return errors.Server(
                f"the command says that it listens on {self.refused}, which is no URL of a server",
                "See that backend.spawn.command starts OpenCode.",
                details={"stdout": self.refused},
            )
        said = " ".join(self.tail.decode("utf-8", "replace").split()) or "nothing"
        when = "ended" if self.url else "ended before it listened"
        return errors.Server(
            f"the server {when} ({process.exit or 'unknown'}); its last words: {said[-1000:]}",
            "Correct what it says, or backend.spawn.",
            details={"exit": process.exit, "stderr": said},
        )

    def read(self, fd):
        """Take in what the server printed; returns False at the end."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if fd == self.process.stderr:
            self.tail = (self.tail + data)[-TAIL:]
        elif self.url is None and self.refused is None:
            self.printed = (self.printed + data)[-65536:]
            self.look_for_url()
        return bool(data)

    def look_for_url(self):
        # Other lines may come before it: a warning about the password (O-003).
        *lines, _ = self.printed.split(b"\n")
        for line in lines:
            _, found, url = line.partition(b"server listening on ")
            if found and url.startswith((b"http://", b"https://")):
                url = url.strip().decode("ascii", "backslashreplace")
                place = _PLACE.fullmatch(url)
                if place and 0 < int(place.group(1) or 80) < 65536:
                    self.url = url
                else:
                    self.refused = "".join(char if char.isprintable() else " " for char in url[:200])
                return


class _Checker:
    """Asks whether the server is well, on a thread of its own: a question may hang. The thread is there from the start,
    because later there may be none to be had, which is no fault of the server's."""

    def __init__(self, check, done):
        self._check, self._done = check, done
        self._changed = threading.Condition()
        self._watch, self._ended = None, False
        threads.start(self._run, "plue-health")

    def examine(self, watch):
        """Have the server of a watch checked. Does nothing while a check is under way."""
        with self._changed:
            if self._watch is None:
                self._watch = watch
                self._changed.notify_all()

    def end(self):
        """End the thread, after its check; returns at once."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _run(self):
        while True:
            with self._changed:
                while self._watch is None and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
            self._examine(self._watch)
            with self._changed:
                self._watch = None
            self._done()

    def _examine(self, watch):
        try:
            self._check(watch.url)
        except (errors.StoreIo, MemoryError):  # something is lacking here: that says nothing of the server
            return
        except Exception:  # whatever it met, the server is not known to be well; three in a row are told by its end
            watch.failed_checks += 1
        else:
            watch.failed_checks = 0


def _ignore(*_):
    return None
