"""Making sessions on a server: told of once, found again when an answer is lost, taken back when they cannot be
recorded."""

import json
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.call import Call
from plue_session.services.operations.create import token_of
from tests.remote_world import ANSWERED, AWAY, RemoteWorld, asked, in_thread, unchanged_by


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
    assert (info["title"], info["key"], info["tags"], info["backend"], info["sync"]["state"]) == (
        "One",
        "k",
        ["a"],
        "opencode",
        "synced",
    )


def test_what_another_process_has_heard_of_first_is_told_of_once(world):
    """The other one has the same store, and its own stream."""

    def other():
        made = next(iter(world.server.sessions.values()))
        world.writer.run(lambda transaction: world.mirror.merge(transaction, made))

    world.hold_back()
    world.server.during["create"] = other
    session = world.do(lambda on: on.sessions.create())
    assert world.told.take() == [("session.created", {"id": session.id})]
    assert not world.store.read(session.id).imported


def test_options_that_only_we_keep_are_told_when_another_process_was_first(world):
    def other():
        world.writer.run(
            lambda transaction: world.mirror.merge(transaction, next(iter(world.server.sessions.values())))
        )

    world.hold_back()
    world.server.during["create"] = other
    session = world.create(tags=["a"])
    assert world.told.take() == [
        ("session.created", {"id": session.id}),
        ("session.updated", {"id": session.id, "fields": ["tags"]}),
    ]


@pytest.mark.requirement("P-031")
@pytest.mark.parametrize(
    "work",
    [
        lambda on: on.sessions.create("ses_../x"),
        lambda on: on.sessions.create_with('{"tittle":""}'),
        lambda on: on.sessions.create_with("{"),
        lambda on: on.sessions.create_with('{"key":"ses_1"}'),
        lambda on: on.sessions.get_or_create("a/b"),
        lambda on: on.sessions.open("../x"),
        lambda on: on.sessions.create_with('{"directory":"relative"}'),
        lambda on: on.sessions.open("ses_%2f"),
        lambda on: on.sessions.query("[]"),
    ],
)
def test_bad_parameters_never_reach_the_network(world, work):
    with pytest.raises((errors.InvalidParam, errors.JsonParse)):
        world.do(work)
    assert world.server.asked == []


def test_a_taken_key_a_live_role_and_the_limit_are_seen_before_the_server_is_asked():
    world = RemoteWorld({"limits": {"activeSessions": 2}})
    first = world.create(key="k", role="r")
    world.server.asked.clear()
    assert first.id in str(
        unchanged_by(world, errors.AlreadyExists, lambda on: on.sessions.create_with('{"key":"k"}')).cause
    )
    unchanged_by(world, errors.AlreadyExists, lambda on: on.sessions.create_with('{"role":"r"}'))
    world.create()
    unchanged_by(world, errors.LimitExceeded, lambda on: on.sessions.create(), match="activeSessions")
    assert asked(world) == ["create"]


def test_sessions_only_seen_on_the_server_do_not_count_for_the_limit():
    world = RemoteWorld({"limits": {"activeSessions": 1}})
    world.elsewhere()
    world.reconcile()
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
    give_key(world, world.server.create(token, Call()))


def give_key(world, made):
    """Have another process record a session as the one with the key."""

    def give(transaction):
        session = transaction.store.load(made.id) or world.mirror.adopted(transaction, made)
        if not transaction.store.load(made.id):
            transaction.insert(session)
        session.key, session.imported, session.token = "key", False, made.token
        transaction.save(session, "session.updated", {"id": made.id})

    world.writer.run(give)


def test_one_session_per_key_also_when_another_process_is_faster(world):
    token = token_of(world.store.store_id, "key")

    world.server.during["create"] = lambda: take_key(world, token)
    found = world.do(lambda on: on.sessions.get_or_create("key"))
    assert found.key == "key" and list(world.server.sessions) == [found.id]  # the second one was taken back
    world.reconcile()
    world.jobs()
    assert list(world.server.sessions) == [found.id]  # and not the first, though both have the same token


@pytest.mark.requirement("P-176")
@pytest.mark.parametrize("found", ["before it would be made", "for the one whose answer was lost"])
def test_a_session_with_the_key_that_another_process_has_made_and_recorded_is_the_answer(world, found):
    """Both find it by the token that they share: whoever records it second must not take it back from the first."""
    token = token_of(world.store.store_id, "key")
    if found == "before it would be made":
        world.server.during["find_created"] = lambda: give_key(world, theirs)
        theirs = world.server.create(token, Call())
    else:
        world.reconcile()
        world.server.during["create"] = lambda: give_key(world, next(iter(world.server.sessions.values())))
    session = world.do(lambda on: on.sessions.get_or_create("key"))
    world.reconcile()
    world.jobs()
    assert list(world.server.sessions) == [session.id] and world.store.read(session.id).key == "key"
    assert [kind for kind, _ in world.told.take()].count("session.created") == 1


def test_what_was_found_and_not_made_is_not_taken_back_whatever_fails(world):
    """It is of a process that is about to record it."""
    theirs = world.server.create(token_of(world.store.store_id, "key"), Call())
    world.store.save = world.store.insert = lambda session: (_ for _ in ()).throw(errors.StoreIo("the disk is full"))
    with pytest.raises(errors.StoreIo):
        world.do(lambda on: on.sessions.get_or_create("key"))
    world.jobs()
    assert list(world.server.sessions) == [theirs.id]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_what_another_process_has_given_the_key_meanwhile_is_not_taken_back(world, when):
    """It was made here and could not be recorded; the other one has found it by the token."""
    world.reconcile()
    commit, failed = world.store.commit, []

    def full():
        if world.server.sessions and not failed:
            failed.append(True)
            raise errors.StoreIo("the disk is full")
        commit()

    world.store.commit = full
    if when == "at once":
        world.mirror.lose = lambda name, *more: give_key(world, next(iter(world.server.sessions.values())))
    else:
        world.server.fail["delete"] = AWAY
    world.server.tell = lambda change: None
    with pytest.raises(errors.StoreIo):
        world.do(lambda on: on.sessions.get_or_create("key"))
    (theirs,) = world.server.sessions.values()
    if when == "later":
        give_key(world, theirs)
    world.reconcile()
    world.jobs()
    assert list(world.server.sessions) == [theirs.id] and world.store.read(theirs.id).key == "key"


def test_the_key_of_a_create_that_died_before_it_was_recorded_is_given_to_its_session(world):
    # The process died after the server had answered.
    world.hold_back()
    world.server.create(token_of(world.store.store_id, "key"), Call())
    world.reconcile()
    (orphan,) = world.server.sessions
    assert world.do(lambda on: on.sessions.get_or_create("key")).id == orphan
    assert len(world.server.sessions) == 1 and not world.store.read(orphan).imported


def test_a_session_that_cannot_be_recorded_is_taken_back(world):
    def full():
        raise errors.StoreIo("the disk is full")

    insert = world.store.insert
    world.store.insert = lambda session: full()
    unchanged_by(world, errors.StoreIo, lambda on: on.sessions.create())
    world.store.insert = insert
    assert world.server.sessions == {}
    world.reconcile()
    assert json.loads(b"[%b]" % world.store.infos()) == []


def test_an_unknown_provider_makes_no_session(world):
    unchanged_by(
        world, errors.ProviderInit, lambda on: on.sessions.create_with('{"provider":{"providerId":"x","modelId":"y"}}')
    )
    assert world.server.sessions == {}


@pytest.mark.requirement("P-176")
def test_what_a_create_made_whose_answer_is_lost_for_good_is_taken_back(world):
    world.hold_back()

    def lost():
        raise errors.Timeout("the server did not answer", details={"sent": True})

    world.server.during["create"] = lost
    unchanged_by(world, errors.Timeout, lambda on: on.sessions.create())
    (made,) = world.server.sessions
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.open(made))
    world.deliver()
    world.reconcile()
    assert world.store.read(made) is None and world.told.take() == []
    assert "take back" in world.jobs() and world.server.sessions == {}


@pytest.mark.requirement("P-176")
def test_a_lost_create_with_a_title_like_a_forks_is_taken_back_too(world):
    world.hold_back()

    def lost():
        raise errors.Timeout("the server did not answer", details={"sent": True})

    world.server.during["create"] = lost
    unchanged_by(world, errors.Timeout, lambda on: on.sessions.create_with('{"title":"Plan (fork #1)"}'))
    world.deliver()
    world.reconcile()
    assert world.told.take() == [] and "take back" in world.jobs() and world.server.sessions == {}


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
    world.reconcile()
    assert world.told.take() == [("session.created", {"id": found.id})] and world.jobs() == []


@pytest.mark.requirement("P-176")
def test_a_process_that_starts_after_one_has_died_finds_what_that_one_made_for_a_key(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    token = token_of(first.store.store_id, "key")
    orphan = first.server.create(token, Call())  # and the process dies
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    assert second.do(lambda on: on.sessions.get_or_create("key")).id == orphan.id and len(first.server.sessions) == 1
    second.store.close()


@pytest.mark.requirement("P-176", "O-054")
def test_a_fork_is_not_taken_for_what_a_create_with_the_sources_key_made(world):
    source = world.do(lambda on: on.sessions.get_or_create("main"))
    ours = world.do(lambda on: on.sessions.fork(source.id), source.id)
    theirs = world.server.fork(source.id, Call())
    world.do(lambda on: on.sessions.delete(source.id), source.id)
    world.server.fork(theirs.id, Call())
    world.jobs()
    found = world.do(lambda on: on.sessions.get_or_create("main"))
    assert (
        found.id not in {source.id, ours.id, theirs.id}
        and found.title.startswith("New session")
        and found.key == "main"
    )
    assert world.store.load(theirs.id).token is None


@pytest.mark.requirement("P-176", "O-054")
def test_a_process_that_starts_does_not_take_a_fork_for_what_a_create_made(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    source = first.do(lambda on: on.sessions.get_or_create("main"))
    fork = first.do(lambda on: on.sessions.fork(source.id), source.id)
    first.do(lambda on: on.sessions.delete(source.id), source.id)
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    assert second.do(lambda on: on.sessions.get_or_create("main")).id not in {source.id, fork.id}
    second.store.close()


def test_a_session_that_could_not_be_taken_back_is_taken_back_later(world):
    world.server.during["create"] = lambda: take_key(world, "other")
    world.server.fail["delete"] = errors.Server("the server answered 500", details=ANSWERED)
    with pytest.raises(errors.AlreadyExists):
        world.create(key="key")
    assert len(world.server.sessions) == 2
    world.reconcile()
    assert "take back" in world.jobs() and len(world.server.sessions) == 1
    assert [each["key"] for each in json.loads(b"[%b]" % world.store.infos())] == ["key"]


@pytest.mark.requirement("P-123")
def test_metadata_stays_as_it_was_given_though_the_server_writes_it_otherwise(world):
    given = '{"2":1,"1":2.0,"n":12345678901234567890,"deep":[-0.0,true]}'
    session = world.create(metadata=json.loads(given))
    text = world.store.read(session.id).metadata
    world.told.take()
    world.server.put(session.id, metadata={"1": 2, "2": 1, "n": 1.2345678901234567e19, "deep": [0, True]})
    assert world.told.take() == [] and world.store.read(session.id).metadata == text
    world.server.put(session.id, metadata={"1": 2, "2": 1, "n": 1.2345678901234567e19, "deep": [0, 1]})
    assert len(world.told.take()) == 1 and world.info(session)["metadata"]["deep"] == [0, 1]


@pytest.mark.requirement("P-049", "O-054")
def test_a_forks_parent_is_its_source_and_it_outlives_it(world):
    source = world.create(title="S", metadata={"a": 1})
    fork = world.do(lambda on: on.sessions.fork(source.id), source.id)
    assert (fork.parent_id, fork.title, fork.metadata) == (source.id, "S (fork #1)", '{"a":1}')
    assert world.told.take()[1:] == [("session.created", {"id": fork.id, "parentId": source.id})]
    world.reconcile()
    assert world.info(fork)["parentId"] == source.id
    world.do(lambda on: on.sessions.delete(source.id), source.id)
    assert json.loads(b"[%b]" % world.store.infos())[0]["id"] == fork.id


def test_a_fork_of_another_clients_session_is_told_of_once_too(world):
    source = world.elsewhere(title="Theirs")
    world.told.take()
    fork = world.do(lambda on: on.sessions.fork(source), source)
    assert world.told.take() == [("session.created", {"id": fork.id, "parentId": source})]
    assert world.jobs() == ["reread"] and world.told.take() == [] and not world.session_locks.unnamed
