"""What the whole of it does with the real server: which routes it takes, and what holds across its odd moments."""

import contextlib
import json
import os
import re
import threading
import time
import uuid

import pytest

from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from plue_session.adapters.opencode.http import Transport
from plue_session.adapters.opencode.process import OwnServer
from plue_session.adapters.opencode.turns import Turns
from plue_session.runtime import Runtime
from tests.opencode.fixtures import permissions, soon
from tests.recording import RecordingPublisher
from tests.remote_world import On, Waited

MODEL = ("fake", "fake-model")


class Library:
    """The library as the boundary runs it, in this process."""

    def __init__(self, server, repository, folder, **more):
        backend = {
            "kind": "opencode",
            "url": server.url(soon()),
            "directory": repository,
            "username": server.username,
            "password": server.password,
        }
        self.told = RecordingPublisher()
        self.runtime = Runtime(json.dumps({"dataDir": str(folder), "backend": backend, **more}), {}.get, self.told)
        self.runtime.begin()

    def do(self, work, session=None, seconds=15.0):
        name = "plue_session_abort" if session is None else "test"
        with self.runtime.calls.begin(name, session, soon(seconds).deadline) as call:
            return work(On(self.runtime, call))


@pytest.fixture
def library(server, repository, tmp_path):
    made = Library(server, repository, tmp_path / "data")
    yield made
    made.runtime.close()


def eventually(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.02)


def prompt(client, session_id, text):
    message_id = "msg_" + uuid.uuid4().hex[:26]
    client.prompt(session_id, message_id, [{"type": "text", "text": text}], MODEL, soon())
    return message_id


def answered(client, session_id, message_id):
    return any(
        message.parent_id == message_id and message.ended for message, _ in client.messages(session_id, soon())[0]
    )


#: All that the library asks of a server.
ROUTES = (
    "GET /session",
    "POST /session",
    "GET /session/status",
    "GET /session/ID",
    "PATCH /session/ID",
    "DELETE /session/ID",
    "POST /session/ID/fork",
    "POST /session/ID/abort",
    "POST /session/ID/share",
    "DELETE /session/ID/share",
    "GET /session/ID/children",
    "GET /session/ID/message",
    "GET /session/ID/message/ID",
    "POST /session/ID/prompt_async",
    "GET /config/providers",
    "GET /permission",
    "GET /question",
    "POST /permission/ID/reply",
    "POST /sync/history",
    "GET /experimental/session",
)


@pytest.mark.requirement("O-010", "O-067", "O-008")
def test_only_these_routes_are_taken(library, client, model, monkeypatch):
    taken, send = set(), Transport.send

    def spy(self, method, path, *arguments):
        taken.add(f"{method} {re.sub('(ses|msg|per)_[A-Za-z0-9]+', 'ID', path)}")
        return send(self, method, path, *arguments)

    monkeypatch.setattr(Transport, "send", spy)
    do = library.do
    session = do(lambda on: on.sessions.create()).id
    child = do(lambda on: on.sessions.create(session)).id
    do(lambda on: on.sessions.update_title(session, "T"))
    do(lambda on: on.sessions.update(session, '{"metadata":{"a":1},"archived":true,"base":{"title":"T"}}'))
    do(lambda on: on.sessions.initialize(session, *MODEL))
    do(lambda on: on.sessions.get_info(session))
    do(lambda on: on.sessions.list())
    first = prompt(client, session, "hello")
    eventually(lambda: answered(client, session, first), 30)
    do(lambda on: on.sessions.fork(session, first))
    do(lambda on: on.sessions.create_share(session))
    do(lambda on: on.sessions.unshare(session))
    prompt(client, session, "long [wait]")
    while model.started.get(timeout=20) != "long [wait]":
        pass
    do(lambda on: on.sessions.abort(session))
    do(lambda on: on.sessions.abort_turn(session, "msg_none"))
    prompt(client, child, "child [wait]")
    model.started.get(timeout=20)
    Waited(library.runtime.sync).run(5000)
    do(lambda on: on.sessions.delete(session))
    assert taken <= set(ROUTES) and taken >= {"POST /session/ID/fork", "DELETE /session/ID"}


@pytest.mark.requirement("O-025")
def test_after_many_renames_at_once_there_is_one_title_here_and_there(library, client):
    session = library.do(lambda on: on.sessions.create()).id
    threads = [
        threading.Thread(
            target=lambda n=n: [
                library.do(lambda on, i=i: on.sessions.update_title(session, f"{n}-{i}"), session) for i in range(8)
            ]
        )
        for n in range(4)
    ]
    theirs = threading.Thread(target=lambda: [client.update(session, soon(), title=f"theirs {i}") for i in range(12)])
    for thread in (*threads, theirs):
        thread.start()
    for thread in (*threads, theirs):
        thread.join(30)
    eventually(lambda: library.runtime.store.read(session).title == client.get(session, soon()).title)


@pytest.mark.requirement("O-037")
def test_what_an_aborted_turn_had_asked_for_is_asked_no_more(library, client):
    session = library.do(lambda on: on.sessions.create()).id

    def asked():
        return [each["sessionID"] for each in permissions(client)]

    prompt(client, session, "[bash=touch asked]")
    eventually(lambda: session in asked(), 30)
    library.do(lambda on: on.sessions.abort(session))
    assert session not in asked() and session not in client.status(soon())
    following = prompt(client, session, "go on")
    eventually(lambda: answered(client, session, following))


@pytest.mark.requirement("O-043")
def test_a_call_that_is_late_or_cut_off_ends_no_turn(library, client, model):
    session = library.do(lambda on: on.sessions.create()).id
    running = prompt(client, session, "slowly [words=20] [pause=0.1]")
    while model.started.get(timeout=20) != "slowly [words=20] [pause=0.1]":
        pass
    with contextlib.suppress(Exception):
        library.do(lambda on: on.sessions.get_info(session), session, seconds=0.0005)
    library.runtime.close()  # whoever watched has left
    eventually(lambda: answered(client, session, running), 20)
    answer = next(message for message, _ in client.messages(session, soon())[0] if message.parent_id == running)
    assert answer.failure is None and not library.runtime.store.name == ""


@pytest.mark.requirement("O-068", "O-050")
def test_the_first_turn_of_a_servers_life_takes_its_time_and_aborted_early_does_no_harm(
    opencode, guard, repository, isolated, model
):
    cold = OwnServer([opencode], repository, dict(os.environ), isolated, program=guard)
    cold.start(soon(60))
    try:
        heard = EventSignal()
        client = Client(cold.url, repository, cold.username, cold.password, heard)
        session = client.create(uuid.uuid4().hex, soon()).id
        prompt(client, session, "first [wait]")
        eventually(lambda: session in client.status(soon()))
        assert Turns(client, heard).abort(session, soon(20)) is True
        second = prompt(client, session, "second")
        eventually(lambda: answered(client, session, second), 30)
        client.close()
    finally:
        cold.stop()


@pytest.mark.requirement("O-055")
def test_a_server_that_does_not_share_leaves_it_to_us_and_a_share_that_never_was_can_be_withdrawn(library, client):
    session = library.do(lambda on: on.sessions.create()).id
    assert "secret" in json.loads(library.do(lambda on: on.sessions.create_share(session), session))
    assert client.unshare(session, soon()).share_url is None
