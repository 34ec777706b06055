"""What waits is refused, in conflict, or discarded."""

import pytest

from plue_session import errors
from tests.unit.remote.outbox import REFUSED, discard, rename, status, sync, update


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
@pytest.mark.parametrize("base", [{}, {"base": {"title": "T"}}])
@pytest.mark.parametrize("theirs", ["Theirs", "T"])
def test_an_update_that_is_sent_twice_meets_what_another_client_has_set_between(world, made, base, theirs):
    def lose():
        raise errors.Connection("cut", details={"sent": True})

    update(world, made, title="Ours", **base)
    world.link.contact()
    world.server.during["update"] = lose
    with pytest.raises(errors.Connection):
        world.replay()
    assert world.server.sessions[made.id].title == "Ours"
    world.server.put(made.id, title=theirs)
    world.told.take()
    world.replay()
    is_written = not base or theirs == "T"  # nothing tells "T" again from "T" still
    assert world.server.sessions[made.id].title == ("Ours" if is_written else theirs)
    assert ("sync.conflict" in [kind for kind, _ in world.told.take()]) == (theirs == "Theirs")
    assert (status(world)["conflicts"] == []) == is_written


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
