"""Hosts that disturb the store under the library, or run where the system refuses something (c_tests/disturbed.c)."""

import copy
import errno
import os
import shutil
import sys

import pytest

from tests import support


@pytest.fixture(scope="module")
def disturbed(plain):
    return plain.compile(support.PROGRAMS / "disturbed.c", "-Wl,--export-dynamic")


def host(program, how, folder, *arguments):
    return support.run(
        [program, how, *arguments], env=support.environment(folder, PATH=os.environ["PATH"]), silent=True, timeout=120
    )


# -- descriptors -------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("X-026")
def test_nothing_is_written_into_files_that_a_host_opens_under_our_descriptors(disturbed, folder, tmp_path):
    host(disturbed, "files-instead", folder, tmp_path)


@pytest.mark.parametrize(
    "more",
    ["", ',"log":{"level":"debug","file":"%s/log"}', ',"store":"memory","log":{"level":"debug","file":"%s/log"}'],
    ids=["plain", "log", "memory"],
)
def test_an_end_writes_and_closes_nothing_of_a_host_that_has_taken_our_descriptors(disturbed, folder, tmp_path, more):
    host(disturbed, "files-instead-idle", folder, tmp_path, more.replace("%s", str(tmp_path)))


def test_what_comes_for_a_host_that_has_taken_our_descriptors_is_not_read(disturbed, folder):
    host(disturbed, "sockets-instead", folder)


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("X-026")
@pytest.mark.parametrize(
    "command, says",
    [
        ("rm {0}/sessions.db*", "removed or replaced"),
        ("cp {0}/sessions.db {0}/copy && mv {0}/copy {0}/sessions.db", "removed or replaced"),
        ("rm {0}/sessions.db-wal", "removed or replaced"),
        ("rm {0}/sessions.db-shm", "removed or replaced"),
        ("mkdir {0}/old && mv {0}/sessions.db* {0}/old", "removed or replaced"),
        ("cp -r {0} {0}.copy && mv {0} {0}.old && mv {0}.copy {0}", "removed"),
        ("rm -r {0}", "removed"),
    ],
    ids=["removed", "replaced", "no-wal", "no-shm", "moved", "other-folder", "no-folder"],
)
def test_no_change_of_a_store_that_was_taken_away_is_acknowledged(disturbed, folder, command, says):
    host(disturbed, "taken-away", folder, command.format(folder), says)


@pytest.mark.requirement("P-162")
def test_changes_that_are_refused_together_name_each_its_own_session(disturbed, folder):
    host(disturbed, "refused-together", folder, f"rm -r {folder}")


# -- a executor's housekeeping -----------------------------------------------------------------------------------------
def test_a_folder_that_can_no_longer_be_read_ends_no_writer(disturbed, tmp_path):
    (tmp_path / "above").mkdir(mode=0o700)
    (tmp_path / "above" / "store").mkdir(mode=0o700)
    host(disturbed, "shut-out", tmp_path / "above" / "store", tmp_path / "above")


def test_no_defect_in_what_is_done_beside_a_change_ends_an_executor(plain, tmp_path, folder):
    faulty = copy.copy(plain)
    faulty.root = tmp_path / "faulty"
    shutil.copytree(plain.root / "plue_session", faulty.root / "plue_session")
    runtime = faulty.root / "plue_session" / "runtime.py"
    runtime.write_text(runtime.read_text() + (support.PROGRAMS / "defects.py").read_text())
    faulty.package = faulty.root / "plue_session"
    faulty.lib, faulty.include = faulty.package / "lib", faulty.package / "include"
    host(faulty.compile(support.PROGRAMS / "disturbed.c", "-Wl,--export-dynamic"), "at-work", folder)


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_clock_beyond_2262_ends_no_writer(disturbed, folder, store):
    host(disturbed, "far-future", folder, f',"store":"{store}","log":{{"level":"debug","file":"{folder}/log"}}')


# -- what the system refuses -------------------------------------------------------------------------------------------
def modes(folder):
    return {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.rglob("*")]}


@pytest.mark.requirement("P-097")
@pytest.mark.parametrize("mask", ["0177", "0277", "0777"])
def test_a_new_folder_is_the_owners_whatever_the_umask(disturbed, tmp_path, mask):
    store = tmp_path / "above" / "store"
    host(disturbed, "masked", store, mask, f',"log":{{"level":"info","file":"{tmp_path}/log"}}')
    assert modes(store) == {
        "store": "0o700",
        "sessions.db": "0o600",
        "sessions.lock": "0o600",
        "store.lock": "0o600",
        "share.key": "0o600",
    }
    assert oct(store.parent.stat().st_mode & 0o777) == "0o700"
    assert oct((tmp_path / "log").stat().st_mode & 0o777) == "0o600"


@pytest.mark.requirement("T-09")
def test_a_folder_that_an_earlier_run_has_left_unusable_is_made_usable(disturbed, tmp_path):
    above, store = tmp_path / "above", tmp_path / "above" / "store"
    store.mkdir(parents=True)
    store.chmod(0o600)
    above.chmod(0o600)
    host(disturbed, "masked", store, "077", "")
    assert modes(store)["store"] == "0o700" == oct(above.stat().st_mode & 0o777)


@pytest.mark.requirement("P-097")
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_shares_work_on_a_file_system_without_hard_links(disturbed, folder, number):
    host(disturbed, "without-links", folder, "link", number)
    assert [path.name for path in folder.glob("share.key*")] == ["share.key"]
    assert (folder / "share.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize(
    "call, number, says",
    [
        ("flock", errno.ENOSYS, "file locks"),
        ("flock", errno.EPERM, "file locks"),
        ("fcntl", errno.ENOLCK, "file locks"),
        ("fcntl", errno.EPERM, "file locks"),
        ("fcntl", errno.EINVAL, "file locks"),
        ("mmap", errno.ENODEV, "mapped into memory"),
        ("mmap", errno.EPERM, "mapped into memory"),
        ("mmap", errno.ENOMEM, "mapped into memory"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value.replace(" ", "-"),
)
def test_what_the_system_refuses_is_named_with_what_helps(disturbed, folder, call, number, says):
    host(disturbed, "refused", folder, call, number, says, "space")


@pytest.mark.requirement("T-09")
def test_a_path_that_is_longer_than_sqlite_opens_is_named(disturbed, tmp_path):
    def place(length):
        path = str(tmp_path)
        while length - len(path) > 202:
            path += "/" + "d" * 200
        return path + "/" + "e" * (length - len(path) - 1)

    fits, beyond = place(488), place(489)
    assert len(fits) == 488 and len(beyond) == 489
    host(disturbed, "undisturbed", fits)
    host(disturbed, "cannot-start", beyond, -7, "489 bytes")
    os.symlink(beyond, tmp_path / "short")
    os.makedirs(beyond, exist_ok=True)
    host(disturbed, "cannot-start", tmp_path / "short", -7, "bytes")


# -- newer stores ------------------------------------------------------------------------------------------------------
#: What a newer library may have done to a store.
NEWER = {
    "version": "PRAGMA user_version = 99;",
    "tables": "ALTER TABLE session RENAME TO session_2; CREATE TABLE more (a INT) STRICT; PRAGMA user_version = 99;",
    "indexes": "DROP INDEX session_updated; DROP INDEX log_session; PRAGMA user_version = 99;",
}


def migrate(folder, script):
    return (
        f"""{sys.executable} -c "import sqlite3; sqlite3.connect('{folder}/sessions.db').executescript('{script}')\""""
    )


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize("script", NEWER.values(), ids=NEWER)
def test_a_store_that_a_newer_library_migrates_while_it_is_open_is_not_called_damaged(disturbed, folder, script):
    host(disturbed, "migrated", folder, migrate(folder, script))


@pytest.mark.requirement("T-09")
def test_a_reader_that_misses_what_a_newer_library_has_taken_away_says_so(disturbed, folder):
    host(disturbed, "migrated-reader", folder, migrate(folder, NEWER["tables"]))
