"""Turns: what is enqueued is answered by the real server, in order, once, and ends in a named state."""

import base64
import json
import os
import threading

import pytest

from tests.opencode.fixtures import soon
from tests.remote.hosts import Failed


@pytest.fixture
def session(quiet, title):
    return quiet.create_with(title=title)


def run(session, text="", timeout=60_000, **more):
    given = {"text": text, **more} if text else more
    return json.loads(session.run_turn(json.dumps(given), timeout))


def enqueue(session, text, **more):
    return json.loads(session.enqueue(json.dumps({"text": text, **more})))


def finished(session, count, mark=0):
    """Wait for the ends of so many turns of a session, and return them."""
    while True:
        ends = [data for kind, data in session.host.since(mark, session.id) if kind == "turn.finished"]
        if len(ends) >= count:
            return ends
        threading.Event().wait(0.05)


def asked(model, *texts):
    return [text for text in model.asked if any(each in text for each in texts)]


@pytest.mark.requirement("L-060", "L-070", "L-073", "O-038", "O-050")
def test_a_turn_is_run_to_its_end_once(quiet, session, model, title):
    mark = quiet.mark()
    result = run(session, f"hello {title} [words=2]")
    assert result["outcome"] == "finished" and "error" not in result and result["turnId"].startswith("turn_")
    told = [(kind, data) for kind, data in quiet.since(mark, session.id) if kind in TOLD]
    name = "input_" + result["turnId"][5:]
    assert told == [
        ("queue.changed", {"change": "enqueued", "kind": "input", "ids": [name]}),
        ("turn.started", {"turnId": result["turnId"], "inputIds": [name]}),
        ("queue.changed", {"change": "claimed", "kind": "input", "ids": [name]}),
        ("turn.finished", {"turnId": result["turnId"], "inputIds": [name], "outcome": "finished"}),
        ("queue.changed", {"change": "completed", "kind": "input", "ids": [name]}),
    ]
    assert len(asked(model, f"hello {title} ")) == 1
    assert json.loads(session.inputs()) == [] and "turn" not in session.peek()


TOLD = "queue.changed", "turn.started", "turn.finished"


@pytest.mark.requirement("L-062", "L-098", "O-036")
def test_a_conversation_goes_turn_by_turn_in_the_order_of_its_inputs(quiet, session, model, client, title):
    mark = quiet.mark()
    first = enqueue(session, f"{title} first [words=4] [pause=0.2]", turnId="mine")
    quiet.wait_for("turn.started", session.id, mark)
    running = session.peek()["turn"]
    assert running["turnId"] == "mine" and running["state"] == "running" and running["since"]
    together = [enqueue(session, f"{title} part {number}") for number in range(3)]
    alone = enqueue(session, f"{title} with a model", model={"providerId": "fake", "modelId": "fake-model"})
    assert [each["inputId"] for each in json.loads(session.inputs())] == [
        each["inputId"] for each in [*together, alone]
    ]
    ends = finished(session, 3, mark)
    assert [each["inputIds"] for each in ends] == [
        [first["inputId"]],
        [each["inputId"] for each in together],
        [alone["inputId"]],
    ]
    assert {each["outcome"] for each in ends} == {"finished"}
    said = [
        [part.body.get("text") for part in parts]
        for message, parts in client.messages(session.id, soon())[0]
        if message.role == "user"
    ]
    assert said == [
        [f"{title} first [words=4] [pause=0.2]"],
        [f"{title} part {number}" for number in range(3)],
        [f"{title} with a model"],
    ]
    assert len(asked(model, f"{title} ")) == 3


def test_turns_of_many_sessions_go_side_by_side(quiet, title, model):
    sessions = [quiet.create_with(title=title) for _ in range(6)]
    answers = [
        each.start("run_turn", json.dumps({"text": f"{title} {number} [words=3] [pause=0.5]"}), 60_000)
        for number, each in enumerate(sessions)
    ]
    assert {json.loads(each.result())["outcome"] for each in answers} == {"finished"}


@pytest.mark.requirement("O-044", "L-074")
@pytest.mark.parametrize(
    ("status", "code"), [(400, "SERVER"), (401, "PROVIDER_AUTH"), (403, "PROVIDER_AUTH"), (413, "LIMIT_EXCEEDED")]
)
def test_a_provider_that_refuses_ends_the_turn(session, status, code):
    result = run(session, f"refuse [status={status}]")
    assert (result["outcome"], result["reason"]) == ("stopped", "provider_error")
    assert result["error"]["code"] == code and result["error"]["remedy"]
    assert result["error"].get("status", 413) == status
    assert run(session, "and on [words=1]")["outcome"] == "finished"


@pytest.mark.requirement("O-046")
@pytest.mark.parametrize("status", [429, 500])
def test_a_provider_that_is_tried_again_is_told_of(quiet, session, status):
    mark = quiet.mark()
    given = json.dumps({"text": f"again [status={status}]"})
    started = json.loads(session.run_turn(given, 0))
    activity = quiet.wait_for("turn.activity", session.id, mark, turnId=started["turnId"])
    assert activity["kind"] == "retry" and activity["attempt"] >= 1 and activity["next"] > 0
    while session.peek()["turn"]["state"] != "retrying":
        threading.Event().wait(0.02)
    assert session.abort_turn(started["turnId"]) == 0
    assert "turn" not in session.peek() and not session.peek()["aborted"]
    assert finished(session, 1, mark)[0] == {
        "turnId": started["turnId"],
        "inputIds": [started["inputId"]],
        "outcome": "stopped",
        "reason": "cancelled",
    }


@pytest.mark.requirement("O-041", "O-040")
def test_an_unknown_model_or_agent_is_one_failed_turn(quiet, session, model):
    mark = quiet.mark()
    result = run(session, "x", model={"providerId": "nobody", "modelId": "nothing"})
    assert (result["outcome"], result["reason"]) == ("stopped", "submitted_error")
    assert result["error"]["code"] == "PROVIDER_INIT"
    other = run(session, "y", agent="nobody")
    assert (other["outcome"], other["reason"]) == ("stopped", "submitted_error") and "nobody" in other["error"][
        "message"
    ]
    assert run(session, "and on [words=1]")["outcome"] == "finished"
    assert len(finished(session, 3, mark)) == 3


@pytest.mark.requirement("O-047")
def test_a_stream_of_the_models_that_drops_again_and_again_is_stopped(session, model, title):
    result = run(session, f"{title} [drop]")
    assert (result["outcome"], result["reason"]) == ("stopped", "provider_error") and result["error"]["message"]
    count = len(asked(model, title))
    assert 3 <= count <= 8
    assert run(session, "and on [words=1]")["outcome"] == "finished"
    assert len(asked(model, title)) == count


def test_files_and_images_go_with_an_input(session, client, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("what is in the file")
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    parts = [
        {"type": "text", "text": "look [words=1]"},
        {"type": "file", "file": {"path": str(path), "mimeType": "text/plain"}},
        {"type": "file", "file": {"data": pixel, "mimeType": "application/pdf", "name": "a.pdf"}},
    ]
    assert run(session, parts=parts)["outcome"] in ("finished", "stopped")
    said = client.messages(session.id, soon())[0][0][1]
    assert [part.body.get("file", {}).get("name") for part in said if part.source == "file"] == ["notes.txt", "a.pdf"]
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe"):
        result = run(
            session, parts=[{"type": "file", "file": {"path": str(tmp_path / name), "mimeType": "text/plain"}}]
        )
        assert (result["outcome"], result["reason"]) == ("stopped", "invalid_input")
        assert str(tmp_path / name) in result["error"]["message"]


@pytest.mark.requirement("O-053")
def test_commands_are_turns(session, client):
    assert run(session, command="init", arguments="[words=2]")["outcome"] == "finished"
    assert run(session, command="compact")["outcome"] == "finished"
    said = [part.source for message, parts in client.messages(session.id, soon())[0] for part in parts]
    assert "compaction" in said
    unknown = run(session, command="nothing")
    assert (unknown["outcome"], unknown["reason"]) == ("stopped", "submitted_error")
    assert run(session, "and on [words=1]")["outcome"] == "finished"


@pytest.mark.requirement("O-039", "O-034")
def test_turns_of_other_clients_are_told_of_and_ours_wait(quiet, session, turn, title, client):
    mark = quiet.mark()
    theirs = turn.begin(session.id, f"{title} theirs [words=4] [pause=0.3]")
    ours = enqueue(session, f"{title} ours [words=1]")
    assert quiet.wait_for("turn.started", session.id, mark) == {"turnId": theirs, "inputIds": []}
    first, second = finished(session, 2, mark)
    assert first == {"turnId": theirs, "inputIds": [], "outcome": "finished"}
    assert second["inputIds"] == [ours["inputId"]] and second["outcome"] == "finished"
    quiet.fence(client)
    assert len(finished(session, 2, mark)) == 2


@pytest.mark.requirement("L-063", "L-064", "L-097")
def test_cancelled_turns_end_and_the_session_goes_on(quiet, session, model, title):
    assert session.cancel_turns() == 0
    mark = quiet.mark()
    text = f"{title} [wait]"
    running = session.start("run_turn", json.dumps({"text": text}), 60_000)
    while model.started.get(timeout=30) != text:
        pass
    waiting = [session.start("run_turn", json.dumps({"text": f"{title} {n}"}), 60_000) for n in range(2)]
    while len(json.loads(session.inputs())) != 2:
        threading.Event().wait(0.02)
    kept = enqueue(session, f"{title} kept [words=1]")
    assert session.cancel_turns() == 3
    results = [json.loads(each.result()) for each in [running, *waiting]]
    assert {(each["outcome"], each["reason"]) for each in results} == {("stopped", "cancelled")}
    ends = finished(session, 4, mark)
    assert ends[-1]["inputIds"] == [kept["inputId"]] and ends[-1]["outcome"] == "finished"
    assert not session.peek()["aborted"] and session.cancel_turns() == 0
    assert len(asked(model, f"{title} ")) == 2


def test_a_wait_for_an_input_that_is_taken_back_ends(session, model, title):
    text = f"{title} [wait]"
    running = session.start("run_turn", json.dumps({"text": text}), 60_000)
    while model.started.get(timeout=30) != text:
        pass
    waits = []
    for n in range(3):  # one after the other: they are cancelled in their order
        said = {"text": f"{title} {n}", "id": f"{n}", "turnId": f"mine{n}"}
        waits.append(session.start("run_turn", json.dumps(said), 15_000))
        while len(json.loads(session.inputs())) != n + 1:
            threading.Event().wait(0.02)
    session.cancel_inputs('[{"sourceKey":"host:0"}]')
    first = json.loads(waits[0].result())
    assert (first["turnId"], first["outcome"], first["reason"]) == ("mine0", "stopped", "cancelled")
    session.cancel_inputs_from('{"sourceKey":"host:1"}')
    assert {json.loads(each.result())["reason"] for each in waits[1:]} == {"cancelled"}
    assert session.cancel_turns() == 1  # the one that runs
    assert json.loads(running.result())["reason"] == "cancelled"


@pytest.mark.requirement("P-156", "T-01", "P-151", "P-154")
def test_an_abort_ends_the_turn_and_the_wait_for_it_and_the_next_input_starts(quiet, session, model, client, title):
    mark = quiet.mark()
    text = f"{title} [wait]"
    running = session.start("run_turn", json.dumps({"text": text}), 60_000)
    while model.started.get(timeout=30) != text:
        pass
    kept = enqueue(session, f"{title} kept [words=1]")
    assert session.abort() == 0
    assert running.failure().code == "ABORTED"
    ends = finished(session, 2, mark)
    assert (ends[0]["outcome"], ends[0]["reason"]) == ("stopped", "cancelled")
    assert ends[1]["inputIds"] == [kept["inputId"]] and ends[1]["outcome"] == "finished"
    assert session.id not in client.status(soon()) and not session.peek()["aborted"]


def test_a_wait_may_end_before_its_turn(quiet, session, title):
    mark = quiet.mark()
    answer = session.start("run_turn", json.dumps({"text": f"{title} [words=3] [pause=0.5]"}), 200)
    assert answer.failure().code == "TIMEOUT"
    assert finished(session, 1, mark)[0]["outcome"] == "finished"


def test_the_same_input_twice_is_one_turn(session, model, title):
    first = run(session, f"{title} once [words=1]", id="a")
    assert run(session, f"{title} once [words=1]", id="a") == first
    assert len(asked(model, f"{title} once")) == 1


def test_a_deleted_session_ends_its_waits(session, client, title, model):
    text = f"{title} [wait]"
    running = session.start("run_turn", json.dumps({"text": text}), 60_000)
    while model.started.get(timeout=30) != text:
        pass
    queued = session.start("run_turn", json.dumps({"text": f"{title} later"}), 60_000)
    while not json.loads(session.inputs()):
        threading.Event().wait(0.02)
    session_id = session.id
    assert session.delete() == 0
    assert queued.failure().code == "NOT_FOUND"
    try:  # its turn was ended first
        assert json.loads(running.result())["reason"] == "cancelled"
    except Failed as error:
        assert error.code == "NOT_FOUND"
    assert session_id not in client.status(soon()) and asked(model, f"{title} later") == []
