"""What ports.Store promises of the log, and of what is erased and shared."""

import pytest

from plue_session.model import LogRow, Query, Share
from tests.contract.stored import ids, log, put, session, transaction


# -- erasing and shares ------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-146")
def test_erasing_removes_record_tags_share_and_events_but_no_one_elses(store):
    put(store, session(10, key="k", role="r", relay_state="READY", tags=["t"]), session(11, tags=["t"]))
    log(store, "session_10", "session_11", "session_10")
    with transaction(store):
        store.put_share(Share("session_10", "s10", "u", 1, 2))
        store.put_share(Share("session_11", "s11", "u", 1, 2))
        store.erase("session_10")
        assert store.load("session_10") is None
        assert store.load_by_role("r") is None
    assert store.info("session_10") is None
    assert store.share("session_10") is None
    assert store.share("session_11").share_id == "s11"
    assert store.count(Query(tags=("t",))) == 1
    assert ids(store) == [2]
    with transaction(store):
        store.insert(session(12, key="k", role="r", relay_state="READY"))
    assert store.check() == []


def test_erasing_what_is_not_there_is_harmless(store):
    with transaction(store):
        store.erase("session_10")
    assert store.log_state() == (0, 0)


def test_log_ids_are_not_used_again_after_the_newest_row_was_erased(store):
    put(store, session(10))
    log(store, "session_10", "session_10")
    with transaction(store):
        store.erase("session_10")
        assert store.last_log_id() == 2
    assert store.log_state() == (0, 2)
    with transaction(store):
        assert store.last_log_id() == 2
        store.append(LogRow(3, "session_10", 2, 0, ","))
    assert ids(store) == [3]
    assert store.log_state() == (0, 3)


def test_an_erasing_that_is_undone_leaves_the_log_as_it_was(store):
    put(store, session(10))
    log(store, "session_10", "session_10")
    with transaction(store):
        store.savepoint()
        store.append(LogRow(3, "session_10", 1, 0, ","))
        store.erase("session_10")
        assert store.last_log_id() == 3
        store.undo()
        assert store.last_log_id() == 2
    assert ids(store) == [1, 2]
    assert store.log_state() == (0, 2)


def test_a_share_is_stored_replaced_and_dropped(store):
    put(store, session(10))
    with transaction(store):
        assert store.share("session_10") is None
        store.put_share(Share("session_10", "first", "u1", 1, 2))
        store.put_share(Share("session_10", "second", "u2", 3, None))
    share = store.share("session_10")
    assert (share.session_id, share.share_id, share.url, share.created, share.expires) == (
        "session_10",
        "second",
        "u2",
        3,
        None,
    )
    with transaction(store):
        store.drop_share("session_10")
        store.drop_share("session_10")
        assert store.share("session_10") is None
    assert store.share("session_10") is None


# -- the log -----------------------------------------------------------------------------------------------------------
def test_events_are_read_after_an_id_in_order_and_up_to_a_limit(store):
    with transaction(store):
        for number, session_id in enumerate(["a", None, "b", "a"], 1):
            store.append(LogRow(number, session_id, number + 5, number * 10, f',"n":{number}}}'))
    rows = store.events_after(1, 2)
    assert [(row.id, row.session_id, row.kind, row.time, row.tail) for row in rows] == [
        (2, None, 7, 20, ',"n":2}'),
        (3, "b", 8, 30, ',"n":3}'),
    ]
    assert ids(store) == [1, 2, 3, 4]
    assert store.events_after(4, 10) == []


@pytest.mark.parametrize("size, count", [(1, 1), (999, 1), (1000, 1), (1001, 2), (2001, 3), (1 << 40, 3)])
def test_events_are_read_up_to_a_size_but_at_least_one(store, size, count):
    with transaction(store):
        for number in range(1, 5):
            store.append(LogRow(number, "a", 1, 0, "x" * 1000))
    assert [row.id for row in store.events_after(0, 3, size)] == [1, 2, 3][:count]


def test_trimming_keeps_the_newest_rows_of_each_named_session(store):
    log(store, "a", "b", "a", None, "a", None, "b", "a")
    with transaction(store):
        store.trim(2, 0, ["a", None, "unknown"])
    assert ids(store) == [2, 4, 5, 6, 7, 8]
    assert store.log_state() == (3, 8)


def test_trimming_by_age_drops_old_rows_but_never_the_newest_of_all(store):
    log(store, "a", "b", time=10)
    log(store, "a", time=20)
    with transaction(store):
        store.trim(100, 20, [])
    assert ids(store) == [3]
    assert store.log_state() == (2, 3)
    with transaction(store):
        store.trim(0, 99, ["a"])
    assert ids(store) == [3]
    assert store.log_state() == (2, 3)


def test_trimming_by_age_is_bounded_and_gets_there_in_the_end(store):
    with transaction(store):
        for number in range(1, 2502):
            store.append(LogRow(number, "a", 1, 5, ","))
    left = []
    for _ in range(3):
        with transaction(store):
            store.trim(9999, 6, [])
        left.append(len(ids(store)))
    assert left == [1501, 501, 1]
    assert store.log_state() == (2500, 2501)


@pytest.mark.requirement("L-172")
def test_rows_of_a_clock_that_was_ahead_keep_no_others(store):
    """An hour ahead for a while: those rows are dropped, for they would be young for an hour, and then the old ones
    behind them are."""
    with transaction(store):
        for number, time in enumerate([5000] * 20 + [100] * 20 + [150] * 20, 1):
            store.append(LogRow(number, "a", 1, time, ","))
    with transaction(store):
        store.trim(9999, 140, [], 160)
    assert ids(store) == [*range(41, 61)]


@pytest.mark.requirement("T-02", "L-169")
def test_no_row_goes_from_behind_one_that_stays(store):
    """A clock that was ahead is set right: who was given the first row would not hear of the next one, nor of a gap."""
    for time in (150, 100, 5000, 160):
        log(store, "a", time=time)
    with transaction(store):
        store.trim(9999, 140, [], 160)
    assert ids(store) == [1, 2, 3, 4]
    with transaction(store):
        store.trim(9999, 151, [], 171)
    assert ids(store) == [4] and store.log_state() == (3, 4)


@pytest.mark.requirement("L-172")
def test_rows_that_are_young_stay_however_often_the_log_is_trimmed(store):
    with transaction(store):
        for number in range(1, 41):
            store.append(LogRow(number, "a", 1, 150, ","))
    for _ in range(20):
        with transaction(store):
            store.trim(9999, 140, [], 160)
    assert ids(store) == [*range(1, 41)]
    with transaction(store):
        store.trim(9999, 151, [], 171)
    assert ids(store) == [40]


@pytest.mark.requirement("L-169")
def test_the_floor_never_falls(store):
    with transaction(store):
        for number, (name, time) in enumerate([("a", 5), ("b", 50), ("b", 50), ("b", 50), ("a", 50)], 1):
            store.append(LogRow(number, name, 1, time, ","))
    with transaction(store):
        store.trim(1, 0, ["b"])
    assert store.log_state() == (3, 5)
    with transaction(store):
        store.trim(9999, 6, [])
    assert ids(store) == [4, 5] and store.log_state() == (3, 5)


def test_erasing_does_not_raise_the_floor(store):
    put(store, session(10))
    log(store, "session_10", "b", "b")
    with transaction(store):
        store.erase("session_10")
    assert store.log_state() == (0, 3)
    with transaction(store):
        store.trim(1, 0, ["b"])
        store.trim(1, 0, ["b"])
    assert store.log_state() == (2, 3)


def test_trimming_an_empty_log_changes_nothing(store):
    with transaction(store):
        store.trim(1, 99, ["a"])
    assert store.log_state() == (0, 0)


# -- what observers ask for --------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-181")
def test_events_of_one_session_are_read_alone(store):
    log(store, "a", "b", None, "a", "b", "a")
    assert [row.id for row in store.events_after(0, 9, None, "a")] == [1, 4, 6]
    assert [row.id for row in store.events_after(1, 1, None, "a")] == [4]
    assert [row.id for row in store.events_after(1, 9, 1, "b")] == [2]
    assert store.events_after(6, 9, None, "a") == store.events_after(0, 9, None, "c") == []


@pytest.mark.requirement("L-160")
def test_state_and_log_are_observed_at_one_moment(store):
    put(store, session(10, revision=3, info='{"é":1}'), session(11))
    log(store, "session_10", "b")
    found = store.observe("session_10", 0, 100, 1000)
    assert (found.last, found.revision, found.info, found.turn, found.is_ours) == (2, 3, '{"é":1}', None, 1)
    assert not any((found.messages, found.has_older, found.usage, found.inputs, found.permissions, found.questions))
    assert store.observe("session_12", 0, 100, 1000) is None
    assert store.observe_all() == (2, ['{"é":1}', '{"id":"session_11"}'])


@pytest.mark.requirement("L-172")
def test_a_window_says_what_there_is_after_a_place(store):
    put(store, session(10, rev=6))
    log(store, "session_10", "b", None, "session_10", "b", "session_10", time=7)
    assert tuple(store.window(1, "session_10", 9)) == (0, 6, 2, 7, 1, 1, 6)
    assert tuple(store.window(0, "session_10", 1))[:5] == (0, 6, 2, 7, 0)
    assert tuple(store.window(6, "session_10", 9))[:5] == (0, 6, 0, None, 1)
    assert tuple(store.window(0, "unknown", 9)) == (0, 6, 0, None, 0, None, None)
    assert tuple(store.window(0, None, 9)) == (0, 6, 6, 7, None, None, None)
    assert store.window(0, None, 2).count == 3  # of the session that has the most
    with transaction(store):
        store.trim(1, 0, ["b"])
    assert store.window(0, None, 9).floor == 2
