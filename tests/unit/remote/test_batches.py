"""Operations in bulk with a server: one after the other, each in its own time."""

import threading
import time
from functools import partial

import pytest

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.services import batches
from tests.remote_world import asked, until
from tests.unit.bulk import Bulk, Told, codes


@pytest.fixture
def many(world):
    made = Bulk(world, world.sessions, executor=world.executor, calls=world.calls, resolve=world.sessions.resolve)
    yield made
    made.batches.close(errors.closed(), 10)


class Stalled:
    """The next request of this kind gets no answer until it is cut, by its deadline or its end."""

    def __init__(self, world, name):
        self.met, begin = threading.Event(), world.server._begin

        def stall(kind, call, session_id=None):
            if kind == name and not self.met.is_set():
                self.met.set()
                changed = threading.Condition()
                call.wait(changed, lambda: None)
                raise errors.Timeout("the server did not answer in time")
            return begin(kind, call, session_id)

        world.server._begin = stall


@pytest.mark.requirement("P-174")
def test_each_is_a_request_of_its_own_in_order(world, many):
    session = world.create()
    asked(world)
    results = many.run(
        {"op": "update_title", "session": session.id, "title": "one"},
        {"op": "create_with", "options_json": {"title": "two"}},
        {"op": "update", "session": session.id, "patch_json": {"tags": ["here"]}},
        {"op": "get_info", "session": session.id},
        {"op": "fork", "session": session.id},
        {"op": "list"},
        {"op": "abort_turn", "session": session.id, "turn_id": "msg_1"},
        {"op": "abort", "session": session.id},
        {"op": "delete", "session": session.id},
        {"op": "get_info", "session": session.id},
    )
    assert codes(results) == ["OK"] * 9 + ["NOT_FOUND"]
    assert asked(world) == ["update", "create", "get", "fork", "survey", "abort", "abort", "delete"]
    assert results[1]["ok"]["title"] == "two" and results[3]["ok"]["title"] == "one"
    assert results[4]["ok"]["parentId"] == session.id and many.sent_home == [session.id]


@pytest.mark.requirement("P-174")
def test_one_that_the_server_refuses_changes_nothing_and_stops_none(world, many):
    session = world.create(title="before")
    world.server.fail["update"] = errors.Server("HTTP 500", "See its log.")
    results = many.run(
        {"op": "update_title", "session": session.id, "title": "a"},
        {"op": "create"},
    )
    assert codes(results) == ["SERVER", "OK"]
    assert world.info(session)["title"] == "before"


def test_one_that_stalls_ends_in_its_own_time_and_holds_up_no_other_batch(world, many):
    session = world.create(title="before")
    stalled = Stalled(world, "update")
    slow = many.start(
        {"op": "update_title", "session": session.id, "title": "a", "timeoutMs": 400},
        {"op": "create_with", "options_json": {"title": "after"}},
    )
    assert stalled.met.wait(10)
    assert codes(many.run({"op": "create"}, {"op": "list"})) == ["OK", "OK"] and slow.over.empty()
    assert codes(slow.wait()) == ["TIMEOUT", "OK"] and world.info(session)["title"] == "before"


@pytest.mark.requirement("P-171")
def test_to_stop_one_cuts_what_waits_for_the_server(world, many):
    session = world.create()
    stalled = Stalled(world, "update")
    batch = many.start({"op": "update_title", "session": session.id, "title": "a"}, {"op": "create"})
    assert stalled.met.wait(10)
    batch.stop(errors.Aborted("stopped by the test", ""))
    assert codes(batch.wait()) == ["ABORTED"] * 2 and batch.is_cut


def test_an_abort_ends_what_a_batch_has_under_way_for_its_session(world, many):
    session = world.create()
    stalled = Stalled(world, "update")
    batch = many.start({"op": "update_title", "session": session.id, "title": "a"}, {"op": "create"})
    assert stalled.met.wait(10)
    assert codes(many.start({"op": "abort", "session": session.id}).wait()) == ["OK"]
    assert codes(batch.wait()) == ["ABORTED", "OK"] and not batch.is_cut


def test_an_abort_by_either_id_ends_what_names_the_other(world, many, monkeypatch):
    session = world.create()
    monkeypatch.setattr(world.store, "id_of_alias", lambda alias: session.id if alias == "session_7" else None)
    for one, other in ("session_7", session.id), (session.id, "session_7"):
        stalled = Stalled(world, "update")
        batch = many.start({"op": "update_title", "session": one, "title": "a"})
        assert stalled.met.wait(10)
        assert codes(many.start({"op": "abort", "session": other}).wait()) == ["OK"]
        assert codes(batch.wait()) == ["ABORTED"]


@pytest.mark.requirement("P-174")
def test_an_info_is_asked_for_only_when_it_is_as_old_as_alone(world):
    made, missing = world.create(), "ses_" + "0" * 26
    fresh = partial(world.sessions.fresh_info, age_ns=5_000_000_000)
    with_server = {"executor": world.executor, "calls": world.calls, "resolve": world.sessions.resolve}
    many = Bulk(world, world.sessions, fresh_info=fresh, **with_server)
    asked(world)
    info = {"op": "get_info", "session": made.id}
    results = many.run(info, info, {"op": "get_info", "session": missing})
    assert codes(results) == ["OK", "OK", "NOT_FOUND"] and results[0]["ok"]["id"] == made.id
    assert asked(world) == []
    many = Bulk(world, world.sessions, fresh_info=partial(fresh, age_ns=0), **with_server)
    assert codes(many.run(info)) == ["OK"] and asked(world) == ["get"]


def test_when_the_library_hangs_up_what_waits_for_the_server_ends(world, many):
    session = world.create()
    stalled = Stalled(world, "update")
    batch = many.start({"op": "update_title", "session": session.id, "title": "a"}, {"op": "create"})
    assert stalled.met.wait(10)
    world.calls.close()
    assert codes(batch.wait()) == ["CLOSED"] * 2 and batch.is_cut


# -- what waits --------------------------------------------------------------------------------------------------------
STOP = errors.Aborted("stopped by the test", "")


def turn(session, timeout_ms=20_000, **more):
    return {"op": "run_turn", "session": session.id, "input_json": {"text": "Hello"}, "timeout_ms": timeout_ms, **more}


def drive(world, session):
    """Run the session's next turn to its end, as the driver does."""
    for _ in range(2):
        world.driver._step(session.id, Call(time.monotonic() + 5))


def waits(world, session, many=1):
    """Wait until so many inputs of a session wait, and who waits for them has no thread."""
    until(lambda: len(world.store.read_inputs(session.id, world.now)) == many)
    until(lambda: not any(each.name == "plue-bulk" for each in threading.enumerate()))


@pytest.mark.requirement("P-174")
def test_what_stands_behind_a_turn_waits_for_its_end(world, many):
    session = world.create(title="before")
    batch = many.start(turn(session, tag="a"), {"op": "update_title", "session": session.id, "title": "after"})
    waits(world, session)
    assert world.info(session)["title"] == "before" and batch.heard == [] and batch.over.empty()
    drive(world, session)
    results = batch.wait()
    assert codes(results) == ["OK", "OK"] and results[0]["ok"]["outcome"] == "finished"
    assert [each["role"] for each in results[0]["ok"]["messages"]] == ["user", "assistant"]
    assert world.info(session)["title"] == "after" and batch.heard == [("a", 1), (None, 2)]
    until(lambda: not any(each.name == "plue-alarms" for each in threading.enumerate()))
    assert not world.calls._running


@pytest.mark.requirement("P-174")
def test_a_turn_can_be_begun_without_waiting(world, many):
    session = world.create()
    begun, listing = many.run(turn(session, 0), {"op": "list"})
    assert sorted(begun["ok"]) == ["inputId", "turnId"] and "ok" in listing


@pytest.mark.requirement("P-174")
@pytest.mark.parametrize("more", [{"timeout_ms": 100}, {"timeoutMs": 100}], ids=lambda more: next(iter(more)))
def test_a_turn_that_takes_too_long_goes_on_and_so_do_the_others(world, many, more):
    session = world.create()
    late, listing = many.run({**turn(session), **more}, {"op": "list"})
    assert late["error"]["code"] == "TIMEOUT" and "The turn goes on" in late["error"]["message"] and "ok" in listing
    drive(world, session)
    assert world.store.read_turns(session.id)[0].outcome == "finished"


def test_a_turn_takes_no_longer_than_the_call_that_waits(world):
    session = world.create()
    many = Bulk(world, world.sessions, 0.3, executor=world.executor, calls=world.calls, resolve=world.sessions.resolve)
    began = time.monotonic()
    assert codes(many.run(turn(session), {"op": "list"})) == ["TIMEOUT", "TIMEOUT"]
    assert 0.2 <= time.monotonic() - began < 5
    drive(world, session)
    batch = many.start(turn(session))  # a submission may take longer than a request
    waits(world, session)
    time.sleep(0.4)
    assert batch.over.empty()
    drive(world, session)
    assert codes(batch.wait()) == ["OK"]


@pytest.mark.requirement("P-171")
def test_to_stop_one_ends_its_wait_at_once_and_not_its_turn(world, many):
    session = world.create()
    batch = many.start(turn(session), {"op": "create"})
    waits(world, session)
    many.batches.stop(batch, STOP)
    results = batch.wait()
    assert codes(results) == ["ABORTED"] * 2 and batch.is_cut
    assert "stopped by the test. The turn goes on" in results[0]["error"]["message"]
    drive(world, session)
    assert world.store.read_turns(session.id)[0].outcome == "finished" and not world.calls._running


def test_one_that_is_stopped_as_its_turn_begins_waits_for_nothing(world, many, monkeypatch):
    session, run = world.create(), world.turns.run
    batch = Told(turn(session))
    monkeypatch.setattr(world.turns, "run", lambda *given: (run(*given), batch.stop(STOP))[0])
    many.batches.start(batch)
    assert codes(batch.wait()) == ["ABORTED"] and batch.is_cut


@pytest.mark.requirement("P-171")
def test_an_abort_in_another_batch_ends_the_wait(world, many):
    session = world.create()
    batch = many.start(turn(session), {"op": "create"})
    waits(world, session)
    abort = many.start({"op": "abort", "session": session.id})
    assert codes(batch.wait()) == ["ABORTED", "OK"] and not batch.is_cut
    assert codes(abort.wait()) == ["OK"]


@pytest.mark.requirement("P-171")
@pytest.mark.parametrize("hangs_up", [True, False])
def test_at_the_end_no_turn_is_waited_for(world, many, hangs_up):
    session = world.create()
    waiting = [many.start(turn(session), {"op": "create"}) for _ in range(40)]
    waits(world, session, 40)
    if hangs_up:  # as plue_shutdown() does first
        world.calls.close()
        world.turns.close()
    assert many.batches.close(errors.closed(), 10) == []
    assert {code for each in waiting for code in codes(each.wait())} == {"CLOSED"}
    assert all(each.is_cut for each in waiting)


@pytest.mark.requirement("P-171")
def test_who_waits_for_a_turn_is_not_among_those_side_by_side(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 2)
    sessions, others = [world.create() for _ in range(5)], [world.create() for _ in range(2)]
    waiting = [many.start(turn(each), {"op": "get_info", "session": each.id}) for each in sessions]
    for each in sessions:
        waits(world, each)
    assert codes(many.run({"op": "list"})) == ["OK"]
    stalled = [Stalled(world, "update") for _ in range(2)]
    stuck = [many.start({"op": "update_title", "session": each.id, "title": "a"}) for each in others]
    for each in stalled:
        assert each.met.wait(10)
    for each in sessions:
        drive(world, each)
    until(lambda: len(many.batches._waiting) == 5)  # they have more to do, and wait for a place
    many.batches.stop(waiting[4], STOP)
    assert codes(waiting[4].wait()) == ["OK", "ABORTED"]
    for each in stuck:
        many.batches.stop(each, STOP)
        assert codes(each.wait()) == ["ABORTED"]
    assert [codes(each.wait()) for each in waiting[:4]] == [["OK", "OK"]] * 4


def test_without_a_thread_to_keep_the_time_nothing_is_enqueued(world, many, monkeypatch):
    session, make = world.create(), threads._make

    def fail(name, run):
        if name == "plue-alarms":
            raise RuntimeError
        make(name, run)

    monkeypatch.setattr(threads, "make", fail)
    assert codes(many.run(turn(session), {"op": "list"})) == ["IO", "OK"]
    assert world.store.read_inputs(session.id, world.now) == [] and not world.calls._running
    monkeypatch.undo()
    assert codes(many.run(turn(session, 50))) == ["TIMEOUT"]


def test_without_a_thread_to_go_on_the_rest_is_refused(world, many, monkeypatch):
    session, make = world.create(), threads._make
    batch = many.start(turn(session), {"op": "create"})
    waits(world, session)

    def fail(name, run):
        if name == "plue-bulk":
            raise RuntimeError
        make(name, run)

    monkeypatch.setattr(threads, "make", fail)
    drive(world, session)
    assert codes(batch.wait()) == ["OK", "IO"] and many.batches.close(errors.closed(), 0) == []


def test_a_deleted_session_ends_the_wait(world, many):
    session = world.create()
    batch = many.start(turn(session), {"op": "create"})
    waits(world, session)
    assert codes(many.run({"op": "delete", "session": session.id})) == ["OK"]
    assert codes(batch.wait()) == ["NOT_FOUND", "OK"]


def test_a_turn_that_could_not_be_stored_is_not_this_processes(world, many):
    session, commit = world.create(), world.store.commit

    def fail():
        world.store.commit = commit
        raise errors.StoreIo("the disk is full", "")

    world.store.commit = fail
    assert codes(many.run(turn(session))) == ["IO"]
    assert world.turns._own.all() == {} and world.turns._waits.all() == []
