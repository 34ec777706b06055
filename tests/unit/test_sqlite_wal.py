"""The write-ahead log: how long it gets, who copies it back, and the connections beside the writer."""

import os
import sqlite3
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sqlite import connections, files
from plue_session.adapters.sqlite.files import hold_exclusively
from plue_session.model import Query
from tests.stores import Tapped, add, connected, folder, opened, session  # noqa: F401


def test_a_long_wal_is_copied_back_while_others_write_and_then_begins_anew(opened, monkeypatch):
    monkeypatch.setattr(connections, "LONG_WAL", 200_000)
    store, other = opened(), opened()
    wanted = 0
    for _ in range(128):
        add(store, description="x" * 2000)
        wanted += store.wants_maintenance()
    assert wanted >= 1
    long = os.path.getsize(store.path + "-wal")
    assert long >= 200_000
    copied = os.path.getsize(store.path)
    store.maintain()
    assert os.path.getsize(store.path) > copied
    assert not store.wants_maintenance()
    for _ in range(3):
        add(store)
    assert (
        os.path.getsize(store.path + "-wal") <= 204_000
    )  # cut to the length it is to keep, and written from its beginning
    assert other.count(Query()) == 131


def test_how_often_the_wal_is_measured_follows_from_how_fast_it_fills(opened, monkeypatch):
    monkeypatch.setattr(connections, "LONG_WAL", 1_000_000)
    store = opened()
    commits = []
    for _ in range(5):
        count = 1
        add(store, description="x" * 2_000)
        while not store.wants_maintenance():
            add(store, description="x" * 2_000)
            count += 1
        store.maintain()
        commits.append(count)
    assert all(connections.MEASURE_OFTEN <= count <= 2 * connections.MEASURE_OFTEN for count in commits)


def test_few_commits_of_much_text_are_measured_as_well(opened, monkeypatch):
    """After many small ones the next measurement would come thousands of commits later, whatever they weigh."""
    monkeypatch.setattr(connections, "LONG_WAL", 1_000_000)
    store = opened()
    for _ in range(300):
        add(store)
        if store.wants_maintenance():
            store.maintain()
    # What thousands of such commits would have led to.
    store._connections._measure_after = connections.MEASURE_SELDOM
    for _ in range(60):
        add(store, description="x" * 200_000, info='{"description":"%s"}' % ("x" * 200_000))
        if store.wants_maintenance():
            store.maintain()
    assert os.path.getsize(store.path + "-wal") < 5_000_000


def test_when_a_reader_holds_an_old_view_the_writers_are_held_back_once_and_go_on(opened):
    store = opened()
    reader = sqlite3.connect(store.path, isolation_level=None)
    add(store)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM session").fetchone() == (1,)
    add(store)
    store.maintain()
    add(store)
    assert reader.execute("SELECT count(*) FROM session").fetchone() == (1,)
    reader.close()
    assert store.count(Query()) == 3


def test_a_store_without_a_wal_wants_no_maintenance(opened):
    store = opened()
    os.unlink(store.path + "-wal")
    assert store.wants_maintenance() is False


def test_reading_opens_no_more_connections_than_there_are_readers_and_keeps_few(opened, monkeypatch):
    """How many connections are kept is seen in the lists of them alone."""
    monkeypatch.setattr(connections, "WARM_READERS", 1)
    monkeypatch.setattr(connections, "COOL_READERS", 1)
    store = opened()
    gate = threading.Barrier(5)
    real = store._connections._connect

    def together(*pragmas):
        connection = real(*pragmas)
        gate.wait()
        return connection

    held, told = [store._connections._warm.pop()], []
    assert not store._connections._warm + store._connections._cool
    store._connections._connect = together
    threads = [threading.Thread(target=lambda: told.append(store.log_state())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(store._connections._warm), len(store._connections._cool)) == (1, 1)
    held += store._connections._warm
    store._connections._warm.clear()
    assert told == [(0, 0)] * 5 and store.log_state() == (0, 0)  # also on one whose pages were let go
    for connection in held:
        store._connections._disconnect(connection)


def test_a_read_that_is_under_way_while_the_store_closes_still_answers(opened, folder, connected):
    store = opened()
    add(store)
    for each in connected:

        def closing(sql, values=(), execute=each.answer):
            store.close()
            return execute(sql, values)

        each.answer = closing
    assert store.count(Query()) == 1
    assert store.lock_fds() == []
    hold_exclusively(folder).close()


def test_under_steady_writing_the_wal_is_begun_anew_after_each_checkpoint(opened):
    store = opened()

    def salt():
        """Another one each time that the log begins anew, whatever the file's length."""
        with open(store.path + "-wal", "rb") as wal:
            return wal.read(24)[16:]

    for _ in range(10):
        before = salt()
        keeper = threading.Thread(target=store.maintain)
        keeper.start()
        add(store)
        while keeper.is_alive():
            add(store)
        keeper.join()
        add(store)  # its commit is followed by the copy of what was left
        add(store)
        assert salt() != before


def test_a_checkpoint_does_not_wait_for_whoever_writes(opened):
    store, other = opened(), opened()
    add(store)
    other.begin()
    store.maintain()
    other.rollback()
    assert store.count(Query()) == 1


def test_a_checkpoint_that_fails_says_so_and_closes_its_connection(opened, folder, monkeypatch):
    store, connect = opened(), files.connect

    def failing(path):
        connection = Tapped(connect(path))
        connection.answer = fail
        return connection

    def fail(sql, values=()):
        if "checkpoint" in sql:
            raise sqlite3.OperationalError("disk I/O error")
        return []

    monkeypatch.setattr(files, "connect", failing)
    with pytest.raises(errors.StoreIo):
        store.maintain()
    store.close()
    hold_exclusively(folder).close()


def test_a_connection_that_cannot_be_opened_fails_the_read_alone(opened, monkeypatch):
    store = opened()
    held = store._connections._warm.pop()  # so that the next read has to open one
    with monkeypatch.context() as patched:
        patched.setattr(files, "connect", lambda path: sqlite3.connect("/nowhere/at/all"))
        with pytest.raises(errors.StoreIo, match="unable to open"):
            store.count(Query())
    store._connections._disconnect(held)
    assert store.count(Query()) == 0


def test_a_checkpoint_that_fails_after_a_commit_is_no_failure_of_it(opened, monkeypatch):
    store, other = opened(), opened()
    add(store)
    connections, told = store._connections, []

    def full(sql, values=()):
        assert "checkpoint" in sql
        raise errors.StoreIo("database or disk is full")

    connections._unfinished = True  # as a checkpoint beside the writer leaves it
    monkeypatch.setattr(connections, "write", full)
    monkeypatch.setattr(connections._locks, "ring", told.append)
    number = add(store)
    assert other.info(f"session_{number}") and told == [2]  # others are told before that, too
    monkeypatch.undo()
    assert connections.wal_is_long() is False
    assert add(store) == number + 1


@pytest.mark.requirement("X-007")
def test_nothing_is_open_after_the_end_also_when_the_writer_has_ended_a_checkpoint(opened, folder):
    store = opened()
    add(store)
    store.maintain()
    add(store)  # which copies the last frames
    store.close()
    open_files = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    assert not [path for path in open_files if path.startswith(str(folder))]
