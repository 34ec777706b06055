"""Whether what is open is still what the names name: files that were replaced, and descriptors that are another's."""

import fcntl
import os
import shutil

import pytest

from plue_session import errors
from plue_session.adapters.descriptor import Descriptor
from plue_session.adapters.sqlite import standing
from plue_session.adapters.sqlite.connections import Connections
from plue_session.adapters.sqlite.standing import Files
from tests.stores import add, change, folder, opened  # noqa: F401


@pytest.fixture
def place(tmp_path):
    (tmp_path / "db").write_bytes(b"one")
    return tmp_path


def replace(path):
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").rename(path)


@pytest.mark.requirement("X-026")
def test_a_file_that_is_replaced_is_missed_however_soon_after_a_check(place):
    """The folder's time may be the same before and after: the clock of many systems and file systems ticks but now and
    then."""
    for _ in range(300):
        known = Files(str(place), ["db", "wal"])
        assert known.missing() is None and known.missing() is None
        replace(place / "db")
        assert known.missing() == str(place / "db")


@pytest.mark.requirement("X-026")
def test_a_folder_in_which_nothing_happens_is_checked_and_no_file_is(place, monkeypatch):
    known, asked, real = Files(str(place), ["db"]), [], os.stat

    def stat(path):
        asked.append(path)
        return real(path)

    monkeypatch.setattr(standing, "TICK", -1)
    monkeypatch.setattr(standing, "COARSE", -1)
    assert known.missing() is None
    monkeypatch.setattr(os, "stat", stat)
    assert known.missing() is None
    assert asked == [str(place)]
    (place / "other").touch()
    assert known.missing() is None
    assert asked.count(str(place / "db")) == 1


@pytest.mark.requirement("X-026")
def test_a_folder_that_is_replaced_or_removed_is_missed_and_one_that_may_not_be_entered_is_not(place, monkeypatch):
    shutil.copytree(place, place.with_suffix(".copy"))
    known, other = Files(str(place), ["db"]), Files(str(place.with_suffix(".copy")), ["db"])
    place.rename(place.with_suffix(".old"))
    place.with_suffix(".copy").rename(place)
    assert known.missing() == str(place / "db") and other.missing() == str(place.with_suffix(".copy"))

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", refuse)
    assert known.missing() is None


@pytest.mark.parametrize("marks", [True, False])
def test_a_descriptor_that_was_closed_or_names_another_file_is_not_ours_and_is_left_open(place, monkeypatch, marks):
    if not marks:
        monkeypatch.delattr(fcntl, "F_SETSIG")
    fd = os.open(place / "db", os.O_RDWR)
    mine = Descriptor(fd)
    assert mine.is_ours()
    other = os.open(place / "other", os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(other, fd)
    assert not mine.is_ours()
    mine.close()
    os.fstat(fd)
    os.close(fd)
    assert not mine.is_ours()
    mine.close()
    os.close(other)


@pytest.mark.requirement("X-026")
def test_a_reader_that_is_opened_after_the_store_was_replaced_reads_nothing(opened, folder):
    store = opened()
    number = add(store)
    os.unlink(store.path)
    shutil.copy("/etc/passwd", store.path)
    for read in (
        store.infos,
        store.log_state,
        lambda: store.info(f"session_{number}"),
        store.maintain,
        lambda: change(store, number, title="x"),
        store.check,
    ):
        with pytest.raises(errors.StoreIo, match="removed or replaced"):
            read()


def test_a_store_that_is_closed_while_it_is_read_says_that_it_is_closed(opened, folder, monkeypatch):
    """SQLite removes its log with the last connection: that is not somebody else's doing."""
    store = opened()
    add(store)
    monkeypatch.setattr(Connections, "_take_idle", lambda self: (monkeypatch.undo(), self.close(), self.verify()))
    with pytest.raises(errors.Closed):
        store.infos()
    assert not os.path.exists(store.path + "-wal")
