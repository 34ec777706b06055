"""A command that cannot outlive this process: run under the guard (guard.c), told and heard over its lifeline."""

import errno
import fcntl
import os
import socket
import subprocess
from collections import namedtuple

from plue_session.errors import InvalidParam, StoreIo

#: The guard's program, compiled by build_ffi.py into the package; it needs no Python and no library.
PROGRAM = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "lib", "plue-session-guard"
)
#: Milliseconds from TERM to the second TERM, and from there to KILL: within the 5 s that a shutdown grants.
DELAYS = 1500, 3000


class Command(namedtuple("Command", "words directory environment name does key install place", defaults=[None])):
    """What is run: `words`, without a shell, in `directory`, with `environment` (a dict of text). For messages: `name`
    of what it is and what it `does` when it is ready ("the server", "listen"), `key` of the configuration that it comes
    from, how to `install` it, and the key that names the directory, if that is not in `key`."""

    __slots__ = ()


class Lifeline:
    """A way to the guard of a running command. `lifeline` is a descriptor for `poll`; this object closes it.

    Who forks this process must close `lifeline` in the child, or the guard takes the child for the host.
    """

    #: whether the command was started here
    is_own = False
    #: what the command prints, as descriptors for `poll`; None for who has joined it
    stdout = stderr = None
    #: where it is told things, as a descriptor that does not block; None: its standard input is empty
    stdin = None
    _wait, _is_shared = None, True

    def __init__(self, line, command, program=PROGRAM):
        self._command, self._program = command, program
        self.pid = None
        self.exit = None  # what ended the command: "exit code 1", "signal 9"; None while it runs
        self.gone = False  # no process of it is left, or it goes on without us
        self.is_busy = False  # another guard has it, or is about to end it: nothing was started
        self.note = None  # what its host has noted of it
        self._heard, self._left = b"", False
        self._socket = line
        line.setblocking(False)
        self.lifeline = line.fileno()

    def listen(self):
        """Take in what the guard says; call it when `lifeline` is readable. `IO` when the command could not be run.

        Afterwards `pid`, `exit`, `note` and `gone` tell. If the guard was killed, the command's group is killed here.
        """
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._heard = (self._heard + data).split(b"\n")
        failed = None
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "note":
                self.note = number
            elif word == "started":
                self.pid = int(number)
            elif word == "failed":
                self.gone, failed = True, int(number)  # the guard is about to exit
            elif word == "exited":
                self.exit = f"exit code {number}"
            elif word == "killed":
                self.exit = f"signal {number}"
            elif word in ("gone", "left", "busy"):
                self.gone, self._left, self.is_busy = True, word == "left", word == "busy"
        if not data and not self.gone:
            self.gone = True
            self.exit = self.exit or "its guard was killed"
            if self.pid:
                try:
                    os.killpg(self.pid, 9)
                except OSError:  # nothing of it is left
                    pass
        if failed is not None:
            raise _unable(OSError(failed, os.strerror(failed)), self._command, self._program)

    def tell(self, note):
        """Have all who use the command, now and later, told this line about it."""
        self._say(f"note {note}")

    def leave(self):
        """Use the command no longer: if nobody else does, its processes are ended (TERM, TERM, KILL). Returns at once;
        `gone` tells when it is done."""
        self._say("leave")

    def stop(self):
        """Have the command's processes ended, whoever uses it. Returns at once; `gone` tells when it is done."""
        self._say("end")

    def _say(self, line):
        try:
            self._socket.send(line.encode() + b"\n")
        except OSError:  # the guard is gone already
            pass

    def close(self):
        """Close the descriptors. A command that nobody else uses is ended by the guard; where that takes part of the
        host, its end is waited for. Twice is harmless."""
        self._socket.close()
        wait, self._wait = self._wait, None
        ends = self.gone and not self._left or not self._is_shared
        if wait is not None and not wait(ends):
            _staying.append(wait)
        self.hang_up()

    def hang_up(self):
        """Close the command's standard streams. Twice is harmless."""
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd is not None:
                os.close(fd)
        self.stdin = self.stdout = self.stderr = None


#: What waits for the guards that went on without this process, where they take part of it.
_staying: list = []


class Guarded(Lifeline):
    """A running command that was started here. `stdin`, `stdout` and `stderr` are closed with it; a forked child must
    close `stdin`, too, or the command misses its end.

    The host has no child process by it.
    """

    is_own = True

    def __init__(self, command, program=PROGRAM, children=None, share=None, *, talks=False, delays=DELAYS):
        """Start a `Command`. `IO` when it cannot be run. Standard input is empty, or (`talks`) a pipe. `delays`: as
        `DELAYS`.

        `children.start(program, arguments, environment, folder, streams)` starts a program that is no child of the
        host's (see capi/children.py); without it, the guard is to detach by itself. Others may join the command at
        `share`; `is_busy`, if somebody else has started it.
        """
        _staying[:] = [wait for wait in _staying if not wait(False)]
        try:
            ours, self.stdin, self.stdout, self.stderr, theirs = _streams(talks)
        except OSError as error:
            raise StoreIo(
                f"the guard {program} cannot be run: {error.strerror}",
                "Close some files, or raise the limit (ulimit -n).",
            ) from None
        super().__init__(ours, command, program)
        self._is_shared = share is not None
        try:
            self._wait = _start(children, program, command, theirs, share.words if share else [], delays)
        except (OSError, ValueError) as error:
            self.close()
            if isinstance(error, ValueError):
                raise InvalidParam(f"the command cannot be run: {error}", f"Correct {command.key}.") from None
            raise _unable(error, command, program) from None
        finally:
            for fd in theirs:
                os.close(fd)


def _streams(talks):
    """Return our end of the lifeline, of the command's input (or None), of its output and of its errors, and a list of
    what are its descriptors 0 to 3: above those, for a host may have closed them, and then ours would be among them."""
    ours, theirs = socket.socketpair()
    made = [theirs.detach()]
    try:
        for _ in range(3):
            made += os.pipe2(os.O_CLOEXEC)
        lifeline, nothing, empty, stdout, out, stderr, err = made
        moved = []
        try:
            for fd in (nothing, out, err, lifeline, *([empty] if talks else [])):
                moved.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10))
        except OSError:
            for fd in moved:
                os.close(fd)
            raise
        for fd in (lifeline, nothing, empty, out, err):
            made.remove(fd)
            os.close(fd)
        stdin = moved.pop() if talks else None
        if talks:
            os.set_blocking(stdin, False)
        return ours, stdin, stdout, stderr, moved
    except OSError:
        ours.close()
        for fd in made:
            os.close(fd)
        raise


def _start(children, program, command, streams, share, delays):
    """Start the guard, and return a function that waits for its end, or only looks (`wait(False)`), and returns whether
    it has ended; or None."""
    words, (*standard, lifeline) = [*map(str, delays), *command.words], streams
    if children is not None:
        try:
            return children.start(
                program, [program, *share, "3", *words], command.environment, command.directory, streams
            )
        except NotImplementedError:
            pass
    launched = subprocess.Popen(
        [program, "detach", *share, str(lifeline), *words],
        stdin=standard[0],
        stdout=standard[1],
        stderr=standard[2],
        cwd=command.directory,
        env=command.environment,
        pass_fds=[lifeline],
    )
    launched.wait()  # only until it has detached
    return None


def _unable(error, command, program):
    if error.errno == errno.E2BIG:  # of the guard, which gets both
        return StoreIo(
            f"the command {command.words[0]} cannot be run: its arguments and environment are too long",
            f"Shorten {command.key}.command or {command.key}.env.",
        )
    if error.filename == program or not os.access(program, os.X_OK):
        return StoreIo(
            f"the guard {program} cannot be run: {error.strerror}",
            "Install the package again (pip install plue-session).",
        )
    if error.filename == command.directory:
        return StoreIo(
            f"the directory {command.directory} cannot be used: {error.strerror}",
            f"Correct {command.place or command.key + '.directory'}.",
        )
    return StoreIo(
        f"the command {command.words[0]} cannot be run: {error.strerror}",
        f"{command.install}, or name its program in {command.key}.command.",
    )
