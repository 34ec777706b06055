"""Changes that are made while the server is away: shown at once, sent in order when it is back, taken back if it
refuses."""

import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.services.outbox import MANY
from plue_session.services.work_queue import WORKERS
from tests.remote_world import AWAY, RemoteWorld, asked, unchanged_by, until
from tests.unit.remote.outbox import SICK, delete, rename, resolved, sync, update


# -- shown at once, sent later ---------------------------------------------------------------------------------------
@pytest.mark.requirement("P-170", "P-173")
def test_a_change_shows_at_once_waits_and_is_sent_when_the_server_is_back(world, made):
    rename(world, made, "New")
    assert asked(world) == []
    assert world.info(made)["title"] == "New" and sync(world, made) == {"state": "pending", "pending": 1}
    ((kind, data),) = world.told.take()
    assert kind == "session.updated" and data["title"] == "New" and {"title", "sync"} <= set(data["fields"])
    (waiting,) = world.operations()
    assert waiting == {
        "id": "op_1",
        "session": made.id,
        "op": "update",
        "state": "pending",
        "since": world.now,
    }
    world.back()
    assert world.server.sessions[made.id].title == "New"
    assert sync(world, made) == {"state": "synced", "pending": 0} and world.operations() == []
    ((kind, data),) = world.told.take()
    assert kind == "session.updated" and "sync" in data["fields"] and "title" not in data


@pytest.mark.requirement("P-170")
def test_the_call_that_finds_out_is_queued_like_those_after_it(world):
    session = world.create(title="T")
    world.server.fail["update"] = AWAY
    rename(world, session, "New")
    assert world.info(session)["title"] == "New" and world.reconciles_soon()
    assert world.server.sessions[session.id].title == "T" and len(world.operations()) == 1


@pytest.mark.requirement("P-161", "P-170")
def test_that_a_server_is_late_once_says_nothing_and_its_caller_is_told(world):
    session = world.create(title="T")
    world.server.fail["update"] = errors.Timeout("late", details={"sent": True})
    unchanged_by(world, errors.Timeout, lambda on: on.sessions.update_title(session.id, "New"), session.id)
    assert world.reconciles_soon()  # which finds out whether it is there

    def late():
        world.away()
        raise errors.Timeout("late")

    world.server.fail["update"] = late
    rename(world, session, "New")
    assert len(world.operations()) == 1


@pytest.mark.requirement("P-170", "P-161")
def test_what_cannot_be_queued_fails_and_with_offline_fail_all_does(made, world):
    def away():
        raise AWAY

    for call, work in {
        "fork": lambda on: on.sessions.fork(made.id),
        "check_provider": lambda on: on.sessions.initialize(made.id, "fake", "fake-model"),
    }.items():
        world.server.fail[call] = away
        unchanged_by(world, errors.Connection, work, made.id)
    strict = RemoteWorld({"offline": "fail"})
    session = strict.create(title="T")
    strict.server.fail["update"] = AWAY
    unchanged_by(strict, errors.Connection, lambda on: on.sessions.update_title(session.id, "x"), session.id)


@pytest.mark.requirement("P-173")
def test_changes_of_a_session_are_sent_in_order_and_later_ones_stay_behind_those_that_wait(world, made):
    for title in "abc":
        rename(world, made, title)
    world.link.contact()
    rename(world, made, "d")
    assert asked(world) == []
    seen = []
    world.server.tell = lambda change: seen.append(change.value.title)
    world.replay()
    assert seen == ["a", "b", "c", "d"] and world.info(made)["title"] == "d" and world.operations() == []


def test_what_is_ours_alone_needs_no_server_and_waits_for_none(world, made):
    update(world, made, tags=["x"], description="d")
    assert world.info(made)["tags"] == ["x"] and sync(world, made)["state"] == "synced" and world.operations() == []


@pytest.mark.requirement("P-173")
def test_what_waits_outlives_the_process(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    session = first.create(title="T")
    first.away()
    rename(first, session, "New")
    made = first.create(title="Offline")
    delete(first, first.create(title="Never"))
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    second.sync.begin()
    second.outbox.begin()
    until(lambda: second.store.count_outgoing() == 0)
    assert sorted(each.title for each in second.server.sessions.values()) == ["New", "Offline"]
    assert second.info(resolved(second, made))["title"] == "Offline"
    second.outbox.end()
    second.sync.end()
    second.sync.join(5)
    second.store.close()


@pytest.mark.requirement("P-118", "P-119")
def test_what_the_server_tells_meanwhile_is_recorded_beneath_what_waits(world, made):
    rename(world, made, "Ours")
    world.told.take()
    world.server.put(made.id, title="Theirs")
    world.reconcile()
    assert world.info(made)["title"] == "Ours" and world.told.take() == []
    world.server.put(made.id, archived=5)
    world.reconcile()
    assert world.info(made)["title"] == "Ours" and world.info(made)["time"]["archived"] == 5
    ((kind, data),) = world.told.take()
    assert kind == "session.updated" and data["fields"] == ["time.archived"]
    assert sync(world, made)["pending"] == 1


# -- a server that is sick -------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-173")
def test_a_session_that_the_server_is_sick_of_holds_up_no_other(running):
    until(lambda: running.sync.has_listed)
    sick, well = running.create(title="S"), running.create(title="W")
    running.away()
    rename(running, sick, "S2")
    rename(running, well, "W2")
    get = running.server.get

    def fails(session_id, call, directory=None):
        if session_id == sick.id:
            raise SICK
        return get(session_id, call, directory)

    running.server.get = fails
    running.link.contact()
    until(lambda: running.server.sessions[well.id].title == "W2")
    until(lambda: running.operations() and "500" in running.operations()[0].get("error", ""))
    assert running.server.sessions[sick.id].title == "S"
    running.server.get = get
    running.outbox.poke(sick.id)
    until(lambda: running.server.sessions[sick.id].title == "S2")


@pytest.mark.requirement("P-170", "P-177")
def test_nor_is_that_one_asked_for_by_its_new_id_at_once():
    world, asked = RemoteWorld({"retry": {"baseMs": 20_000, "maxMs": 30_000}}), []
    world.away()
    session = world.create(title="Offline")
    rename(world, session, "Later")

    def fails(session_id, call, **fields):
        asked.append(session_id)
        world.outbox.look()  # as while it waits for a slow server
        raise SICK

    world.server.update = fails
    world.link.last_sync = 1
    world.outbox.begin()
    world.link.contact()
    until(lambda: asked and world.operations()[0].get("error"))
    until(lambda: not world.outbox._busy and list(world.outbox._due) == [resolved(world, session)])
    assert asked == list(world.outbox._due)
    world.outbox.end()


@pytest.mark.requirement("P-170")
def test_a_server_that_is_sick_of_all_is_asked_by_one_at_a_time():
    world, tried, sick = RemoteWorld({"retry": {"baseMs": 20_000, "maxMs": 30_000}}), [], [True]
    world.away()
    for number in range(40):
        world.create(title=f"{number}")
    create = world.server.create

    def fails(token, *more, **fields):
        tried.append(fields["title"])
        if sick:
            raise SICK
        return create(token, *more, **fields)

    def over():  # as when the time has passed
        with world.outbox._changed:
            world.outbox._rests_until = 0.0
        world.outbox.look()

    world.server.create = fails
    world.link.last_sync = 1
    world.outbox.begin()
    world.link.contact()
    for more in range(3):
        until(lambda: world.outbox._rests_until and not world.outbox._busy)
        if not more:
            first = len(tried)
            assert MANY <= first < MANY + WORKERS
        assert len(tried) == len(set(tried)) == first + more  # those come first that were not tried yet
        assert world.outbox._rests_until - time.monotonic() > 10
        if more < 2:
            over()
    sick.clear()
    over()
    before = len(tried)
    until(lambda: len(world.server.sessions) == 40 - before)
    world.outbox.end()


@pytest.mark.requirement("P-170")
def test_the_longer_a_server_is_sick_the_more_seldom_it_is_asked(world, made):
    from plue_session.services.outgoing import delay

    retry = world.settings.retry
    assert [delay(each, retry) for each in (0, 1, 2, 10, 1000)] == [1000, 2000, 4000, 30000, 30000]
    rename(world, made, "New")
    world.link.contact()
    for attempt in (1, 2):
        world.server.fail["update"] = SICK
        with pytest.raises(errors.Server):
            world.replay()
        (row,) = world.store.all_outgoing(9)
        assert (row.attempts, row.due) == (attempt, world.now + 1000 * 2 ** (attempt - 1)) and "500" in row.error


def test_a_clock_that_was_set_back_holds_up_nothing(world, made):
    rename(world, made, "New")
    world.server.fail["update"] = SICK
    with pytest.raises(errors.Server):
        world.back()
    world.outbox._due.clear()  # as in the next process
    world.now -= 86_400_000
    world.outbox.hurry()
    assert world.outbox._due.get(made.id) - time.monotonic() <= world.settings.retry.max_ms / 1000


@pytest.mark.requirement("P-170")
def test_a_store_that_fails_for_a_moment_holds_up_nothing(running, monkeypatch):
    until(lambda: running.sync.has_listed)
    running.away()
    session = running.create(title="Offline")
    real, failures = running.store.id_of_alias, iter(range(3))

    def fails(alias):
        if threading.current_thread().name == "plue-outbox" and next(failures, None) is not None:
            raise errors.StoreIo("no descriptor is left")
        return real(alias)

    monkeypatch.setattr(running.store, "id_of_alias", fails)
    running.link.contact()
    until(lambda: resolved(running, session))
    assert next(failures, None) is None
    assert any("no descriptor is left" in text for _, text in running.log.lines)


def test_threads_are_there_only_while_something_waits(running):
    until(lambda: running.sync.has_listed)
    running.away()
    session = running.create(title="Offline")
    assert running.outbox._workers == 0
    running.link.contact()
    until(lambda: resolved(running, session))
    until(lambda: running.outbox._workers == 0)


@pytest.mark.requirement("P-173")
def test_one_process_of_those_on_a_store_sends(two):
    first, second, _ = two
    first.away()
    second.away()
    made = [(first, second)[number % 2].create(title=f"{number}") for number in range(6)]
    first.outbox.begin()
    second.outbox.begin()
    for world in two[:2]:
        world.link.contact()
        world.reconcile()
    until(lambda: first.store.count_outgoing() == 0)
    assert sorted(each.title for each in first.server.sessions.values()) == list("012345")
    assert all(resolved(second, each) for each in made)
    first.outbox.end()
    second.outbox.end()


@pytest.mark.requirement("P-176", "P-177")
def test_another_process_that_hears_first_of_what_was_made_leaves_it_to_its_session(two):
    first, second, deliver = two
    first.away()
    session = first.create(title="Offline")
    rename(first, session, "Later")
    first.link.contact()
    first.server.during["create"] = lambda: deliver(1)
    first.replay()
    (there,) = first.server.sessions
    assert resolved(first, session) == there and first.server.sessions[there].title == "Later"
    assert [row.kind for row in first.store.operations()] == [] and first.operations() == []
    for world in (first, second):
        world.writer.catch_up()
        assert world.info(there)["aliases"] == [session.id]
        assert [data["id"] for kind, data in world.told.events() if "aliases" in data] == [there]


@pytest.mark.requirement("P-173")
def test_a_change_more_and_sending_one_read_no_others(world, made):
    """Else 10,000 changes of one session cost 10,000 readings of as many rows."""
    for title in "abc":
        rename(world, made, title)
    read, reads = world.store.outgoing, []
    world.store.outgoing = lambda session_id: reads.append(session_id) or read(session_id)
    rename(world, made, "d")
    update(world, made, metadata={"b": 2}, tags=["t"])
    assert reads == [] and sync(world, made)["pending"] == 5
    world.back()
    assert len(reads) <= 5 and world.operations() == []  # what its answer leaves is put on again
    assert world.info(made)["title"] == world.server.sessions[made.id].title == "d"


def test_the_outbox_is_bounded(world, made, monkeypatch):
    monkeypatch.setattr("plue_session.services.operations.MOST", 2)
    rename(world, made, "a")
    rename(world, made, "b")
    unchanged_by(world, errors.QueueFull, lambda on: on.sessions.update_title(made.id, "c"), made.id)


@pytest.mark.requirement("P-161")
def test_a_server_that_refuses_our_credentials_is_there_and_nothing_is_queued_for_it(world):
    session = world.create(title="T")
    denied = errors.AccessDenied("the server refuses the username and password")
    world.away(denied)
    world.server.fail["update"] = denied
    unchanged_by(world, errors.AccessDenied, lambda on: on.sessions.update_title(session.id, "x"), session.id)
    assert world.operations() == []
