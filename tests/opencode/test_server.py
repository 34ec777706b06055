"""The whole of it, attached and spawned: what another client does is heard, and the server's death is survived."""

import os
import queue
import signal
import time
import uuid

import pytest

from plue_session import errors
from plue_session.adapters.opencode.server import Server
from plue_session.config import Settings
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub


class Seen:
    """What the server's user is told."""

    def __init__(self, backend, environ=None, **more):
        values = dict.fromkeys(("url", "directory", "username", "password", "spawn"))
        self.told = queue.Queue()
        self.server = Server(
            Settings({**values, **backend}),
            environ or {},
            **more,
        )

    def snapshot(self):
        self.told.put("snapshot")

    def apply_all(self, changes):
        for change in changes:
            self.told.put((change.kind, change.value))

    def knows(self, session_id):
        return False

    def on_state(self, error):
        self.told.put("up" if error is None else "down")

    def until(self, what, seconds=30):
        until = time.monotonic() + seconds
        while self.told.get(timeout=until - time.monotonic()) != what:
            pass


@pytest.mark.requirement("O-002")
def test_attached_by_url_the_changes_of_another_client_are_told(server, client, repository):
    seen = Seen(
        {"url": server.url(soon()), "directory": repository, "username": server.username, "password": server.password}
    )
    seen.server.open(soon())
    seen.server.follow(seen)
    seen.until("up")
    session = client.create(uuid.uuid4().hex, soon(), title="Other client's")
    seen.until(("created", session), 5)
    assert seen.server.get(session.id, soon()) == session
    client.delete(session.id, soon())
    seen.until(("deleted", None), 5)
    assert seen.server.where() == {"url": server.url(soon())}
    seen.server.close()
    with pytest.raises(errors.Closed):
        seen.server.survey(None, soon())
    seen.server.close()


def test_a_server_that_is_away_is_a_connection_error_in_time(repository):
    with Stub() as stub:
        url = stub.url
    seen = Seen({"url": url, "directory": repository})
    with pytest.raises(errors.Connection):
        seen.server.open(soon(0.3))
    with pytest.raises(errors.Connection):
        seen.server.survey(None, soon())
    seen.server.close()


@pytest.mark.requirement("O-001")
def test_spawned_and_killed_it_comes_back_and_closed_it_is_gone(opencode, guard, repository, isolated):
    lifelines = []
    spawn = Settings({"command": [opencode], "directory": repository, "env": isolated})
    seen = Seen(
        {"spawn": spawn}, dict(os.environ), guard=guard, on_lifeline=lambda fd, opened: lifelines.append((fd, opened))
    )
    seen.server.open(soon(60))
    seen.server.follow(seen)
    seen.until("up")
    session = seen.server.create(uuid.uuid4().hex, soon())
    first = seen.server.where()["pid"]
    os.killpg(first, signal.SIGKILL)
    seen.until("down")
    seen.until("up")
    assert seen.server.get(session.id, soon()).id == session.id
    last = seen.server.where()["pid"]
    seen.server.close()
    assert last != first and not os.path.exists(f"/proc/{last}")
    assert [opened for _, opened in lifelines] == [True, False, True, False]
