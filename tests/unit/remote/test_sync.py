"""Comparing by itself and when asked, and the thread that does it with what else must not keep others waiting."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.services.sync import jobs
from tests.remote_world import AWAY, asked, in_thread, titles, until


def refuse(world):
    """Have the server refuse to say anything of a session."""

    def refused():
        world.server.fail["get"] = refused
        raise errors.Server("no")

    world.server.fail["get"] = refused


@pytest.mark.requirement("P-110", "P-111", "P-184")
def test_without_events_the_state_follows_by_comparing(running):
    running.hold_back()
    session = running.elsewhere(title="One")
    until(lambda: titles(running) == ["One"])
    running.server.put(session, title="Two")
    until(lambda: titles(running) == ["Two"])


def test_the_streams_own_snapshot_is_the_first_comparison(world):
    world.sync.begin()
    world.sync.snapshot()
    world.sync.on_state(None)
    assert json.loads(world.sync.status()) == {
        "connected": True,
        "pending": 0,
        "operations": [],
        "conflicts": [],
        "lastSync": world.now,
        "server": {"url": "http://fake", "events": True},
    }
    threading.Event().wait(1.2)
    assert [each[0] for each in world.server.asked].count("survey") == 1
    world.sync.on_state(AWAY)  # what was told while nobody listened is asked for at once
    until(lambda: [each[0] for each in world.server.asked].count("survey") == 2)
    world.sync.end()
    world.sync.join(5)


@pytest.mark.requirement("P-115")
def test_a_failed_comparison_is_shown_and_the_next_one_comes(running):
    until(lambda: running.sync.has_listed)
    running.server.fail["survey"] = AWAY
    until(lambda: not running.link.connected)
    status = json.loads(running.sync.status())
    assert not status["connected"] and status["server"]["error"] == "the server cannot be reached"
    until(lambda: running.link.connected)
    assert running.states == [(False, "the server cannot be reached"), (True, None)]
    assert [call for call in running.told.calls if call[0] == "away"] == [("away", True), ("away", False)]
    assert any(level == "warning" and "away" in line for level, line in running.log.lines)


def test_a_defect_in_a_comparison_is_logged_and_does_not_end_the_thread(running):
    running.server.fail["survey"] = lambda: 1 / 0
    until(lambda: any("ZeroDivisionError" in line for _, line in running.log.lines))
    running.do(lambda on: on.sync.run(5000), seconds=5)


def test_a_store_that_cannot_be_read_when_the_server_is_lost_does_not_end_comparing(running):
    until(lambda: running.sync.has_listed)
    ids, broken = running.store.ids, threading.Event()

    def failing():
        if not running.link.connected and not broken.is_set():
            broken.set()
            raise errors.StoreIo("the disk is broken")
        return ids()

    running.store.ids = failing
    running.server.fail["survey"] = AWAY
    assert broken.wait(5)
    until(lambda: running.link.connected)
    assert [connected for connected, _ in running.states] == [False, True]


def test_sync_waits_for_a_comparison_that_began_after_it(running):
    entered, go = threading.Event(), threading.Event()

    def slow():
        entered.set()
        go.wait(5)

    running.server.during["survey"] = slow
    entered.wait(5)
    running.hold_back()
    waiting = in_thread(lambda: running.do(lambda on: on.sync.run(5000), seconds=5))
    running.elsewhere(title="Late")
    go.set()
    assert waiting() is None and titles(running) == ["Late"]


def test_sync_with_no_time_only_asks(world):
    assert world.sync.run(0) is None and world.reconciles_soon()


def test_who_asks_again_and_again_leaves_nothing_behind(world):
    """Callers go home by themselves: what they waited for is ended when the next one asks, and each once."""
    ends = []
    for number in range(5):
        later = world.sync.run(1)
        later.then(lambda outcome, number=number: ends.append((number, type(outcome))))
        until(lambda: later.deadline < time.monotonic())  # noqa: B023
    assert ends == [(number, errors.Timeout) for number in range(4)]
    world.sync.end()
    assert ends[4:] == [(4, errors.Closed)]


def test_sync_fails_as_the_comparison_does_and_when_the_library_stops(world):
    world.link.interval = 60
    world.server.fail["survey"] = AWAY
    waiting = in_thread(lambda: world.do(lambda on: on.sync.run(5000), seconds=5))
    until(world.reconciles_soon)
    world.sync.begin()
    assert isinstance(waiting(), errors.Connection)
    stuck, go = threading.Event(), threading.Event()
    world.server.during["survey"] = lambda: stuck.set() or go.wait(5)
    waiting = in_thread(lambda: world.do(lambda on: on.sync.run(5000), seconds=5))
    stuck.wait(5)
    world.sync.end()
    assert isinstance(waiting(), errors.Closed)
    with pytest.raises(errors.Closed):
        world.sync.run(1)
    go.set()
    world.sync.join(5)


def test_jobs_that_miss_the_server_are_done_when_it_is_back(world):
    session = world.create()
    world.server.asked.clear()
    world.server.fail["get"] = AWAY
    world.queue.add("reread", session.id)
    assert world.jobs() == ["reread"] and world.reconciles_soon()
    world.server.fail["survey"] = AWAY
    with pytest.raises(errors.Connection):
        world.reconcile()
    assert world.jobs() == []
    world.reconcile()
    assert world.queue.waiting()[0].due <= time.monotonic() and world.jobs() == ["reread"]
    assert asked(world) == ["get", "survey", "survey", "get"] and world.jobs() == []


def test_a_job_that_fails_is_tried_again_and_not_for_ever(world):
    refuse(world)
    world.queue.add("reread", "ses_x")
    rounds = 0
    while world.jobs():
        world.reconcile()
        rounds += 1
    tries = jobs.KINDS["reread"][1]
    assert rounds == tries and world.log.lines == [("warning", "sync reread: no.")] * tries
    assert [job.kind for job in world.queue.waiting()] == ["reconcile"]


def test_jobs_that_stall_do_not_keep_a_comparison_waiting_and_come_ever_more_rarely(running, monkeypatch):
    """A server that does not answer one request answers others: four of these kept the synchronisation from all for 40
    seconds."""
    monkeypatch.setitem(jobs.KINDS, "title", (0.2, None))
    monkeypatch.setattr(jobs, "BACK_OFF", (60.0, 60.0))
    until(lambda: running.sync.has_listed)
    running.link.interval = 60
    running.do(lambda on: on.sync.run(5000), seconds=5)
    order, survey = [], running.server.survey
    running.server.survey = lambda *given, **more: (order.append("list"), survey(*given, **more))[1]

    def stall(session_id, call):
        order.append(session_id)
        assert call.deadline - time.monotonic() < 0.21
        threading.Event().wait(0.2)
        raise errors.Timeout("the server did not answer in time")

    running.sync.worker.works["title"] = stall
    for number in range(4):
        running.queue.add("title", f"ses_{number}")
    until(lambda: len(order) == 1)
    running.do(lambda on: on.sync.run(5000), seconds=5)
    assert order[1] == "list"
    until(lambda: len(order) > 2)  # the next one has begun
    running.do(lambda on: on.sync.run(5000), seconds=5)
    assert order[:2] + order[3:4] == ["ses_0", "list", "list"]
    while len(order) - order.count("list") < 4:
        running.do(lambda on: on.sync.run(5000), seconds=5)
    for _ in range(3):  # each was done once; the next time has to wait
        running.do(lambda on: on.sync.run(5000), seconds=5)
    assert len(order) - order.count("list") == 4


def test_what_is_asked_for_again_does_not_come_before_its_time(world):
    for _ in range(2):
        refuse(world)
        world.queue.add("reread", "ses_x")
        world.jobs()
    world.queue.add("reread", "ses_x")
    (job,) = world.queue.waiting()
    assert job.due > time.monotonic() + 1


def test_a_job_that_has_nothing_left_to_put_right_is_done(world):
    world.queue.add("title", "ses_x")
    assert world.jobs() == ["title"]
    world.reconcile()
    assert world.jobs() == [] and world.log.lines == []


def test_an_event_that_cannot_be_recorded_is_made_up_for_by_the_next_comparison(world):
    session = world.create(title="A")
    world.reconcile()
    begin = world.store.begin

    def full():
        raise errors.StoreIo("the disk is full")

    world.store.begin = full
    world.server.put(session.id, title="B")
    world.store.begin = begin
    assert titles(world) == ["A"] and "disk is full" in world.log.lines[-1][1]
    world.reconcile()
    assert titles(world) == ["B"]
