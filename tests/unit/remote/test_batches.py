"""Operations in bulk with a server: one after the other, each in its own time."""

import threading
from functools import partial

import pytest

from plue_session import errors
from tests.remote_world import asked
from tests.unit.bulk import Bulk, codes


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
