"""The life of an agent's process, and of its conversations: start, login, restore, death, end."""

import os
import signal
import sys
import threading
import time

import pytest

from plue_session import errors
from plue_session.call import Call
from plue_session.model.said import Answered, Asked, Gone, Named, Said
from tests.agents.held import FAKE, SOON, call


# -- starting ----------------------------------------------------------------------------------------------------------
def test_a_command_that_is_not_there_is_not_one_that_crashed(agents):
    missing = agents(command=["no-such-agent"])
    with pytest.raises(errors.StoreIo, match="no-such-agent cannot be run: No such file") as failed:
        missing.begin()
    assert "Install no-such-agent" in failed.value.remedy and "agent.command" in failed.value.remedy
    crashed = agents("stderr=no_config", "exit=3")
    with pytest.raises(errors.Server, match=r"ended \(exit code 3\); its last words: no config") as failed:
        crashed.begin()
    assert failed.value.details == {"exit": "exit code 3", "stderr": "no config"}
    for agent in (missing, crashed):
        agent.agent.close()
        assert agent.agent.join(7) and agent.agent.pid is None


def test_a_worktree_that_is_not_there_is_named(agents):
    agent = agents()
    agent.worktree.rmdir()
    with pytest.raises(errors.StoreIo, match="the directory .*worktree cannot be used") as failed:
        agent.begin()
    assert "worktree" in failed.value.remedy
    assert agent.agent.join(0)


@pytest.mark.parametrize("words", [["slow=60"], ["slow=60", "stubborn"]], ids=["polite", "stubborn"])
@pytest.mark.requirement("O-070")
def test_a_start_has_a_deadline_shows_stderr_and_leaves_nothing(agents, words):
    agent = agents("stderr=waiting_for_npm", *words)
    began = time.monotonic()
    with pytest.raises(errors.Timeout, match="does not start in time; its last words: waiting for npm"):
        agent.begin(seconds=0.7)
    assert time.monotonic() - began < 0.7 + 2  # its end is not waited for
    agent.agent.close()
    assert agent.agent.join(7) and not agent.alive()


def test_a_start_can_be_cancelled(agents):
    agent, starting = agents("slow=60"), Call()
    threading.Timer(0.3, starting.set, [errors.Aborted("aborted")]).start()
    with pytest.raises(errors.Aborted):
        agent.agent.start(starting)
    agent.agent.close()
    assert agent.agent.join(7) and not agent.alive()


@pytest.mark.requirement("R-071")
def test_an_agent_that_is_closed_while_it_starts_is_ended(agents):
    agent = agents("slow=60")
    threading.Timer(0.3, agent.agent.close).start()
    with pytest.raises(errors.Closed):
        agent.agent.start(call())
    assert agent.agent.join(7) and not agent.alive()
    never = agents()
    never.agent.close()
    with pytest.raises(errors.Closed):
        never.agent.start(call())
    assert never.agent.join(0)


@pytest.mark.requirement("O-070")
def test_a_slow_start_is_no_failure(agents):
    agent = agents("slow=1", "slow-new=0.5")
    assert agent.begin().startswith("fake-")


def test_another_version_of_the_protocol_is_refused_and_nothing_is_begun(agents):
    agent = agents("version=2")
    with pytest.raises(errors.Unsupported, match="speaks version 2 of the Agent Client Protocol, not 1"):
        agent.begin()
    assert [message["method"] for message in agent.said("in")] == ["initialize"]


@pytest.mark.parametrize("method", ["initialize", "session/new"])
def test_an_agent_that_dies_instead_of_answering_says_how(agents, method):
    agent = agents(f"die={method}")
    with pytest.raises(errors.Server, match=r"ended \(exit code 7\)"):
        agent.begin()


def test_a_command_that_is_no_agent_is_told_apart(agents):
    script = """read line; echo '{"id":1,"result":5}'; sleep 60"""
    agent = agents(command=["sh", "-c", script, "sh"], judged=False)
    with pytest.raises(errors.Server, match="does not speak the Agent Client Protocol"):
        agent.begin()


def test_the_environment_is_the_hosts_with_the_agents_over_it(agents):
    host = {**os.environ, "FROM_HOST": "host", "BOTH": "host"}
    agent = agents(environment=host, env={"BOTH": "agent", "FROM_AGENT": "agent"})
    agent.begin()
    agent.turn("[env=FROM_HOST] [env=BOTH] [env=FROM_AGENT] [env=NEITHER] [cwd]")
    assert agent.heard.text() == "hostagentagentnot set" + os.path.realpath(agent.worktree)


def test_a_command_is_found_on_the_agents_own_path(agents, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "my-agent").write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    (programs / "my-agent").chmod(0o755)
    agent = agents("nameless", command=["my-agent"], env={"PATH": f"{programs}:{os.environ['PATH']}"})
    agent.begin()
    assert agent.agent.name == "my-agent"


# -- logging in --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["login", "key", "var", "bare", "silent"])
def test_an_agent_that_wants_a_login_says_what_to_do(agents, kind):
    agent = agents(f"auth={kind}")
    agent.agent.start(call())
    with pytest.raises(errors.ProviderAuth) as failed:
        agent.agent.open(None, call())
    assert "Log in to it" in failed.value.remedy
    offered = "fake-login (Log in: Run `fake-agent login` in a terminal)" in failed.value.remedy
    assert offered == (kind != "bare")
    assert not agent.said("in", "authenticate")


@pytest.mark.parametrize("kind, way", [("key", "fake-api-key"), ("var", "by-variable")])
def test_a_key_in_the_environment_is_login_enough(agents, kind, way):
    agent = agents(f"auth={kind}", env={"FAKE_API_KEY": "x"})
    agent.begin()
    assert [message["params"] for message in agent.said("in", "authenticate")] == [{"methodId": way}]
    assert agent.turn("[words=1]").error is None


def test_ways_to_log_in_are_not_used_without_need(agents):
    agent = agents("methods", env={"FAKE_API_KEY": "x"})
    agent.begin()
    assert not agent.said("in", "authenticate")


# -- restoring ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-072")
@pytest.mark.parametrize("words", [[], ["null-load"], ["models", "commands"]], ids=["", "null", "offers"])
def test_what_is_replayed_is_no_news(agents, tmp_path, words):
    memory = tmp_path / "memory"
    memory.mkdir()
    first = agents(f"memory={memory}")
    id = first.begin()
    first.turn("[words=1]")
    os.kill(first.agent.pid, signal.SIGKILL)
    first.heard.wait(Gone)
    second = agents(f"memory={memory}", "replay=20", *words)
    assert second.begin(id) == id
    assert second.turn("[say=new]").error is None
    assert second.heard.text() == "new"
    assert second.said("in", "session/load")[0]["params"]["mcpServers"] == []
    if "models" in words:
        assert second.agent.offer().model == "fake/small"


@pytest.mark.requirement("O-072")
def test_what_is_told_before_the_first_prompt_is_of_the_past_however_late(agents, tmp_path):
    (tmp_path / "old").write_text("[]")
    agent = agents(f"memory={tmp_path}", "replay-after=0.6")
    agent.begin("old")
    assert agent.heard.wait(Named).title == "Old"
    assert agent.said("out", "session/update")
    assert agent.turn("[say=new]").error is None and agent.heard.text() == "new"


def test_a_conversation_is_resumed_where_that_is_offered(agents, tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "old").write_text("[]")
    agent = agents(f"memory={memory}", "caps=load,resume", "replay=20")
    assert agent.begin("old") == "old"
    assert not agent.said("in", "session/load") and agent.said("in", "session/resume")
    assert agent.turn("[words=1]").error is None


def test_a_conversation_that_is_lost_is_no_new_one(agents):
    for words, kind in ((["forgets"], errors.NotFound), (["caps=none"], errors.Unsupported)):
        agent = agents(*words)
        with pytest.raises(kind) as failed:
            agent.begin("old")
        assert '"restore":false' in failed.value.remedy
        assert not agent.said("in", "session/new") and agent.agent.pid
        assert agent.agent.open(None, call()).startswith("fake-")  # the agent is there, should one want that


def test_a_conversation_is_forgotten_where_that_is_offered(agents, tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    can, cannot = agents(f"memory={memory}", "caps=load,delete"), agents(f"memory={memory}")
    for agent in (can, cannot):
        agent.begin()
        assert agent.turn("[words=1]").error is None
    before = set(os.listdir(memory))
    can.agent.forget(call())
    can.agent.forget(call())  # it does not know it any more: that is what was wanted
    cannot.agent.forget(call())
    assert len(before) == 2 and before - set(os.listdir(memory)) == {
        can.said("in", "session/delete")[0]["params"]["sessionId"]
    }


# -- death -------------------------------------------------------------------------------------------------------------
def test_all_that_is_open_fails_at_once_when_it_dies_in_the_middle_of_a_line(agents):
    agent = agents("models", "stderr=started")
    agent.begin()
    ticket = agent.say("[stderr=it broke][words=2][half=7]")
    error = agent.answer(ticket).error
    assert error.name == "SERVER" and "exit code 7" in error.cause and "it broke" in error.cause
    assert agent.heard.text() == "word0 word1 "
    assert agent.heard.wait(Gone).error is error
    for ask in (lambda: agent.say("[words=1]"), lambda: agent.agent.choose("model", "fake/large")):
        with pytest.raises(errors.Server, match="exit code 7"):
            ask()
    agent.agent.cancel()
    agent.agent.go_on()
    agent.agent.answer(1, "allow-once")


def test_an_agent_that_dies_of_a_signal_says_so(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[tool=rm][ask]")
    agent.heard.wait(Asked)
    os.kill(agent.agent.pid, signal.SIGKILL)
    assert "signal 9" in agent.answer(ticket).error.cause


def test_the_guards_own_death_is_no_leak(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[words=1][wait]")
    agent.heard.wait(Said)
    with open(f"/proc/{agent.agent.pid}/stat") as file:
        guard = int(file.read().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    assert agent.answer(ticket).error.name == "SERVER"
    agent.heard.wait(Gone)
    until = time.monotonic() + SOON
    while agent.alive() and time.monotonic() < until:  # the system kills it, which takes a moment
        threading.Event().wait(0.01)


def test_what_was_said_before_the_end_is_heard_though_the_ear_was_full(agents):
    agent = agents(room=5)
    agent.begin()
    ticket = agent.say("[flood=300][exit=0]")
    agent.heard.wait(lambda said: len(agent.heard.all) == 5)
    threading.Event().wait(0.3)
    assert not agent.heard.of(Answered)
    agent.heard.room = None
    agent.agent.go_on()
    assert "exit code 0" in agent.answer(ticket).error.cause
    assert len(agent.heard.of(Said)) == 300
    agent.heard.wait(Gone)
    assert [type(said) for said in agent.heard.all[300:]] == [Answered, Gone]


def test_what_it_leaves_behind_keeps_nobody_waiting(agents):
    """It holds the agent's streams open, and is ended."""
    agent = agents(command=["sh", "-c", "sleep 1000 & exit 3", "sh"], judged=False)
    began = time.monotonic()
    with pytest.raises(errors.Server, match="exit code 3"):
        agent.begin()
    assert time.monotonic() - began < SOON


def test_an_agent_can_be_closed_while_the_ear_is_full(agents):
    agent = agents(room=5)
    agent.begin()
    ticket = agent.say("[flood=100000]")
    agent.heard.wait(lambda said: len(agent.heard.all) == 5)
    agent.agent.close()
    assert agent.answer(ticket).error.name == "CLOSED"
    assert agent.agent.join(SOON) and len(agent.heard.of(Said)) == 5


def test_an_agent_that_closes_its_output_and_stays_is_ended(agents, monkeypatch):
    monkeypatch.setattr("plue_session.adapters.acp.pipe.GRACE", 0.2)
    agent = agents(command=["sh", "-c", "exec 1>&-; sleep 60", "sh"], judged=False)
    with pytest.raises(errors.Server, match="closed its standard output, and goes on running"):
        agent.begin()


def test_a_defect_is_told_and_ends_the_agent(agents):
    agent = agents()
    agent.begin()
    heard = agent.heard.hear

    def broken(said, size):
        if isinstance(said, Said):
            raise RuntimeError("a defect")
        return heard(said, size)

    agent.heard.hear = broken
    ticket = agent.say("[words=1]")
    assert agent.answer(ticket).error.name == "UNKNOWN"
    assert "a defect" in agent.heard.wait(Gone).error.cause


def test_one_agent_that_dies_leaves_others_alone(agents):
    dies, lives = agents(), agents()
    for agent in (dies, lives):
        agent.begin()
    ticket = lives.say("[words=1][sleep=1][words=1]")
    assert "exit code 3" in dies.turn("[exit=3]").error.cause
    assert lives.answer(ticket).error is None and lives.heard.text() == "word0 word0 "


# -- the end -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("R-072", "O-074")
@pytest.mark.parametrize("text", ["[words=1]", "[grandchild]", "[grandchild=away]", "[flood=100000000]", "[stall]"])
def test_nothing_of_it_is_left_when_it_is_closed(agents, text):
    agent = agents()
    agent.begin()
    agent.say(f"[say=begun]{text}[wait]")
    agent.heard.wait(Said)
    if "grandchild" in text:
        while len(agent.pids.read_text().split()) < 2:
            threading.Event().wait(0.01)
    pids = agent.alive()
    assert len(pids) == (2 if "grandchild" in text else 1)
    agent.agent.close()
    agent.agent.close()
    assert agent.agent.join(SOON) and not agent.alive()
    assert agent.heard.wait(Gone).error.name == "CLOSED"


@pytest.mark.requirement("R-072", "O-074")
def test_an_agent_that_ignores_everything_is_killed_with_all_that_is_its(agents):
    agent = agents("stubborn")
    agent.begin()
    assert len(agent.alive()) == 2
    began = time.monotonic()
    agent.agent.close()
    threading.Event().wait(0.5)
    assert agent.alive(), "it had no time to end by itself"
    assert agent.agent.join(SOON) and not agent.alive()
    assert 4 < time.monotonic() - began


@pytest.mark.requirement("R-072")
def test_the_worktree_is_kept(agents):
    agent = agents()
    (agent.worktree / "a.txt").write_text("mine")
    agent.begin()
    agent.say("[words=1][wait]")
    agent.heard.wait(Said)
    agent.agent.cancel()
    agent.end()
    assert [path.name for path in agent.worktree.iterdir()] == ["a.txt"]


def test_what_a_forked_child_must_close_is_told(agents):
    told = []
    agent = agents(on_lifeline=lambda fd, is_open: told.append((fd, is_open)))
    agent.begin()
    assert [is_open for _, is_open in told] == [True, True] and min(fd for fd, _ in told) >= 0
    agent.end()
    opened, closed = ({fd for fd, is_open in told if is_open is which} for which in (True, False))
    assert opened == closed and len(told) == 4


def test_no_descriptor_and_no_thread_is_left(agents):
    agents().begin()  # what is loaded on first use
    for _ in range(3):
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        agent = agents()
        agent.begin()
        agent.turn("[words=1]")
        agent.end()
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
