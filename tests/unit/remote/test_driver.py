"""The driver's steps, one by one, over a fake server: what is sent, when, and how often, wherever a process dies."""

import json
import os
import threading
import time
import tracemalloc

import pytest

from plue_session import errors, named_files, threads
from plue_session.adapters.opencode.events import Change
from plue_session.adapters.opencode.shapes import Failure
from plue_session.call import Call
from plue_session.services.turns import turn_rows
from plue_session.services.turns.driver import Driver
from plue_session.services.turns.following import FULL
from plue_session.services.turns.watch import Watch
from tests.remote_world import until

AWAY = errors.Connection("the server ended the connection", details={"sent": True})


@pytest.fixture
def session(world):
    world.server.answering = False
    return world.create().id


def enqueue(world, session, text="Hello", **more):
    given = json.dumps({"text": text, **more})
    return json.loads(world.do(lambda on: on.inputs.enqueue(session, given), session))["inputId"]


def step(world, session, driver=None):
    """Do one step of a session as its driver does; what fails is tried again by the next one."""
    try:
        return (driver or world.driver)._step(session, Call(time.monotonic() + 5))
    except errors.PlueError as error:
        return error


def another(world):
    """Return the driver of another process on the store, which this one has died for."""
    return Driver(world.driver._on, world.told, world.settings, lambda *_: None)


def turn(world, session):
    (found,) = world.store.read_turns(session)
    return found


def ended(world, session):
    found = turn(world, session)
    return found.outcome, found.reason


def test_a_turn_is_claimed_sent_followed_and_ended(world, session):
    name = enqueue(world, session)
    step(world, session)
    found = turn(world, session)
    ((of, message_id, parts, model, agent),) = world.server.prompts
    assert (of, message_id, model, agent) == (session, found.message_id, ("fake", "fake-model"), None)
    assert [(part["type"], part["text"]) for part in parts] == [("text", "Hello")] and parts[0]["id"][:4] == "prt_"
    assert json.loads(found.inputs) == [name]
    assert world.info(session)["turn"]["turnId"] == found.id
    step(world, session)
    assert turn(world, session).ended is None  # its answer is open
    world.server.answer(session)
    step(world, session)
    assert ended(world, session) == ("finished", None) and "turn" not in world.info(session)
    assert step(world, session) is None and len(world.server.prompts) == 1


@pytest.mark.requirement("O-038", "T-05")
def test_a_prompt_that_may_have_been_heard_is_not_sent_again_if_it_was(world, session):
    enqueue(world, session)
    world.server.during["prompt"] = lambda: (_ for _ in ()).throw(AWAY)
    assert step(world, session) is AWAY
    world.server.answer(session)
    step(world, session)
    assert ended(world, session) == ("finished", None) and len(world.server.prompts) == 1


@pytest.mark.requirement("O-038", "T-05")
def test_a_process_that_dies_before_it_has_sent_is_followed_by_one_that_sends_under_the_same_id(world, session):
    enqueue(world, session)
    world.server.fail["prompt"] = errors.Connection("away", details={"sent": False})
    step(world, session)
    chosen = turn(world, session).message_id
    driver = another(world)
    step(world, session, driver)  # which takes the claim over
    step(world, session, driver)
    ((_, message_id, *_),) = world.server.prompts
    assert message_id == chosen
    world.server.answer(session)
    step(world, session, driver)
    assert ended(world, session) == ("finished", None) and len(world.server.prompts) == 1


def test_an_outdated_claim_changes_nothing(world, session):
    enqueue(world, session)
    step(world, session)
    stale = turn(world, session)
    step(world, session, another(world))
    assert turn(world, session).claim_id > stale.claim_id
    change = lambda transaction: turn_rows.end(  # noqa: E731
        transaction, session, stale.id, stale.claim_id, ("finished", None, None)
    )
    assert world.writer.run(change) is False and turn(world, session).ended is None


@pytest.mark.requirement("O-048")
def test_an_answer_that_a_server_has_died_over_is_never_asked_for_again(world, session, monkeypatch):
    monkeypatch.setattr("plue_session.services.turns.following.TRAILING", 0.0)
    enqueue(world, session)
    step(world, session)
    world.server.busy.clear()
    step(world, session)
    assert ended(world, session) == ("stopped", "incomplete") and len(world.server.prompts) == 1


@pytest.mark.requirement("O-044")
def test_what_the_provider_says_is_the_turns_error(world, session):
    enqueue(world, session)
    step(world, session)
    world.server.answer(session, Failure("APIError", "no", 401))
    step(world, session)
    assert ended(world, session) == ("stopped", "provider_error")
    assert json.loads(turn(world, session).error)["code"] == "PROVIDER_AUTH"


def test_a_prompt_that_is_refused_ends_its_turn(world, session):
    enqueue(world, session)
    world.server.fail["prompt"] = errors.InvalidParam("no such thing")
    step(world, session)
    assert ended(world, session) == ("stopped", "submitted_error")


def enqueue_file(world, session, path):
    parts = [{"type": "file", "file": {"path": str(path), "mimeType": "text/plain"}}]
    world.do(lambda on: on.inputs.enqueue(session, json.dumps({"parts": parts})), session)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_ends_its_turn(world, session, tmp_path, make):
    make(tmp_path / "it")
    enqueue_file(world, session, tmp_path / "it")
    begun = time.monotonic()
    step(world, session)
    assert ended(world, session) == ("stopped", "invalid_input") and time.monotonic() - begun < 3
    assert f"{tmp_path}/it is no regular file" in turn(world, session).error and not world.server.prompts


@pytest.mark.parametrize("what", ["step", "cancel", "compare"])
def test_of_a_queue_no_more_is_read_than_is_needed(world, session, what):
    """What waits may be 10,000 inputs of 16 Mi characters."""
    own = {f"turn_own{number}" for number in range(30)}
    for each in sorted(own):
        name = enqueue(world, session, "x" * (1 << 20), turnId=each)
        world.turns._own.add(session, each, int(name.partition("_")[2]))
    tracemalloc.start()
    if what == "step":
        step(world, session)
    elif what == "cancel":
        world.writer.run(lambda transaction: turn_rows.cancel_all(transaction, session, own))
    else:
        world.turns._compare()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20
    assert len(world.store.read_inputs(session, world.now)) == {"step": 29, "cancel": 0, "compare": 30}[what]


def enqueue_command(world, session):
    world.do(lambda on: on.inputs.enqueue(session, '{"command":"init"}'), session)


def test_a_command_for_which_no_thread_is_left_is_sent_once_there_is_one(world, session, monkeypatch):
    enqueue_command(world, session)
    start = threads.start
    monkeypatch.setattr(threads, "start", lambda work, name: (_ for _ in ()).throw(errors.StoreIo("no thread")))
    for _ in range(4):
        assert isinstance(step(world, session), errors.StoreIo)
    assert not world.server.prompts and not world.driver.follower._asking
    monkeypatch.setattr(threads, "start", start)
    step(world, session)
    until(lambda: not world.driver.follower._asking)
    assert len(world.server.prompts) == 1
    world.server.answer(session)
    step(world, session)
    assert ended(world, session) == ("finished", None)


def test_commands_wait_in_their_queues_while_many_are_slow_to_begin(world, session, monkeypatch):
    monkeypatch.setattr("plue_session.services.turns.following.ASKING", 1)
    other, barrier = world.create().id, threading.Event()
    enqueue_command(world, session)
    enqueue_command(world, other)
    world.server.during["command"] = lambda: barrier.wait(10) and None
    step(world, session)
    assert step(world, other) == FULL and not world.store.read_turns(other)
    enqueue(world, other := world.create().id)
    step(world, other)  # what is no command is not held up
    assert len(world.store.read_turns(other)) == 1
    barrier.set()
    until(lambda: not world.driver.follower._asking)


def hang(monkeypatch, seconds):
    """Have no file be there until this is set."""
    answers, real = threading.Event(), named_files._open
    monkeypatch.setattr(named_files, "LONGEST", seconds)
    monkeypatch.setattr(named_files, "_open", lambda path: answers.wait(30) and real(path))
    return answers


def test_a_file_that_hangs_ends_its_turn(world, session, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in it")
    answers = hang(monkeypatch, 0.2)
    for _ in range(2):  # the second time nothing is waited for
        enqueue_file(world, session, tmp_path / "file")
        step(world, session)
        found = world.store.read_turns(session)[-1]
        assert found.reason == "invalid_input" and "does not answer" in found.error and len(named_files._left) == 1
        monkeypatch.setattr(named_files, "LONGEST", 30.0)
    answers.set()
    until(lambda: not named_files._left)
    enqueue_file(world, session, tmp_path / "file")
    step(world, session)
    assert len(world.server.prompts) == 1


def test_a_turn_whose_file_hangs_can_be_ended(world, session, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in it")
    answers = hang(monkeypatch, 30.0)
    enqueue_file(world, session, tmp_path / "file")
    found = []
    thread = threading.Thread(target=lambda: found.append(step(world, session)))
    thread.start()
    until(lambda: (watch := world.driver._watches.get(session)) and watch.reading)
    world.writer.run(lambda transaction: turn_rows.cancel_all(transaction, session, {turn(world, session).id}))
    world.driver.hurried(session)
    thread.join(5)
    assert isinstance(found[0], errors.Aborted)
    step(world, session)
    assert ended(world, session) == ("stopped", "cancelled") and not world.server.prompts
    answers.set()
    until(lambda: not named_files._left)


@pytest.mark.requirement("P-020")
def test_nothing_is_taken_while_an_abort_holds_the_session(world, session):
    enqueue(world, session)

    def hold(transaction):
        found = transaction.load(session)
        found.held_until = transaction.now + 1000
        transaction.store.save(found)

    world.writer.run(hold)
    step(world, session)
    assert world.server.prompts == [] and world.store.read_turns(session) == []
    world.now += 1001
    step(world, session)
    assert len(world.server.prompts) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_while_the_abort_of_one_turn_is_under_way_the_next_is_not_sent(world, session, is_known):
    """It names no turn to the server: late, it would end the next one."""
    if is_known:
        enqueue(world, session)
        step(world, session)
    enqueue(world, session, "next", turnId="next")
    first = turn(world, session).message_id if is_known else "msg_another"

    def end_it():
        if is_known:
            world.server.answer(session)
        for _ in range(3):
            step(world, session)
        assert len(world.server.prompts) == is_known and world.store.read_open_turn(session) is None

    world.server.during["abort"] = end_it
    world.do(lambda on: on.sessions.abort_turn(session, first), session)
    assert not world.server.during
    step(world, session)
    assert len(world.server.prompts) == is_known + 1


def test_prompts_are_held_back_until_the_last_abort_of_a_turn_is_through(world, session):
    def within():
        world.do(lambda on: on.sessions.abort_turn(session, "msg_another"), session)
        held.append(world.store.read(session).held_until)

    held = []
    world.server.during["abort"] = within
    world.do(lambda on: on.sessions.abort_turn(session, "msg_another"), session, seconds=2.0)
    assert held != [None] and world.store.read(session).held_until is None


@pytest.mark.requirement("P-151", "L-097")
def test_a_turn_that_is_to_end_before_it_is_sent_never_is(world, session):
    enqueue(world, session)
    world.server.fail["prompt"] = errors.Connection("away", details={"sent": False})
    step(world, session)
    world.writer.run(lambda transaction: turn_rows.cancel(transaction, transaction.load(session)) and None)
    step(world, session)
    assert ended(world, session) == ("stopped", "cancelled") and world.server.prompts == []
    assert json.loads(world.do(lambda on: on.inputs.inputs(session))) == []


@pytest.mark.requirement("O-036")
def test_while_the_server_is_busy_nothing_of_ours_is_sent(world, session):
    enqueue(world, session)
    world.server.busy[session] = {"type": "busy"}
    step(world, session)
    assert world.server.prompts == []
    world.server.busy.clear()
    step(world, session)
    assert len(world.server.prompts) == 1


@pytest.mark.requirement("O-068")
def test_a_prompt_that_is_stored_and_not_run_is_given_up(world, session, monkeypatch):
    monkeypatch.setattr("plue_session.services.turns.following.LOST", -1.0)
    enqueue(world, session)
    monkeypatch.setattr(world.server, "_ask", lambda *_: None)
    for _ in range(5):
        step(world, session)
    assert ended(world, session) == ("stopped", "submitted_error") and len(world.server.prompts) == 3


def test_a_compaction_is_not_taken_for_the_one_before_it(world, session, monkeypatch):
    """They may be made within the time that the server's clock may be behind."""
    for _ in range(2):
        world.do(lambda on: on.inputs.enqueue(session, '{"command":"compact"}'))
    step(world, session)
    until(lambda: world.server.busy)
    world.server.answer(session)
    step(world, session)
    summarize, late = world.server.summarize, threading.Event()
    monkeypatch.setattr(world.server, "summarize", lambda *given, **way: late.wait(5) and summarize(*given, **way))
    for _ in range(3):
        step(world, session)
    first, second = world.store.read_turns(session)
    assert (first.outcome, second.message_id, second.ended) == ("finished", None, None)
    late.set()
    until(lambda: world.server.busy)
    world.server.answer(session)
    step(world, session)
    first, second = world.store.read_turns(session)
    assert second.outcome == "finished" and second.message_id not in (None, first.message_id)


def test_a_watch_knows_the_answers_of_its_turn(world, session):
    enqueue(world, session)
    step(world, session)
    watch = Watch(turn(world, session))
    message = world.server.said[session]
    assert watch.knows(list(message.values())[-1]) and not watch.knows(list(message.values())[0])


def test_nothing_is_kept_of_turns_in_sessions_that_have_no_record(world):
    world.server.say("ses_elsewhere", "msg_1", parent_id="msg_0", ended=False)
    step(world, "ses_elsewhere")
    assert not world.driver.doubtful and not world.driver._watches


def test_each_process_on_the_store_tells_that_a_turn_tries_the_model_again(world, session):
    enqueue(world, session)
    step(world, session)
    told = []
    other = Driver(world.driver._on, world.told, world.settings, lambda *each: told.append(each))
    retry = {"type": "retry", "attempt": 2, "message": "Too many requests", "next": 5}
    other.hear(Change("status", session, retry))
    data = {"turnId": turn(world, session).id, "kind": "retry", "text": "Too many requests", "attempt": 2, "next": 5}
    assert told == [(session, "turn.activity", data)]
    other.hear(Change("status", "ses_elsewhere", retry))
    assert len(told) == 1
