"""A server that is away."""

import json

import pytest

from plue_session import errors
from tests.remote_world import AWAY, RemoteWorld


@pytest.mark.requirement("P-161")
def test_away_reads_answer_what_was_last_known_and_say_so(world):
    session = world.create(title="T")
    world.sync.contact(AWAY)
    world.server.asked.clear()
    info = json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))
    listed, = json.loads(world.do(lambda on: on.sessions.list()))
    page, = json.loads(world.do(lambda on: on.sessions.query()))["sessions"]
    assert {each["sync"]["state"] for each in (info, listed, page)} == {"stale"} and info["title"] == "T"
    assert world.server.asked == []
    world.sync.contact()
    assert json.loads(world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "synced"


def test_a_read_that_finds_out_first_answers_the_same_and_has_it_looked_at(world):
    session = world.create()
    world.server.fail.update(get=AWAY, survey=AWAY)
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["sync"]["state"] == "stale"
    assert json.loads(world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "stale"
    assert world.sync._asked == 1


def test_a_call_that_succeeds_while_it_is_away_has_it_looked_at(world):
    world.sync.contact(AWAY)
    world.create()
    assert world.sync._asked == 1
    world.look()
    assert world.sync.connected


def test_with_offline_fail_reads_fail(tmp_path):
    world = RemoteWorld({"offline": "fail"})
    session = world.create()
    world.sync.contact(AWAY)
    for call, work in {"get": lambda on: on.sessions.get_info(session.id), "survey": lambda on: on.sessions.list()}.items():
        world.server.fail[call] = AWAY
        with pytest.raises(errors.Connection):
            world.do(work, session.id)
