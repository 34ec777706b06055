"""What ports.Store promises of pending operations."""

import pytest

from plue_session.model import Operation
from tests.contract.stored import put, session, transaction, values


def operation(kind="update", session_id=None, subject=None, due=50, **fields):
    if subject is None and session_id is None:
        session_id = "session_10"
    return Operation(kind=kind, session_id=session_id, subject=subject, created=5, due=due, **fields)


def put_all(store, *operations):
    """Put operations in one transaction and return their ids."""
    with transaction(store):
        return [store.put_operation(each) for each in operations]


def found(store, kind, name):
    with transaction(store):
        return store.operation(kind, name)


def pending(store):
    return [(each.kind, each.name) for each in store.operations()]


@pytest.mark.requirement("P-144")
def test_an_operation_comes_back_whole_to_writer_and_readers(store):
    given = operation(arguments='{"title":"ü\\u0000"}', tries=2)
    with transaction(store):
        given.id = store.put_operation(given)
        assert store.operations() == [] and store.count_operations() == 0
        assert values(store.operation("update", "session_10")) == values(given)
    assert [values(each) for each in store.operations()] == [values(given)]
    assert store.count_operations() == 1


def test_what_was_put_or_found_is_not_what_is_kept(store):
    given = operation()
    put_all(store, given)
    for each in (given, store.operations()[0], found(store, "update", "session_10")):
        each.arguments = "changed"
    assert store.operations()[0].arguments == found(store, "update", "session_10").arguments == "{}"


def test_one_about_no_session_has_the_name_of_its_subject(store):
    put_all(store, operation("create", subject="token"), operation("create", subject="other"), operation("create"))
    assert found(store, "create", "token").subject == "token"
    assert found(store, "create", "session_10").session_id == "session_10"
    assert found(store, "create", "nobody") is found(store, "update", "token") is None
    assert store.count_operations("create") == 3


def test_another_of_the_same_kind_and_name_takes_the_place_and_is_due_when_the_earlier_was(store):
    (first,) = put_all(store, operation(due=50, arguments='"old"', tries=3))
    (second,) = put_all(store, operation(due=70, arguments='"new"'))
    (kept,) = store.operations()
    assert (kept.id, kept.due, kept.arguments, kept.tries) == (second, 50, '"new"', 0) and second != first
    put_all(store, operation(due=20, arguments='"newest"'))
    assert [(each.due, each.arguments) for each in store.operations()] == [(20, '"newest"')]


def test_other_kinds_and_other_names_stand_beside_it(store):
    put_all(store, operation("update"), operation("delete"), operation("update", "session_11"))
    assert sorted(pending(store)) == [("delete", "session_10"), ("update", "session_10"), ("update", "session_11")]


def test_an_id_is_given_once(store):
    ids = put_all(store, operation(), operation("delete"), operation())
    for end in (lambda: store.drop_operation("delete", "session_10"), lambda: store.drop_operations_of("session_10")):
        with transaction(store):
            end()
        ids += put_all(store, operation())
    assert ids == sorted(set(ids))


def test_the_first_to_be_due_comes_first_and_of_the_same_time_the_first_put(store):
    dues = {"a": 70, "b": 50, "c": 70, "d": 60}
    put_all(store, *(operation(subject=name, due=due) for name, due in dues.items()))
    assert [each.name for each in store.operations()] == ["b", "d", "a", "c"]
    assert [each.name for each in store.operations(due=60)] == ["b", "d"]
    assert store.operations(due=49) == []
    assert [each.name for each in store.operations(limit=3)] == ["b", "d", "a"]
    assert [each.name for each in store.operations(due=70, limit=1)] == ["b"]


def test_they_are_counted_by_kind(store):
    put_all(store, operation("update"), operation("delete"), operation("update", "session_11"))
    assert [store.count_operations(kind) for kind in (None, "update", "delete", "create")] == [3, 2, 1, 0]


# -- how they end ------------------------------------------------------------------------------------------------------
def test_a_try_that_failed_is_counted_and_the_next_is_later(store):
    (id,) = put_all(store, operation(due=50))
    for due in (90, 200):
        with transaction(store):
            store.retry_operation(id, due)
    kept = found(store, "update", "session_10")
    assert (kept.id, kept.due, kept.tries, kept.created) == (id, 200, 2, 5)


def test_whoever_carried_one_out_does_not_end_what_was_put_meanwhile(store):
    (sent,) = put_all(store, operation(due=50, arguments='"sent"'))
    (newer,) = put_all(store, operation(due=50, arguments='"newer"'))
    with transaction(store):
        store.drop_operation("update", "session_10", sent)
        store.retry_operation(sent, 900)
    kept = found(store, "update", "session_10")
    assert (kept.id, kept.arguments, kept.due, kept.tries) == (newer, '"newer"', 50, 0)
    with transaction(store):
        store.drop_operation("update", "session_10", newer)
    assert store.operations() == []


def test_dropping_one_leaves_the_others(store):
    put_all(store, operation("update"), operation("delete"), operation("update", "session_11"))
    with transaction(store):
        store.drop_operation("update", "session_10")
        store.drop_operation("update", "nobody")
    assert sorted(pending(store)) == [("delete", "session_10"), ("update", "session_11")]


def test_all_of_a_session_can_be_dropped(store):
    put_all(store, operation("update"), operation("delete"), operation("update", "session_11"))
    put_all(store, operation("create", subject="session_10"))  # a name, not a session
    with transaction(store):
        store.drop_operations_of("session_10")
    assert sorted(pending(store)) == [("create", "session_10"), ("update", "session_11")]


@pytest.mark.requirement("P-144")
def test_they_outlive_the_record_of_their_session(store):
    """A delete is still to be sent when the record is gone."""
    put(store, session(10))
    put_all(store, operation("update"))
    with transaction(store):
        store.drop_operations_of("session_10")
        store.erase("session_10")
        store.put_operation(operation("delete"))
    assert store.read("session_10") is None and pending(store) == [("delete", "session_10")]
    with transaction(store):
        store.erase("session_10")
    assert pending(store) == [("delete", "session_10")]
    assert store.check() == []


# -- transactions ------------------------------------------------------------------------------------------------------
def change(store):
    """Make each kind of change, and one of them more than once."""
    put_ones = [operation("new", due=1), operation(due=1, arguments='"other"')]
    for each in put_ones:
        store.put_operation(each)
    store.retry_operation(store.operation("retried", "session_10").id, 900)
    store.drop_operation("dropped", "session_10")
    store.drop_operations_of("session_11")


@pytest.mark.requirement("P-143", "P-144")
def test_what_is_rolled_back_or_undone_leaves_nothing(store):
    put_all(store, operation(), operation("retried"), operation("dropped"), operation("update", "session_11"))
    before = [values(each) for each in store.operations()]
    store.begin()
    change(store)
    store.rollback()
    assert [values(each) for each in store.operations()] == before
    store.begin()
    store.savepoint()
    change(store)
    store.undo()
    (id,) = [store.put_operation(operation("kept"))]
    store.commit()
    assert id > max(each["id"] for each in before)
    assert [values(each) for each in store.operations() if each.kind != "kept"] == before


def test_only_what_changes_something_counts_as_written(store):
    store.begin()
    seen = store.written()
    store.operation("update", "session_10")
    store.retry_operation(1, 900)
    store.drop_operation("update", "session_10")
    store.drop_operations_of("session_10")
    assert store.written() == seen
    for work in (
        lambda: store.put_operation(operation()),
        lambda: store.retry_operation(store.operation("update", "session_10").id, 900),
        lambda: store.drop_operation("update", "session_10"),
    ):
        work()
        assert store.written() != seen
        seen = store.written()
    store.rollback()


@pytest.mark.requirement("P-143")
def test_another_scope_has_its_own(scopes):
    one, other = scopes("opencode http://one /"), scopes("opencode http://other /")
    put_all(one, operation(arguments='"one"'))
    (id,) = put_all(other, operation(arguments='"other"', due=1))
    put_all(one, operation(arguments='"again"'))
    assert [(each.arguments, each.due) for each in one.operations()] == [('"again"', 50)]
    assert [(each.id, each.arguments) for each in other.operations()] == [(id, '"other"')]
    with transaction(one):
        assert one.operation("update", "session_10").arguments == '"again"'
        one.drop_operation("update", "session_10")
    put_all(one, operation())
    with transaction(one):
        one.drop_operations_of("session_10")
    assert (one.count_operations(), other.count_operations()) == (0, 1)
    if one.name == "sqlite":  # in one file: an id of the other scope's is not ours to count
        with transaction(one):
            one.retry_operation(id, 900)
        assert other.operations()[0].tries == 0
