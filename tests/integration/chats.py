"""Conversations in a terminal: programs that run, what is typed into them, and what they print."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading

import pytest

from tests import support
from tests.languages.programs import zig

EXAMPLES = support.ROOT / "examples"
PROGRAMS = ("chat.c", "chat.zig", "chat.py", "plue-session")
#: Seconds within which what must be shown is shown, on a machine that is busy.
PATIENCE = 20


class Chat:
    """One that runs; `said` is what it has printed."""

    def __init__(self, command, env, cwd, stdin=subprocess.PIPE, controls=False):
        """`controls`: the input is a terminal, which sends it signals."""
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=controls,
            preexec_fn=(lambda: fcntl.ioctl(stdin, termios.TIOCSCTTY, 0)) if controls else None,
        )
        self.said, self._more = "", threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while text := os.read(self._process.stdout.fileno(), 65536):
            with self._more:
                self.said += text.decode("utf-8", "replace")
                self._more.notify_all()

    def say(self, *lines):
        self._process.stdin.write("".join(line + "\n" for line in lines).encode())
        self._process.stdin.flush()

    def close(self):
        """End the input."""
        self._process.stdin.close()

    def shows(self, text, after=0):
        """Wait until this is printed; return the place after it."""
        with self._more:
            assert self._more.wait_for(lambda: text in self.said[after:], PATIENCE), (text, self.said[after:])
            return self.said.index(text, after) + len(text)

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def has_ended(self, seconds):
        """Return whether it ends within that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def ends(self, code=0):
        ended = self._process.wait(PATIENCE)
        assert code is None or ended == code, (self.said, self._process.stderr.read())
        self._reader.join(PATIENCE)
        err = self._process.stderr.read().decode()
        assert "Traceback" not in err
        return err

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


@pytest.fixture(scope="module")
def commands(plain, tmp_path_factory):
    """`commands(name)` builds a program and returns how it is started."""
    folder = tmp_path_factory.mktemp("chat")

    def command(name):
        if name == "chat.c":
            return [plain.compile(EXAMPLES / name)]
        if name == "chat.zig":
            return [zig(plain, EXAMPLES / name, folder / "chat")]
        return [sys.executable, *([EXAMPLES / name] if name == "chat.py" else ["-m", "plue_session.cli", "chat"])]

    return command
