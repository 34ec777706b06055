"""Waits for turns, and requests for their end, where the store cannot be read or written for a moment."""

import json
import threading
import time

import pytest

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.rules.inputs import parse_input
from plue_session.services.turns import running
from tests.remote_world import in_thread, until

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
    until(lambda: not world.turns._waits._looks)
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
    assert (
        world.turns._waits._waiters == world.turns._own.all() == {}
        and world.store.read_inputs(session, world.now) == []
    )
    monkeypatch.undo()
    ended = run(world, session)
    finish(world, session)
    assert outcome(ended)[1] == "finished"


def test_the_thread_that_looks_leaves_with_the_last_caller(world, session):
    run(world, session, 0.05)
    assert world.turns._waits._looks
    until(lambda: not world.turns._waits._looks)
    assert world.turns._waits._waiters == {}


def vacuum(world, session):
    return world.do(lambda on: on.inputs.vacuum(session))


def take_id(world, session):
    """Have a turn end whose id is the one that the next input's turn would have; return that."""
    last = world.store.log_state()[1] + 40
    world.do(lambda on: on.inputs.enqueue(session, json.dumps({"text": "x", "turnId": f"turn_{last + 1}"})))
    finish(world, session)
    while world.store.log_state()[1] < last:
        world.writer.run(lambda each: each.save(each.load(session), "session.updated", {"id": session}))
    return f"turn_{last + 1}"


@pytest.mark.parametrize("is_taken", [False, True])
def test_an_input_that_is_vacuumed_at_its_end_takes_no_result_with_it(world, session, monkeypatch, is_taken):
    removed = []
    on_looking(monkeypatch, world.store, "info", lambda: removed.append(vacuum(world, session)))
    if is_taken:
        take_id(world, session)
    ended = run(world, session)
    finish(world, session)
    assert outcome(ended)[1:] == ("finished", None) and any(removed)
    turn = world.store.read_turns(session)[-1]
    assert json.loads(ended[0])["turnId"] == turn.id and turn.id.endswith("_2") == is_taken


def test_one_that_was_cancelled_and_vacuumed_has_been_cancelled(world, session, monkeypatch):
    on_looking(monkeypatch, world.store, "info", lambda: vacuum(world, session))
    ended = run(world, session, turnId="mine", id="a")
    world.do(lambda on: on.inputs.cancel(session, '[{"sourceKey":"host:a"}]'))
    assert outcome(ended) == ("mine", "stopped", "cancelled")


@pytest.fixture
def locked(world, monkeypatch):
    """Have each change fail but the test's own; the list returned is emptied to end that, and `world.failed` counts."""
    locked, write, world.failed = [True], world.writer.run, 0

    def run(change, call=None):
        if locked and threading.current_thread() is not threading.main_thread():
            world.failed += 1
            raise LOCKED
        return write(change, call)

    monkeypatch.setattr(world.writer, "run", run)
    return locked


def cancel(world, session):
    """Have a thread of the library's ask for the end of the session's turns."""
    assert in_thread(lambda: world.turns.cancel(session))() is None


def test_turns_whose_end_was_asked_for_end_as_soon_as_the_store_lets_them(world, session, locked):
    run(world, session)
    waiting = run(world, session)
    step(world, session)
    cancel(world, session)
    until(lambda: world.failed > 2)
    assert world.store.read_open_turn(session).cancelled is None and not waiting
    locked.clear()
    assert outcome(waiting)[1:] == ("stopped", "cancelled")
    assert world.store.read_open_turn(session).cancelled is not None


def test_what_begins_after_a_request_for_the_end_of_others_is_not_cancelled(world, session, locked):
    ended = run(world, session)
    cancel(world, session)
    until(lambda: world.failed > 1)
    finish(world, session)
    assert outcome(ended)[1] == "finished"
    failed, later = world.failed, run(world, session)
    locked.clear()
    threading.Event().wait(running.LOOK + 0.2)
    finish(world, session)
    assert outcome(later)[1] == "finished" and world.failed <= failed + 1
    until(lambda: not world.turns._waits._looks)


def enqueue(world, session, text, **more):
    return json.loads(world.do(lambda on: on.inputs.enqueue(session, json.dumps({"text": text, **more}))))


def test_an_input_that_waits_has_a_turn_of_its_own_once_it_is_run(world, session):
    before, known = enqueue(world, session, "before"), enqueue(world, session, "Hello", id="a")
    enqueue(world, session, "after")
    given = parse_input('{"text":"Hello","id":"a"}')
    told = json.loads(world.turns.run(session, given, 0))
    assert told == {"turnId": f"turn_{known['enqueueSeq']}", "inputId": known["inputId"]}
    ended = run(world, session, id="a")
    finish(world, session)
    assert [json.loads(each.inputs) for each in world.store.read_turns(session)] == [[before["inputId"]]] and not ended
    finish(world, session)
    assert outcome(ended) == (told["turnId"], "finished", None) and world.turns._own.all() == {}
    finish(world, session)
    assert json.loads(world.turns.run(session, given, 0)) == told and world.turns._own.all() == {}


def test_a_turn_that_has_got_another_id_than_foreseen_is_no_longer_this_process_s(world, session):
    foreseen = take_id(world, session)
    assert json.loads(world.turns.run(session, parse_input('{"text":"y"}'), 0))["turnId"] == foreseen
    finish(world, session)
    assert world.store.read_turns(session)[-1].id == f"{foreseen}_2" and world.turns._own.all() == {}


# -- between a commit and what is heard of it ------------------------------------------------------------------------
def test_who_looks_for_an_input_before_it_is_committed_looks_again(world, session, monkeypatch):
    write = world.writer.run

    def looked_at(change, *more):
        def looking(transaction):
            change(transaction)
            for each in world.turns._waits.all():
                world.turns._check(each)

        return write(looking, *more)

    monkeypatch.setattr(world.writer, "run", looked_at)
    ended = run(world, session)
    monkeypatch.undo()
    assert not ended
    finish(world, session)
    assert outcome(ended)[1] == "finished"


def test_turns_are_ended_also_under_an_id_that_is_not_heard_of_yet(world, monkeypatch):
    world.away()
    offline = world.create().id
    ended = run(world, offline)
    monkeypatch.setattr(world.turns, "_renamed", lambda before, after: None)
    world.back()
    world.turns.cancel(offline)
    monkeypatch.undo()
    assert outcome(ended)[1:] == ("stopped", "cancelled")
