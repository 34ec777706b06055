"""What the server has logged, asked for by number: of the real server, and of those that have no such thing."""

import json
import time
import uuid

import pytest

from plue_session import errors
from plue_session.adapters.opencode import history as module
from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.history import History
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply


@pytest.fixture
def history(client):
    return History(client)


def make(client, **fields):
    return client.create(uuid.uuid4().hex, soon(), **fields)


def told(changes):
    return [(change.seq, change.kind, change.value.title) for change in changes]


# -- the real server ---------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078")
def test_the_history_has_what_came_after_a_number_in_order_as_it_was_answered(client, history):
    session, other = make(client, title="T"), make(client, title="Other")
    answers = [client.update(session.id, soon(), title=f"T {number}") for number in range(3)]
    assert history.is_there(soon())
    found = history.read({session.id: 0, other.id: -1}, soon())
    assert told(found[session.id]) == [(number + 1, "session", f"T {number}") for number in range(3)]
    assert [change.value for change in found[session.id]] == answers
    assert told(found[other.id]) == [(0, "created", "Other")] and found.keys() == {session.id, other.id}
    assert history.read({session.id: 3}, soon()) == {session.id: []}


@pytest.mark.requirement("O-078")
def test_a_change_of_several_fields_is_several_numbers_and_ends_as_it_was_answered(client, history):
    session = make(client, title="T")
    answer = client.update(session.id, soon(), title="U", metadata={"a": 1}, archived=5)
    changes = history.read({session.id: 0}, soon())[session.id]
    assert [change.seq for change in changes] == [1, 2, 3] and changes[-1].value == answer


@pytest.mark.requirement("O-078", "O-032")
def test_of_a_session_that_was_deleted_or_never_was_there_is_nothing(client, history):
    session = make(client)
    client.delete(session.id, soon())
    assert history.read({session.id: 0, "ses_never": 4}, soon()) == {session.id: [], "ses_never": []}


@pytest.mark.requirement("O-078")
def test_sessions_of_other_directories_are_told_if_they_are_named_and_left_out_if_not(client, history, tmp_path):
    there, unnamed = make(client, directory=str(tmp_path), title="There"), make(client, directory=str(tmp_path))
    assert told(history.read({there.id: -1}, soon())[there.id]) == [(0, "created", "There")]
    assert unnamed.id.encode() not in ask(client, {unnamed.id: module.NOTHING}).body[:]


@pytest.mark.requirement("O-078")
def test_a_turn_is_numbered_without_a_hole(client, history, turns, model):
    session = make(client, title="T")
    turn_id = f"msg_{uuid.uuid4().hex[:26]}"
    client.prompt(session.id, turn_id, [{"type": "text", "text": "one two"}], ("fake", "fake-model"), soon(60))
    while not any(
        message.ended and message.role == "assistant" for message, _ in client.messages(session.id, soon())[0]
    ):
        time.sleep(0.05)
    changes = history.read({session.id: -1}, soon())[session.id]
    assert [change.seq for change in changes] == list(range(len(changes)))
    assert {change.kind for change in changes} == {"created", "session", "message", "part"}


@pytest.mark.requirement("O-078")
def test_a_server_takes_as_many_names_as_are_asked_for(client):
    names = {f"ses_{number:026d}": module.NOTHING for number in range(module.NAMES)}
    assert ask(client, names).status == 200


def ask(client, known):
    """Return what the server answers to the question that `History` asks, whole, which it does not give away."""
    return client._exchange("POST", "/sync/history", None, {}, known, soon(30), True)


# -- others ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def stub():
    with Stub() as server:
        yield server


@pytest.fixture
def asking(stub, tmp_path):
    client = Client(lambda call: stub.url, str(tmp_path))
    yield History(client)
    client.close()


@pytest.mark.requirement("O-078")
@pytest.mark.parametrize(
    "answer",
    [
        reply(404, {"name": "NotFoundError", "data": {}}),
        reply(404, b"404 Not Found", "text/plain"),
        reply(200, b"<!doctype html>", "text/html"),
        reply(500, content_type=None),
        reply(405, content_type=None),
    ],
)
def test_a_server_without_sequences_is_told_from_one_with_them(stub, asking, answer):
    stub.default = lambda method, target: answer
    assert asking.is_there(soon()) is False
    stub.default = lambda method, target: reply(200, []) if method == "GET" else answer
    if b"html" not in answer:
        assert asking.read({"ses_a": 1}, soon()) is None


@pytest.mark.parametrize("status, error", [(401, errors.AccessDenied), (503, errors.PlueError)])
def test_whether_there_are_sequences_is_not_said_by_who_says_nothing_of_it(stub, asking, status, error):
    stub.default = lambda method, target: reply(status, content_type=None)
    with pytest.raises(error):
        asking.is_there(soon())


@pytest.mark.requirement("O-078")
def test_all_sessions_of_the_server_are_named(stub, asking):
    row = {"id": "evt_1", "aggregate_id": "ses_a", "seq": 3, "type": "session.next.moved.1", "data": {}}
    stub.answers += [reply(200, [{"id": "ses_a"}, {"id": "ses_b"}, {"id": "ses_new"}]), reply(200, [row, 5, {}])]
    found = asking.read({"ses_a": 2, "ses_new": -1, "ses_gone": 4}, soon())
    assert [(change.seq, change.kind) for change in found.pop("ses_a")] == [(3, "other")]
    assert found == {"ses_new": [], "ses_gone": []}
    (_, listed, _, _), (_, asked, _, body) = stub.requests
    assert listed == "/experimental/session?archived=true&limit=901" and asked.startswith("/sync/history?directory=")
    assert json.loads(body) == {"ses_a": 2, "ses_b": module.NOTHING, "ses_gone": 4}


@pytest.mark.requirement("O-078")
def test_more_sessions_than_can_be_named_are_not_asked_for_nor_counted_again_for_a_while(stub, asking):
    assert asking.read({f"ses_{number}": 1 for number in range(module.NAMES + 1)}, soon()) is None
    stub.answers.append(reply(200, [{"id": f"ses_{number}"} for number in range(module.NAMES + 1)]))
    assert asking.read({"ses_1": 1}, soon()) is None and asking.read({"ses_1": 1}, soon()) is None
    assert len(stub.requests) == 1


@pytest.mark.requirement("O-078")
@pytest.mark.parametrize("chunked", [False, True])
def test_a_history_of_more_than_8_mb_is_not_read_to_its_end(stub, asking, chunked):
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    before = endless + b"100000\r\n" + b" " * 0x100000 + b"\r\n" if chunked else reply(200, b"[", length=8_000_001)

    def pour(connection):
        connection.sendall(before)
        while chunked:
            connection.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        stub.stall()(connection)

    stub.answers += [reply(200, []), pour]
    assert asking.read({"ses_a": 1}, soon()) is None
    assert stub.ended.get(timeout=5)
