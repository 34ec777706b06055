"""Waits for turns, and requests for their end, where the store cannot be read or written for a moment."""

import json
import threading
import time

import pytest

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.rules.inputs import parse_input
from tests.remote_world import until

LOCKED = errors.Busy("another program keeps the store locked")


@pytest.fixture
def sessions(world):
    """Two sessions, and a server that does not answer at once."""
    world.server.answering = False
    return [world.create().id for _ in range(2)]


@pytest.fixture
def session(sessions):
    return sessions[0]


def run(world, session, seconds=30, **given):
    """Have the end of a turn be waited for; returns the list that it comes to."""
    ended, given = [], parse_input(json.dumps({"text": "Hello", **given}))
    world.turns.run(session, given, int(seconds * 1000)).then(ended.append)
    return ended


def step(world, session):
    world.driver._step(session, Call(time.monotonic() + 5))


def finish(world, session):
    """Have the session's next turn begin and end."""
    step(world, session)
    world.server.answer(session)
    step(world, session)


def outcome(ended, seconds=5):
    until(lambda: ended, seconds)
    (found,) = ended
    found = json.loads(found)
    return found["turnId"], found["outcome"], found.get("reason")


def on_looking(monkeypatch, of, name, before):
    """Have `before()` be called first whenever the thread that looks calls this."""
    call = getattr(of, name)

    def called(*given):
        if threading.current_thread().name == "plue-answers":
            before()
        return call(*given)

    monkeypatch.setattr(of, name, called)


def failing(times, error=LOCKED):
    """Return what fails so many times, and the list of the times that it did."""
    failed = []

    def fail():
        if len(failed) < times:
            failed.append(1)
            raise error

    return fail, failed


@pytest.mark.parametrize("error", [LOCKED, errors.StoreIo("disk I/O error")])
def test_what_could_not_be_looked_at_is_looked_at_again(world, sessions, monkeypatch, error):
    fail, failed = failing(3, error)
    on_looking(monkeypatch, world.store, "info", fail)
    waits = [run(world, session) for session in sessions]
    for session in sessions:
        finish(world, session)
    assert [outcome(each)[1] for each in waits] == ["finished"] * 2 and len(failed) == 3
    until(lambda: not world.turns._looks)
    assert len([line for _, line in world.log.lines if "run_turn" in line]) == 1


def test_a_look_asks_nothing_of_who_has_locked_the_store(world, session, monkeypatch):
    on_looking(monkeypatch, world.writer, "run", failing(99)[0])
    ended = run(world, session)
    finish(world, session)
    assert outcome(ended)[1] == "finished"


def test_a_defect_ends_the_wait_that_met_it_and_no_other(world, sessions, monkeypatch):
    on_looking(monkeypatch, world.store, "info", failing(1, ValueError("a defect"))[0])
    waits = [run(world, session) for session in sessions]
    for session in sessions:
        finish(world, session)
    assert outcome(waits[1])[1] == "finished"
    assert [type(each) for each in waits[0]] == [errors.Unknown]


def test_a_wait_for_which_there_is_no_thread_is_refused(world, session, monkeypatch):
    def make(name, work):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "make", make)
    with pytest.raises(errors.StoreIo):
        run(world, session)
    assert world.turns._waiters == world.turns._own == {} and world.store.read_inputs(session, world.now) == []
    monkeypatch.undo()
    ended = run(world, session)
    finish(world, session)
    assert outcome(ended)[1] == "finished"


def test_the_thread_that_looks_leaves_with_the_last_caller(world, session):
    run(world, session, 0.05)
    assert world.turns._looks
    until(lambda: not world.turns._looks)
    assert world.turns._waiters == {}
