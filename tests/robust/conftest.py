"""One real server for this folder, which its tests may kill, a client of our own to watch it with, and hosts that hold
the library."""

import os
import signal
import uuid

import pytest

from plue_session.adapters.opencode.client import Client
from tests.opencode.fixtures import isolate, soon
from tests.robust.daemon import Daemon
from tests.robust.host import Host, eventually, processes_with

TORTURE = os.environ.get("PLUE_TORTURE") == "1"
MODEL = ("fake", "fake-model")


def patience(seconds):
    """Return what takes so long on a quiet machine, on this one as loaded as it is."""
    return seconds * max(1.0, os.getloadavg()[0] / os.cpu_count())


@pytest.fixture(scope="session")
def daemon(opencode, repository, isolated):
    made = Daemon(opencode, repository, isolated)
    yield made
    made.kill()


@pytest.fixture(scope="session")
def other(daemon, repository):
    """Another client of the server: what it sees and does is not the library's doing."""
    made = Other.of(daemon, repository)
    yield made
    made.close()


class Other:
    """Another client, in short words."""

    def __init__(self, client):
        self._client = client

    @classmethod
    def of(cls, daemon, directory):
        return cls(Client(lambda call: daemon.url, directory, daemon.username, daemon.password))

    def close(self):
        self._client.close()

    def create(self, title="Elsewhere", **more):
        return self._client.create(uuid.uuid4().hex, soon(), title=title, **more).id

    def rename(self, session_id, title):
        self._client.update(session_id, soon(), title=title)

    def delete(self, session_id):
        self._client.delete(session_id, soon())

    def titles(self):
        """Return what the server has, as {id: title}."""
        return {session.id: session.title for session in self.everything()}

    def everything(self):
        return self._client.list(soon(30))

    def prompt(self, session_id, text):
        """Have the server run a turn, and return the id of the message that began it."""
        message_id = "msg_" + uuid.uuid4().hex[:26]
        self._client.prompt(session_id, message_id, [{"type": "text", "text": text}], MODEL, soon(30))
        return message_id

    def answer(self, session_id, message_id):
        """Return the newest message that answers the prompt, or None."""
        found = [
            message for message, _ in self._client.messages(session_id, soon())[0] if message.parent_id == message_id
        ]
        return found[-1] if found else None

    def finished(self, session_id, message_id, seconds=20.0):
        """Wait for the end of a turn and return its answer."""

        def ended():
            answer = self.answer(session_id, message_id)
            return answer if answer and answer.ended and not self.busy(session_id) else None

        answer = eventually(ended, seconds, 0.05)
        assert answer, "the prompt was not answered"
        return answer

    def busy(self, session_id):
        return self.state(session_id) is not None

    def state(self, session_id):
        """Return "busy", "retry", or None: idle."""
        return self._client.status(soon()).get(session_id, {}).get("type")


@pytest.fixture
def folder(tmp_path):
    """An empty folder for a store."""
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def mark():
    """What the environment of everything that a test starts holds; of what is left at its end nothing may live."""
    made = f"CHECK_MARK={uuid.uuid4().hex}"
    yield made
    gone = eventually(lambda: not processes_with(made))
    for pid in processes_with(made):
        os.kill(pid, signal.SIGKILL)
    assert gone


@pytest.fixture
def spawned(opencode, model, repository, tmp_path, mark):
    """A configuration that spawns a server with a store of its own."""
    root = tmp_path / "server"
    root.mkdir()
    environment = {"PATH": os.environ["PATH"], **isolate(root, model), **dict([mark.split("=")])}
    return {"kind": "opencode", "spawn": {"command": [opencode], "directory": repository, "env": environment}}


@pytest.fixture
def attached(daemon, folder):
    """A host attached to the server, which hears its events."""
    with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        yield host
