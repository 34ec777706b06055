"""A store that any version has made is brought up to date whole or not at all, whoever else starts meanwhile, and loses
nothing."""

import os
import shutil
import sqlite3
import sys

import pytest

from plue_session import errors
from plue_session.adapters.sql import queries
from plue_session.adapters.sqlite import files
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import Ask, Input, LogRow, Message, Operation, Query, Session, Turn
from tests import support
from tests.stores import Forked, add, execute, folder, opened  # noqa: F401

#: The columns that a library of before names when it inserts a session.
INSERT = """INSERT INTO session (scope, number, id, updated, rev, info, key, parent_id, title, tags, metadata, created,
                                 version, status, aborted, backend, role, relay_state, relay_messages, relay_active,
                                 message_count, artifact_count, title_fold, search)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{"a":1}', 5, '0.1.0', ?, 0, 'embedded', ?, ?, 0, 7, 0, 0, ?, '')"""
TAIL = ',"timestamp":1,"data":{}}'


def record(number, title, rev, **fields):
    return Session(
        number=number,
        id=f"session_{number}",
        created=5,
        updated=number,
        version="0.1.0",
        title=title,
        metadata='{"a":1}',
        relay_active=7,
        rev=rev,
        info=f'{{"id":"session_{number}"}}',
        **fields,
    )


RECORDS = [
    record(1000, "Ä first\0", 1, key="k", tags=["t", "ü"], role="r", relay_state="READY"),
    record(1001, "child", 4, parent_id="session_1000", tags=["t"], status="suspended"),
    *(record(number, "x" * 3000, 0, status="completed") for number in range(1002, 1060)),
]


def values(each):
    return {name: getattr(each, name) for name in each.__slots__}


def old_row(each, scope="embedded"):
    tags = "[" + ",".join(f'"{tag}"' for tag in each.tags) + "]"
    return (
        scope,
        each.number,
        each.id,
        each.updated,
        each.rev,
        each.info,
        each.key,
        each.parent_id,
        each.title,
        tags,
        each.status,
        each.role,
        each.relay_state,
        each.title.casefold(),
    )


def script(name):
    return queries.read(files.FOLDER, f"migrations/{name}")


def old_store(folder, version=1):
    """Make a store of the first version, with a session that was erased and a log that was trimmed, and bring it up to
    `version` as the libraries did that came before the one after."""
    os.makedirs(folder, mode=0o700)
    with open(os.path.join(folder, "sessions.db"), "xb"):
        pass
    connection = sqlite3.connect(os.path.join(folder, "sessions.db"), isolation_level=None)
    connection.execute(f"PRAGMA application_id = {files.APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = wal")
    connection.executescript(f"BEGIN; {script(files.MIGRATIONS[0])} PRAGMA user_version = 1; COMMIT;")
    connection.execute("BEGIN")
    connection.executemany(INSERT, map(old_row, RECORDS))
    connection.execute(INSERT, old_row(record(2000, "erased", 0)))
    connection.execute("DELETE FROM session WHERE number = 2000")
    connection.executemany(
        "INSERT INTO session_tag (tag, number) VALUES (?, ?)", [("t", 1000), ("ü", 1000), ("t", 1001)]
    )
    connection.execute("INSERT INTO scope (name, active) VALUES ('embedded', 2)")
    connection.execute(
        "INSERT INTO share (scope, session_id, share_id, url, created) VALUES ('embedded', 'session_1000', 's', 'u', 9)"
    )
    connection.executemany(
        "INSERT INTO log (id, scope, session_id, kind, time, tail) VALUES (?, 'embedded', ?, 0, 1, ?)",
        [(3, "session_1000", TAIL), (4, "session_1001", TAIL), (5, None, TAIL)],
    )
    connection.execute("UPDATE meta SET value = 2 WHERE name = 'floor'")
    connection.execute("UPDATE meta SET value = 8 WHERE name = 'erased'")
    connection.execute("COMMIT")
    for number, name in enumerate(files.MIGRATIONS[1:version], 2):
        connection.executescript(f"BEGIN; {script(name)} PRAGMA user_version = {number}; COMMIT;")
    store_id = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()[0]
    connection.close()
    return store_id


@pytest.fixture
def store_id(folder):
    """The id of an old store, which lies in `folder`."""
    return old_store(folder)


def hold_nothing_lost(store, store_id):
    """Check that everything which `old_store` has put there is there as it was, and nothing else."""
    assert store.store_id == store_id
    assert store.check() == []
    assert store.log_state() == (2, 8)
    assert [(row.id, row.session_id, row.tail) for row in store.events_after(0, 99)] == [
        (3, "session_1000", TAIL),
        (4, "session_1001", TAIL),
        (5, None, TAIL),
    ]
    assert store.share("session_1000").share_id == "s"
    assert [store.count(query) for query in (Query(), Query(tags=("t",)), Query(tags=("ü",)), Query(text="ä fi"))] == [
        60,
        2,
        1,
        1,
    ]
    assert store.infos().decode() == ",".join(each.info for each in RECORDS)
    store.begin()
    assert [values(store.load(each.id)) for each in RECORDS] == list(map(values, RECORDS))
    assert (store.load_by_key("k").number, store.load_by_role("r").number, store.load_by_token("t")) == (
        1000,
        1000,
        None,
    )
    assert store.children("session_1000") == ["session_1001"]
    assert store.active_count() == 2
    assert store.next_number(7) == 2001
    store.rollback()


VERSIONS = pytest.mark.parametrize("version", range(1, len(files.MIGRATIONS)))


@pytest.mark.requirement("P-144")
@VERSIONS
def test_a_store_of_each_older_version_is_brought_up_to_date_and_loses_nothing(opened, folder, version):
    store_id = old_store(folder, version)
    assert files.inspect(os.path.join(folder, "sessions.db")) == version
    store = opened()
    assert files.inspect(store.path) == len(files.MIGRATIONS)
    hold_nothing_lost(store, store_id)
    hold_nothing_lost(opened(), store_id)


@VERSIONS
def test_an_old_store_has_the_same_schema_afterwards_as_a_new_one(opened, folder, tmp_path, version):
    old_store(folder, version)
    new = SqliteStore(str(tmp_path / "new"), "embedded")
    schemas = [
        execute(store, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
        for store in (opened(), new)
    ]
    new.close()
    assert schemas[0] == schemas[1] and len(schemas[0]) > 15


@VERSIONS
def test_old_sessions_take_what_is_new_as_new_ones_do(opened, folder, version):
    old_store(folder, version)
    store = opened()
    store.begin()
    found = store.load("session_1001")
    found.remote_updated, found.token, found.title_defended_at = 1, "t", 2
    found.unshare_pending, found.is_fork, found.imported = True, True, True
    store.save(found)
    store.put_operation(Operation(kind="unshare", session_id="session_1001", created=1, due=1))
    assert store.active_count() == 1
    store.append(LogRow(store.last_log_id() + 1, "session_1001", 1, 0, TAIL))
    store.commit()
    again = opened()
    again.begin()
    assert values(again.load_by_token("t")) == values(found)
    assert again.active_count() == 1
    assert again.children("session_1000") == []
    again.rollback()
    assert again.log_state() == (2, 9)
    assert [each.name for each in again.operations()] == ["session_1001"]
    assert again.check() == []


@pytest.mark.requirement("P-141")
@VERSIONS
def test_old_sessions_take_turns(opened, folder, version):
    old_store(folder, version)
    store = opened()
    store.begin()
    found = store.load("session_1001")
    assert found.turn is found.held_until is None
    found.turn, found.held_until = '{"turnId":"turn_1"}', 5
    store.save(found)
    store.add_input(Input(seq=10, number=1001, enqueued=1, content="{}"))
    store.add_turn(Turn(number=1001, id="turn_1", started=1))
    store.keep_message(Message(number=1001, id="msg_1", role="user", created=1))
    store.keep_ask(Ask(number=1001, id="per_1", kind="permission", body="{}", asked=1, deadline=2))
    store.commit()
    again = opened()
    assert values(again.read("session_1001")) == values(found)
    assert [each.seq for each in again.read_inputs("session_1001", 0)] == [10]
    assert again.sessions_with_inputs() == ["session_1001"]
    assert [each.id for each in again.read_turns("session_1001")] == ["turn_1"]
    assert len(again.read_messages("session_1001", 9)) == len(again.read_asks("session_1001", "permission")) == 1
    assert again.check() == []


def test_what_the_columns_held_before_they_were_renamed_is_there_under_the_new_names(opened, folder):
    old_store(folder, 4)
    connection = sqlite3.connect(os.path.join(folder, "sessions.db"))
    connection.execute("UPDATE session SET seen = 1, titled = 7, unshared = 1, forked = 1 WHERE number = 1001")
    connection.commit()
    connection.close()
    found = opened().read("session_1001")
    assert (found.imported, found.title_defended_at, found.unshare_pending, found.is_fork) == (True, 7, True, True)
    store = opened()
    assert [(each.op, each.session_id) for each in store.all_outgoing(9)] == [("unshare", "session_1001")]
    assert store.operations() == []
    plain = opened().read("session_1000")
    assert (plain.imported, plain.title_defended_at, plain.unshare_pending, plain.is_fork) == (
        False,
        None,
        False,
        False,
    )


# -- cut short ---------------------------------------------------------------------------------------------------------
OPEN = "import sys; from plue_session.adapters.sqlite.store import SqliteStore\n"
OPEN += "SqliteStore(sys.argv[1], 'embedded').close()"


@pytest.mark.requirement("P-144")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "ftruncate", "unlink", "flock"])
def test_a_migration_that_is_killed_at_any_system_call_is_done_by_the_next_start(folder, tmp_path, call):
    """The walk ends by itself: the how-manieth call is the last one, until a run is not killed. Of many calls not each
    is tried."""
    strace = shutil.which("strace")
    assert strace, "install strace: apt-get install strace"
    template = str(tmp_path / "template")
    paths = [
        part
        for name in ("sessions.db", "sessions.db-wal", "sessions.lock")
        for part in ("-P", os.path.join(folder, name))
    ]
    store_id, left, number = old_store(template), set(), 0
    while True:
        number += max(number // 8, 1)
        shutil.copytree(template, folder)
        done = support.run(
            [
                strace,
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                *paths,
                "-e",
                f"trace={call}",
                "-e",
                f"inject={call}:signal=SIGKILL:when={number}",
                sys.executable,
                "-S",
                "-c",
                OPEN,
                folder,
            ],
            cwd=support.ROOT,
            env={},
            code=None,
        )
        left.add(files.inspect(os.path.join(folder, "sessions.db")))
        store = SqliteStore(folder, "embedded")
        hold_nothing_lost(store, store_id)
        store.close()
        shutil.rmtree(folder)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.err
    assert number > 1, f"{call} was never called"
    assert left <= {1, len(files.MIGRATIONS)} and len(files.MIGRATIONS) in left
    if call == "pwrite64":
        assert left == {1, len(files.MIGRATIONS)}


@pytest.mark.requirement("P-144")
def test_a_migration_that_fails_at_any_statement_leaves_the_old_store_and_the_next_start_does_it(
    folder, store_id, monkeypatch
):
    failures, real = 0, files.connect
    for number in range(1, 200):
        said = []

        def refuse(*_, number=number, said=said):
            said.append(1)
            return sqlite3.SQLITE_DENY if len(said) == number else sqlite3.SQLITE_OK

        def watched(path, mode="rw", refuse=refuse):
            connection = real(path, mode)

            connection.set_authorizer(refuse)
            return connection

        try:
            with monkeypatch.context() as patched:
                patched.setattr(files, "connect", watched)
                files.migrate(os.path.join(folder, "sessions.db"), 1)
            break
        except errors.PlueError:
            failures += 1
            assert files.inspect(os.path.join(folder, "sessions.db")) == 1
    assert failures > 10
    store = SqliteStore(folder, "embedded")
    hold_nothing_lost(store, store_id)
    store.close()


# -- others at the same time -------------------------------------------------------------------------------------------
def test_of_processes_that_open_an_old_store_at_the_same_moment_one_brings_it_up_to_date(folder, store_id):
    real, (start_read, start_write) = files.migrate, os.pipe()

    def race(say):
        def tell(path, version):
            say(f"migrates from {version}")
            real(path, version)

        files.migrate = tell  # in this process only
        os.close(start_write)
        say("ready")
        os.read(start_read, 1)  # returns for all when the parent closes its end
        store = SqliteStore(folder, "embedded")
        assert store.count(Query(tags=("ü",))) == 1 and store.count(Query()) >= 60
        say(f"{store.store_id} {add(store)}")
        store.close()

    racers = [Forked(race) for _ in range(6)]
    for racer in racers:
        assert racer.lines.readline() == "ready\n"
    os.close(start_write)
    ended = [racer.wait() for racer in racers]
    os.close(start_read)
    assert [status for _, status in ended] == [0] * 6
    said = [line for lines, _ in ended for line in lines]
    assert [line for line in said if line.startswith("migrates")] == ["migrates from 1"]
    assert sorted(line for line in said if not line.startswith("migrates")) == [
        f"{store_id} {number}" for number in range(2001, 2007)
    ]
    store = SqliteStore(folder, "embedded")
    assert store.count(Query()) == 66 and store.check() == []
    store.close()


def test_a_process_with_the_library_of_before_goes_on_but_can_neither_create_nor_delete(opened, folder, store_id):
    """It would give numbers that are taken, and not say which it has erased: its commits of either kind miss a
    table."""
    old = sqlite3.connect(os.path.join(folder, "sessions.db"), isolation_level=None)
    old.execute("PRAGMA journal_mode = wal")
    assert old.execute("SELECT count(*) FROM session").fetchone() == (60,)
    store = opened()
    hold_nothing_lost(store, store_id)
    gained = "INSERT INTO scope (name, active) VALUES (?, ?) "
    gained += "ON CONFLICT (name) DO UPDATE SET active = active + excluded.active"
    for statement, values_of, gain in (
        (INSERT, old_row(record(3000, "of before", 0)), 1),
        ("DELETE FROM session WHERE number = ?", (1000,), -1),
    ):
        old.execute("BEGIN IMMEDIATE")
        old.execute(statement, values_of)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            old.execute(gained, ("embedded", gain))
        old.execute("ROLLBACK")
    old.execute("UPDATE session SET title = 'changed', title_fold = 'changed' WHERE number = 1001")
    old.close()
    store.begin()
    assert store.load("session_1001").title == "changed" and store.load("session_3000") is None
    assert store.active_count() == 2
    store.rollback()
    assert store.check() == []


def test_who_begins_to_read_before_the_migration_reads_on_and_does_not_hold_it_up(opened, folder, store_id):
    reader = sqlite3.connect(os.path.join(folder, "sessions.db"), isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM session").fetchone() == (60,)
    store = opened()
    add(store)
    assert reader.execute("SELECT count(*) FROM session").fetchone() == (60,)
    assert "imported" not in [row[1] for row in reader.execute("PRAGMA table_info(session)")]
    reader.close()
    assert store.count(Query()) == 61


# -- refused -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", [len(files.MIGRATIONS) + 1, 99])
def test_a_store_of_the_next_version_is_refused_untouched(opened, folder, version):
    store = opened()
    add(store)
    store.close()
    database = sqlite3.connect(store.path)
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with open(store.path, "rb") as file:
        before = file.read()
    for _ in range(2):
        with pytest.raises(
            errors.Unsupported,
            match=f"schema version {version}, this library knows versions up to {len(files.MIGRATIONS)}",
        ):
            opened()
    with open(store.path, "rb") as file:
        assert file.read() == before


@pytest.mark.requirement("P-147")
def test_an_old_store_that_is_damaged_is_refused_and_not_brought_up_to_date(opened, folder, store_id):
    path = os.path.join(folder, "sessions.db")
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
        file.seek(0)
        before = file.read()
    with pytest.raises(errors.Integrity, match="nothing was overwritten"):
        opened()
    with open(path, "rb") as file:
        assert file.read() == before
