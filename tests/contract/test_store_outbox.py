"""What ports.Store promises of the outbox."""

import pytest

from plue_session.model import Operation, Outgoing, Share
from tests.contract.stored import put, session, transaction, values


def row(session_id="session_10", op="update", **fields):
    return Outgoing(session_id=session_id, op=op, since=5, **fields)


def put_all(store, *rows):
    with transaction(store):
        return [store.put_outgoing(each) for each in rows]


@pytest.mark.requirement("P-173", "P-144")
def test_a_change_comes_back_whole_once_it_is_committed(store):
    given = row(arguments='{"a":"ü"}', base='{"b":1}', attempts=2, due=7, error="why")
    with transaction(store):
        given.id = store.put_outgoing(given)
        assert store.all_outgoing(9) == [] and store.count_outgoing() == 0
        assert [values(each) for each in store.outgoing("session_10")] == [values(given)]
    assert [values(each) for each in store.all_outgoing(9)] == [values(given)]
    assert given.name == f"op_{given.id}" and store.count_outgoing() == store.count_outgoing("pending") == 1


@pytest.mark.requirement("P-173")
def test_changes_come_in_the_order_in_which_they_were_made(store):
    made = put_all(store, row("session_2"), row("session_1"), row("session_2", "delete"))
    assert [each.id for each in store.all_outgoing(9)] == made == sorted(made)
    assert [each.id for each in store.all_outgoing(2)] == made[:2]
    put_all(store, row("session_3", state="conflict"), row("session_3", due=7), row("session_3", due=8))
    assert store.due_outgoing() == [("session_2", 0), ("session_1", 0), ("session_3", 7)]


@pytest.mark.requirement("P-173")
def test_the_next_to_be_sent_is_the_first_that_is_pending_or_a_delete_behind_it(store):
    settled, first, _, other = put_all(store, row(state="conflict"), row(), row(), row("session_2"))
    assert store.next_outgoing("session_10").id == first and store.next_outgoing("session_2").id == other
    (deleted,) = put_all(store, row(op="delete", arguments='{"a":1}'))
    found = store.next_outgoing("session_10")
    assert (found.id, found.op, found.arguments) == (deleted, "delete", '{"a":1}')
    with transaction(store):
        for each in (deleted, first, first + 1):
            store.drop_outgoing(each)
    assert store.next_outgoing("session_10") is None and store.next_outgoing("session_3") is None
    assert store.all_outgoing(9)[0].id == settled


def test_who_is_of_the_family_of_a_pending_delete_is_being_deleted(store):
    put_all(
        store, row("ses_a", "delete", base='{"family":["ses_a","ses_b"]}'), row("ses_c", base='{"family":["ses_d"]}')
    )
    assert [store.is_being_deleted(f"ses_{each}") for each in "abcd"] == [True, True, False, False]


def test_a_change_is_there_as_long_as_its_session_has_the_id_that_it_names(store):
    put(store, session(10))
    given = row()
    (given.id,) = put_all(store, given)
    with transaction(store):
        assert store.has_outgoing(given)
        store.rename("session_10", "ses_new")
        assert not store.has_outgoing(given)
        (renamed,) = store.outgoing("ses_new")
        assert store.has_outgoing(renamed)
        store.drop_outgoing(given.id)
        assert not store.has_outgoing(renamed)


def test_room_is_what_those_that_wait_leave(store):
    with transaction(store):
        assert store.has_room(1) and not store.has_room(0)
        made = [store.put_outgoing(row()) for _ in range(4)]
        assert store.has_room(5) and not store.has_room(4)
        for each in made[1:3]:  # the ids of those left are as far apart as before
            store.drop_outgoing(each)
        assert store.has_room(3) and not store.has_room(2)


def test_what_has_become_of_a_change_is_kept_and_ids_are_never_used_again(store):
    first, second = put_all(store, row(), row())
    kept = store.all_outgoing(9)[1]
    kept.state, kept.attempts, kept.due, kept.error, kept.base = "conflict", 3, 99, "late", '{"x":1}'
    with transaction(store):
        store.keep_outgoing(kept)
        assert store.drop_outgoing(first) and not store.drop_outgoing(first)
    assert [values(each) for each in store.all_outgoing(9)] == [values(kept)]
    assert store.count_outgoing("conflict") == 1 and store.count_outgoing("pending") == 0
    with transaction(store):
        store.drop_outgoing_of("session_10")
        store.keep_outgoing(kept)  # harmless
    assert store.count_outgoing() == 0 and put_all(store, row())[0] > second


@pytest.mark.requirement("P-177")
def test_a_renamed_session_is_found_by_its_alias_with_all_that_names_it(store):
    put(store, session(10, tags=["t"], aliased=True, key="k"), session(11, parent_id="session_10"))
    with transaction(store):
        store.put_share(Share("session_10", "s", "u", 1, None))
        store.put_operation(Operation(kind="title", session_id="session_10", created=1, due=1))
        store.put_outgoing(row())
    assert store.id_of_alias("session_10") == "session_10" and store.id_of_alias("session_11") is None
    with transaction(store):
        store.rename("session_10", "ses_new")
        assert store.load("session_10") is None and store.load("ses_new").number == 10
    assert store.info("session_10") is None and store.read("ses_new").tags == ["t"]
    assert store.id_of_alias("session_10") == store.id_of_key("k") == "ses_new"
    assert [store.id_of_alias(each) for each in ("session_010", "session_x", "ses_new", "session_11")] == [None] * 4
    assert store.share("ses_new").share_id == "s" and store.share("session_10") is None
    assert [each.session_id for each in store.operations() + store.all_outgoing(9)] == ["ses_new"] * 2
    assert store.read("session_11").parent_id == "session_10"  # the caller changes children, and tells so


def test_a_name_that_is_undone_was_never_given(store):
    put(store, session(10, aliased=True))
    store.begin()
    store.rename("session_10", "ses_new")
    assert store.load("ses_new")
    store.rollback()
    with transaction(store):
        assert store.load("ses_new") is None and store.load("session_10")
        store.savepoint()
        store.rename("session_10", "ses_new")
        assert store.load("ses_new")
        store.undo()
        assert store.load("ses_new") is None and store.load("session_10")


def test_one_replays_until_it_lets_another(store):
    assert store.begin_replay() and store.begin_replay()
    store.end_replay()
    store.end_replay()
    assert store.begin_replay()
    store.end_replay()
