"""What ports.Store promises of transactions, and of the store as a whole."""

import threading

import pytest

from plue_session import errors
from plue_session.model import LogRow, Query, Share
from tests.contract.stored import ids, log, put, session, transaction, values


# -- transactions ------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-143")
def test_readers_see_what_is_committed_and_nothing_else(store):
    store.begin()
    store.insert(session(10, key="k", tags=["t"]))
    store.append(LogRow(1, "session_10", 0, 0, ","))
    assert store.info("session_10") is store.read("session_10") is None
    assert store.id_of_key("k") is None
    assert store.infos() == b""
    assert store.ids() == []
    assert store.page(Query()) == ([], None)
    assert store.count(Query(tags=("t",))) == 0
    assert store.events_after(0, 10) == []
    assert store.log_state() == (0, 0)
    store.commit()
    assert store.info("session_10") == (0, '{"id":"session_10"}')
    assert store.id_of_key("k") == "session_10"
    assert store.infos() == b'{"id":"session_10"}'
    assert store.count(Query(tags=("t",))) == 1
    assert ids(store) == [1]
    assert store.log_state() == (0, 1)


@pytest.mark.requirement("P-143")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_readers_wait_for_what_is_promised(store, end):
    store.begin()
    store.insert(session(10))
    store.promise()
    store.promise()
    looks, order = [], []

    def look():
        looks.append(store.ids())
        order.append("read")

    reader = threading.Thread(target=look)
    reader.start()
    reader.join(0.05)
    getattr(store, end)()
    order.append("kept")
    assert len(store.ids()) == (end == "commit")  # who has promised it may look
    store.keep()
    store.keep()
    reader.join(10)
    assert order == ["kept", "read"] and len(looks[0]) == (end == "commit")
    assert len(store.ids()) == len(looks[0])  # and from then on for nothing


def test_another_thread_reads_the_committed_share_while_the_writer_sees_its_own(store):
    put(store, session(10))
    store.begin()
    store.put_share(Share("session_10", "s", "u", 1, None))
    seen = []
    reader = threading.Thread(target=lambda: seen.append(store.share("session_10")))
    reader.start()
    reader.join()
    assert seen == [None]
    assert store.share("session_10").share_id == "s"
    store.commit()
    assert store.share("session_10").share_id == "s"


@pytest.mark.requirement("P-144")
def test_a_rollback_leaves_nothing_of_the_transaction(store):
    put(store, session(10, title="Before", key="k", tags=["t"]))
    log(store, "session_10")
    store.begin()
    changed = store.load("session_10")
    changed.title, changed.key, changed.tags = "After", "l", ["u"]
    store.save(changed)
    store.insert(session(11))
    store.append(LogRow(store.last_log_id() + 1, "session_11", 0, 0, ","))
    store.put_share(Share("session_10", "s", "u", 1, None))
    store.erase("session_10")
    store.trim(0, 99, [])
    store.rollback()
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10, title="Before", key="k", tags=["t"]))
        assert store.load("session_11") is None
        assert store.last_log_id() == 1
        assert store.share("session_10") is None
        assert store.next_number(0) == 11
    assert store.count(Query(tags=("t",))) == 1
    assert store.id_of_key("l") is None
    assert store.log_state() == (0, 1)


def test_undo_drops_its_part_and_keeps_the_neighbours(store):
    put(store, session(10))
    with transaction(store):
        store.savepoint()
        store.insert(session(11, key="k"))
        store.append(LogRow(store.last_log_id() + 1, "session_11", 0, 0, ","))
        store.release()
        store.savepoint()
        changed = store.load("session_11")
        changed.key = "l"
        store.save(changed)
        store.append(LogRow(store.last_log_id() + 1, "session_11", 1, 0, ","))
        store.erase("session_10")
        store.undo()
        assert store.last_log_id() == 1
        assert store.load("session_11").key == "k"
        store.savepoint()
        store.insert(session(12))
        store.append(LogRow(store.last_log_id() + 1, "session_12", 0, 0, ","))
        store.release()
    assert store.infos() == b'{"id":"session_10"},{"id":"session_11"},{"id":"session_12"}'
    assert [(row.id, row.session_id) for row in store.events_after(0, 9)] == [(1, "session_11"), (2, "session_12")]
    assert store.id_of_key("k") == "session_11"


def test_a_refused_insert_can_be_undone_alone(store):
    put(store, session(10, key="k"))
    with transaction(store):
        store.savepoint()
        store.append(LogRow(1, "session_11", 0, 0, ","))
        with pytest.raises(errors.AlreadyExists):
            store.insert(session(11, key="k"))
        store.undo()
        store.savepoint()
        store.insert(session(11, key="l"))
        store.release()
    assert store.id_of_key("l") == "session_11"
    assert store.log_state() == (0, 0)


def test_rollback_with_nothing_begun_is_harmless(store):
    store.rollback()
    put(store, session(10))
    store.rollback()
    store.rollback()
    assert store.count(Query()) == 1


# -- the store itself --------------------------------------------------------------------------------------------------
def test_a_store_has_an_id_of_eight_hex_digits_and_a_name(store):
    assert len(store.store_id) == 8 and set(store.store_id) <= set("0123456789abcdef")
    assert store.name in ("sqlite", "memory")
    assert store.check() == []
    assert store.wants_maintenance() is False
    store.maintain()


def test_threads_read_while_one_writes_and_see_whole_commits(store):
    put(store, session(1), session(2))
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            infos, _ = store.page(Query(status=("active",)))
            if len(infos) == 1:
                torn.append(infos)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for n in range(40):
        with transaction(store):
            for session_id in ("session_1", "session_2"):
                changed = store.load(session_id)
                changed.status = ("active", "completed")[n % 2]
                store.save(changed)
    stop.set()
    for thread in readers:
        thread.join()
    assert torn == []


def test_everything_but_closing_again_is_refused_after_close(store):
    store.close()
    store.close()
    assert store.lock_fds() == []
    for use in (
        store.begin,
        store.infos,
        store.log_state,
        store.maintain,
        store.check,
        lambda: store.share("x"),
        store.ids,
        lambda: store.info("x"),
        lambda: store.page(Query()),
        lambda: store.events_after(0, 1),
    ):
        with pytest.raises(errors.Closed):
            use()


def test_what_was_written_is_counted_and_what_was_read_is_not(store):
    store.begin()
    before = store.written()
    (
        store.load("session_1"),
        store.load_by_key("k"),
        store.load_by_token("t"),
        store.children("session_1"),
        store.last_log_id(),
        store.share("session_1"),
    )
    assert store.written() == before
    number = store.next_number(10)
    store.insert(session(number))
    inserted = store.written()
    assert inserted != before
    store.put_share(Share(f"session_{number}", "share", "url", 1, None))
    assert store.written() != inserted
    store.rollback()


@pytest.mark.requirement("A-015")
def test_text_is_searched_in_the_title_and_in_the_description_but_not_across_them(store):
    store.begin()
    number = store.next_number(10)
    store.insert(session(number, title="a", description="b"))
    store.commit()
    found = {text: store.count(Query(text=text)) for text in ("a", "b", "a\nb", "\n", "ab")}
    assert found == {"a": 1, "b": 1, "a\nb": 0, "\n": 0, "ab": 0}
