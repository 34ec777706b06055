"""The SQLite store's files: who may read them, how they come to be, and that damage is never made worse."""

import fcntl
import os
import sqlite3
import stat
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sql import queries
from plue_session.adapters.sqlite import files
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import Query, Session, Share
from tests.stores import add, contents, execute, folder, opened, write  # noqa: F401


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-140")
def test_the_store_is_one_database_that_only_its_owner_can_read(opened, tmp_path, folder):
    nested = str(tmp_path / "above" / "data")
    old = os.umask(0)
    try:
        SqliteStore(nested, "embedded").close()
        add(opened())
    finally:
        os.umask(old)
    for path in (nested, os.path.dirname(nested), folder):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    assert {
        name: stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) for name in os.listdir(folder)
    } == dict.fromkeys(["sessions.db", "sessions.db-shm", "sessions.db-wal", "sessions.lock", "store.lock"], 0o600)


def test_no_descriptor_survives_exec_and_the_lock_files_can_be_named(opened):
    store = opened()
    add(store)
    store.infos()
    assert len(store.lock_fds()) == 2
    for fd in store.lock_fds():
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith(os.path.dirname(store.path)):
            assert fcntl.fcntl(int(name), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_closing_closes_every_descriptor(folder):
    def descriptors():
        return sorted(
            link
            for link in map(os.path.realpath, (f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")))
            if folder in link
        )

    store = SqliteStore(folder, "embedded")
    threads = [threading.Thread(target=store.infos) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert descriptors()
    store.close()
    assert descriptors() == []


def test_a_store_keeps_its_id_numbers_and_log_when_it_is_opened_again(opened):
    store = opened()
    add(store, 1000)
    number = add(store, 1000)
    store.begin()
    store.erase(f"session_{number}")
    store.commit()
    store.close()
    again = opened()
    assert again.store_id == store.store_id
    assert again.log_state() == (0, 2)
    assert add(again, 1000) == number + 1
    assert again.log_state() == (0, 3)
    assert again.check() == []


def test_a_zero_length_file_is_a_store_whose_creation_was_cut_short(opened, folder):
    write(os.path.join(folder, "sessions.db"), b"")
    write(os.path.join(folder, "sessions.db.new"), b"half of a new store")
    add(opened())
    assert not os.path.exists(os.path.join(folder, "sessions.db.new"))


def test_folders_with_characters_that_uris_reserve_are_fine(tmp_path):
    store = SqliteStore(str(tmp_path / "a%20b?c#d é"), "embedded")
    add(store)
    assert store.count(Query()) == 1
    store.close()


def test_several_scopes_share_the_file_and_its_ids_but_see_their_own_sessions(opened):
    one, two = opened("embedded"), opened("opencode:http://x")
    same = dict(key="k", role="r", relay_state="READY", tags=["t"])
    assert add(one, 1000, **same) == 1000
    assert add(two, 1000, **same) == 1001
    for store, share in ((one, "s1"), (two, "s2")):
        store.begin()
        store.insert(Session(number=store.next_number(0), id="ses_a", created=1, updated=1, info="[]"))
        store.put_share(Share("ses_a", share, "u", 1, None))
        assert store.active_count() == 2
        store.commit()
    assert (one.count(Query(tags=("t",))), two.count(Query(tags=("t",)))) == (1, 1)
    assert [row.id for row in one.events_after(0, 9)] == [1]
    assert [row.id for row in two.events_after(0, 9)] == [2]
    assert one.log_state() == two.log_state() == (0, 2)
    one.begin()
    one.erase("ses_a")
    assert one.active_count() == 1
    one.commit()
    assert two.info("ses_a") == (0, "[]")
    assert two.share("ses_a").share_id == "s2"
    assert one.info("ses_a") is None and one.share("ses_a") is None
    assert one.check() == []


# -- damage ------------------------------------------------------------------------------------------------------------
def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def remark(path, pragma):
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA {pragma}")
    database.commit()
    database.close()


def garble(path, word):
    with open(path, "rb") as file:
        place = file.read().index(word)
    overwrite(path, place + 3, b"\xff")


DAMAGE = {
    "not a database": lambda path: write(path, b"These are not the pages you are looking for.\n" * 200),
    "a few bytes": lambda path: write(path, b"SQLite"),
    "a lost header": lambda path: overwrite(path, 0, b"\0" * 100),
    "truncated": lambda path: os.truncate(path, 8192),
    "truncated in the first page": lambda path: os.truncate(path, 700),
    "an overwritten page": lambda path: overwrite(path, 4096, b"\xff" * 4096),
    "a name that is no text": lambda path: garble(path, b"session_title"),
    "another program's database": lambda path: remark(path, "application_id = 7"),
    "an empty foreign database": lambda path: (
        os.unlink(path),
        remark(path, "user_version = 0"),
        remark(path, "encoding = 'UTF-8'"),
        sqlite3.connect(path).execute("CREATE TABLE t (x)"),
    ),
}


@pytest.mark.requirement("P-147")
@pytest.mark.parametrize(
    "damage, full",
    [(damage, full) for damage in DAMAGE for full in (True, False) if full or damage != "an overwritten page"],
)
def test_a_damaged_store_is_refused_and_not_one_byte_of_it_is_changed(opened, folder, monkeypatch, damage, full):
    store = opened()
    for _ in range(30):
        add(store, description="x" * 500)
    store.close()
    DAMAGE[damage](store.path)
    if not full:
        monkeypatch.setattr(files, "FULL_CHECK", -1)
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(errors.Integrity) as raised:
            opened()
        assert store.path in raised.value.cause
        assert "plue-session doctor --new-store" in raised.value.remedy
    assert contents(folder) == before
    files.hold_exclusively(folder).close()  # nobody keeps it


@pytest.mark.requirement("P-147")
def test_a_damaged_store_with_a_wal_keeps_that_too(opened, folder, tmp_path):
    store = opened()
    add(store)
    kept = contents(folder)
    store.close()
    for name, data in kept.items():  # as if the process had been killed
        write(os.path.join(folder, name), data)
    overwrite(store.path, 0, b"\0" * 100)
    before = contents(folder)
    assert "sessions.db-wal" in before
    with pytest.raises(errors.Integrity):
        opened()
    assert contents(folder) == before


@pytest.mark.parametrize("empty", [True, False])
def test_a_wal_without_its_database_is_kept_and_no_new_store_begun_over_it(opened, folder, empty):
    write(os.path.join(folder, "sessions.db-wal"), b"precious")
    if empty:
        write(os.path.join(folder, "sessions.db"), b"")
    with pytest.raises(errors.Integrity, match="sessions.db-wal"):
        opened()
    with open(os.path.join(folder, "sessions.db-wal"), "rb") as file:
        assert file.read() == b"precious"


def test_a_store_of_a_newer_library_is_refused_untouched(opened, folder):
    store = opened()
    add(store)
    store.close()
    remark(store.path, "user_version = 99")
    before = contents(folder)
    with pytest.raises(errors.Unsupported, match="schema version 99"):
        opened()
    assert contents(folder) == before


def test_damage_that_shows_later_is_reported_by_the_call_and_by_check(opened):
    store = opened()
    add(store)
    execute(store, "DROP TABLE share")
    with pytest.raises(errors.Integrity, match="no such table"):
        store.share("session_1000")
    assert "no such table" in store.check()[0]


@pytest.mark.parametrize("lost", ["TABLE counted", "INDEX session_created"])
def test_a_store_that_lacks_a_table_or_an_index_is_refused_when_it_is_opened(opened, folder, lost):
    store = opened()
    add(store)
    assert {
        name for (name,) in execute(store, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'")
    } == files.SCHEMA
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"DROP {lost}")
    connection.close()
    before = contents(folder)
    with pytest.raises(errors.Integrity, match=lost.split()[1]) as caught:
        opened()
    assert "doctor --new-store" in caught.value.remedy and contents(folder) == before


def test_check_finds_what_does_not_fit_together(opened):
    store = opened()
    number = add(store, metadata="{", tags=["t"])
    store.begin()
    store.put_share(Share("session_7", "s", "u", 1, None))
    assert store.active_count() == 1
    store.commit()
    execute(store, "INSERT INTO session_tag (tag, number) VALUES ('x', 5)")
    execute(store, "UPDATE counted SET active = 9")
    assert store.check() == [
        "tag without session 5",
        "share without session session_7",
        "scope embedded counts 9 active sessions",
        f"session session_{number}: not JSON: {{",
    ]


# -- schema versions ---------------------------------------------------------------------------------------------------
def test_the_migrations_listed_are_the_files_there_are():
    assert sorted(os.listdir(os.path.join(os.path.dirname(files.__file__), "migrations"))) == sorted(files.MIGRATIONS)


def test_an_older_store_is_brought_up_to_date_with_its_sessions(opened, monkeypatch):
    first = opened()
    add(first)
    first.close()
    text = {"migrations/9999_more.sql": "CREATE TABLE more (x INTEGER) STRICT;"}
    monkeypatch.setattr(queries, "read", lambda folder, name, read=queries.read: text.get(name) or read(folder, name))
    monkeypatch.setattr(files, "MIGRATIONS", (*files.MIGRATIONS, "9999_more.sql"))
    store = opened()
    assert execute(store, "PRAGMA user_version") == [(len(files.MIGRATIONS),)]
    assert execute(store, "SELECT * FROM more") == []
    assert store.count(Query()) == 1


def test_a_migration_that_fails_leaves_the_store_as_it_was(opened, folder, monkeypatch):
    store = opened()
    add(store)
    store.close()
    text = {"migrations/9999_bad.sql": "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"}
    with monkeypatch.context() as patched:
        patched.setattr(queries, "read", lambda folder, name, read=queries.read: text.get(name) or read(folder, name))
        patched.setattr(files, "MIGRATIONS", (*files.MIGRATIONS, "9999_bad.sql"))
        with pytest.raises(errors.Integrity, match="nowhere"):
            opened()
    again = opened()
    assert execute(again, "SELECT name FROM sqlite_schema WHERE name = 'more'") == []
    assert again.count(Query()) == 1


def test_a_creation_that_fails_leaves_no_store(opened, folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(queries, "read", lambda folder, name: "CREATE nonsense;")
        with pytest.raises(errors.Unknown, match="syntax error"):
            opened()
    assert "sessions.db" not in os.listdir(folder)
    add(opened())


@pytest.mark.parametrize(
    "text", ["-- name: a\nSELECT 1", "x\n-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "x\n-- name: a\nSELECT 1"]
)
def test_a_malformed_query_file_is_noticed(text):
    with pytest.raises(ValueError, match="query 'a'"):
        queries.parse("\n" + text)


def test_named_queries_lose_their_comments():
    assert queries.parse("-- head\n\n-- name: a\n-- why\nSELECT 1\nFROM t;\n\n-- name: b\nSELECT 2;\n") == {
        "a": "SELECT 1 FROM t",
        "b": "SELECT 2",
    }
