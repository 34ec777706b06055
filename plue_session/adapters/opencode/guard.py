"""A command that cannot outlive this process: run under the guard (guard.c), told and heard over its lifeline."""

import fcntl
import os
import socket
import subprocess

from plue_session.errors import InvalidParam, StoreIo

#: The guard's program, compiled by build_ffi.py into the package; it needs no Python and no library.
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "lib", "plue-session-guard")
#: Milliseconds from TERM to the second TERM, and from there to KILL: within the 5 s that a shutdown grants.
FIRST, SECOND = 1500, 3000


class Guarded:
    """A running command. `lifeline`, `stdout` and `stderr` are descriptors for `poll`; this object closes them.

    The host has no child process by it: the guard detaches. Who forks this process must close `lifeline` in the child, or
    the guard takes the child for the host.
    """

    def __init__(self, command, directory, environment, program=PROGRAM):
        """Start `command` (a list) in `directory` with `environment` (a dict of text), without a shell.

        `IO` when it cannot be run. Standard input is empty.
        """
        self.pid = None
        self.exit = None  # what ended the command: "exit code 1", "signal 9"; None while it runs
        self.gone = False  # no process of it is left
        self._heard = b""
        ours, theirs = socket.socketpair()
        # A host may have closed 0 to 2; then these would be among them, and in the way of the command's own.
        inherited = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 10)
        theirs.close()
        try:
            launched = subprocess.Popen([program, str(inherited), str(FIRST), str(SECOND), *command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=directory, env=environment,
                                        pass_fds=[inherited])
        except OSError as error:
            ours.close()
            raise _unable(error, command[0], directory, program) from None
        except ValueError as error:
            ours.close()
            raise InvalidParam(f"the command cannot be run: {error}", "Correct backend.spawn.") from None
        finally:
            os.close(inherited)
        self.stdout, self.stderr = os.dup(launched.stdout.fileno()), os.dup(launched.stderr.fileno())
        launched.stdout.close()
        launched.stderr.close()
        launched.wait()  # only until it has detached
        ours.setblocking(False)
        self._socket = ours
        self.lifeline = ours.fileno()
        self._command, self._directory, self._program = command[0], directory, program

    def listen(self):
        """Take in what the guard says; call it when `lifeline` is readable. `IO` when the command could not be run.

        Afterwards `pid`, `exit` and `gone` tell. If the guard was killed, the command's group is killed here.
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
            if word == "started":
                self.pid = int(number)
            elif word == "failed":
                failed = int(number)
            elif word == "exited":
                self.exit = f"exit code {number}"
            elif word == "killed":
                self.exit = f"signal {number}"
            elif word == "gone":
                self.gone = True
        if not data and not self.gone:
            self.gone = True
            self.exit = self.exit or "its guard was killed"
            if self.pid:
                try:
                    os.killpg(self.pid, 9)
                except OSError:  # nothing of it is left
                    pass
        if failed is not None:
            raise _unable(OSError(failed, os.strerror(failed)), self._command, self._directory, self._program)

    def stop(self):
        """Have the command's processes ended: TERM, TERM, KILL. Returns at once; `gone` tells when it is done."""
        try:
            self._socket.send(b"T")
        except OSError:  # the guard is gone already
            pass

    def close(self):
        """Close the descriptors. A command that still runs is ended by the guard. Twice is harmless."""
        self._socket.close()
        for fd in (self.stdout, self.stderr):
            if fd is not None:
                os.close(fd)
        self.stdout = self.stderr = None


def _unable(error, command, directory, program):
    if error.filename == program or not os.access(program, os.X_OK):
        return StoreIo(f"the guard {program} cannot be run: {error.strerror}", "Install the package again (pip install plue-session).")
    if error.filename == directory:
        return StoreIo(f"the directory {directory} cannot be used: {error.strerror}", "Correct backend.spawn.directory.")
    return StoreIo(f"the command {command} cannot be run: {error.strerror}",
                   "Install OpenCode (npm install -g opencode-ai), or name its program in backend.spawn.command.")
