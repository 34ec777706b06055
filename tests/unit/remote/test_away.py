"""A server that is away."""

import json
import threading

import pytest

from plue_session import errors
from plue_session.services.sync import link, reconcile
from tests.remote_world import AWAY, RemoteWorld, unchanged_by, until


@pytest.mark.requirement("P-161")
def test_away_reads_answer_what_was_last_known_and_say_so(world):
    session = world.create(title="T")
    world.link.contact(AWAY)
    world.server.asked.clear()
    info = json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))
    (listed,) = json.loads(b"[%b]" % world.do(lambda on: on.sessions.list()))
    (page,) = json.loads(world.do(lambda on: on.sessions.query()))["sessions"]
    assert {each["sync"]["state"] for each in (info, listed, page)} == {"stale"} and info["title"] == "T"
    assert world.server.asked == []
    world.link.contact()
    assert json.loads(b"[%b]" % world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "synced"


def test_a_read_that_finds_out_first_answers_the_same_and_has_all_compared(world):
    session = world.create()
    world.server.fail.update(get=AWAY, survey=AWAY)
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["sync"]["state"] == "stale"
    assert json.loads(b"[%b]" % world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "stale"
    assert world.reconciles_soon()


@pytest.mark.requirement("P-161")
@pytest.mark.parametrize(
    "read",
    [
        lambda on, each: on.sessions.get_info(each),
        lambda on, each: on.sessions.list(),
        lambda on, each: on.sessions.query(),
    ],
)
def test_a_read_that_is_answered_stale_has_the_server_asked_at_most_once_a_second(running, read, monkeypatch):
    """Comparisons by themselves come ever more rarely: a host that reads would be told the old state for half a
    minute."""
    until(lambda: running.sync.has_listed)
    running.link.interval = 60
    session = running.create()

    def away():
        running.server.fail["survey"] = away
        raise AWAY

    running.server.fail["survey"] = away
    monkeypatch.setattr(reconcile, "BACK_OFF", (60.0, 60.0))
    with pytest.raises(errors.Connection):
        running.do(lambda on: on.sync.run(5000))
    before = len(running.server.asked)
    for number in range(5):  # the first finds that it is time, the others that it is not
        monkeypatch.setattr(link, "SOON", 60.0 if number else 0.0)
        running.do(lambda on: read(on, session.id), session.id)
        threading.Event().wait(0.05)
    assert running.server.asked[before:] == [("survey",)]
    assert len([line for level, line in running.log.lines if line.startswith("sync:")]) == 1
    running.server.fail.clear()
    monkeypatch.setattr(link, "SOON", 0.0)
    running.do(lambda on: read(on, session.id), session.id)
    until(lambda: running.link.connected)


def test_a_call_that_is_not_let_in_has_status_tell_so(world):
    world.create()
    world.server.fail["create"] = errors.AccessDenied("the server answered 401")
    unchanged_by(world, errors.AccessDenied, lambda on: on.sessions.create())
    assert world.reconciles_soon()


def test_a_call_that_succeeds_while_it_is_away_has_all_compared(world):
    session = world.create()
    world.link.contact(AWAY)
    world.do(lambda on: on.sessions.abort(session.id), session.id)
    assert world.reconciles_soon()
    world.reconcile()
    assert world.link.connected


def test_with_offline_fail_reads_fail(tmp_path):
    world = RemoteWorld({"offline": "fail"})
    session = world.create()
    world.link.contact(AWAY)
    for call, work in {
        "get": lambda on: on.sessions.get_info(session.id),
        "survey": lambda on: on.sessions.list(),
    }.items():
        world.server.fail[call] = AWAY
        with pytest.raises(errors.Connection):
            world.do(work, session.id)


@pytest.mark.requirement("P-161")
def test_a_server_that_is_back_is_listened_to_at_once_but_seldom(world, monkeypatch):
    """Else one that ends soon after its return would be noticed half a minute later."""
    world.sync.on_state(None)
    world.away()
    world.link.contact()
    assert world.server.hurried == 0  # the stream has lost nothing
    world.sync.on_state(AWAY)
    for _ in range(3):  # it comes and goes
        world.away()
        world.link.contact()
    assert world.server.hurried == 1
    monkeypatch.setattr(link, "SELDOM", 0.0)
    world.away()
    world.link.contact()
    assert world.server.hurried == 2


@pytest.mark.requirement("P-161")
def test_an_event_stream_that_is_refused_once_more_has_all_compared(world):
    world.sync.on_state(None)
    world.sync.on_state(AWAY)
    world.away()
    world.queue.drop("reconcile")
    world.sync.on_state(AWAY)
    assert not world.reconciles_soon()  # that is known
    world.link.contact()
    world.sync.on_state(AWAY)
    assert world.reconciles_soon()
