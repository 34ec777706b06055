"""Sessions on a server: what is asked, what is recorded, what is told, and what happens in between."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import EVENTS
from plue_session.services import calls
from plue_session.services.bound import Bound
from tests.remote_world import RemoteWorld, in_thread

AWAY = errors.Connection("the server cannot be reached")
ANSWERED = {"status": 500, "server": "no"}


@pytest.fixture
def world():
    return RemoteWorld()


def asked(world):
    names, world.server.asked[:] = [each[0] for each in world.server.asked], []
    return names


def unchanged_by(world, error, work, session=None, match=""):
    """Check that a call fails so, changes nothing here and tells nobody; return the error."""
    before, _ = world.store.list_text(), world.told.take()
    with pytest.raises(error, match=match or None) as caught:
        world.do(work, session)
    assert world.store.list_text() == before and world.told.take() == []
    return caught.value


# -- making ----------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-071", "O-029")
@pytest.mark.parametrize("when", ["before the answer", "after the answer", "never"])
def test_a_new_session_is_told_of_once_whenever_its_event_comes(world, when):
    if when != "before the answer":
        world.hold_back()
    session = world.create(title="One", key="k", tags=["a"])
    if when == "after the answer":
        world.deliver()
    assert world.told.take() == [("session.created", {"id": session.id})]
    info = world.info(session)
    assert (info["title"], info["key"], info["tags"], info["backend"], info["sync"]["state"]) == ("One", "k", ["a"], "opencode", "synced")


def test_what_another_process_has_heard_of_first_is_told_of_once(world):
    """The other one has the same store, and its own stream."""
    def other():
        made = next(iter(world.server.sessions.values()))
        world.commits.run(lambda unit: world.mirror.merge(unit, made))
    world.hold_back()
    world.server.during["create"] = other
    session = world.do(lambda on: on.sessions.create())
    assert world.told.take() == [("session.created", {"id": session.id})]
    assert not world.store.look(session.id).seen


def test_options_that_only_we_keep_are_told_when_another_process_was_first(world):
    def other():
        world.commits.run(lambda unit: world.mirror.merge(unit, next(iter(world.server.sessions.values()))))
    world.hold_back()
    world.server.during["create"] = other
    session = world.create(tags=["a"])
    assert world.told.take() == [("session.created", {"id": session.id}), ("session.updated", {"id": session.id})]


@pytest.mark.requirement("P-031")
@pytest.mark.parametrize("work", [
    lambda on: on.sessions.create("ses_../x"), lambda on: on.sessions.create_with('{"tittle":""}'), lambda on: on.sessions.create_with("{"),
    lambda on: on.sessions.create_with('{"key":"ses_1"}'), lambda on: on.sessions.get_or_create("a/b"), lambda on: on.sessions.open("../x"),
    lambda on: on.sessions.create_with('{"directory":"relative"}'), lambda on: on.sessions.open("ses_%2f"), lambda on: on.sessions.query("[]")])
def test_bad_parameters_never_reach_the_network(world, work):
    with pytest.raises((errors.InvalidParam, errors.JsonParse)):
        world.do(work)
    assert world.server.asked == []


def test_a_taken_key_a_live_role_and_the_limit_are_seen_before_the_server_is_asked():
    world = RemoteWorld({"limits": {"activeSessions": 2}})
    first = world.create(key="k", role="r")
    world.server.asked.clear()
    assert first.id in str(unchanged_by(world, errors.AlreadyExists, lambda on: on.sessions.create_with('{"key":"k"}')).cause)
    unchanged_by(world, errors.AlreadyExists, lambda on: on.sessions.create_with('{"role":"r"}'))
    world.create()
    unchanged_by(world, errors.LimitExceeded, lambda on: on.sessions.create(), match="activeSessions")
    assert asked(world) == ["create"]


def test_sessions_only_seen_on_the_server_do_not_count_for_the_limit():
    world = RemoteWorld({"limits": {"activeSessions": 1}})
    world.elsewhere()
    world.look()
    world.create()
    unchanged_by(world, errors.LimitExceeded, lambda on: on.sessions.create())


def test_one_session_per_key_also_for_threads_that_race(world):
    barrier = threading.Barrier(8)

    def race():
        barrier.wait()
        return world.do(lambda on: on.sessions.get_or_create("key")).id
    assert len({result() for result in [in_thread(race) for _ in range(8)]}) == 1
    assert len(world.server.sessions) == 1


def take_key(world, token):
    """Have another process create a session and give it the key."""
    made = world.server.create(token, time.monotonic() + 5)

    def give(unit):
        session = unit.find(made.id)
        session.key = "key"
        unit.save(session, "session.updated", {"id": made.id})
    world.commits.run(lambda unit: world.mirror.merge(unit, made))
    world.commits.run(give)


def test_one_session_per_key_also_when_another_process_is_faster(world):
    with Bound(world.remote, "test", None, time.monotonic() + 5) as on:
        token = on.sessions._token_of("key")

    world.server.during["create"] = lambda: take_key(world, token)
    found = world.do(lambda on: on.sessions.get_or_create("key"))
    assert found.key == "key" and list(world.server.sessions) == [found.id]  # the second one was taken back
    world.look()
    world.chores()
    assert list(world.server.sessions) == [found.id]  # and not the first, though both have the same token


def test_the_key_of_a_create_that_died_before_it_was_recorded_is_given_to_its_session(world):
    world.commits.run, run = None, world.commits.run
    with pytest.raises(TypeError):  # the process dies after the server has answered
        world.hold_back()
        world.server.during["create"] = lambda: None
        session_call = world.calls.begin("test", None, time.monotonic() + 5)
        from plue_session.services.remote_sessions import RemoteSessions
        sessions = RemoteSessions(world.remote, session_call)
        sessions._create({}, sessions._token_of("key"))
    world.calls.end(session_call)
    world.commits.run = run
    world.look()
    orphan, = world.server.sessions
    assert world.do(lambda on: on.sessions.get_or_create("key")).id == orphan
    assert len(world.server.sessions) == 1 and not world.store.look(orphan).seen


def test_a_session_that_cannot_be_recorded_is_taken_back(world):
    def full():
        raise errors.StoreIo("the disk is full")
    insert = world.store.insert
    world.store.insert = lambda session: full()
    unchanged_by(world, errors.StoreIo, lambda on: on.sessions.create())
    world.store.insert = insert
    assert world.server.sessions == {}
    world.look()
    assert json.loads(world.store.list_text()) == []


def test_an_unknown_provider_makes_no_session(world):
    unchanged_by(world, errors.ProviderInit, lambda on: on.sessions.create_with('{"provider":{"providerId":"x","modelId":"y"}}'))
    assert world.server.sessions == {}


@pytest.mark.requirement("P-176")
def test_what_a_create_made_whose_answer_is_lost_for_good_is_taken_back(world):
    world.hold_back()

    def lost():
        raise errors.Timeout("the server did not answer", details={"sent": True})
    world.server.during["create"] = lost
    unchanged_by(world, errors.Timeout, lambda on: on.sessions.create())
    made, = world.server.sessions
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.open(made))
    world.deliver()
    world.look()
    assert world.store.look(made) is None and world.told.take() == []
    assert "take back" in world.chores() and world.server.sessions == {}


@pytest.mark.requirement("P-176")
def test_the_next_call_with_the_key_finds_what_the_lost_one_made(world):
    def lost():
        raise errors.Timeout("the server did not answer", details={"sent": True})
    world.hold_back()
    world.server.during["create"] = lost
    unchanged_by(world, errors.Timeout, lambda on: on.sessions.get_or_create("key"))
    found = world.do(lambda on: on.sessions.get_or_create("key"))
    assert list(world.server.sessions) == [found.id] and found.key == "key"
    world.deliver()
    world.look()
    assert world.told.take() == [("session.created", {"id": found.id})] and world.chores() == []


@pytest.mark.requirement("P-176")
def test_a_process_that_starts_after_one_has_died_finds_what_that_one_made_for_a_key(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    with Bound(first.remote, "test", None, time.monotonic() + 5) as on:
        token = on.sessions._token_of("key")
    orphan = first.server.create(token, time.monotonic() + 5)  # and the process dies
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    assert second.do(lambda on: on.sessions.get_or_create("key")).id == orphan.id and len(first.server.sessions) == 1
    second.store.close()


def test_a_session_that_could_not_be_taken_back_is_taken_back_later(world):
    world.server.during["create"] = lambda: take_key(world, "other")
    world.server.fail["delete"] = errors.Server("the server answered 500", details=ANSWERED)
    with pytest.raises(errors.AlreadyExists):
        world.create(key="key")
    assert len(world.server.sessions) == 2
    world.look()
    assert "take back" in world.chores() and len(world.server.sessions) == 1
    assert [each["key"] for each in json.loads(world.store.list_text())] == ["key"]


@pytest.mark.requirement("P-123")
def test_metadata_stays_as_it_was_given_though_the_server_writes_it_otherwise(world):
    given = '{"2":1,"1":2.0,"n":12345678901234567890,"deep":[-0.0,true]}'
    session = world.create(metadata=json.loads(given))
    text = world.store.look(session.id).metadata
    world.told.take()
    world.server.put(session.id, metadata={"1": 2, "2": 1, "n": 1.2345678901234567e19, "deep": [0, True]})
    assert world.told.take() == [] and world.store.look(session.id).metadata == text
    world.server.put(session.id, metadata={"1": 2, "2": 1, "n": 1.2345678901234567e19, "deep": [0, 1]})
    assert len(world.told.take()) == 1 and world.info(session)["metadata"]["deep"] == [0, 1]


@pytest.mark.requirement("P-049", "O-054")
def test_a_forks_parent_is_its_source_and_it_outlives_it(world):
    source = world.create(title="S", metadata={"a": 1})
    fork = world.do(lambda on: on.sessions.fork(source.id), source.id)
    assert (fork.parent_id, fork.title, fork.metadata) == (source.id, "S (fork #1)", '{"a":1}')
    assert world.told.take()[1:] == [("session.created", {"id": fork.id, "parentId": source.id})]
    world.look()
    assert world.info(fork)["parentId"] == source.id
    world.do(lambda on: on.sessions.delete(source.id), source.id)
    assert json.loads(world.store.list_text())[0]["id"] == fork.id


def test_a_fork_of_another_clients_session_is_told_of_once_too(world):
    source = world.elsewhere(title="Theirs")
    world.told.take()
    fork = world.do(lambda on: on.sessions.fork(source), source)
    assert world.told.take() == [("session.created", {"id": fork.id, "parentId": source})]
    assert world.chores() == ["look"] and world.told.take() == [] and not world.turnstile.unnamed


# -- asking ----------------------------------------------------------------------------------------------------------------
def test_a_stale_snapshot_is_asked_for_and_what_is_new_is_told(world):
    session = world.create(title="Old")
    world.hold_back()
    world.server.put(session.id, title="New")
    world.told.take()
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["title"] == "New"
    assert world.told.take() == [("session.updated", {"id": session.id, "title": "New"})]
    world.deliver()
    assert world.told.take() == []


def test_a_refresh_that_finds_nothing_new_takes_no_turn_of_the_writer(world):
    session = world.create()
    world.commits.run = None
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
    assert ("gone", session.id) in world.told.calls and world.store.look(session.id) is None
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.update_title(session.id, "x"), session.id)


def test_a_change_that_meets_no_session_has_it_looked_for(world):
    session = world.create()
    world.hold_back()
    del world.server.sessions[session.id]
    unchanged_by(world, errors.NotFound, lambda on: on.sessions.update_title(session.id, "x"), session.id)
    assert world.chores() == ["look"] and world.store.look(session.id) is None


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
            world.do(lambda on: on.sessions.open(missing))


# -- changing --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-121", "P-123")
def test_a_change_is_sent_alone_and_its_echoes_are_not_told(world):
    session = world.create(title="T", metadata={"a": 1})
    world.told.take()
    world.server.asked.clear()
    sent = []
    update = world.server.update
    world.server.update = lambda session_id, **given: sent.append({name: given[name] for name in ("title", "metadata", "archived") if name in given}) or update(session_id, **given)
    world.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    world.do(lambda on: on.sessions.update(session.id, '{"metadata":{"b":2},"archived":true,"title":"V","addTags":["x"]}'), session.id)
    assert [list(each) for each in sent] == [["title"], ["title", "metadata", "archived"]]
    assert world.told.take() == [("session.updated", {"id": session.id, "title": "U"}), ("session.updated", {"id": session.id, "title": "V"})]
    assert world.chores() == [] and asked(world) == ["update", "update"]
    info = world.info(session)
    assert (info["title"], info["metadata"], info["tags"], "archived" in info["time"]) == ("V", {"b": 2}, ["x"], True)


def test_echoes_that_come_late_are_not_told_either(world):
    session = world.create(title="T")
    world.told.take()
    world.hold_back()
    world.do(lambda on: on.sessions.update(session.id, '{"metadata":{"b":2},"archived":true,"title":"V"}'), session.id)
    world.deliver()
    assert len(world.told.take()) == 1 and world.chores() == []


def test_another_clients_change_among_the_echoes_is_looked_for(world):
    session = world.create(title="T")
    world.hold_back()
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.held_back.clear()  # the echo is lost
    world.server.put(session.id, title="Theirs")
    world.deliver()
    assert world.info(session)["title"] == "Mine" and world.chores() == ["look"]
    assert world.info(session)["title"] == "Theirs"


def test_what_only_we_keep_is_not_sent(world):
    session = world.create()
    world.server.asked.clear()
    world.do(lambda on: on.sessions.update(session.id, '{"description":"d","tags":["a"]}'), session.id)
    world.do(lambda on: on.sessions.update(session.id, "{}"), session.id)
    assert asked(world) == [] and world.info(session)["description"] == "d"


@pytest.mark.requirement("P-120", "O-024")
def test_base_is_compared_with_what_the_server_has_now(world):
    session = world.create(title="Mine")
    world.hold_back()
    world.server.put(session.id, title="Theirs")
    with pytest.raises(errors.Conflict, match="title"):
        world.do(lambda on: on.sessions.update(session.id, '{"title":"x","base":{"title":"Mine"}}'), session.id)
    assert world.server.sessions[session.id].title == "Theirs"
    world.do(lambda on: on.sessions.update(session.id, '{"title":"x","base":{"title":"Theirs"}}'), session.id)
    assert world.server.sessions[session.id].title == "x"


@pytest.mark.parametrize("error", [AWAY, errors.Server("the server answered 500", details=ANSWERED), errors.Timeout("late")])
def test_a_change_that_the_server_refuses_or_misses_changes_nothing(world, error):
    session = world.create(title="T", metadata={})
    for call, work in {"update": lambda on: on.sessions.update_title(session.id, "x"), "delete": lambda on: on.sessions.delete(session.id),
                       "fork": lambda on: on.sessions.fork(session.id), "create": lambda on: on.sessions.create(),
                       "check_provider": lambda on: on.sessions.initialize(session.id, "fake", "fake-model")}.items():
        world.server.fail[call] = error
        unchanged_by(world, type(error), work, session.id)


def test_renames_reach_the_server_and_the_store_in_one_order(world):
    session = world.create(title="T")
    first = threading.Event()
    second = []

    def slow():
        second.append(in_thread(lambda: world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id)))
        assert not first.wait(0.1)
    world.server.during["update"] = slow
    world.do(lambda on: on.sessions.update_title(session.id, "A"), session.id)
    assert second[0]() is None
    assert world.info(session)["title"] == world.server.sessions[session.id].title == "B"
    assert [data["title"] for _, data in world.told.take() if "title" in data] == ["A", "B"]


def test_who_waits_for_a_session_goes_home_at_its_deadline_and_when_cancelled(world):
    session = world.create()
    results = []

    def slow():
        results.append(in_thread(lambda: world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id, seconds=0.05)))
        assert isinstance(results[0](), errors.Timeout)
        call = world.calls.begin("test", session.id, time.monotonic() + 10)
        waiting = in_thread(lambda: world.turnstile.hold(session.id, call).__enter__())
        call.cancel.set(errors.Aborted("x"))
        results.append(waiting())
    world.server.during["update"] = slow
    world.do(lambda on: on.sessions.update_title(session.id, "A"), session.id)
    assert isinstance(results[1], errors.Aborted) and world.info(session)["title"] == "A"


@pytest.mark.requirement("P-014", "P-016")
def test_initialize_asks_whether_the_pair_is_there_and_writes_nothing(world):
    session = world.create()
    world.server.asked.clear()
    world.do(lambda on: on.sessions.initialize(session.id, "fake", "fake-model"), session.id)
    world.do(lambda on: on.sessions.initialize(session.id, "fake", "fake-model"), session.id)
    assert asked(world) == ["check_provider"]
    unchanged_by(world, errors.Conflict, lambda on: on.sessions.initialize(session.id, "fake", "other"), session.id)
    unchanged_by(world, errors.InvalidParam, lambda on: on.sessions.initialize(session.id, "", "other"), session.id)
    assert asked(world) == []


# -- two processes on one store ----------------------------------------------------------------------------------------------
@pytest.fixture
def two(tmp_path):
    """Two processes on one store and one server, each with its own stream; their events come by hand."""
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    streams = [], []
    first.server.tell = lambda change: [stream.append(change) for stream in streams]

    def deliver(number):
        world, stream = (first, second)[number], streams[number]
        while stream:
            world.sync.apply(stream.pop(0))
    yield first, second, deliver
    first.store.close()
    second.store.close()


def log(world):
    return [(EVENTS[row.kind], json.loads('{"x":0' + row.tail)["data"].get("title")) for row in world.store.events_after(0, 100)]


@pytest.mark.requirement("P-122", "P-133")
def test_the_slower_ones_events_do_not_undo_what_the_faster_one_has_recorded(two):
    first, second, deliver = two
    session_id = first.elsewhere(title="First")
    first.server.put(session_id, title="Second")
    deliver(0)
    deliver(1)
    second.chores()
    assert log(first) == [("session.created", None), ("session.updated", "Second")]
    first.server.put(session_id, title="Third")
    deliver(1)
    second.chores()
    deliver(0)
    first.chores()
    assert log(first)[2:] == [("session.updated", "Third")] and second.info(session_id)["title"] == "Third"


def test_what_another_process_has_recorded_of_our_change_is_not_told_again(two):
    first, second, deliver = two
    session = first.create(title="T")
    deliver(0), deliver(1)
    first.server.during["update"] = lambda: deliver(1) or second.chores()
    first.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    deliver(0), deliver(1)
    assert log(first) == [("session.created", None), ("session.updated", "U")]


@pytest.mark.requirement("O-029")
def test_what_one_process_makes_the_other_leaves_to_it(two):
    first, second, deliver = two
    first.server.during["create"] = lambda: deliver(1)
    session = first.create(title="T", key="k", tags=["a"])
    deliver(0), deliver(1)
    assert log(first) == [("session.created", None)] and second.info(session)["key"] == "k"
    assert second.chores() == ["look"] and len(log(first)) == 1


def test_what_one_process_died_over_the_other_records(two):
    first, second, deliver = two
    made = first.server.create(f"{first.store.store_id}-x", time.monotonic() + 5)
    deliver(1)
    assert second.store.look(made.id) is None and second.chores() == ["look"]
    assert second.info(made.id)["title"] == made.title


def test_a_list_that_was_overtaken_by_another_process_changes_nothing(two):
    first, second, deliver = two
    session_id = first.elsewhere(title="First")
    deliver(0)

    def meanwhile():
        first.server.put(session_id, title="Second")
        deliver(1)
        second.chores()
    first.look()
    first.server.put(session_id, title="Between")
    first.server.during["survey"] = meanwhile
    first.look()
    first.chores()
    assert ("session.updated", "Second") in log(first) and log(first)[-1] == ("session.updated", "Second")


# -- the automatic title ---------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-027", "P-044")
def test_a_title_set_here_during_the_first_turn_is_put_back_and_the_flicker_not_shown(world):
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.told.take()
    world.server.put(session.id, title="A title")
    assert world.info(session)["title"] == "Mine"
    assert world.chores() == ["title"]
    assert world.server.sessions[session.id].title == "Mine" and world.info(session)["title"] == "Mine"
    assert [data for _, data in world.told.take() if "title" in data] == []
    world.now += 1000
    world.server.put(session.id, title="Theirs")  # once: the server makes one title
    assert world.info(session)["title"] == "Theirs"


def test_another_clients_rename_outside_of_a_turn_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="Theirs")
    assert world.chores() == ["title"] and world.info(session)["title"] == "Theirs"


@pytest.mark.requirement("P-120")
def test_another_clients_rename_after_a_turn_that_began_after_ours_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.message(session.id, "msg_1", created=world.now + 5_000, completed=world.now + 6_000)
    world.now += 8_000
    world.server.put(session.id, title="Theirs")
    assert world.chores() == ["title"] and world.info(session)["title"] == "Theirs" == world.server.sessions[session.id].title


def test_another_clients_rename_long_after_the_first_turn_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.sync.on_state(None)
    world.server.message(session.id, "msg_1", created=world.now - 100, completed=world.now + 1_000)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.now += 60_000
    world.server.put(session.id, title="Theirs")
    assert world.chores() == ["title"] and world.info(session)["title"] == "Theirs"


def test_a_title_over_one_of_somebodys_is_not_defended(world):
    session = world.create(title="Given")
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="Theirs")
    assert world.info(session)["title"] == "Theirs" and world.chores() == []


# -- ending ----------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-146", "O-031")
@pytest.mark.parametrize("events", ["in time", "late"])
def test_delete_erases_the_family_in_one_go_and_tells_once_each(world, events):
    parent = world.create()
    child = world.create(parentId=parent.id)
    world.told.take()
    if events == "late":
        world.hold_back()
    world.do(lambda on: on.sessions.delete(parent.id), parent.id)
    world.deliver()
    assert world.told.take() == [("session.deleted", {"id": child.id}), ("session.deleted", {"id": parent.id})]


@pytest.mark.requirement("O-032")
def test_what_is_heard_of_a_deleted_session_does_not_bring_it_back(world):
    session = world.create()
    world.hold_back()
    world.server.put(session.id, title="Late")
    world.server.tell, late = world.sync.apply, world.held_back[0]
    world.do(lambda on: on.sessions.delete(session.id), session.id)
    world.sync.apply(late)
    assert world.chores() == [] and world.store.look(session.id) is None


def test_an_update_of_an_unknown_session_is_asked_for_before_it_is_believed(world):
    world.hold_back()
    session_id = world.elsewhere()
    world.held_back.clear()
    world.server.tell = world.sync.apply
    world.server.put(session_id, title="Late")
    assert world.store.look(session_id) is None and world.chores() == ["look"]
    assert world.info(session_id)["title"] == "Late"


@pytest.mark.requirement("P-130")
def test_a_title_that_an_answer_brings_is_told_with_the_change_that_brought_it(world):
    session = world.create(title="Ours")
    world.hold_back()
    world.server.put(session.id, title="Another client's")
    world.told.take()
    world.do(lambda on: on.sessions.update(session.id, '{"metadata":{"a":1}}'), session.id)
    world.deliver()
    assert world.told.take() == [("session.updated", {"id": session.id, "title": "Another client's"})]


@pytest.mark.requirement("P-019")
def test_a_delete_that_the_server_refuses_leaves_all_as_it_was(world):
    parent = world.create()
    world.create(parentId=parent.id)
    world.server.fail["delete"] = errors.Server("the server answered 500", details=ANSWERED)
    unchanged_by(world, errors.Server, lambda on: on.sessions.delete(parent.id), parent.id)
    assert world.chores() == ["look", "look"] and len(json.loads(world.store.list_text())) == 2


def test_a_delete_after_another_clients_says_that_the_session_is_gone(world):
    session = world.create()
    world.hold_back()
    world.server.delete(session.id, time.monotonic() + 5)
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.delete(session.id), session.id)
    assert world.store.look(session.id) is None


@pytest.mark.requirement("P-020", "P-021")
def test_the_flag_is_set_before_the_server_is_asked_and_stays_if_that_fails(world):
    session = world.create()
    world.told.take()
    seen = []
    world.server.during["abort"] = lambda: seen.append(world.info(session)["aborted"])
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    assert seen == [True] and world.told.take() == [("session.updated", {"id": session.id})]
    other = world.create()
    world.server.fail["abort"] = AWAY
    with pytest.raises(errors.Connection):
        world.do(lambda on: on.sessions.abort(other.id), other.id, name="plue_session_abort")
    assert world.info(other)["aborted"] and not world.calls.is_aborting(other.id)


@pytest.mark.requirement("P-156")
def test_an_abort_ends_the_calls_that_are_blocked_on_the_session_and_no_others(world, monkeypatch):
    monkeypatch.setattr(calls, "GRACE", 0.05)
    session, other = world.create(), world.create()
    inside, go = threading.Barrier(3), threading.Event()

    def blocked(session_id):
        call = world.calls.begin("plue_session_update_title", session_id, time.monotonic() + 10)
        woken = threading.Event()
        call.cancel.watch(woken.set)
        inside.wait()
        woken.wait(1)
        world.calls.end(call)
        return call.cancel.error
    ended, untouched = in_thread(lambda: blocked(session.id)), in_thread(lambda: blocked(other.id))
    inside.wait()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    assert isinstance(ended(), errors.Aborted) and untouched() is None
    go.set()


@pytest.mark.requirement("P-065")
def test_the_flag_clears_when_a_turn_begins_and_not_by_what_comes_late(world):
    session = world.create()
    world.server.message(session.id, "msg_1", ended=False)
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_1", ended=False)
    world.server.message(session.id, "msg_1")
    assert "turn" not in world.chores() and world.info(session)["aborted"]
    world.told.take()
    world.server.message(session.id, "msg_2", ended=False)
    assert world.chores() == ["turn"] and not world.info(session)["aborted"]
    assert world.told.take() == [("session.updated", {"id": session.id})]


def test_a_turn_that_began_and_ended_before_anyone_looked_clears_it_too(world):
    session = world.create()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_2", ended=False)
    world.server.message(session.id, "msg_2")
    assert world.chores() == ["turn"] and not world.info(session)["aborted"]


def test_without_events_a_look_clears_it(world):
    session = world.create()
    world.hold_back()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_1", ended=False)
    world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1)  # as each turn does
    world.look()
    assert world.chores() == ["turn"] and not world.info(session)["aborted"]


@pytest.mark.requirement("P-021", "P-065")
@pytest.mark.parametrize("error", [AWAY, errors.Server("the server answered 500", details=ANSWERED)])
def test_a_flag_whose_abort_failed_stays_while_the_same_turn_runs_on(world, error):
    session = world.create()
    world.server.message(session.id, "msg_1", ended=False)
    world.server.fail["abort"] = error
    with pytest.raises(type(error)):
        world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1)
    world.look()
    assert "turn" in world.chores() and world.info(session)["aborted"]
    world.server.message(session.id, "msg_2")
    assert world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1) is None
    assert world.chores() == ["turn"] and not world.info(session)["aborted"]


def test_an_abort_that_learned_nothing_goes_by_the_time(world):
    session = world.create()
    world.server.fail["messages"] = AWAY
    with pytest.raises(errors.Connection):
        world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    for message, created, aborted in (("msg_1", world.now - 5000, True), ("msg_2", world.now + 5000, False)):
        world.server.message(session.id, message, ended=False, created=created)
        world.chores()
        assert world.info(session)["aborted"] is aborted


@pytest.mark.requirement("P-065", "P-184")
def test_a_turn_while_nobody_watched_clears_it_at_the_next_start(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    session = first.create()
    first.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    first.store.close()
    first.server.tell = lambda change: None
    first.server.message(session.id, "msg_1")
    first.server.put(session.id, updated=first.server.sessions[session.id].updated + 1)
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    second.look()
    assert second.chores() == ["turn"] and not second.info(session)["aborted"]
    second.store.close()


def test_a_turn_is_not_named_by_anything(world):
    session = world.create()
    world.server.asked.clear()
    for turn in ("", "a/b", "x" * 101, "é"):
        with pytest.raises(errors.InvalidParam):
            world.do(lambda on: on.sessions.abort_turn(session.id, turn), session.id)
    assert asked(world) == []
    world.do(lambda on: on.sessions.abort_turn(session.id, "msg_1"), session.id)
    assert asked(world) == ["abort"] and not world.info(session)["aborted"]
