"""The SQLite store beside a doctor, and what the system refuses it: who may open it, who waits, and what it says."""

import errno
import fcntl
import os
import sqlite3
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sqlite import files
from plue_session.adapters.sqlite.files import hold_exclusively, move_aside
from plue_session.model import Query
from tests.stores import add, connected, contents, folder, opened, session, write  # noqa: F401


# -- the doctor --------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-147")
def test_an_open_store_cannot_be_moved_aside_and_a_closed_one_can(opened, folder):
    store = opened()
    add(store)
    for use in (hold_exclusively, move_aside):
        with pytest.raises(errors.InUse):
            use(folder)
    store.close()
    write(store.path + "-wal", b"wal")
    before = contents(folder)
    moved, second = move_aside(folder), None
    write(store.path, b"again")
    second = move_aside(folder)
    with pytest.raises(errors.NotFound):
        move_aside(folder)
    assert (
        moved.startswith(store.path + ".corrupt-") and second.startswith(store.path + ".corrupt-") and second != moved
    )
    after = contents(folder)
    assert (after[os.path.basename(moved)], after[os.path.basename(moved) + "-wal"]) == (before["sessions.db"], b"wal")
    fresh = opened()
    assert fresh.store_id != store.store_id
    assert fresh.count(Query()) == 0


def test_opening_waits_for_a_doctor_and_then_says_that_one_is_at_work(opened, folder, monkeypatch):
    opened().close()
    held = hold_exclusively(folder)
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    with pytest.raises(errors.Busy, match="store.lock"):
        opened()
    monkeypatch.setattr(files, "PATIENCE", 5.0)
    timer = threading.Timer(0.02, held.close)
    timer.start()
    assert opened().count(Query()) == 0
    timer.join()


def test_the_store_is_held_until_the_last_one_inside_has_left(opened, folder):
    store = opened()
    store.begin()
    store.close()
    with pytest.raises(errors.InUse):
        hold_exclusively(folder)
    store.insert(session(1))
    store.commit()
    hold_exclusively(folder).close()
    assert opened().count(Query()) == 1


# -- what the system refuses -------------------------------------------------------------------------------------------
def refuse(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


def test_a_large_store_is_checked_in_part_and_opens(opened, monkeypatch):
    store = opened()
    add(store)
    store.close()
    monkeypatch.setattr(files, "FULL_CHECK", -1)
    assert opened().count(Query()) == 1


def test_a_lock_that_the_system_refuses_is_an_io_error_to_opener_and_doctor(opened, folder, monkeypatch):
    opened().close()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse(errno.ENOLCK))
        for use in (opened, lambda: hold_exclusively(folder)):
            with pytest.raises(errors.StoreIo, match="No locks available"):
                use()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_move_aside_that_the_system_refuses_is_an_io_error(opened, folder, monkeypatch, call):
    opened().close()
    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse(errno.EIO))
        with pytest.raises(errors.StoreIo, match="move aside"):
            move_aside(folder)
    hold_exclusively(folder).close()


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_creation_that_the_system_refuses_is_an_io_error_and_can_be_repeated(opened, folder, monkeypatch, call):
    os.makedirs(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse(errno.ENOSPC))
        with pytest.raises(errors.StoreIo, match="No space left"):
            opened()
    add(opened())


def test_a_store_that_cannot_be_read_is_an_io_error(opened, monkeypatch):
    store = opened()
    store.close()
    real = os.stat

    def stat_or_refuse(path, *rest, **more):
        return refuse(errno.EACCES)() if path == store.path else real(path, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_or_refuse)
        with pytest.raises(errors.StoreIo, match="Permission denied"):
            opened()


def test_a_folder_that_another_process_creates_at_the_same_moment_is_fine(folder, monkeypatch):
    real = os.mkdir

    def lose_the_race(path, mode):
        real(path, mode)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", lose_the_race)
    files.make_folder(folder)
    assert os.path.isdir(folder)


def test_a_migration_that_another_process_has_finished_is_not_repeated(opened, monkeypatch):
    opened().close()
    versions = iter([0, len(files.MIGRATIONS)])
    monkeypatch.setattr(files, "inspect", lambda path: next(versions))
    assert opened().count(Query()) == 0


def test_a_store_that_lost_what_it_knows_of_itself_is_refused_and_closed(opened, folder):
    store = opened()
    store.close()
    database = sqlite3.connect(store.path)
    database.execute("DROP TABLE meta")
    database.close()
    with pytest.raises(errors.Integrity, match="meta"):
        opened()
    hold_exclusively(folder).close()


def test_a_list_that_sqlite_cannot_put_together_says_what_to_do(opened, connected):
    store = opened()
    for number in range(3):
        add(store, number + 1000, info='{"a":"%s"}' % ("x" * 1000))
    for each in connected:
        each.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2000)
    with pytest.raises(errors.LimitExceeded, match="the list has more than") as caught:
        store.infos()
    assert "plue_session_query" in caught.value.remedy
