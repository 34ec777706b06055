"""Conversations in a terminal with an agent: the same programs as with a server, and plue-session chat --agent."""

import json
import os
import pty
import signal
import sys
import uuid

import pytest

from tests import support
from tests.integration.chats import PROGRAMS, Chat, commands  # noqa: F401
from tests.robust.host import eventually, processes_with

FAKE = support.ROOT / "tests" / "agents" / "fake_agent.py"


@pytest.fixture
def chat(commands, plain, folder, tmp_path):
    """`chat(name)` starts a program with an agent of its own, whose further words follow; all that it starts has the
    mark `chat.mark`."""
    started = []

    def start(name, *words, options=(), **how):
        agent = " ".join([sys.executable, "-S", str(FAKE), *words])
        mark = f"CHECK_MARK={uuid.uuid4().hex}"
        env = support.environment(folder, PYTHONPATH=plain.root, PLUE_AGENT=agent, **dict([mark.split("=")]))
        more = ["--agent", agent, *options] if name == "plue-session" else options
        started.append(Chat([*commands(name), *more], env, tmp_path, **how))
        started[-1].mark = mark
        return started[-1]

    yield start
    for each in started:
        each.kill()
        assert eventually(lambda each=each: not processes_with(each.mark)), "an agent is left"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_turn_of_an_agents_is_shown_and_ended_by_ctrl_c(chat, name):
    talk = chat(name)
    talk.say("[words=2][wait][late=1]")
    place = talk.shows("word0 word1")
    talk.interrupt()
    place = talk.shows("cancelled", place)
    talk.say("[words=4]")
    talk.shows("word0 word1 word2 word3", place)
    talk.close()
    talk.ends()
    assert not processes_with(talk.mark), "an agent is left"


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reply", ["once", "reject"])
def test_what_an_agent_asks_is_answered_at_the_prompt(chat, name, reply):
    talk = chat(name)
    talk.say("[tool=bash][ask][say=done]")
    place = talk.shows("May it?")
    talk.say(reply)
    talk.shows("done", place)
    talk.close()
    talk.ends()


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_agent_that_cannot_be_started_is_one_line(chat, name):
    talk = chat(name, "auth=login")
    err = talk.ends(1)
    assert "plue_session_create_with" in err + talk.said and "fake-agent login" in err + talk.said


# -- the command alone -------------------------------------------------------------------------------------------------
def test_the_agent_works_in_the_folder_that_is_named(chat, tmp_path):
    (tmp_path / "project").mkdir()
    talk = chat("plue-session", options=["project"])
    talk.say("[cwd]")
    talk.shows(str(tmp_path / "project"))
    talk.close()
    talk.ends()
    missing = chat("plue-session", options=["nowhere"])
    assert "cannot be used: No such file or directory" in missing.ends(1)


def test_a_session_or_an_agent_must_be_named(plain, commands, folder):
    env = support.environment(folder, PYTHONPATH=plain.root)
    done = support.run(commands("plue-session"), env=env, code=2)
    assert "name the session (ID_OR_KEY), or an agent by --agent" in done.err


@pytest.mark.requirement("R-077")
def test_an_agent_that_has_died_is_attached_again_for_the_next_turn(chat, tmp_path):
    (tmp_path / "memory").mkdir()
    talk = chat("plue-session", f"memory={tmp_path}/memory")
    talk.say("[words=1][exit=3]")
    place = talk.shows("! stopped, incomplete: ")
    talk.say("[say=here I am]")
    talk.shows("here I am", place)
    talk.close()
    talk.ends()
    assert "replayed" not in talk.said


def test_an_agent_that_has_forgotten_all_ends_the_conversation(chat):
    talk = chat("plue-session")
    talk.say("[words=1][stderr=out of luck][exit=3]")
    talk.shows("! stopped, incomplete: ")
    assert "(exit code 3); its last words: out of luck" in talk.said
    talk.say("again")
    err = talk.ends(1)
    assert err.startswith("plue-session chat: plue_session_relay_attach ") and err.count("\n") == 1


def test_the_conversation_is_kept_and_its_session_is_cleaned(chat, plain, folder, commands):
    talk = chat("plue-session")
    talk.say("[say=remember]")
    talk.shows("remember")
    talk.close()
    talk.ends()
    env = support.environment(folder, PYTHONPATH=plain.root)
    (info,) = json.loads(support.run([*commands("plue-session")[:-1], "list", "--json"], env=env).out)
    assert info["relay"]["state"] == "CLEANED" and info["messageCount"] == 2


def test_a_second_ctrl_c_leaves_no_agent(chat):
    ours, theirs = pty.openpty()
    talk = chat("plue-session", "stubborn", stdin=theirs, controls=True)
    os.close(theirs)
    try:
        talk.shows("> ")
        os.write(ours, b"[deaf][words=1][stall]\n")
        talk.shows("word0")
        assert eventually(lambda: os.write(ours, b"\x03") and talk.has_ended(0.2))  # two at a time are one
        talk.ends(130)
    finally:
        os.close(ours)
    assert eventually(lambda: not processes_with(talk.mark))


# -- plue-session agents -----------------------------------------------------------------------------------------------
@pytest.fixture
def agents(plain, commands, folder):
    """`agents("--json")`: what the command prints."""
    env = support.environment(folder, PYTHONPATH=plain.root)
    return lambda *words: support.run([*commands("plue-session")[:-1], "agents", *words], env=env)


def test_what_is_attached_is_listed_with_its_memory(chat, agents, tmp_path):
    assert agents().err == "No session has an agent.\n" and json.loads(agents("--json").out) == []
    talk = chat("plue-session", "name=listed")
    talk.say("[words=1][wait]")
    talk.shows("word0")
    (told,) = json.loads(agents("--json").out)
    assert told["state"] == "ACTIVE" and told["kind"] == "acp" and told["isLost"] is False
    assert told["worktree"] == str(tmp_path) and told["command"][-2:] == [str(FAKE), "name=listed"]
    assert told["pid"] in processes_with(talk.mark) and 1e6 < told["memoryBytes"] < 1e9
    line = agents().out
    assert line.count("\n") == 1 and line.startswith(f"{told['session']}  {told['role']}  ACTIVE ")
    assert " MB  active " in line and f"name=listed in {tmp_path}\n" in line
    talk._process.send_signal(signal.SIGKILL)
    talk._process.wait()
    assert eventually(lambda: not processes_with(talk.mark))
    (told,) = json.loads(agents("--json").out)
    assert told["state"] == "ACTIVE" and told["isLost"] is True and "memoryBytes" not in told
    assert "ACTIVE (lost)" in agents().out


def test_agents_of_a_spawned_servers_sessions_are_read_without_it(plain, folder, tmp_path, commands):
    """The command reads the store alone: the server that the library would start is none."""
    config = tmp_path / "settings.json"
    backend = {"kind": "opencode", "spawn": {"command": ["/nowhere/at/all"], "directory": str(tmp_path)}}
    config.write_text(json.dumps({"dataDir": str(folder), "backend": backend}))
    env = support.environment(folder, PYTHONPATH=plain.root)
    support.run([*commands("plue-session")[:-1], "create"], env=env)  # the store is there
    env["PLUE_SESSION_CONFIG"] = str(config)
    done = support.run([*commands("plue-session")[:-1], "agents", "--json"], env=env)
    assert done.out == "[]\n" and "The server is not started" in done.err
