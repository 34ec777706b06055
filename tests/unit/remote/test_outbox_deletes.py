"""Deletes that wait for the server."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.services.turns import queue as taking
from tests.remote_world import RemoteWorld, until
from tests.unit.remote.outbox import REFUSED, SICK, delete, rename


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


@pytest.mark.requirement("P-170")
def test_with_the_inputs_that_waited(world):
    def enqueue(session, **given):
        return json.loads(world.do(lambda on: on.inputs.enqueue(session.id, json.dumps(given))))

    def waiting(session):
        return json.loads(world.do(lambda on: on.inputs.inputs(session.id)))

    def after(turn_id):
        return {"activeTurn": {"turnId": turn_id, "boundary": "afterWork"}}

    parent = world.create(title="P")
    child = world.create(parentId=parent.id, title="C")
    taken = enqueue(parent, text="taken", id="mail-1")
    row = world.store.read_inputs(parent.id, world.now)[0]
    world.writer.run(
        lambda transaction: taking.take(transaction, transaction.load(parent.id), "somebody", world.now + 60_000)
    )
    assert world.store.read_open_turn(parent.id) and not waiting(parent)
    first = enqueue(parent, text="hello", id="mail-2", turnId="mine")
    enqueue(parent, text="to come", ingress=after("mine"))
    enqueue(parent, text="late", ingress=after(f"turn_{row.seq}"))
    enqueue(child, text="child's")
    world.away()
    before = waiting(parent), waiting(child)
    assert [each["state"] for each in before[0]] == ["deferred_next_turn", "pending_active", "pending_active"]
    delete(world, parent)
    world.told.take()
    world.server.fail["delete"] = REFUSED
    world.link.contact()
    world.reconcile()
    world.replay()
    before[0][2]["state"] = "deferred_next_turn"  # its turn is no more
    assert (waiting(parent), waiting(child)) == before
    told = [(kind, data) for kind, data in world.told.take() if kind == "queue.changed"]
    assert [data["ids"] for _, data in told] == [[each["inputId"] for each in of] for of in before]
    assert enqueue(parent, text="hello", id="mail-2", turnId="mine") == first
    assert enqueue(parent, text="taken", id="mail-1")["state"] == "completed" and taken["inputId"] == row.name
    assert world.store.read_open_turn(parent.id) is None and world.store.check() == []


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


@pytest.mark.requirement("P-173")
def test_it_is_not_looked_at_before(running):
    until(lambda: running.sync.has_listed)
    parent = running.create(title="P")
    child = running.create(parentId=parent.id, title="C")
    running.away()
    rename(running, child, "C2")
    delete(running, parent)
    attend, attended = running.outbox._attend, []
    running.outbox._attend = lambda session_id: attended.append(session_id) or attend(session_id)
    running.server.fail["delete"] = SICK
    running.link.contact()
    until(lambda: "error" in running.operations()[-1])
    for _ in range(3):
        running.outbox.look()
    until(lambda: not running.outbox._busy)
    assert set(attended) == {parent.id}
    running.server.fail["delete"] = REFUSED
    running.outbox.poke(parent.id)
    until(lambda: not running.operations())
    assert running.server.sessions[child.id].title == "C2" and set(attended) == {parent.id, child.id}


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
