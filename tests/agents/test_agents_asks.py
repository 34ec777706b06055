"""Permissions that an agent asks for: announced once, answered once, ended with their turn."""

import json

import pytest

from tests.agents.conftest import eventually
from tests.remote.hosts import Failed


def answers(session):
    """Return how the agent was answered, as it says in its tool's output."""
    parts = [part for message in session.said() for part in message["parts"] if part["type"] == "tool"]
    return [(part["tool"]["state"], part["raw"]) for part in parts]


def given(session):
    """Return what the tools of the newest turn were answered with."""
    found = eventually(
        lambda: [p for m in session.said() for p in m["parts"] if p["type"] == "tool" and "output" in p["tool"]]
    )
    return [part["tool"]["state"] for part in found]


def test_a_permission_is_announced_answered_and_told(attached):
    session = attached()
    session.observe_now()
    session.enqueue_text("[tool=bash][ask][say=done]")
    (asked,) = session.asked()
    assert asked["id"].startswith("ask_") and asked["turnId"].startswith("turn_") and asked["title"] == "Run it"
    assert asked["tool"]["callId"] == "call-1" and asked["replies"] == ["once", "always", "reject"]
    assert session.info()["turn"]["state"] == "waiting"
    session.reply_permission(asked["id"], "once")
    events = session.events("turn.finished")
    told = [each["data"] for each in events if each["type"] == "permission.asked"]
    assert told == [asked]
    (replied,) = [each["data"] for each in events if each["type"] == "permission.replied"]
    assert replied == {"id": asked["id"], "reply": "once", "by": "host"}
    assert given(session) == ["completed"] and json.loads(session.permissions()) == []
    assert session.fails("reply_permission", asked["id"], "once").code == "NOT_FOUND"


@pytest.mark.parametrize(
    "kinds, reply, state",
    [
        ("allow_once,reject_once", "always", "completed"),
        ("allow_always,reject_once", "always", "completed"),
        ("allow_once,reject_always", "reject", "error"),
        ("allow_once", "reject", "error"),
    ],
)
def test_what_is_not_offered_is_not_chosen_but_refused_where_that_is_meant(attached, kinds, reply, state):
    session = attached()
    session.enqueue_text(f"[tool=bash][ask={kinds}]")
    (asked,) = session.asked()
    session.reply_permission(asked["id"], reply)
    assert given(session) == [state]


def test_once_is_never_taken_for_always(attached):
    session = attached()
    session.enqueue_text("[tool=bash][ask=allow_always,reject_once]")
    (asked,) = session.asked()
    error = session.fails("reply_permission", asked["id"], "once")
    assert error.code == "INVALID_PARAM" and "always, reject" in error.message
    session.reply_permission(asked["id"], "reject")
    assert given(session) == ["error"]


def test_two_for_one_tool_get_an_answer_each(attached):
    """AionUi#1614."""
    session = attached()
    session.enqueue_text("[tool=bash][ask=2]")
    first, second = eventually(lambda: len(found := session.asked()) == 2 and found)
    assert first["id"] != second["id"] and first["tool"] == second["tool"]
    session.reply_permission(second["id"], "reject")
    session.reply_permission(first["id"], "always")
    assert given(session) == ["error"]


@pytest.mark.parametrize("ids", ["zero", "strings"])
def test_ids_of_requests_are_echoed_as_they_were(attached, ids):
    """openab#1467."""
    session = attached()
    session.enqueue_text(f"[ids={ids}][tool=a][ask][done][tool=b][ask][done]")
    for reply in ("once", "reject"):
        (asked,) = session.asked()
        session.reply_permission(asked["id"], reply)
        assert eventually(lambda of=asked: of not in json.loads(session.permissions()))
    assert eventually(lambda: "turn" not in session.info())
    assert given(session) == ["completed", "error"]


def test_an_aborted_turn_ends_what_it_asks_once(attached):
    """assistant-ui#6027."""
    session = attached()
    session.observe_now()
    session.enqueue_text("[tool=bash][ask][late=3]")
    (asked,) = session.asked()
    session.abort()
    events = session.events("turn.finished")
    replied = [each["data"] for each in events if each["type"] == "permission.replied"]
    assert replied == [{"id": asked["id"], "reply": "reject", "by": "abort"}]
    assert (events[-1]["data"]["outcome"], events[-1]["data"]["reason"]) == ("stopped", "cancelled")
    assert session.fails("reply_permission", asked["id"], "once").code == "CONFLICT"
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_one_that_nobody_answers_is_rejected_at_its_deadline(start, spawn):
    host = start(permissions={"deadlineMs": 300})
    session = spawn(host)
    session.attach()
    session.observe_now()
    assert session.turn("[tool=bash][ask]")["outcome"] == "finished"
    (replied,) = [e["data"] for e in session.events("turn.finished") if e["type"] == "permission.replied"]
    assert (replied["reply"], replied["by"]) == ("reject", "deadline")
    assert given(session) == ["error"]
    assert session.fails("reply_permission", replied["id"], "once").code == "CONFLICT"


@pytest.mark.parametrize("default, state", [("allow", "completed"), ("deny", "error")])
def test_the_configuration_may_answer_for_the_host(start, spawn, default, state):
    session = spawn(start(permissions={"default": default}))
    session.attach()
    session.turn("[tool=bash][ask]")
    assert given(session) == [state]


def test_an_unknown_one_cannot_be_answered(attached):
    session = attached()
    with pytest.raises(Failed, match="NOT_FOUND"):
        session.reply_permission("ask_0", "once")
    with pytest.raises(Failed, match="NOT_FOUND"):
        session.reply_permission("per_0", "once")
