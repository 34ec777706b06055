"""The start of an agent: what it is checked for, how it fails, what ends it."""

import json
import os
import time

import pytest

from tests.agents.conftest import agent, eventually, lives


def state(session):
    return session.info()["relay"]["state"]


@pytest.mark.requirement("R-028")
def test_the_state_is_checked_before_anything_is_started(host, spawn, tmp_path):
    handle = host.create_with(role="early")
    given = json.dumps({"worktree": str(tmp_path), "agent": agent(f"pids={tmp_path / 'pids'}")})
    assert handle.fails("relay_attach", given).code == "INVALID_TRANSITION"
    assert host.create().fails("relay_attach", given).code == "INVALID_TRANSITION"
    assert not (tmp_path / "pids").exists() and "worktree" not in handle.info()["relay"]


@pytest.mark.parametrize(
    "words, code, text",
    [
        (["exit=3", "stderr=no_luck"], "SERVER", "no luck"),
        (["version=2"], "UNSUPPORTED", "version 2"),
        (["auth=login"], "PROVIDER_AUTH", "fake-login"),
        (["auth=silent"], "PROVIDER_AUTH", "fake-login"),
        (["error=session/new:-32603:no_room"], "SERVER", "no room"),
        (["die=session/new"], "SERVER", "7"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(host, spawn, tmp_path, words, code, text):
    session = spawn(host)
    error = session.fails("relay_attach", session.given(*words, f"pids={tmp_path / 'pids'}"))
    assert error.code == code and text in error.message
    assert state(session) == "SPAWNING"
    assert not any(map(lives, map(int, (tmp_path / "pids").read_text().split())))
    session.attach()
    assert session.turn("[say=x]")["outcome"] == "finished"


def test_a_command_that_is_not_there_is_not_one_that_crashed(host, spawn):
    session = spawn(host)
    given = {"worktree": str(session.worktree), "agent": {"kind": "acp", "command": "/nowhere/agent"}}
    assert session.fails("relay_attach", json.dumps(given)).code == "IO"
    assert state(session) == "SPAWNING"


def test_a_start_has_a_deadline_of_its_own(host, spawn, tmp_path):
    """copilot-cli#4678."""
    session = spawn(host)
    pids = f"pids={tmp_path / 'pids'}"
    error = session.fails("relay_attach", session.given("slow=60", "stderr=downloading", pids, startMs=600))
    assert error.code == "TIMEOUT" and "downloading" in error.message
    assert not any(map(lives, map(int, (tmp_path / "pids").read_text().split())))


@pytest.mark.requirement("O-070")
def test_without_one_it_has_as_long_as_a_call(start, spawn):
    host = start(requestTimeoutMs=1500)
    session = spawn(host)
    error = session.fails("relay_attach", session.given("slow=60"))
    assert error.code == "TIMEOUT" and "fake_agent.py" not in error.message
    assert state(session) == "SPAWNING"
    session.attach("slow=0.2", "slow-new=0.2")
    assert session.turn("[say=x]")["outcome"] == "finished"


@pytest.mark.parametrize("how", ["attach", "create"])
def test_the_caller_hears_in_time_why_though_the_agent_does_not_end(start, spawn, tmp_path, how, store):
    """What is left of it is ended behind its back, and whoever attaches or cleans waits for that."""
    host, pids = start(store=store, requestTimeoutMs=1500), tmp_path / "pids"
    words, began = ["slow=60", "stubborn", "stderr=downloading", f"pids={pids}"], time.monotonic()
    if how == "attach":
        session = spawn(host)
        error = session.fails("relay_attach", session.given(*words))
    else:
        error = host.fails("session_create_with", json.dumps({"agent": agent(*words, worktree=str(tmp_path))}))
    assert time.monotonic() - began < 3 and error.code == "TIMEOUT" and "downloading" in error.message
    if how == "attach":
        host.call("session_relay_terminate", session.id, None)
        assert host.fails("session_relay_clean", session.id).code == "TIMEOUT"
        assert eventually(lambda: state(session) == "CLEANED", 10)
    else:
        assert host.list() == {}
        host.call("shutdown")
    assert not any(map(lives, map(int, pids.read_text().split())))


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_who_attaches_after_a_failure_waits_for_its_end(start, spawn, tmp_path, is_elsewhere):
    host, pids = start(requestTimeoutMs=1500), tmp_path / "pids"
    session = spawn(host)
    assert session.fails("relay_attach", session.given("slow=60", "stubborn", f"pids={pids}")).code == "TIMEOUT"
    left = [int(pid) for pid in pids.read_text().split()]
    assert any(map(lives, left))
    if is_elsewhere:
        there = start()
        there.call("session_relay_attach", there.open(session.id).handle, session.given())
    else:
        assert session.fails("relay_attach", session.given(startMs=20_000)).code == "TIMEOUT"  # it goes on
        assert eventually(lambda: state(session) == "ACTIVE")
    assert not any(map(lives, left))


def greeted(path):
    """Return whether the agent with this trace has been greeted: it was noted before what ends it."""
    return path.exists() and "initialize" in path.read_text()


@pytest.mark.requirement("R-072")
@pytest.mark.parametrize("is_killed", [False, True])
def test_cleaning_waits_for_an_agent_that_starts_in_another_process(start, spawn, tmp_path, is_killed):
    here, there = start(), start()
    session, pids, trace = spawn(here), tmp_path / "pids", tmp_path / "trace"
    starting = session.start("relay_attach", session.given("slow=60", "stubborn", f"pids={pids}", f"trace={trace}"))
    assert eventually(lambda: greeted(trace) and len(pids.read_text().split()) == 2)
    host = json.dumps({"worktree": str(session.worktree), "agent": {"kind": "host"}})
    for given in (session.given(), host):
        assert there.fails("session_relay_attach", there.open(session.id).handle, given).code == "IN_USE"
    if is_killed:
        here.kill()
    there.call("session_relay_terminate", session.id, None)
    there.call("session_relay_clean", session.id)
    assert not any(map(lives, map(int, pids.read_text().split())))
    if not is_killed:
        assert starting.failure().code == "INVALID_TRANSITION"


def test_what_a_killed_process_was_starting_is_waited_for_and_then_another_is_attached(start, spawn, tmp_path):
    here, there = start(), start()
    session, pids, trace = spawn(here), tmp_path / "pids", tmp_path / "trace"
    session.start("relay_attach", session.given("slow=60", "stubborn", f"pids={pids}", f"trace={trace}"))
    assert eventually(lambda: greeted(trace) and len(pids.read_text().split()) == 2)
    here.kill()
    there.call("session_relay_attach", there.open(session.id).handle, session.given())
    assert not any(map(lives, map(int, pids.read_text().split())))


@pytest.mark.requirement("R-071")
def test_an_agent_that_comes_after_its_session_was_terminated_is_ended(host, spawn, tmp_path):
    session = spawn(host)
    starting = session.start("relay_attach", session.given("slow-new=1", f"pids={tmp_path / 'pids'}"))
    assert eventually(lambda: (tmp_path / "pids").exists())
    host.call("session_relay_terminate", session.id, "changed my mind")
    assert starting.failure().code == "INVALID_TRANSITION"
    assert state(session) == "TERMINATING"
    assert not any(map(lives, map(int, (tmp_path / "pids").read_text().split())))
    host.call("session_relay_clean", session.id)


@pytest.mark.parametrize("how, code", [("abort", "ABORTED"), ("delete", "NOT_FOUND")])
def test_a_start_can_be_ended(host, spawn, tmp_path, how, code):
    session = spawn(host)
    starting = session.start("relay_attach", session.given("slow=60", f"pids={tmp_path / 'pids'}"))
    assert eventually(lambda: (tmp_path / "pids").exists())
    getattr(session, how)()
    assert starting.failure().code == code
    (pid,) = map(int, (tmp_path / "pids").read_text().split())
    assert eventually(lambda: not lives(pid), 10)


def test_two_starts_for_one_session_are_one(host, spawn):
    session = spawn(host)
    first = session.start("relay_attach", session.given("slow=0.5"))
    assert eventually(
        lambda: any(
            "plue-actor" in (open(f"/proc/{host.pid}/task/{t}/comm").read())
            for t in os.listdir(f"/proc/{host.pid}/task")
        )
    )
    assert session.fails("relay_attach", session.given()).code == "IN_USE"
    first.result()
    assert session.turn("[say=x]")["outcome"] == "finished"


def test_its_environment_is_the_hosts_and_what_is_given_over_it(host, spawn):
    session = spawn(host)
    session.attach(env={"FAKE_X": "seen", "CHECK_DIR": "other"})
    done = session.turn("[env=FAKE_X][env=CHECK_DIR][env=PLUE_SESSION_DATA_DIR][cwd]")
    text = "".join(part["text"] for part in done["messages"][1]["parts"])
    assert text.startswith("seenother/") and text.endswith(str(session.worktree))
    everything = json.dumps([session.info(), session.said()[:1]])
    assert "FAKE_X" not in everything.replace("[env=FAKE_X]", "")


def test_what_comes_before_the_conversation_has_begun_is_told(host, spawn):
    session = spawn(host)
    session.attach("early")
    assert eventually(lambda: [each for each in session.said() if each["parts"]])
    (message,) = session.said()
    assert message["role"] == "assistant" and "turnId" not in message
    assert session.turn("[say=x]")["messages"][1]["parts"][0]["text"] == "x"


def test_each_abort_ends_a_start_whether_the_flag_is_set_already_or_not(host, spawn, tmp_path):
    session, pids = spawn(host), tmp_path / "pids"
    for number in range(2):
        starting = session.start("relay_attach", session.given("slow=60", f"pids={pids}"))
        assert eventually(lambda number=number: pids.exists() and len(pids.read_text().split()) == number + 1)
        session.abort()
        assert starting.failure().code == "ABORTED"
        assert eventually(lambda: not any(map(lives, map(int, pids.read_text().split()))), 10)


def test_a_title_like_the_flag_of_an_abort_ends_no_start(host, spawn):
    session = spawn(host)
    starting = session.start("relay_attach", session.given("slow=0.5"))
    session.update_title("aborted")
    assert starting.result() == 0 and state(session) == "ACTIVE"


@pytest.mark.parametrize(
    "how, code", [("abort", "ABORTED"), ("delete", "NOT_FOUND"), ("terminate", "INVALID_TRANSITION")]
)
def test_another_process_may_end_a_start(start, spawn, tmp_path, how, code):
    here, there = start(), start()
    session, pids = spawn(here), tmp_path / "pids"
    starting = session.start("relay_attach", session.given("slow=60", f"pids={pids}"))
    assert eventually(lambda: pids.exists())
    if how == "terminate":
        there.call("session_relay_terminate", session.id, None)
    else:
        there.call(f"session_{how}", there.open(session.id).handle)
    assert starting.failure().code == code
    assert eventually(lambda: not any(map(lives, map(int, pids.read_text().split()))), 10)


@pytest.mark.requirement("R-075")
def test_an_agent_that_nobody_uses_is_terminated_where_that_was_asked_for(host, spawn):
    session = spawn(host)
    session.attach(idleMs=400)
    assert session.turn("[say=x][sleep=1][say=y]")["outcome"] == "finished"  # a turn is no idleness
    assert state(session) == "ACTIVE"
    assert eventually(lambda: state(session) == "TERMINATING", 5)
    host.call("session_relay_clean", session.id)
