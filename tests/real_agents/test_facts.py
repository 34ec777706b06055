"""What the four real agents do, without the library: the facts of docs/agents-facts.md that its code stands on.

They are shown on the wire, so that a test of the library that fails here as well tells of a new agent, not of a fault.
"""

import contextlib

import pytest

from tests.real_agents.raw import Refused
from tests.real_agents.real import contents


@pytest.fixture
def raw(agent):
    """Speaks to the agent, greeted and logged in."""
    with begin(agent) as made:
        yield made


@contextlib.contextmanager
def begin(agent):
    with agent.start() as made:
        made.offers = made.initialize()
        if agent.login:
            made.call("authenticate", methodId=agent.login)
        yield made


def option(asked, kind):
    return next(each["optionId"] for each in asked["params"]["options"] if each["kind"] == kind)


def choose(raw, kind):
    """Answer what it asks, when it does, with the option of this kind."""
    raw.until(lambda: raw.asked)
    asked = raw.asked.pop()
    raw.reply(asked, outcome={"outcome": "selected", "optionId": option(asked, kind)})
    return asked


def test_a_turn_streams_uses_a_tool_with_leave_and_ends(agent, raw):
    session, before = raw.new()["sessionId"], contents(agent.worktree)
    answer = raw.prompt(session, "hello [words=4] [pause=0.05]")
    assert answer["stopReason"] == "end_turn"
    assert raw.said(session).endswith("word0 word1 word2 word3 ")
    assert contents(agent.worktree) == before
    number = raw.begin(session, "tool [bash=echo made > made.txt]")
    asked = choose(raw, "allow_once")
    assert raw.result(number)["stopReason"] == "end_turn"
    assert {each["kind"] for each in asked["params"]["options"]} == {"allow_once", "allow_always", "reject_once"}
    assert (agent.worktree / "made.txt").read_text() == "made\n"
    number = raw.begin(session, "tool [bash=echo made > never.txt]")
    choose(raw, "reject_once")
    assert raw.result(number)["stopReason"] == agent.rejected
    assert not (agent.worktree / "never.txt").exists()


def test_two_sessions_of_one_process_go_side_by_side_and_one_is_cancelled(raw, models):
    first, second = raw.new()["sessionId"], raw.new()["sessionId"]
    numbers = raw.begin(first, "first [words=200] [pause=0.1]"), raw.begin(second, "second [say=a b c d ] [pause=0.2]")
    raw.until(lambda: "word1" in raw.said(first))
    assert raw.result(numbers[1])["stopReason"] == "end_turn"
    assert raw.said(second).endswith("a b c d ") and "a b" not in raw.said(first)
    raw.cancel(first)
    assert raw.result(numbers[0])["stopReason"] == "cancelled"


def test_a_conversation_outlives_its_process(agent):
    with begin(agent) as raw:
        session = raw.new()["sessionId"]
        raw.prompt(session, "first [words=2]")
        raw.begin(session, "second [words=200] [pause=0.1]")
        raw.until(lambda: raw.said(session).count("word1 ") == 2)
    agent.age()
    with begin(agent) as raw:
        assert raw.offers["agentCapabilities"]["loadSession"]
        assert agent.resumes == ("resume" in raw.offers["agentCapabilities"].get("sessionCapabilities", {}))
        where = {"sessionId": session, "cwd": raw.folder, "mcpServers": []}
        if agent.resumes:
            raw.call("session/resume", **where)
            assert raw.said(session) == raw.said(session, kind="user_message_chunk") == ""
        else:
            raw.call("session/load", **where)
            raw.until(lambda: "second" in raw.said(session, kind="user_message_chunk"))
            assert "word0 word1" in raw.said(session)
        mark = len(raw.notes)
        assert raw.prompt(session, "third [words=2]")["stopReason"] == "end_turn"
        assert raw.said(session, mark).endswith("word0 word1 ")


def test_a_provider_that_refuses_fails_the_prompt(raw):
    session = raw.new()["sessionId"]
    with pytest.raises(Refused, match="refused with 400"):
        raw.prompt(session, "refuse [status=400]")


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"], indirect=True)
def test_without_an_account_no_turn_is_run(agent, models):
    agent.log_out()
    before = len(models.asked)
    with agent.start() as raw:
        raw.initialize()
        with pytest.raises(Refused) as refused:
            raw.prompt(raw.new()["sessionId"], "hello")
    assert refused.value.code == -32000
    assert len(models.asked) == before
