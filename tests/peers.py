"""Processes that hold the library, told from a test what to do."""

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from plue_session.prototypes import ERRORS as CODES
from tests import support

PEER = Path(__file__).parent / "integration" / "hosts" / "peer.py"
#: An answer that takes longer is none.
PATIENCE = 60


class Failed(Exception):
    def __init__(self, code, message):
        super().__init__(f"{CODES.get(code, code)}: {message}")
        self.code, self.message = CODES.get(code, code), message


class Answer:
    """What a call will have returned. `at`: when, on the monotonic clock."""

    def __init__(self):
        self._arrived = threading.Event()
        self._reply = None

    def arrive(self, reply):
        self._reply = reply
        self._arrived.set()

    @property
    def is_there(self):
        return self._arrived.is_set()

    @property
    def at(self):
        assert self._arrived.wait(PATIENCE), "no answer"
        assert self._reply is not None, "the process died"
        return self._reply["at"]

    def result(self, timeout=PATIENCE):
        assert self._arrived.wait(timeout), "no answer"
        assert self._reply is not None, "the process died"
        if self._reply["code"]:
            raise Failed(self._reply["code"], self._reply["error"])
        return self._reply["value"]

    def failure(self, timeout=PATIENCE):
        """The error that the call must have failed with."""
        try:
            value = self.result(timeout)
        except Failed as error:
            return error
        raise AssertionError(f"it succeeded with {value!r}")


class Peer:
    """A process with the library. A method for each function: `peer.session_create(None)`; what fails raises
    `Failed`."""

    def __init__(self, library, folder=None, *, under=(), data_dir="/nonexistent", **config):
        """`under`: the command that runs it; `data_dir`: what the environment says, for one that is to `init` without a
        `folder`."""
        self._process = subprocess.Popen(
            [*under, sys.executable, "-I", PEER, library.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=support.environment(folder or data_dir),
        )
        self.pid = self._process.pid
        self._numbers = itertools.count()
        self._waiting = {}
        self.events = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.config = json.dumps({**({"dataDir": str(folder)} if folder else {}), **config})
        if folder:
            self.init(self.config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def __getattr__(self, name):
        return lambda *arguments: self.start(name, *arguments, wait=False).result()

    def start(self, name, *arguments, wait=True):
        """Begin a call; with `wait` in a thread of its own, so that others can be made meanwhile."""
        number, answer = next(self._numbers), Answer()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "call": name, "arguments": arguments, "async": wait}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        return answer

    def info(self, session):
        return json.loads(self.session_get_info(session))

    def list(self):
        return json.loads(self.session_list())

    def status(self):
        return json.loads(self.session_sync_status())

    def event(self, timeout=20):
        """The next event that `subscribe` heard: `(event, when)`."""
        said = self.events.get(timeout=timeout)
        return json.loads(said["event"]), said["at"]

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def descriptors(self):
        """What is open, but for the database: how many connections read it is not fixed."""
        folder = f"/proc/{self.pid}/fd"
        return sorted(
            name
            for name in (os.path.basename(os.readlink(f"{folder}/{number}")) for number in os.listdir(folder))
            if not name.startswith("sessions.db")
        )

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def resident_kib(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()
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
