"""Agents of several processes on one store, of hosts that stop or are killed."""

import json
import os
import signal

import pytest

from tests.agents.conftest import Attached, eventually, lives, text_of
from tests.remote.hosts import Failed


def pids_in(path):
    return [int(each) for each in path.read_text().split()]


def seen_by(host, session):
    """Return the session as another process has it."""
    return Attached(host, host.open(session.id).handle, session.worktree)


@pytest.fixture
def two(start, spawn, tmp_path):
    """A process with an agent, and another one on its store that knows the session."""
    here, there = start(), start()
    session = spawn(here)
    session.attach(f"pids={tmp_path / 'pids'}")
    return session, seen_by(there, session)


def test_another_process_enqueues_waits_answers_and_aborts(two):
    here, there = two
    done = there.turn("[say=hello]")
    assert done["outcome"] == "finished" and text_of(done["messages"][1]) == "hello"
    there.enqueue_text("[tool=bash][ask]")
    (asked,) = there.asked()
    there.reply_permission(asked["id"], "once")
    assert eventually(lambda: "completed" in there.said()[-1]["time"])
    there.enqueue_text("[plan=1][words=1][wait]")
    assert eventually(lambda: there.info().get("turn") and len(there.said()) == 6)
    there.abort()
    assert "turn" not in there.info() and here.info()["aborted"]
    assert [each["status"] for each in json.loads(there.todos())] == ["completed"]
    waiting = there.start("run_turn", '{"text":"[wait]"}', 30_000)
    assert eventually(lambda: "turn" in there.info())
    assert there.cancel_turns() == 1
    assert json.loads(waiting.result())["reason"] == "cancelled"
    assert there.fails("choices").code == "UNSUPPORTED"
    assert there.fails("relay_attach", there.given()).code == "INVALID_TRANSITION"


def test_another_process_terminates_and_cleans(two, tmp_path):
    here, there = two
    here.enqueue_text("[words=1][wait]")
    assert eventually(lambda: len(here.said()) == 2)
    (pid,) = pids_in(tmp_path / "pids")
    there.host.call("session_relay_terminate", here.id, "from elsewhere")
    there.host.call("session_relay_clean", here.id)
    assert not lives(pid) and there.info()["relay"]["state"] == "CLEANED"
    assert eventually(lambda: here.info()["relay"]["state"] == "CLEANED")


def test_another_process_deletes(two, tmp_path):
    here, there = two
    there.delete()
    (pid,) = pids_in(tmp_path / "pids")
    assert eventually(lambda: not lives(pid), 10)
    assert here.fails("get_info").code == "NOT_FOUND"


def test_a_process_that_starts_leaves_living_agents_alone(two, start):
    here, _ = two
    waiting = here.start("run_turn", '{"text":"[words=1][sleep=1][say=on]"}', 30_000)
    assert eventually(lambda: len(here.said()) == 2)
    start()
    assert json.loads(waiting.result())["outcome"] == "finished"


@pytest.mark.requirement("T-04")
def test_a_killed_host_leaves_no_process_and_another_goes_on(start, spawn, tmp_path):
    """Within 10 s nothing of its agents is left; who waits elsewhere hears of the turn's end, and attaches again."""
    (tmp_path / "memory").mkdir()
    words = f"memory={tmp_path / 'memory'}", f"pids={tmp_path / 'pids'}"
    dying, other = start(), start()
    session = spawn(dying)
    session.attach(*words, "stubborn")
    there = seen_by(other, session)
    waiting = there.start("run_turn", '{"text":"[grandchild][grandchild=away][words=2][tool=bash][ask]"}', 60_000)
    assert there.asked()
    pids = pids_in(tmp_path / "pids")
    assert len(pids) == 4 and all(map(lives, pids))
    os.kill(dying.pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(lives, pids)), 10)
    done = json.loads(waiting.result())
    assert (done["outcome"], done["reason"]) == ("stopped", "incomplete") and done["error"]["code"] == "CLOSED"
    assert json.loads(there.permissions()) == [] and "turn" not in there.info()
    assert there.info()["relay"]["state"] == "ACTIVE"
    there.attach(*words)
    assert there.turn("[say=on]")["outcome"] == "finished"


def test_what_a_killed_host_has_left_is_settled_by_the_next(start, spawn, tmp_path):
    dying = start()
    session = spawn(dying)
    session.attach()
    session.enqueue_text("[words=2][wait]")
    assert eventually(lambda: len(session.said()) == 2)
    dying.kill()
    there = seen_by(start(), session)
    assert eventually(lambda: "turn" not in there.info())
    assert there.said()[1]["error"]["code"] == "CLOSED"
    there.host.call("session_relay_terminate", there.id, None)
    there.host.call("session_relay_clean", there.id)
    assert there.info()["relay"]["state"] == "CLEANED"


@pytest.mark.requirement("R-056", "R-072", "O-074")
@pytest.mark.parametrize("how", ["clean", "attach"])
def test_what_a_killed_host_has_left_is_waited_for_also_once_it_was_settled(start, spawn, tmp_path, how):
    """Its guard ends it, which takes up to 5 s: no cleaner runs before, and no other agent is in the worktree."""
    dying, other = start(), start()
    session = spawn(dying)
    session.attach("stubborn", f"pids={tmp_path / 'pids'}")
    there = seen_by(other, session)
    waiting = there.start("run_turn", '{"text":"[words=1][wait]"}', 60_000)
    assert eventually(lambda: len(there.said()) == 2)
    pids = pids_in(tmp_path / "pids")
    assert len(pids) == 2
    dying.kill()
    assert json.loads(waiting.result())["error"]["code"] == "CLOSED" and any(map(lives, pids))
    if how == "attach":
        there.attach(restore=False)
    else:
        other.call("session_relay_terminate", there.id, None)
        other.call("session_relay_clean", there.id)
    assert not any(map(lives, pids))


def test_an_abort_elsewhere_ends_the_turn_of_a_killed_host(start, spawn):
    dying, other = start(), start()
    session = spawn(dying)
    session.attach()
    there = seen_by(other, session)
    session.enqueue_text("[words=1][wait]")
    assert eventually(lambda: len(there.said()) == 2)
    dying.kill()
    there.abort()
    assert "turn" not in there.info()


@pytest.mark.requirement("O-074")
@pytest.mark.parametrize("words", [(), ("stubborn",)])
def test_a_shutdown_ends_all_agents_and_their_turns(start, spawn, store, tmp_path, words):
    host = start(store=store)
    running, idle = spawn(host), spawn(host)
    for session in (running, idle):
        session.attach(f"pids={tmp_path / 'pids'}", *words)
    starting = spawn(host)
    answer = starting.start("relay_attach", starting.given("slow=60", f"pids={tmp_path / 'pids'}"))
    waiting = running.start("run_turn", '{"text":"[grandchild][words=1][wait]"}', 60_000)
    assert eventually(lambda: len(running.said()) == 2)
    assert eventually(lambda: len(pids_in(tmp_path / "pids")) == 4 + 2 * len(words))
    pids = pids_in(tmp_path / "pids")
    host.call("shutdown")
    assert eventually(lambda: not any(map(lives, pids)), 10)
    assert answer.failure().code == waiting.failure().code == "CLOSED"


def test_after_a_shutdown_the_next_start_knows_how_its_turn_ended(start, spawn, tmp_path):
    (tmp_path / "memory").mkdir()
    host = start()
    session = spawn(host)
    session.attach(f"memory={tmp_path / 'memory'}")
    session.enqueue_text("[words=1][wait]")
    assert eventually(lambda: len(session.said()) == 2)
    host.call("shutdown")
    there = seen_by(start(), session)
    assert "turn" not in there.info() and there.said()[1]["error"]["code"] == "CLOSED"
    there.attach(f"memory={tmp_path / 'memory'}")
    assert there.turn("[say=on]")["outcome"] == "finished"


def test_of_two_processes_that_attach_at_once_one_does(start, spawn, tmp_path):
    here, there = start(), start()
    for number in range(3):
        session, pids = spawn(here), tmp_path / f"pids{number}"
        seen = seen_by(there, session)
        answers = [each.start("relay_attach", each.given(f"pids={pids}")) for each in (session, seen)]
        outcomes = []
        for each in answers:
            try:
                outcomes.append(each.result())
            except Failed as error:
                outcomes.append(error.code)
        # the other one comes while that starts its agent, or when it is attached
        assert sorted(map(str, outcomes)) in (["0", "IN_USE"], ["0", "INVALID_TRANSITION"])
        assert len(pids_in(pids)) == 1 and lives(*pids_in(pids))
        assert session.turn("[say=x]")["outcome"] == "finished"
