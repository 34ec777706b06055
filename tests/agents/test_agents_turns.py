"""Whole turns by an attached agent."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.agents.conftest import eventually, text_of


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


def switches(pid):
    """Return how often the threads of a process's agents have slept."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "plue-actor":
            status = (task / "status").read_text()
            count += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M).group(1))
    return count


def test_an_attached_session_that_has_nothing_to_do_sleeps(host, attached):
    """Also when what was to be said was cancelled in the moment in which it was taken."""
    session = attached()

    def rests():
        before = switches(host.pid)
        time.sleep(0.5)
        return switches(host.pid) - before <= 2

    for _ in range(12):
        given = session.enqueue_text("[say=x]")
        session.cancel_inputs(json.dumps([{"inputId": given["inputId"]}]))
        assert eventually(rests)


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
