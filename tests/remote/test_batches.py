"""Operations in bulk, and without waiting, on the real server."""

import json
import time

import pytest

from tests.opencode.fixtures import soon
from tests.remote.proxy import Gate


def batch(host, *operations):
    return json.loads(host.call("session_batch", json.dumps(operations)))


def submit(host, *operations):
    return host.call("session_submit", json.dumps(operations))


def codes(results):
    return [each["error"]["code"] if "error" in each else "OK" for each in results]


def final(host, operation, mark=0):
    """Wait for the last event of a submission; return its type and its data."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        host.mark()
        for event in host._events[mark:]:
            kind = event["type"].removeprefix("operation.")
            if kind in ("completed", "failed", "cancelled") and event["data"]["operation"] == operation:
                return kind, event["data"]
        time.sleep(0.01)
    raise AssertionError("no last event")


@pytest.mark.requirement("P-174")
def test_a_batch_is_what_its_functions_are_on_the_server(quiet, client, title):
    session = quiet.create()
    results = batch(
        quiet,
        {"op": "create_with", "options_json": {"title": title, "metadata": {"a": 1}}},
        {"op": "update_title", "session": session.id, "title": title},
        {"op": "update_title", "session": "ses_nothing", "title": title},
        {"op": "update", "session": session.id, "patch_json": {"metadata": {"b": 2}, "tags": ["t"]}},
        {"op": "initialize", "session": session.id, "provider_id": "fake", "model_id": "fake-model"},
        {"op": "initialize", "session": session.id, "provider_id": "none", "model_id": "none"},
        {"op": "fork", "session": session.id},
        {"op": "abort", "session": session.id},
        {"op": "get_info", "session": session.id},
        {"op": "list"},
    )
    assert codes(results) == ["OK", "OK", "NOT_FOUND", "OK", "OK", "CONFLICT", "OK", "OK", "OK", "OK"]
    made, fork = results[0]["ok"], results[6]["ok"]
    assert client.get(made["id"], soon()).title == title == client.get(session.id, soon()).title
    assert made["metadata"] == {"a": 1} and fork["parentId"] == session.id
    assert results[8]["ok"]["tags"] == ["t"] and results[8]["ok"]["metadata"] == {"b": 2}
    assert {made["id"], fork["id"], session.id} <= {info["id"] for info in results[9]["ok"]}
    mine = {made["id"], fork["id"], session.id}
    assert codes(batch(quiet, *({"op": "delete", "session": each} for each in mine))) == ["OK"] * 3
    assert not mine & {each.id for each in client.list(soon())}


@pytest.mark.requirement("P-171")
def test_what_was_submitted_is_done_on_the_server_and_told_once(quiet, client, title):
    mark = quiet.mark()
    operation = submit(
        quiet,
        {"op": "create_with", "options_json": {"title": title}, "tag": "first"},
        {"op": "delete", "session": "ses_nothing"},
    )
    kind, data = final(quiet, operation, mark)
    assert kind == "completed" and data["tag"] == "first" and codes(data["results"]) == ["OK", "NOT_FOUND"]
    made = data["results"][0]["ok"]["id"]
    assert client.get(made, soon()).title == title
    quiet.fence(client)
    told = [event for event in quiet._events[mark:] if event["type"].startswith("operation.")]
    assert [(event["type"], event["data"].get("done")) for event in told] == [
        ("operation.progress", 1),
        ("operation.progress", 2),
        ("operation.completed", None),
    ]
    # What it has done is told of before it is over.
    kinds = [event["type"] for event in quiet._events[mark:] if event["type"] in ("session.created", told[0]["type"])]
    assert kinds[0] == "session.created"


@pytest.mark.requirement("P-171")
def test_a_stalled_update_holds_up_no_other_submission_and_no_abort(quiet, client, proxy, title):
    stuck, free = quiet.create(), quiet.create()
    gate = Gate("PATCH", f"/session/{stuck.id}")
    proxy.rules.append(gate)
    slow = submit(quiet, {"op": "update_title", "session": stuck.id, "title": title, "timeoutMs": 25_000})
    assert gate.arrived.wait(30)
    others = [submit(quiet, {"op": "update_title", "session": free.id, "title": f"{title} {n}"}) for n in range(5)]
    for each in others:
        assert final(quiet, each)[0] == "completed"
    abort = submit(quiet, {"op": "abort", "session": free.id})
    assert codes(final(quiet, abort)[1]["results"]) == ["OK"]
    assert quiet.call("session_cancel_operation", slow) == 0
    kind, data = final(quiet, slow)
    assert kind == "cancelled" and codes(data["results"]) == ["ABORTED"]
    gate.open()
    assert quiet.fails("session_cancel_operation", slow).code == "NOT_FOUND"


@pytest.mark.requirement("P-174")
def test_an_operation_ends_in_its_own_time(quiet, proxy, title):
    session, gate = quiet.create(), Gate("POST", r"/session/[^/]+/fork")  # a fork is never queued for later
    proxy.rules.append(gate)
    results = batch(
        quiet,
        {"op": "fork", "session": session.id, "timeoutMs": 300},
        {"op": "update_title", "session": session.id, "title": title},
    )
    gate.open()
    assert codes(results) == ["TIMEOUT", "OK"]
    assert session.peek()["title"] == title


# -- turns -------------------------------------------------------------------------------------------------------------
def run_turn(session, text, timeout_ms=60_000, **more):
    return {"op": "run_turn", "session": session.id, "input_json": {"text": text}, "timeout_ms": timeout_ms, **more}


def heard(model, text):
    """Wait until the model is asked this."""
    while model.started.get(timeout=30) != text:
        pass


def over(host, session, mark):
    return host.wait_for("turn.finished", session.id, mark)


@pytest.mark.requirement("P-174")
def test_a_batch_holds_a_conversation(quiet, model, title):
    session = quiet.create()
    results = batch(
        quiet,
        run_turn(session, f"{title} one [words=2]", 20_000),
        run_turn(session, f"{title} two [words=2]", 20_000),
        run_turn(session, f"{title} three [words=2]", 0),
        {"op": "update_title", "session": session.id, "title": title},
    )
    assert codes(results) == ["OK"] * 4
    assert [each["ok"]["outcome"] for each in results[:2]] == ["finished"] * 2
    assert sorted(results[2]["ok"]) == ["inputId", "turnId"]
    texts = [message["parts"][0]["text"] for each in results[:2] for message in each["ok"]["messages"][:1]]
    assert texts == [f"{title} one [words=2]", f"{title} two [words=2]"]


@pytest.mark.requirement("P-171", "P-174")
def test_a_turn_that_was_submitted_takes_its_time_and_holds_up_no_others(quiet, model, title):
    session, mark, text = quiet.create(), quiet.mark(), f"{title} [wait]"
    waiting = submit(quiet, run_turn(session, text, timeoutMs=60_000), {"op": "get_info", "session": session.id})
    heard(model, text)
    others = [submit(quiet, {"op": "list"}) for _ in range(40)]
    assert {final(quiet, each, mark)[0] for each in others} == {"completed"}
    late = submit(quiet, run_turn(session, f"{title} behind [words=1]", 1000), {"op": "list"})
    assert codes(final(quiet, late, mark)[1]["results"]) == ["TIMEOUT", "OK"]  # and its turn waits
    turn = session.peek()["turn"]["turnId"]
    assert session.abort_turn(turn) == 0
    kind, data = final(quiet, waiting, mark)
    assert kind == "completed" and codes(data["results"]) == ["OK", "OK"]
    assert (data["results"][0]["ok"]["turnId"], data["results"][0]["ok"]["reason"]) == (turn, "cancelled")
    assert data["results"][1]["ok"].get("turn", {}).get("turnId") != turn  # the one behind it may have begun
    until = time.monotonic() + 30
    while len(ends := [data for kind, data in quiet.since(mark, session.id) if kind == "turn.finished"]) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert ends[1]["outcome"] == "finished"


@pytest.mark.requirement("P-171")
def test_to_cancel_a_submission_ends_its_wait_at_once_and_its_turn_goes_on(quiet, model, title):
    session, mark, text = quiet.create(), quiet.mark(), f"{title} [words=4] [pause=0.5]"
    waiting = submit(quiet, run_turn(session, text), {"op": "create"})
    heard(model, text)
    assert quiet.call("session_cancel_operation", waiting) == 0
    kind, data = final(quiet, waiting, mark)
    assert kind == "cancelled" and codes(data["results"]) == ["ABORTED"] * 2
    assert "The turn goes on" in data["results"][0]["error"]["message"]
    assert not [kind for kind, _ in quiet.since(mark, session.id) if kind == "turn.finished"]
    assert over(quiet, session, mark)["outcome"] == "finished"


@pytest.mark.requirement("P-171", "P-156")
def test_an_abort_ends_the_wait_of_another_submission_and_its_turn(quiet, model, title):
    session, mark, text = quiet.create(), quiet.mark(), f"{title} [wait]"
    waiting = submit(quiet, run_turn(session, text), {"op": "get_info", "session": session.id})
    heard(model, text)
    abort = submit(quiet, {"op": "abort", "session": session.id})
    kind, data = final(quiet, waiting, mark)
    assert kind == "completed" and codes(data["results"]) == ["ABORTED", "OK"]
    assert codes(final(quiet, abort, mark)[1]["results"]) == ["OK"]
    assert over(quiet, session, mark)["reason"] == "cancelled"


@pytest.mark.requirement("P-171")
def test_at_the_shutdown_no_turn_is_waited_for(connected, model, title):
    host = connected()
    session, text = host.create(), f"{title} [words=4] [pause=0.3]"
    waiting = [submit(host, run_turn(session, text))]
    heard(model, text)
    waiting.append(submit(host, run_turn(session, f"{title} behind")))
    until = time.monotonic() + 30
    while not json.loads(session.inputs()):
        assert time.monotonic() < until
        time.sleep(0.01)
    began, ended, stops = time.monotonic(), {}, host.start("shutdown")
    while (event := json.loads(host.call("event_wait", 7000)))["type"] != "library.shutdown":
        if event["type"].removeprefix("operation.") in ("completed", "failed", "cancelled"):
            ended[event["data"]["operation"]] = event["type"], codes(event["data"]["results"])
    stops.result()
    assert time.monotonic() - began < 7
    assert ended == dict.fromkeys(waiting, ("operation.cancelled", ["CLOSED"]))
