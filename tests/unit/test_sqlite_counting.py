"""Active sessions are counted from the first time that somebody asks how many there are, and the count holds from then
on."""

import pytest

from tests.stores import add, connected, execute, folder, opened, session  # noqa: F401


def rows_of(store):
    return execute(store, "SELECT name, active FROM counted")


def asked(store):
    store.begin()
    try:
        return store.active_count()
    finally:
        store.commit()


def test_nothing_is_counted_before_somebody_asks(opened):
    store = opened()
    add(store, 1000)
    assert rows_of(store) == []
    assert asked(store) == 1 and rows_of(store) == [("embedded", 1)]
    add(store, 1001)
    assert rows_of(store) == [("embedded", 2)] and asked(opened()) == 2


def test_what_the_transaction_itself_has_made_is_counted_once(opened):
    store = opened()
    add(store, 1000)
    store.begin()
    store.insert(session(1001))
    assert store.active_count() == 2
    store.insert(session(1002))
    assert store.active_count() == 3
    store.commit()
    assert rows_of(store) == [("embedded", 3)] and store.check() == []


@pytest.mark.parametrize("undo", ["rollback", "undo"])
def test_counting_that_is_undone_begins_again(opened, undo):
    store = opened()
    add(store, 1000)
    store.begin()
    store.savepoint()
    store.insert(session(1001))
    assert store.active_count() == 2
    getattr(store, undo)()
    if undo == "undo":  # somebody has asked all the same
        store.commit()
        assert rows_of(store) == [("embedded", 1)]
    assert asked(store) == 1 and rows_of(store) == [("embedded", 1)] and store.check() == []


def test_a_process_that_was_there_before_counts_along_once_another_has_asked(opened):
    one, other = opened(), opened()
    add(one, 1000)
    assert asked(other) == 1
    add(one, 1001)
    one.begin()
    one.erase("session_1000")
    one.commit()
    assert rows_of(one) == [("embedded", 1)] and asked(other) == 1 and one.check() == []


def test_each_scope_is_counted_when_it_is_asked_for(opened):
    one, two = opened("embedded"), opened("opencode:http://x")
    add(one, 1000)
    add(two, 1000)
    assert asked(two) == 1 and rows_of(one) == [("opencode:http://x", 1)]
    add(one, 1000)
    assert asked(one) == 2 and one.check() == []


def test_whoever_is_refused_has_asked_too_and_is_not_made_to_count_again(opened, connected):
    """As the services do it: what fails before it has written is no reason to undo the group, so the count is kept."""
    store = opened()
    add(store, 1000)
    store.begin()
    written = store.written()
    assert store.active_count() == 1 and store.written() == written
    store.commit()
    statements = []
    for each in connected:
        each.set_trace_callback(statements.append)
    assert asked(store) == 1 and asked(store) == 1
    for each in connected:
        each.set_trace_callback(None)
    assert not [each for each in statements if "count(*)" in each]
