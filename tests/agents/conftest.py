"""Agents that end with their test, and leave nothing behind: attached to sessions, in processes that hold the library,
or held by the test itself."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests import support
from tests.agents.held import Held
from tests.remote.hosts import Host, Session

AGENT = Path(__file__).parent / "fake_agent.py"
PATIENCE = 30.0


class Attached(Session):
    """A session with an agent, and its worktree."""

    def __init__(self, host, handle, worktree):
        super().__init__(host, handle)
        self.worktree, self._id = worktree, host.call("session_get_id", handle)

    @property
    def id(self):
        """Its id, also when its process is gone."""
        return self._id

    def attach(self, *words, **options):
        return self.relay_attach(self.given(*words, **options))

    def given(self, *words, **options):
        return json.dumps({"worktree": str(self.worktree), "agent": agent(*words, **options)})

    def turn(self, text, seconds=PATIENCE, **more):
        """Run a turn, and return how it was."""
        return json.loads(self.run_turn(json.dumps({"text": text, **more}), int(seconds * 1000)))

    def enqueue_text(self, text, **more):
        return json.loads(self.enqueue(json.dumps({"text": text, **more})))

    def said(self):
        return json.loads(self.messages(None))["messages"]

    def asked(self):
        """Wait for permissions, and return them."""
        return eventually(lambda: json.loads(self.permissions()))

    def events(self, until, seconds=PATIENCE):
        """Return this session's events from the beginning of `observe` on, up to one of this type."""
        found = []
        while not found or found[-1]["type"] != until:
            text = self.host.call("session_observer_next", self.observer, int(seconds * 1000))
            assert text is not None, [each["type"] for each in found]
            found.append(json.loads(text))
        return found

    def hears(self, text):
        """Wait until the agent has said this, in pieces that are told."""
        said = ""
        while text not in said:
            data = self.events("message.part.updated")[-1]["data"]
            said += data.get("delta", "")

    def observe_now(self):
        self.observer = self.observe(None)


def agent(*words, **options):
    """Return the fake agent as an option; environment variables of its words are not split."""
    return {"kind": "acp", "command": [sys.executable, "-I", str(AGENT), *words], **options}


def eventually(condition, seconds=PATIENCE, every=0.02):
    """Return the first true value of `condition`, or its last false one."""
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(every)
    return found


def lives(pid):
    """Return whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def text_of(message):
    return "".join(part.get("text", "") for part in message["parts"] if part["type"] == "text")


@pytest.fixture(scope="session")
def library():
    return support.library()


@pytest.fixture(params=["sqlite", "memory"])
def store(request):
    return request.param


@pytest.fixture
def start(library, tmp_path):
    """Start processes: `start(**config)`; they end with the test."""
    with contextlib.ExitStack() as stack:

        def begin(folder=None, **config):
            folder = folder or tmp_path / "data"
            folder.mkdir(exist_ok=True)
            return stack.enter_context(Host(library, folder, **{"backend": {"kind": "embedded"}, **config}))

        yield begin


@pytest.fixture
def host(start):
    return start()


@pytest.fixture
def spawn(tmp_path):
    """Make sessions that are SPAWNING: `spawn(host)`."""
    numbers = iter(range(1000))

    def make(host, role=None):
        number = next(numbers)
        worktree = tmp_path / f"worktree{number}"
        worktree.mkdir()
        handle = host.call("session_create_with", json.dumps({"role": role or f"role{number}"}))
        made = Attached(host, handle, worktree)
        made.relay_spawn()
        return made

    return make


@pytest.fixture
def attached(host, spawn):
    """Return a session with an agent of these words: `attached("banner")`."""

    def attach(*words, on=None, **options):
        made = spawn(on or host)
        made.attach(*words, **options)
        return made

    return attach


# -- without the library ---------------------------------------------------------------------------------------------
def children():
    """Return the processes whose parent is this one, zombies, too."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(name))
    return found


@pytest.fixture
def agents(tmp_path, guard):
    """`agents(words…)` makes a `Held`; at the end each is closed and checked."""
    before, made = set(children()), []

    def make(*words, **options):
        made.append(Held(tmp_path, guard, words, **options))
        return made[-1]

    yield make
    for each in made:
        each.end()
    assert not set(children()) - before
