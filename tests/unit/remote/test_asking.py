"""Asking a server for sessions: what is new is told, what is older undoes nothing."""

import json

import pytest

from plue_session import errors
from tests.remote_world import asked, unchanged_by


def test_a_stale_snapshot_is_asked_for_and_what_is_new_is_told(world):
    session = world.create(title="Old")
    world.hold_back()
    world.server.put(session.id, title="New")
    world.told.take()
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["title"] == "New"
    assert world.told.take() == [("session.updated", {"id": session.id, "title": "New", "fields": ["title"]})]
    world.deliver()
    assert world.told.take() == []


def test_a_refresh_that_finds_nothing_new_takes_no_writer(world):
    session = world.create()
    world.writer.run = None
    world.do(lambda on: on.sessions.get_info(session.id), session.id)


@pytest.mark.requirement("P-122")
def test_an_answer_that_was_on_its_way_does_not_undo_what_was_heard_meanwhile(world):
    session = world.create(title="Old")
    world.server.during["get"] = lambda: world.server.put(session.id, title="New")
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["title"] == "New"


@pytest.mark.requirement("P-122")
def test_older_states_do_not_regress_newer_ones(world):
    session = world.create(title="T")
    world.server.put(session.id, title="Now", updated=world.server.sessions[session.id].updated + 10)
    world.server.put(session.id, title="Before", updated=world.server.sessions[session.id].updated - 5)
    assert world.info(session)["title"] == "Now"
    world.server.put(session.id, title="Renamed", updated=world.server.sessions[session.id].updated + 5)
    assert world.info(session)["title"] == "Renamed"


@pytest.mark.requirement("P-078")
def test_a_session_that_the_server_no_longer_has_is_gone_here_too(world):
    session = world.create()
    world.hold_back()
    del world.server.sessions[session.id]
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.get_info(session.id), session.id)
    assert ("gone", session.id) in world.told.calls and world.store.read(session.id) is None
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.update_title(session.id, "x"), session.id)


def test_a_change_that_meets_no_session_has_it_asked_for(world):
    session = world.create()
    world.hold_back()
    del world.server.sessions[session.id]
    unchanged_by(world, errors.NotFound, lambda on: on.sessions.update_title(session.id, "x"), session.id)
    assert world.jobs() == ["reread"] and world.store.read(session.id) is None


def test_an_answer_counts_though_the_servers_clock_was_set_back(world):
    session = world.create(title="T")
    world.hold_back()
    world.server.put(session.id, title="U", updated=world.server.sessions[session.id].updated - 1000)
    world.deliver()
    assert world.info(session)["title"] == "T"  # an event may be a late one
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["title"] == "U"


def test_open_asks_for_what_is_not_known_and_for_nothing_else(world):
    known = world.create()
    world.hold_back()
    unknown = world.elsewhere(directory="/other")
    world.server.asked.clear()
    assert world.do(lambda on: on.sessions.open(known.id)) == known.id and asked(world) == []
    assert world.do(lambda on: on.sessions.open(unknown)).directory == "/other" and asked(world) == ["get"]
    for missing in ("ses_missing", "no-such-key"):
        with pytest.raises(errors.NotFound):
            world.do(lambda on, missing=missing: on.sessions.open(missing))
