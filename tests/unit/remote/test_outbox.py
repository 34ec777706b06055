"""Changes that are made while the server is away: shown at once, sent in order when it is back, taken back if it
refuses."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from tests.remote_world import AWAY, RemoteWorld, asked, unchanged_by, until

REFUSED = errors.InvalidParam("the server answered 400", details={"status": 400})
SICK = errors.Server("the server answered 500", details={"status": 500})


def rename(world, session, title):
    return world.do(lambda on: on.sessions.update_title(getattr(session, "id", session), title))


def update(world, session, **patch):
    return world.do(lambda on: on.sessions.update(getattr(session, "id", session), json.dumps(patch)))


def delete(world, session):
    world.do(lambda on: on.sessions.delete(getattr(session, "id", session)))


def discard(world, session, name):
    world.do(lambda on: world.writer.run(on_preview(world, session, name)))


def on_preview(world, session, name):
    return world.sessions.discard_pending(getattr(session, "id", session), name).preview


def sync(world, session):
    return world.info(session)["sync"]


def status(world):
    return json.loads(world.sync.status())


def resolved(world, session):
    return world.store.id_of_alias(session.id)


@pytest.fixture
def made(world):
    """A session that the server has; it is away then."""
    session = world.create(title="T", metadata={"a": 1})
    world.told.take()
    world.away()
    world.server.asked.clear()
    return session


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


@pytest.mark.requirement("P-176")
@pytest.mark.parametrize("lost", [errors.Connection("cut", details={"sent": True}), SICK])
def test_a_create_whose_answer_was_lost_is_found_by_its_token(world, lost):
    world.hold_back()
    world.away()
    session = world.create(title="Offline")
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


@pytest.fixture(params=["Offline", None])
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
def test_who_sees_what_a_dead_process_has_made_gives_it_to_its_session(world):
    world.away()
    session = world.create(title="Offline")
    token = world.store.read(session.id).token
    world.server.create(token, _call(), title="Offline")  # and the event tells of it
    assert resolved(world, session) in world.server.sessions
    world.back()
    assert len(world.server.sessions) == 1


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


# -- refusals and conflicts ------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-170")
def test_an_update_that_is_refused_is_taken_back_with_an_event_and_the_next_one_counts(world, made):
    update(world, made, title="Bad", tags=["t"])
    update(world, made, metadata={"b": 2})
    world.told.take()
    world.link.contact()
    world.server.fail["update"] = REFUSED
    world.replay()
    info = world.info(made)
    assert (info["title"], info["tags"], info["metadata"], info["sync"]["state"]) == ("T", [], {"b": 2}, "synced")
    kind, data = world.told.take()[0]
    assert kind == "session.updated" and data["title"] == "T" and {"title", "tags", "sync"} <= set(data["fields"])


@pytest.mark.requirement("P-172", "P-120")
def test_another_clients_change_of_the_same_field_is_told_and_the_last_write_wins(world, made):
    rename(world, made, "Ours")
    world.server.put(made.id, title="Theirs")
    world.told.take()
    world.back()
    assert world.server.sessions[made.id].title == world.info(made)["title"] == "Ours"
    told = world.told.take()
    assert ("sync.conflict", {"operation": "op_1", "field": "title", "ours": "Ours", "theirs": "Theirs"}) in told


@pytest.mark.requirement("P-172")
def test_their_change_of_another_field_is_no_conflict(world, made):
    rename(world, made, "Ours")
    world.server.put(made.id, metadata={"theirs": 1})
    world.told.take()
    world.back()
    assert "sync.conflict" not in [kind for kind, _ in world.told.take()]
    assert (world.info(made)["title"], world.info(made)["metadata"]) == ("Ours", {"theirs": 1})


@pytest.mark.requirement("P-120", "P-172")
def test_an_update_with_a_base_whose_answer_was_lost_is_no_conflict_with_itself(world):
    session, update_there = world.create(title="T"), world.server.update

    def lost(*arguments, **more):
        world.server.update = update_there
        update_there(*arguments, **more)
        raise errors.Connection("reset", details={"sent": True})

    world.server.update = lost
    update(world, session, title="New", base={"title": "T"})
    world.told.take()
    world.back()
    assert status(world)["conflicts"] == [] and sync(world, session)["state"] == "synced"
    assert "sync.conflict" not in [kind for kind, _ in world.told.take()]


@pytest.mark.requirement("P-172")
@pytest.mark.parametrize("refused", [False, True])
def test_a_change_behind_one_that_is_undone_is_no_conflict(world, made, refused):
    update(world, made, title="B", tags=["b"])
    update(world, made, title="C", tags=["c"])
    if refused:
        world.server.fail["update"] = REFUSED
    else:
        discard(world, made, "op_1")
    world.told.take()
    world.back()
    assert "sync.conflict" not in [kind for kind, _ in world.told.take()]
    assert world.server.sessions[made.id].title == "C" and world.info(made)["tags"] == ["c"]


def test_what_is_undone_one_after_the_other_is_as_before_both(world, made):
    for name in "bc":
        update(world, made, title=name, tags=[name])
    discard(world, made, "op_1")
    discard(world, made, "op_2")
    assert (world.info(made)["title"], world.info(made)["tags"]) == ("T", [])


@pytest.fixture
def conflict(world, made):
    update(world, made, title="Ours", base={"title": "T"})
    world.server.put(made.id, title="Theirs")
    world.told.take()
    world.back()
    assert world.server.sessions[made.id].title == "Theirs"
    return made


@pytest.mark.requirement("P-120", "P-172")
def test_an_update_whose_base_no_longer_holds_stays_as_a_conflict(world, conflict):
    assert sync(world, conflict) == {"state": "conflict", "pending": 0} and world.info(conflict)["title"] == "Ours"
    told = dict(world.told.take())
    assert told["sync.conflict"] == {"operation": "op_1", "field": "title", "ours": "Ours", "theirs": "Theirs"}
    assert told["session.updated"]["fields"] == ["sync"]
    (listed,) = status(world)["conflicts"]
    assert listed["fields"] == [{"field": "title", "ours": "Ours", "theirs": "Theirs"}] and listed["id"] == "op_1"
    assert status(world)["pending"] == 0 and status(world)["operations"] == []


@pytest.mark.requirement("P-120")
@pytest.mark.parametrize("away", [False, True])
def test_an_update_with_the_new_base_settles_it(world, conflict, away):
    if away:
        world.away()
    update(world, conflict, title="Settled", base={"title": "Theirs"})
    world.back()
    assert world.server.sessions[conflict.id].title == world.info(conflict)["title"] == "Settled"
    assert sync(world, conflict)["state"] == "synced" and status(world)["conflicts"] == []


@pytest.mark.requirement("P-120")
def test_so_does_discarding_it(world, conflict):
    world.told.take()
    discard(world, conflict, "op_1")
    assert world.info(conflict)["title"] == "Theirs" and sync(world, conflict)["state"] == "synced"
    ((kind, data),) = world.told.take()
    assert kind == "session.updated" and data["title"] == "Theirs"
    with pytest.raises(errors.NotFound):
        discard(world, conflict, "op_1")


def test_a_change_behind_a_conflict_is_sent(world, conflict):
    update(world, conflict, metadata={"b": 2})
    assert world.server.sessions[conflict.id].metadata == {"b": 2}
    assert world.info(conflict)["title"] == "Ours" and sync(world, conflict)["state"] == "conflict"


def test_an_update_of_a_part_of_what_is_in_conflict_leaves_the_rest(world, made):
    update(world, made, title="Ours", metadata={"ours": 1}, base={"title": "T"})
    world.server.put(made.id, title="Theirs")
    world.back()
    rename(world, made, "Later")
    world.reconcile()
    assert (world.info(made)["title"], world.info(made)["metadata"]) == ("Later", {"ours": 1})
    assert sync(world, made)["state"] == "conflict"
    update(world, made, metadata={"b": 2})
    assert world.server.sessions[made.id].metadata == world.info(made)["metadata"] == {"b": 2}
    assert sync(world, made)["state"] == "synced"


@pytest.mark.requirement("P-172")
@pytest.mark.parametrize("more", [{}, {"base": {"title": "Theirs"}}])
def test_what_was_told_is_not_told_again_when_it_is_settled_while_the_server_is_away(world, conflict, more):
    world.away()
    world.told.take()
    update(world, conflict, title="Settled", **more)
    world.back()
    assert "sync.conflict" not in [kind for kind, _ in world.told.take()]
    assert world.server.sessions[conflict.id].title == "Settled"


def test_an_update_of_what_is_ours_alone_settles_what_its_base_names(world, conflict):
    world.told.take()
    update(world, conflict, tags=["x"], base={"title": "Theirs"})
    assert world.info(conflict)["title"] == "Theirs" and sync(world, conflict)["state"] == "synced"
    ((kind, data),) = world.told.take()
    assert kind == "session.updated" and data["title"] == "Theirs"


# -- discarding ------------------------------------------------------------------------------------------------------
def test_what_waits_can_be_discarded_with_its_effect(world, made):
    update(world, made, title="A")
    update(world, made, metadata={"b": 2})
    discard(world, made, "op_1")
    assert (world.info(made)["title"], world.info(made)["metadata"]) == ("T", {"b": 2})
    assert [each["id"] for each in world.operations()] == ["op_2"]
    world.back()
    assert (world.server.sessions[made.id].title, world.server.sessions[made.id].metadata) == ("T", {"b": 2})


def test_a_create_that_is_discarded_ends_its_session(world):
    world.away()
    session = world.create(title="Offline")
    discard(world, session, "op_1")
    assert world.store.infos() == b"" and world.operations() == []


def test_what_is_being_sent_is_in_use(world, made):
    rename(world, made, "New")
    world.link.contact()
    caught = []

    def during():
        try:
            discard(world, made, "op_1")
        except errors.InUse as error:
            caught.append(error)
        assert world.operations()[0]["state"] == "sending"

    world.server.during["update"] = during
    world.replay()
    assert len(caught) == 1 and world.server.sessions[made.id].title == "New"


def test_what_is_discarded_just_before_it_is_sent_is_not_sent(world, made):
    rename(world, made, "New")
    world.link.contact()
    sender = world.outbox._sender
    send = sender.send

    def discarded(row, call, fresh):
        sender.send = send
        discard(world, made, row.name)
        return send(row, call, fresh)

    sender.send = discarded
    world.replay()
    assert world.server.sessions[made.id].title == world.info(made)["title"] == "T"


# -- deletes ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-170", "P-173")
def test_a_delete_shows_at_once_and_a_list_does_not_bring_the_session_back(world, made):
    delete(world, made)
    assert world.store.infos() == b"" and world.told.take()[0][0] == "session.deleted"
    world.reconcile()
    assert world.store.infos() == b"" and made.id in world.server.sessions
    world.replay()
    assert world.server.sessions == {} and world.operations() == []


def test_nor_does_one_of_the_next_process(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    session = first.create()
    first.away()
    delete(first, session)
    first.store.close()
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    second.reconcile()
    assert second.store.infos() == b"" and session.id in second.server.sessions
    second.replay()
    assert second.server.sessions == {} and second.operations() == []
    second.store.close()


@pytest.mark.requirement("P-170")
def test_a_delete_that_is_refused_brings_the_sessions_back_as_they_were(world):
    parent = world.create(title="P", key="k", tags=["t"])
    child = world.create(parentId=parent.id, title="C")
    world.away()
    before = [{**world.info(each), "sync": None} for each in (parent, child)]
    delete(world, parent)
    world.told.take()
    world.reconcile()
    world.server.fail["delete"] = REFUSED
    world.replay()
    assert [{**world.info(each), "sync": None} for each in (parent, child)] == before
    assert [kind for kind, _ in world.told.take()] == ["session.created"] * 2
    rename(world, parent, "again")
    world.reconcile()
    assert world.server.sessions[parent.id].title == world.info(parent)["title"] == "again"


@pytest.mark.requirement("P-173")
@pytest.mark.parametrize("refused", [True, False])
def test_a_childs_change_waits_for_the_delete_of_its_parent(world, refused):
    parent = world.create(title="P")
    child = world.create(parentId=parent.id, title="C")
    world.away()
    rename(world, child, "C2")
    delete(world, parent)
    world.link.contact()
    world.reconcile()
    call = world.sync.worker.call.within(5)
    world.outbox.replay(child.id, call)  # on a thread of its own
    assert len(world.operations()) == 2
    if refused:
        world.server.fail["delete"] = REFUSED
    world.outbox.replay(parent.id, call)
    assert [each["session"] for each in world.operations()] == [child.id] * refused
    world.outbox.replay(child.id, call)
    assert world.operations() == []
    if refused:
        assert world.server.sessions[child.id].title == world.info(child)["title"] == "C2"
    else:
        assert world.server.sessions == {} and world.store.infos() == b""


def test_a_session_that_has_ended_there_takes_what_waits_with_it(world, made):
    rename(world, made, "New")
    del world.server.sessions[made.id]
    world.link.contact()
    world.reconcile()
    assert world.store.infos() == b"" and world.operations() == []


@pytest.mark.requirement("P-173")
def test_without_an_event_stream_another_server_in_its_place_takes_nothing_with_it(world, made):
    world.link.contact()
    world.reconcile()
    world.link.connected = False
    rename(world, made, "New")
    world.link.connected, world.link.streaming = True, False
    there = dict(world.server.sessions)
    world.server.sessions.clear()
    with pytest.raises(errors.Connection):
        world.replay()
    assert len(world.operations()) == 1 and world.info(made)["title"] == "New"
    world.server.sessions.update(there)
    world.reconcile()
    world.replay()
    assert world.server.sessions[made.id].title == "New"


@pytest.fixture
def unheard(world):
    """A session whose delete waits, and a server that is back and has no event stream."""
    session, *_ = [world.create(title=title) for title in "abc"]
    world.away()
    delete(world, session)
    world.link.contact()
    world.reconcile()
    world.link.streaming = False
    return session


@pytest.mark.requirement("P-173")
def test_nor_does_it_end_a_delete(world, unheard):
    there = dict(world.server.sessions)
    world.server.sessions.clear()
    with pytest.raises(errors.Connection):
        world.replay()
    assert len(world.operations()) == 1 and world.reconciles_soon()
    with pytest.raises(errors.Server):
        world.reconcile()
    with pytest.raises(errors.Connection):
        world.replay()
    world.server.sessions.update(there)
    world.reconcile()
    world.replay()
    assert unheard.id not in world.server.sessions and world.operations() == []


def test_a_delete_of_what_has_gone_by_itself_ends_with_the_comparison_after_it(world, unheard):
    del world.server.sessions[unheard.id]
    with pytest.raises(errors.Connection):
        world.replay()
    world.reconcile()
    world.replay()
    assert world.operations() == [] and len(world.server.sessions) == 2


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
    running.outbox.added(sick.id)
    until(lambda: running.server.sessions[sick.id].title == "S2")


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
    assert world.outbox._due[made.id] - time.monotonic() <= world.settings.retry.max_ms / 1000


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
