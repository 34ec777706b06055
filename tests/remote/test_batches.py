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
