"""Observations and where observers begin."""

import json

import pytest

from plue_session.errors import BadCursor, NotFound
from plue_session.rules import cursors
from plue_session.rules.info import stale
from plue_session.services.observations import Observations
from tests.world import World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def observations(world):
    return Observations(world.store, 10, 60_000, lambda: world.now)


def rename(world, session, count):
    for number in range(count):
        world.sessions.update_title(session.id, str(number))


@pytest.mark.requirement("L-160", "L-180")
def test_an_observation_is_state_and_cursor_of_one_moment(world, observations):
    session = world.sessions.create()
    rename(world, session, 2)
    found = json.loads(observations.observation(session.id))
    assert found["session"] == world.info(session) and found["revision"] == 3
    assert cursors.parse(found["cursor"]) == (world.store.store_id, 3, session.id)
    assert [found[name] for name in ("messages", "queue", "permissions", "questions", "todos")] == [[]] * 5
    assert found["usage"]["models"] == [] and found["usage"]["cost"] == 0
    everything = json.loads(observations.observation(None))
    assert everything == {"cursor": f"1.{world.store.store_id}.3.*", "sessions": [world.info(session)]}


def test_every_durable_event_of_a_session_counts_and_no_other_ones(world, observations):
    session, other = world.sessions.create(), world.sessions.create()
    rename(world, other, 5)
    world.sessions.create_share(session.id)
    world.writer.run(lambda transaction: transaction.emit("turn.started", transaction.load(session.id), {}))
    world.writer.run(lambda transaction: transaction.emit("error", None, {}))
    found = json.loads(observations.observation(session.id))
    assert found["revision"] == 3 and json.loads(observations.observation(other.id))["revision"] == 6


def test_a_server_that_is_away_makes_infos_stale(world):
    session = world.sessions.create()
    world.set(session.id, backend="opencode")
    away = Observations(world.store, 10, 60_000, lambda: world.now, lambda: stale)
    found = json.loads(away.observation(session.id)), json.loads(away.observation(None))
    assert [info["sync"]["state"] for info in (found[0]["session"], *found[1]["sessions"])] == ["stale", "stale"]
    gap = json.loads('{"x":0' + away.gap(None, 0, "trimmed").tail)["data"]
    assert gap["sessions"][0]["sync"]["state"] == "stale"


@pytest.mark.requirement("L-164")
def test_a_cursor_of_another_session_names_both(world, observations):
    one, other = world.sessions.create(), world.sessions.create()
    for foreign in (other.id, None):
        cursor = cursors.Cursor(world.store.store_id, 1, foreign)
        with pytest.raises(BadCursor) as caught:
            observations.observe(one.id, cursor)
        assert one.id in caught.value.cause and (foreign or "no one session") in caught.value.cause
    assert observations.observe(None, cursors.Cursor(world.store.store_id, 1, one.id)).reason is None


def test_what_is_deleted_cannot_be_observed(world, observations):
    session = world.sessions.create()
    world.sessions.delete(session.id)
    for act in (observations.observation, observations.observe):
        with pytest.raises(NotFound):
            act(session.id)
    assert observations.gap(session.id, 0, "trimmed") is None


@pytest.mark.requirement("L-161", "L-172", "L-173", "L-174")
@pytest.mark.parametrize("everybodys", [False, True])
def test_an_observer_begins_at_its_cursor_or_with_a_gap(world, observations, everybodys):
    session = world.sessions.create()
    rename(world, session, 11)
    whose, store_id = None if everybodys else session.id, world.store.store_id

    def begin(log_id, store=store_id):
        return observations.observe(whose, cursors.Cursor(store, log_id, whose))

    assert observations.observe(whose).after == 12 and observations.observe(whose).reason is None
    assert (begin(2).after, begin(2).reason) == (2, None)
    assert (begin(1).after, begin(1).reason) == (12, "trimmed")
    assert begin(1).cursor == cursors.render(store_id, 1, whose)  # it is at what it asked for
    assert (begin(13).after, begin(13).reason) == (12, "unavailable")
    assert begin(12, "00000000").reason == "unavailable"
    world.now += 60_001
    assert begin(11).reason == "trimmed" and begin(12).reason is None
    world.store.begin()
    world.store.trim(2, world.now - 60_000, [session.id], world.now)
    world.store.commit()
    assert begin(2).reason == "trimmed" and begin(12).reason is None


@pytest.mark.requirement("L-179")
def test_a_gap_is_of_the_moment_that_its_cursor_names(world, observations):
    session = world.sessions.create()
    rename(world, session, 3)
    gap = observations.gap(session.id, 1, "trimmed")
    data = json.loads('{"x":0' + gap.tail)["data"]
    assert gap.id == 4 and data["latestCursor"] == data["observation"]["cursor"]
    assert data["latestCursor"] == cursors.render(world.store.store_id, 4, session.id)
    assert data["latestRevision"] == data["observation"]["revision"] == 4
    assert data["requestedCursor"] == cursors.render(world.store.store_id, 1, session.id)
