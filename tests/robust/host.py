"""C programs that hold the library and do what a test tells them (c_tests/remote_host.c)."""

import contextlib
import itertools
import json
import os
import queue
import subprocess
import threading
import time
from pathlib import Path

from tests import support
from tests.peers import Answer, Failed


class Timed(Answer):
    """An answer that knows how long its call took, in seconds."""

    @property
    def took(self):
        assert self.at
        return self._reply["took"]


class Host:
    """One process. A method for each function of the library: `host.session_list()`; what fails raises `Failed`.

    `config` is the whole configuration of its `plue_init`, which is called unless it is None.
    """

    def __init__(self, folder, config=None, build="plain", **environment):
        library = support.library(build)
        program = library.compile(support.PROGRAMS / "remote_host.c")
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=support.environment(folder, **environment)
        )
        self.pid = self._process.pid
        self._numbers, self._waiting, self._lock = itertools.count(), {}, threading.Lock()
        self.events = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if config is not None:
            try:
                self.init(json.dumps(config))
            except BaseException:
                self.kill()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def __getattr__(self, name):
        return lambda *arguments: self.start(name, *arguments).result()

    def start(self, name, *arguments, alone=True):
        """Begin a call, on a thread of its own; not `alone`: on the one that reads what it is told."""
        number, answer = next(self._numbers), Timed()
        self._waiting[number] = answer
        line = (
            "\t".join(
                [str(number), "a" if alone else "s", name, *("\1" if each is None else str(each) for each in arguments)]
            )
            + "\n"
        )
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        return answer

    def info(self, session):
        """Return what is known of a session, without asking."""
        return json.loads(self.session_peek_info(session))

    def list(self):
        return json.loads(self.session_list())

    def query(self, **query):
        return json.loads(self.session_query(json.dumps(query)))["sessions"]

    def status(self):
        return json.loads(self.session_sync_status())

    def heard(self):
        """Return the events that a subscription has heard so far, and forget them."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.events.get_nowait()["event"])
        return found

    def descriptors(self):
        """Return what is open, but for the database: how many connections read it is not fixed."""
        folder = f"/proc/{self.pid}/fd"
        return sorted(
            name
            for name in (os.path.basename(os.readlink(f"{folder}/{number}")) for number in os.listdir(folder))
            if not name.startswith("sessions.db")
        )

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def library_threads(self):
        """Return the names of the library's own threads."""
        names = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError):  # one that has ended meanwhile
                names.append(Path(f"/proc/{self.pid}/task/{task}/comm").read_text().strip())
        return sorted(name for name in names if name.startswith("plue-"))

    def resident_kib(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=10):
        """Return the exit code of a process that ends by itself."""
        code = self._process.wait(seconds)
        self.kill()
        return code

    def close_input(self):
        """Have its main() return."""
        self._process.stdin.close()

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.events.put(said)
            else:
                self._waiting.pop(said["id"]).arrive(said)
        for answer in list(self._waiting.values()):
            answer.arrive(None)


def outcome(answer, timeout=60):
    """Return the code that a call ended with, "OK", or "DIED" with its process."""
    try:
        answer.result(timeout)
    except Failed as error:
        return error.code
    except AssertionError as error:
        if "died" not in str(error):
            raise
        return "DIED"
    return "OK"


def eventually(condition, seconds=10.0, every=0.02):
    """Return the first true value of `condition`, or its last false one."""
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        threading.Event().wait(every)
    return found


def processes_with(mark):
    """Return the pids of the processes whose environment holds `mark`; zombies are none."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (each / "environ").read_bytes() and alive(int(each.name)):
                    found.append(int(each.name))
    return found


def alive(pid):
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
