"""Whole turns by an attached agent."""

import json

import pytest

from tests.agents.conftest import text_of


@pytest.mark.requirement("R-026")
def test_an_attached_agent_runs_the_turns_of_its_session(start, store, spawn):
    host = start(store=store)
    session = spawn(host)
    session.attach()
    info = session.info()
    assert info["relay"]["state"] == "ACTIVE" and info["relay"]["worktree"] == str(session.worktree)
    done = session.turn("Hello")
    assert done["outcome"] == "finished"
    assert [message["role"] for message in done["messages"]] == ["user", "assistant"]
    assert text_of(done["messages"][1]) == "word0 word1 word2 "
    assert session.turn("[say=again]")["messages"][1]["model"] == {"providerId": "fake-agent", "modelId": "default"}
    assert [text_of(message) for message in session.said()] == ["Hello", "word0 word1 word2 ", "[say=again]", "again"]


def test_observers_are_told_of_a_turn_in_order(attached):
    session = attached()
    session.observe_now()
    session.enqueue_text("[pause=0.06][think=2][words=2]")
    events = session.events("turn.finished")
    kinds = [each["type"] for each in events]
    assert kinds.index("turn.started") < kinds.index("message.created") < kinds.index("turn.activity")
    parts = [each["data"] for each in events if each["type"] == "message.part.updated"]
    deltas = [each for each in parts if "delta" in each]
    assert "".join(each["delta"] for each in deltas) == "thought0 thought1 word0 word1 "
    assert [each["part"]["type"] for each in parts if "part" in each] == ["text", "reasoning", "text"]
    assert {json.dumps(each["data"].get("turnId")) for each in events if "turnId" in each["data"]} == {
        json.dumps(events[-1]["data"]["turnId"])
    }
