"""Sessions that are made while the server is away, and get its ids later."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from tests.remote_world import RemoteWorld, asked, unchanged_by, until
from tests.unit.remote.outbox import REFUSED, SICK, delete, rename, resolved, sync

#: Titles of sessions made while the server was away: also one like those that the server gives to forks.
TITLES = "Offline", "Plan (fork #1)"


# -- creates ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-177", "P-170")
def test_a_session_made_meanwhile_gets_the_servers_id_and_keeps_its_own_as_an_alias(world):
    world.away()
    session = world.create(title="Offline", tags=["t"], key="k", metadata={"m": 1})
    assert session.id.startswith("session_") and sync(world, session) == {"state": "pending", "pending": 1}
    rename(world, session, "Later")
    world.told.take()
    world.back()
    (there,) = world.server.sessions.values()
    info = world.info(there.id)
    assert (there.title, there.metadata) == ("Later", {"m": 1})
    assert (info["id"], info["aliases"], info["title"], info["tags"], info["key"]) == (
        there.id,
        [session.id],
        "Later",
        ["t"],
        "k",
    )
    told = world.told.take()
    (both,) = [data for kind, data in told if "aliases" in data]
    assert (
        both["id"] == there.id and both["aliases"] == [session.id] and {kind for kind, _ in told} == {"session.updated"}
    )
    assert world.store.info(session.id) is None and resolved(world, session) == there.id
    assert world.do(lambda on: on.sessions.open(session.id)) == there.id
    rename(world, session, "By alias")
    assert world.server.sessions[there.id].title == "By alias"
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id)))["id"] == there.id
    delete(world, session)
    assert world.server.sessions == {}
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.open(session.id))


@pytest.mark.requirement("P-177")
def test_a_call_whose_session_is_named_just_then_goes_on_with_the_new_id(world):
    world.away()
    session, run = world.create(title="Offline"), world.writer.run

    def named_meanwhile(change, call=None):
        world.writer.run = run
        token = world.store.read(session.id).token
        world.server.create(token, world.sync.worker.call.within(5), title="Offline")  # the stream tells of it
        return run(change, call)

    world.writer.run = named_meanwhile
    rename(world, session, "New")
    assert world.info(resolved(world, session))["title"] == "New"


@pytest.mark.requirement("P-177")
def test_a_child_can_be_made_of_a_parent_that_is_named_just_then(world):
    world.away()
    parent = world.create(title="P")
    child = world.sessions.create(parent.id)
    world.back()
    made = world.do(lambda on: world.executor.run(child, world.sync.worker.call.within(5)))
    assert made.parent_id == resolved(world, parent)


@pytest.mark.requirement("P-156", "P-177")
def test_an_abort_ends_a_call_that_names_its_session_by_the_first_id(world):
    world.away()
    session = world.create(title="Offline")
    with world.calls.begin("plue_session_fork", session.id, time.monotonic() + 5) as call:
        world.back()
        world.calls.begin_abort(resolved(world, session))
        until(lambda: isinstance(call.error, errors.Aborted))
        world.calls.end_abort(resolved(world, session))


@pytest.mark.requirement("P-177")
def test_children_follow_their_parent(world):
    world.away()
    parent = world.create(title="Parent")
    child = world.create(title="Child", parentId=parent.id)
    world.back()
    parent_id, child_id = resolved(world, parent), resolved(world, child)
    assert world.server.sessions[child_id].parent_id == world.info(child_id)["parentId"] == parent_id
    for each in (parent_id, parent.id):
        (found,) = json.loads(world.do(lambda on, each=each: on.sessions.query(json.dumps({"parentId": each}))))[
            "sessions"
        ]
        assert found["id"] == child_id


@pytest.mark.requirement("P-173")
def test_a_child_that_is_looked_at_while_its_parent_is_being_named_is_not_lost(world):
    world.away()
    parent = world.create(title="P")
    child = world.create(title="C", parentId=parent.id)
    world.link.contact()
    read = world.store.read

    def named_meanwhile(session_id):
        found = read(session_id)
        if session_id == child.id:
            world.store.read = read
            world.outbox.replay(parent.id, world.sync.worker.call.within(5))
        return found

    world.store.read = named_meanwhile
    world.outbox.replay(child.id, world.sync.worker.call.within(5))
    parent_id, child_id = resolved(world, parent), resolved(world, child)
    assert world.server.sessions[child_id].parent_id == parent_id and world.operations() == []


@pytest.mark.requirement("P-173")
def test_a_child_follows_its_parent_at_once(tmp_path):
    world = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    world.away()
    parent = world.create(title="P")
    world.create(title="C", parentId=parent.id)
    commit = world.store.commit

    def slow():
        threading.Event().wait(0.02)
        commit()

    world.store.commit = slow  # whoever hears of the parent's id before its commit sees none
    world.link.last_sync = 1
    world.link.contact()
    world.outbox.begin()
    until(lambda: not world.operations(), 3)
    world.outbox.end()
    until(lambda: not world.outbox._workers)
    world.store.close()
    assert len(world.server.sessions) == 2


@pytest.mark.requirement("P-173")
def test_children_that_cannot_be_made_yet_are_not_looked_at(running):
    until(lambda: running.sync.has_listed)
    running.away()
    parent = running.create(title="P")
    children = [running.create(title=title, parentId=parent.id).id for title in "abc"]
    attend, attended = running.outbox._attend, []
    running.outbox._attend = lambda session_id: attended.append(session_id) or attend(session_id)

    begin = running.server._begin

    def sick(name, *more):
        if name == "create":
            raise SICK
        begin(name, *more)

    running.server._begin = sick
    running.link.contact()
    until(lambda: "error" in running.operations()[0])
    for _ in range(3):
        running.outbox.look()
    until(lambda: not running.outbox._busy)
    assert set(attended) == {parent.id}
    running.server._begin = begin
    running.outbox.poke(parent.id)
    until(lambda: not running.operations())
    there = {each.title: each.parent_id for each in running.server.sessions.values()}
    assert there == {"P": None, **dict.fromkeys("abc", resolved(running, parent))} and set(attended) > set(children)


@pytest.mark.requirement("P-173")
def test_a_child_follows_a_parent_that_another_process_has_named(two):
    first, second, deliver = two
    first.away()
    parent = first.create(title="P")
    child = first.create(title="C", parentId=parent.id)
    first.outbox._due.clear()
    first.server.create(first.store.read(parent.id).token, _call(), title="P")  # by one that died over it
    deliver(1)
    assert resolved(second, parent) and not first.outbox._due
    first.writer.catch_up()
    assert list(first.outbox._due) == [child.id]
    first.back()
    assert first.server.sessions[resolved(first, child)].parent_id == resolved(first, parent)


@pytest.mark.requirement("P-176")
@pytest.mark.parametrize("lost", [errors.Connection("cut", details={"sent": True}), SICK])
@pytest.mark.parametrize("title", TITLES)
def test_a_create_whose_answer_was_lost_is_found_by_its_token(world, lost, title):
    world.hold_back()
    world.away()
    session = world.create(title=title)
    world.link.contact()

    def lose():
        raise lost

    world.server.during["create"] = lose
    with pytest.raises(type(lost)):
        world.replay()
    world.replay()
    (there,) = world.server.sessions
    assert resolved(world, session) == there and world.operations() == []


@pytest.mark.requirement("P-176")
def test_a_create_that_the_server_may_have_heard_before_it_went_away_is_found_too(world):
    world.hold_back()

    def lose():
        raise errors.Connection("cut", details={"sent": True})

    world.server.during["create"] = lose
    session = world.create(title="Offline")
    assert session.id.startswith("session_")
    world.replay()
    (there,) = world.server.sessions
    assert resolved(world, session) == there and world.jobs() == [] and len(world.server.sessions) == 1


@pytest.fixture(params=[*TITLES, None])
def slow(world, request):
    """A session made while the server was away: a create that it was told of is on its way yet, when it is back."""
    fields = {} if request.param is None else {"title": request.param}
    world.away()
    session = world.create(**fields)
    token = world.store.read(session.id).token
    world.link.contact()
    world.server.fail["create"] = errors.Connection("cut", details={"sent": True})
    with pytest.raises(errors.Connection):
        world.replay()
    return session, lambda title=None: world.server.create(token, _call(), title=title or request.param)


@pytest.mark.requirement("P-176")
def test_a_create_that_may_come_late_is_waited_for(world, slow):
    session, arrives = slow
    world.server.asked.clear()
    for _ in range(2):
        world.now += 10_000
        with pytest.raises(errors.Busy):
            world.replay()
    assert "create" not in asked(world) and sync(world, session)["state"] == "pending"
    assert "may make the session yet" in world.operations()[0]["error"]
    made = arrives()
    world.replay()
    assert resolved(world, session) == made.id and list(world.server.sessions) == [made.id]
    assert world.operations() == [] and world.jobs() == []


@pytest.mark.requirement("P-176")
def test_so_is_one_that_a_process_has_sent_which_died_over_it(tmp_path):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    first.away()
    session = first.create(title="Offline")
    token = first.store.read(session.id).token
    first.link.contact()
    first.server.fail["create"] = kill
    with pytest.raises(Killed):
        first.replay()
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    second.server.asked.clear()
    with pytest.raises(errors.Busy):
        second.replay()
    assert "create" not in asked(second)
    made = second.server.create(token, _call(), title="Offline")
    second.replay()
    assert list(second.server.sessions) == [made.id] == [resolved(second, session)] and second.operations() == []
    second.store.close()


@pytest.mark.requirement("P-176")
def test_so_is_one_whose_call_was_queued_then(world):
    world.server.fail["create"] = errors.Connection("cut", details={"sent": True})
    session = world.create(title="Offline")
    world.link.contact()
    with pytest.raises(errors.Busy):
        world.replay()
    assert asked(world).count("create") == 1
    assert sync(world, session)["state"] == "pending"


def test_what_was_only_asked_before_the_create_is_not_waited_for(world):
    world.server.fail["check_provider"] = errors.Connection("cut", details={"sent": True})
    session = world.create(provider={"providerId": "fake", "modelId": "fake-model"})
    assert sync(world, session)["state"] == "pending"
    world.back()
    assert resolved(world, session) in world.server.sessions


@pytest.mark.requirement("P-176")
def test_one_that_comes_later_still_is_taken_back(world, slow):
    session, arrives = slow
    world.now += world.settings.request_timeout_ms
    world.replay()
    (there,) = world.server.sessions
    assert resolved(world, session) == there
    for _ in range(2):
        arrives()
        world.reconcile()
        assert [each["id"] for each in json.loads(b"[%b]" % world.store.infos())] == [there]
        world.jobs()
        assert list(world.server.sessions) == [there]


@pytest.mark.requirement("P-176")
def test_a_copy_of_it_that_somebody_has_made_is_not(world, slow):
    session, arrives = slow
    world.now += world.settings.request_timeout_ms
    world.replay()
    copy = arrives("Another title")
    world.jobs()
    world.reconcile()
    assert world.info(copy.id)["title"] == "Another title" and len(world.server.sessions) == 2


@pytest.mark.requirement("P-176")
def test_another_process_never_sees_a_create_that_is_queued_as_one_to_take_back(two):
    first, second, deliver = two

    def lose():
        raise errors.Connection("cut", details={"sent": True})

    first.server.during["create"] = lose
    commit, left = first.store.commit, []

    def heard():
        commit()
        left.extend(row.kind for row in second.store.operations())

    first.store.commit = heard
    session = first.create(title="Offline")
    assert session.id.startswith("session_") and left == []
    deliver(1)
    first.replay()
    assert len(first.server.sessions) == 1 and first.operations() == []


@pytest.mark.requirement("P-176")
def test_a_create_that_cannot_be_queued_either_is_taken_back(world, monkeypatch):
    monkeypatch.setattr("plue_session.services.operations.MOST", 0)

    def lose():
        raise errors.Connection("cut", details={"sent": True})

    world.hold_back()
    world.server.during["create"] = lose
    unchanged_by(world, errors.QueueFull, lambda on: on.sessions.create_with('{"title":"T"}'))
    assert len(world.server.sessions) == 1
    world.deliver()
    world.reconcile()
    world.jobs()
    assert world.server.sessions == {} and world.store.infos() == b""


@pytest.mark.requirement("P-176", "P-177")
@pytest.mark.parametrize("title", TITLES)
def test_who_sees_what_a_dead_process_has_made_gives_it_to_its_session(world, title):
    world.away()
    session = world.create(title=title)
    token = world.store.read(session.id).token
    there = world.server.create(token, _call(), title=title)  # and the event tells of it
    assert resolved(world, session) == there.id
    world.server.fork(there.id, _call())
    world.back()
    assert resolved(world, session) == there.id and len(world.server.sessions) == 2


def test_a_fork_of_what_a_dead_process_has_made_is_not_taken_for_it(world):
    world.away()
    session = world.create(title="Offline")
    token = world.store.read(session.id).token
    world.hold_back()
    there = world.server.create(token, _call(), title="Offline")
    world.held_back.clear()
    world.server.fork(there.id, _call())
    world.deliver()
    assert resolved(world, session) is None and len(world.server.sessions) == 2
    world.back()
    assert resolved(world, session) == there.id and len(world.server.sessions) == 2


def _call():
    from plue_session.call import Call

    return Call()


def test_get_or_create_makes_one_session_for_a_key(world):
    world.away()
    first = world.do(lambda on: on.sessions.get_or_create("k"))
    second = world.do(lambda on: on.sessions.get_or_create("k"))
    assert first.id == second.id
    world.back()
    assert len(world.server.sessions) == 1
    assert world.do(lambda on: on.sessions.get_or_create("k")).id == resolved(world, first)


@pytest.mark.requirement("P-170", "P-176")
def test_a_create_that_is_refused_ends_its_session_and_what_depends_on_it(world):
    world.away()
    session = world.create(title="Offline")
    child = world.create(parentId=session.id)
    rename(world, session, "x")
    world.told.take()
    world.link.contact()
    world.server.fail["create"] = REFUSED
    world.replay()
    assert world.server.sessions == {} and world.store.infos() == b"" and world.operations() == []
    assert [(kind, data["id"]) for kind, data in world.told.take()] == [
        ("session.deleted", child.id),
        ("session.deleted", session.id),
    ]
    assert any("is refused" in line for _, line in world.log.lines)


def test_a_session_made_and_deleted_meanwhile_is_never_made(world):
    world.away()
    session = world.create(title="Offline")
    delete(world, session)
    world.back()
    assert "create" not in asked(world) and world.store.infos() == b""
