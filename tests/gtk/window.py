"""The window of examples/gtk in a display of its own, driven as a person would (driver.c)."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

from tests import support

HERE = Path(__file__).parent
SOURCES = support.ROOT / "examples" / "gtk"
#: Seconds within which something that must be shown is shown.
PATIENCE = 30


def build(library, folder):
    """Build the window as its first comment says, and what drives it; return both."""
    flags = support.run(["pkg-config", "--cflags", "--libs", "gtk4"], env=os.environ).out.split()
    program, driver = folder / "chat", folder / "driver.so"
    warnings = ["-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{library.include}"]
    linked = [f"-L{library.lib}", f"-Wl,-rpath,{library.lib}", "-lplue_session"]
    sources = sorted(SOURCES.glob("*.c"))
    support.run(["cc", *warnings, *sources, "-o", program, *linked, *flags], env=os.environ)
    support.run(["cc", *warnings, "-shared", "-fPIC", HERE / "driver.c", "-o", driver, *flags], env=os.environ)
    return program, driver


@contextlib.contextmanager
def display():
    """A screen that nobody sees; yields its name."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        assert number, "Xvfb does not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


class Window:
    """One that runs."""

    def __init__(self, program, driver, screen, env, cwd):
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={
                **env,
                "DISPLAY": screen,
                "GDK_BACKEND": "x11",
                "GSK_RENDERER": "cairo",
                "GTK_A11Y": "none",
                "LD_PRELOAD": str(driver),
                "HOME": str(cwd),
                "LANG": "C.UTF-8",
            },
        )

    def ask(self, command):
        """Have the driver do something; return what it says."""
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the window ended: {self._process.stderr.read()}"
        return json.loads(line)

    def do(self, command):
        """Do it as soon as the window lets one."""
        self._await(lambda: self.ask(command)["done"], f"cannot {command}")

    def texts(self):
        return self.ask("text")["shown"]

    def shows(self, *parts):
        """Wait until all of these are shown."""
        self._await(lambda: self._has(parts), parts)

    def await_item(self, title):
        """Open the session with this title, as soon as the list has it."""
        self._await(lambda: title in self.texts(), title)
        self.do(f"open {self.texts().index(title)}")  # the list comes first

    def hides(self, part):
        """Wait until this is not shown."""
        self._await(lambda: not self._has([part]), part)

    def _has(self, parts):
        shown = "\n".join(self.texts())
        return all(part in shown for part in parts)

    def _await(self, condition, what):
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, (what, self.texts())
            time.sleep(0.02)

    def end(self):
        """Close the window; return what the program has said."""
        self.ask("close")
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0
        return self._process.stderr.read()

    def kill(self):
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
