"""An abort returns when the turn has ended, and touches no other one."""

import os
import threading
import time
import uuid

import pytest

from plue_session import errors
from plue_session.adapters.opencode.api_call import headers
from plue_session.adapters.opencode.stream import Stream
from tests.opencode.fixtures import soon

#: How often the deciding scenario is run with events; without them a quarter of it. `make torture` asks for more.
TIMES = 200 if os.environ.get("PLUE_TORTURE") else 8
MODEL = ("fake", "fake-model")


@pytest.fixture
def session(client):
    return client.create(uuid.uuid4().hex, soon(), title="Turns")


@pytest.fixture(scope="module", autouse=True)
def warm(client, model):
    """The first turn of a server's life takes seconds (O-050)."""
    session = client.create(uuid.uuid4().hex, soon(), title="Warm")
    prompt(client, session, "warm")
    while model.ended.get(timeout=30) != ("warm", "done"):  # what came before is of other tests
        pass


@pytest.fixture(autouse=True)
def forgotten(model, warm):
    """What the model did before this test is not of this test."""
    for happenings in (model.started, model.ended):
        while not happenings.empty():
            happenings.get()


@pytest.fixture(params=["polling", "events"])
def listening(request, server, client, heard):
    """With and without an event stream: the outcome is the same."""
    if request.param == "polling":
        yield TIMES // 4
        return
    connected = threading.Event()
    stream = Stream(
        lambda call: server.url(call),
        client.directory,
        authorization(server),
        lambda: None,
        heard.hear,
        lambda error: connected.set() if error is None else None,
    )
    stream.start()
    assert connected.wait(10)
    heard.connected = True
    yield TIMES
    heard.connected = False
    stream.stop()


def authorization(server):
    return headers(server.username, server.password)


def prompt(client, session, text):
    message_id = "msg_" + uuid.uuid4().hex[:26]
    client.prompt(session.id, message_id, [{"type": "text", "text": text}], MODEL, soon())
    return message_id


def answers(client, session, message_id):
    return [message for message, _ in client.messages(session.id, soon())[0] if message.parent_id == message_id]


def finished(client, session, turns, message_id):
    """Wait until the prompt is answered; returns the answer."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = answers(client, session, message_id)
        if found and found[-1].ended and session.id not in client.status(soon()):
            return found[-1]
        threading.Event().wait(0.05)
    raise AssertionError("the prompt was not answered")


@pytest.mark.requirement("O-033")
def test_an_abort_in_mid_stream_ends_the_turn_for_certain(client, turns, session, model, listening):
    slowest = 0
    for number in range(listening):
        aborted = prompt(client, session, f"turn {number} [wait]")
        assert model.started.get(timeout=10) == f"turn {number} [wait]"
        began = time.monotonic()
        assert turns.abort(session.id, soon(), directory=session.directory) is True
        slowest = max(slowest, time.monotonic() - began)
        # What must hold when it returns, without waiting any more:
        assert session.id not in client.status(soon())
        (answer,) = answers(client, session, aborted)
        assert answer.ended and answer.failure.name == "MessageAbortedError"
        assert model.ended.get(timeout=2) == (f"turn {number} [wait]", "left")
    assert slowest < 2
    unharmed = prompt(client, session, "next [words=2]")
    answer = finished(client, session, turns, unharmed)
    assert answer.failure is None and model.ended.get(timeout=5) == ("next [words=2]", "done")


def test_an_abort_with_nothing_running_touches_nothing(client, turns, session, listening):
    assert turns.abort(session.id, soon()) is False


def test_an_abort_is_scoped_to_its_session(client, turns, session, model):
    other = client.create(uuid.uuid4().hex, soon(), title="Other")
    running = prompt(client, other, "other [wait]")
    model.started.get(timeout=10)
    assert turns.abort(session.id, soon()) is False
    assert other.id in client.status(soon())
    assert not answers(client, other, running)[-1].ended
    assert turns.abort(other.id, soon()) is True
    assert model.ended.get(timeout=2)[1] == "left"


def test_two_aborts_at_once_both_end(client, turns, session, model):
    prompt(client, session, "both [wait]")
    model.started.get(timeout=10)
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(turns.abort(session.id, soon()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(outcomes) == 2 and True in outcomes
    model.ended.get(timeout=2)


@pytest.mark.requirement("O-035")
def test_an_abort_during_a_retry_ends_it(client, turns, session, listening):
    prompt(client, session, "refuse [status=500]")
    until = time.monotonic() + 10
    while client.status(soon()).get(session.id, {}).get("type") != "retry":
        assert time.monotonic() < until
        threading.Event().wait(0.05)
    assert turns.abort(session.id, soon()) is True
    assert session.id not in client.status(soon())


def test_an_abort_right_after_the_prompt_ends_it_and_the_next_prompt_runs(client, turns, session, model):
    prompt(client, session, "early [wait]")
    turns.abort(session.id, soon())
    assert session.id not in client.status(soon())
    answer = finished(client, session, turns, prompt(client, session, "after [words=1]"))
    assert answer.failure is None


@pytest.mark.requirement("O-030")
def test_a_busy_session_is_aborted_before_it_is_deleted(client, turns, session, model):
    child = client.create(uuid.uuid4().hex, soon(), parent_id=session.id)
    for each in (session, child):
        prompt(client, each, f"busy {each.id} [wait]")
        model.started.get(timeout=10)
    turns.delete(session.id, soon())
    assert {model.ended.get(timeout=2)[1] for _ in range(2)} == {"left"}
    assert not {session.id, child.id} & set(client.status(soon()))
    with pytest.raises(errors.NotFound):
        client.get(child.id, soon())


@pytest.mark.requirement("O-030", "P-117")
def test_a_descendant_that_another_client_deletes_meanwhile_is_not_taken_for_the_session(
    client, turns, session, model, monkeypatch
):
    child = client.create(uuid.uuid4().hex, soon(), parent_id=session.id)
    prompt(client, session, f"parent {session.id} [wait]")
    model.started.get(timeout=10)
    children, asked = client.children, []

    def others(session_id, *arguments):
        found = children(session_id, *arguments)
        if not asked:
            client.delete(child.id, soon())
        asked.append(session_id)
        return found

    monkeypatch.setattr(client, "children", others)
    turns.delete(session.id, soon())
    assert asked == [session.id] and model.ended.get(timeout=2)[1] == "left"
    with pytest.raises(errors.NotFound):
        client.get(session.id, soon())


@pytest.mark.requirement("O-030", "P-146")
def test_what_runs_in_another_directory_is_aborted_before_its_parent_is_deleted(
    client, turns, session, model, tmp_path
):
    child = client.create(uuid.uuid4().hex, soon(), directory=str(tmp_path), parent_id=session.id)
    client.prompt(
        child.id,
        "msg_" + uuid.uuid4().hex[:26],
        [{"type": "text", "text": f"elsewhere {child.id} [wait]"}],
        MODEL,
        soon(),
        directory=child.directory,
    )
    model.started.get(timeout=20)
    turns.delete(session.id, soon(), elsewhere=[child.directory])
    assert model.ended.get(timeout=2)[1] == "left" and child.id not in client.status(soon(), directory=child.directory)
    with pytest.raises(errors.NotFound):
        client.get(child.id, soon())


def test_an_abort_that_waits_can_be_cancelled(client, turns, session, model, monkeypatch):
    prompt(client, session, "stubborn [wait]")
    model.started.get(timeout=10)
    call = soon(30)
    monkeypatch.setattr(client, "stop_turn", lambda *_: call.set(errors.Closed("closed")))
    began = time.monotonic()
    with pytest.raises(errors.Closed):
        turns.abort(session.id, call)
    assert time.monotonic() - began < 2
    monkeypatch.undo()
    assert turns.abort(session.id, soon()) is True
    model.ended.get(timeout=2)


def test_a_turn_that_does_not_end_is_a_timeout_in_time(client, turns, session, model, monkeypatch):
    prompt(client, session, "endless [wait]")
    model.started.get(timeout=10)
    monkeypatch.setattr(client, "stop_turn", lambda *_: None)
    began = time.monotonic()
    with pytest.raises(errors.Timeout, match="did not end the turn"):
        turns.abort(session.id, soon(0.5))
    assert time.monotonic() - began < 1
    monkeypatch.undo()
    assert turns.abort(session.id, soon()) is True
    model.ended.get(timeout=2)


@pytest.mark.requirement("O-038")
def test_a_prompt_sent_twice_runs_once(client, session, turns, model):
    message_id = prompt(client, session, "once [words=1]")
    client.prompt(session.id, message_id, [{"type": "text", "text": "once [words=1]"}], MODEL, soon())
    finished(client, session, turns, message_id)
    assert model.ended.get(timeout=2) == ("once [words=1]", "done") and model.ended.empty()
    assert len(answers(client, session, message_id)) == 1


@pytest.mark.requirement("O-042")
def test_a_prompt_without_parts_is_refused_here(client, session):
    with pytest.raises(errors.InvalidParam):
        client.prompt(session.id, "msg_1", [], MODEL, soon())


@pytest.mark.requirement("O-056")
def test_messages_are_paged_from_the_newest(client, session, turns):
    for number in range(3):
        finished(client, session, turns, prompt(client, session, f"{number} [words=1]"))
    whole, none = client.messages(session.id, soon())
    assert len(whole) == 6 and none is None
    page, cursor = client.messages(session.id, soon(), limit=4)
    older, end = client.messages(session.id, soon(), limit=4, before=cursor)
    assert [message.id for message, _ in older + page] == [message.id for message, _ in whole] and end is None
    assert whole[0][1][0].body["text"] == "0 [words=1]"
