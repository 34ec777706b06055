"""What the SQLite store's statements cost, as SQLite's own plans tell, and what its failures are translated to."""

import errno
import os
import sqlite3

import pytest

from plue_session import errors
from plue_session.adapters.sql import pages
from plue_session.adapters.sqlite import failures, files
from plue_session.adapters.sqlite.store import _PAGES, SqliteStore
from plue_session.model import Query
from tests.stores import add, execute, folder, opened, python  # noqa: F401


def plan(store, sql, values=()):
    return [row[3] for row in execute(store, "EXPLAIN QUERY PLAN " + sql, values)]


FILTERS = {
    "none": {},
    "all": dict(
        status=("active",),
        relay_state=("READY",),
        residency=("hot",),
        role="r",
        tags=("a", "b"),
        created_after=1,
        created_before=9,
        updated_after=1,
        updated_before=9,
        archived=False,
        text="x",
    ),
}


@pytest.mark.requirement("T-07")
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", pages.SORTS)
def test_a_page_walks_the_index_of_its_order_and_sorts_nothing(opened, sort, descending, filters):
    store = opened()
    column, index = pages.SORTS[sort]
    for after in (None, (5, 5)):
        steps = plan(
            store, *_PAGES.page(Query(sort=sort, descending=descending, after=after, **FILTERS[filters]), "embedded")
        )
        assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in steps), steps
        walks = [step for step in steps if " session " in step]
        assert all(f"INDEX {index} (scope=?" in step for step in walks), steps
        if after:  # the ties by their number, then the rest by its value
            assert any(f"{column}=? AND " in step and ("rowid" in step or "number" in step) for step in walks), steps
            assert any(f"{column}{'<' if descending else '>'}?" in step for step in walks), steps


@pytest.mark.requirement("T-07")
def test_a_page_costs_the_same_at_a_hundred_and_at_ten_thousand_sessions(opened):
    """Counted in SQLite's own steps, not in time: no machine is too busy for it."""
    store = opened()
    store.begin()
    cost, number = {}, 1000
    for size in (100, 10_000):
        while number < 1000 + size:
            store.insert(session_of(number))
            number += 1
        store.commit()
        for sort in pages.SORTS:
            for descending in (False, True):
                _, after = store.page(Query(sort=sort, descending=descending, limit=40))
                for place in (None, after):
                    cost.setdefault((sort, descending, place is None), []).append(
                        steps(
                            store,
                            *_PAGES.page(Query(sort=sort, descending=descending, limit=20, after=place), "embedded"),
                        )
                    )
        store.begin()
    store.rollback()
    for small, large in cost.values():
        assert large <= small * 1.2, cost


def session_of(number):
    from tests.stores import session

    return session(number, title=f"Title {number % 7}", updated=number * 7919 % 5003, artifact_count=number % 3)


def steps(store, sql, values):
    """Return how many tens of virtual machine steps a query takes."""
    connection, count = files.connect(store.path), [0]

    def tick():
        count[0] += 1

    connection.set_progress_handler(tick, 10)
    connection.execute(sql, values).fetchall()
    connection.close()
    return count[0]


def test_the_list_goes_by_one_index_and_sorts_nothing(opened):
    from plue_session.adapters.sqlite.store import _SQL

    steps = plan(opened(), _SQL["list"], ("embedded",))
    assert "SEARCH session USING INDEX session_created (scope=?)" in steps
    assert not [step for step in steps if "B-TREE" in step]


def test_no_statement_of_the_hot_path_scans_a_table(opened):
    from plue_session.adapters.sqlite.store import _SQL

    store = opened()
    for name in (
        "find",
        "id_of_key",
        "id_of_role",
        "id_of_token",
        "ids",
        "children",
        "info",
        "share",
        "events_after",
        "session_events_after",
        "state",
        "infos",
        "active_count",
        "erase_log",
        "erase_session",
        "drop_tag",
        "drop_share",
        "operation",
        "replace_operation",
        "retry_operation",
        "drop_operation",
        "drop_operations_of",
        "operations",
    ):
        numbered = [n for n in "1234" if f"?{n}" in _SQL[name]]
        values = (0,) * (len(numbered) or _SQL[name].count("?"))
        steps_of = plan(store, _SQL[name], values)
        assert not any("SCAN" in step or "TEMP" in step for step in steps_of), (name, steps_of)


#: Statements of turns that put what they return in order: what that is has few rows, or all are wanted.
SORTED = {"sessions_with_inputs", "read_turns", "read_open_turns", "asks", "read_asks", "read_ask_bodies", "open_asks"}


@pytest.mark.requirement("T-07")
def test_no_statement_of_turns_looks_at_more_than_it_returns(opened):
    """But for what goes through a partial index: that has what is open, and nothing else."""
    from plue_session.adapters.sql import queries
    from plue_session.adapters.sqlite.store import _SQL

    store = opened()
    names = queries.parse(queries.read(os.path.dirname(queries.__file__), "turns.sql"))
    assert len(names) > 40
    for name in names:
        numbered = [n for n in "123456" if f"?{n}" in _SQL[name]]
        values = (0,) * (int(max(numbered)) if numbered else _SQL[name].count("?"))
        steps_of = plan(store, _SQL[name], values)
        scans = [step for step in steps_of if step.startswith("SCAN") and "_open" not in step]
        assert not [step for step in scans if "CONSTANT ROW" not in step and "(subquery" not in step], (name, steps_of)
        assert name in SORTED or not any("TEMP" in step for step in steps_of), (name, steps_of)
    turns = plan(store, _SQL["turn_messages"], (0,) * 4), plan(store, _SQL["messages_of_turn"], (0,) * 2)
    assert all(any("message_turn (number=? AND turn_id=?)" in step for step in each) for each in turns), turns
    read = plan(store, _SQL["read_turn"], (0,) * 4)
    assert any("turn_id (number=? AND id=?)" in step for step in read), read
    assert any("turn_message (number=? AND message_id=?)" in step for step in read), read


# -- failures ----------------------------------------------------------------------------------------------------------
TEXTS = {
    "database disk image is malformed": errors.Integrity,
    "file is not a database": errors.Integrity,
    "database or disk is full": errors.StoreIo,
    "disk I/O error": errors.StoreIo,
    "unable to open database file": errors.StoreIo,
    "attempt to write a readonly database": errors.StoreIo,
    "database is locked": errors.Busy,
    "database table is locked": errors.Busy,
    "no such table: session": errors.Integrity,
    "table session has no column named imported": errors.Integrity,
    "Could not decode to UTF-8 column 'info' with text '\ufffd'": errors.Integrity,
    "Expression tree is too large (maximum depth 1000)": errors.Unknown,
}


@pytest.mark.parametrize("text", TEXTS)
def test_failures_are_told_by_their_text_where_python_has_no_code(text):
    failure = failures.translate(sqlite3.OperationalError(text), "/folder/sessions.db")
    assert type(failure) is TEXTS[text]
    assert "/folder/sessions.db" in failure.cause and failure.remedy


@pytest.mark.parametrize(
    "code, expected",
    [
        (11, errors.Integrity),
        (26, errors.Integrity),
        (267, errors.Integrity),
        (5, errors.Busy),
        (6, errors.Busy),
        (517, errors.Busy),
        (13, errors.StoreIo),
        (10, errors.StoreIo),
        (3338, errors.StoreIo),
        (14, errors.StoreIo),
        (8, errors.StoreIo),
        (7, errors.StoreIo),
        (1, errors.Unknown),
    ],
)
def test_failures_are_told_by_their_code_where_there_is_one(code, expected):
    error = sqlite3.DatabaseError("what it says")
    error.sqlite_errorcode = code
    assert type(failures.translate(error, "/sessions.db")) is expected


@pytest.mark.parametrize(
    "error, expected",
    [
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), errors.Closed),
        (sqlite3.ProgrammingError("Error binding parameter 1"), errors.Unknown),
        (sqlite3.InterfaceError("Error binding parameter 1"), errors.Unknown),
        (sqlite3.DataError("string or blob too big"), errors.LimitExceeded),
        (sqlite3.IntegrityError("NOT NULL constraint failed: session.title"), errors.AlreadyExists),
        (MemoryError(), errors.StoreIo),
    ],
)
def test_other_failures_have_their_own_errors(error, expected):
    assert type(failures.translate(error, "/sessions.db")) is expected


def test_a_share_id_taken_by_another_session_is_refused(opened):
    from plue_session.model import Share

    store = opened()
    store.begin()
    store.put_share(Share("session_1", "same", "u", 1, None))
    with pytest.raises(errors.AlreadyExists, match="share_id"):
        store.put_share(Share("session_2", "same", "u", 1, None))
    store.rollback()


def test_a_session_without_what_it_must_have_is_refused(opened):
    store = opened()
    with pytest.raises(errors.AlreadyExists, match="created"):
        add(store, created=None)
    store.rollback()


@pytest.mark.parametrize("place", ["file", "below a file", "/proc/plue"])
def test_a_folder_that_cannot_be_is_an_io_error_with_path_and_remedy(tmp_path, place):
    (tmp_path / "file").write_text("")
    path = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "data"}.get(place, place)
    with pytest.raises(errors.StoreIo) as raised:
        SqliteStore(str(path), "embedded")
    assert str(tmp_path / "file") in raised.value.cause or "/proc/plue" in raised.value.cause
    assert raised.value.remedy


def test_a_folder_in_the_place_of_the_database_is_an_io_error(opened, folder):
    os.makedirs(os.path.join(folder, "sessions.db"))
    with pytest.raises(errors.StoreIo, match="sessions.db"):
        opened()


@pytest.mark.parametrize("lock", ["sessions.lock", "store.lock"])
def test_a_lock_file_that_cannot_be_opened_is_an_io_error_and_leaks_nothing(opened, folder, lock):
    os.makedirs(os.path.join(folder, lock))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.StoreIo, match=lock):
        opened()
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_few_descriptors_are_an_io_error_that_says_so_at_each_stage(folder):
    code = """
import os, resource, sys
from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import Query
SqliteStore(sys.argv[1], "embedded").close()
free = len(os.listdir("/proc/self/fd")) - 1
for room in range(12):
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, 4096))
    try:
        store = SqliteStore(sys.argv[1], "embedded")
        store.begin()
        store.commit()
        store.count(Query())
        store.close()
        print("fine")
    except errors.StoreIo as error:
        print("Too many open files" in error.cause and sys.argv[1] in error.cause)
"""
    process = python(code, folder)
    lines = process.communicate()[0].split()
    assert process.returncode == 0
    assert lines[0] == "True" and lines[-1] == "fine"
    assert set(lines) == {"True", "fine"}


def test_files_that_may_not_grow_fail_the_change_and_lose_nothing(folder):
    code = """
import resource, sys
from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import Query
from tests.stores import add
store = SqliteStore(sys.argv[1], "embedded")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
stored = 0
try:
    while True:
        add(store, description="x" * 5000)
        stored += 1
except errors.StoreIo as error:
    store.rollback()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add(store)
assert store.count(Query()) == stored + 1 and stored > 3
assert store.check() == []
"""
    process = python(code, folder)
    process.communicate()
    assert process.returncode == 0


def test_a_reason_is_found_where_sqlite_gives_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    path, unable = str(tmp_path / "sessions.db"), sqlite3.OperationalError("unable to open database file")
    assert failures.translate(unable, path).cause.endswith("unable to open database file")
    (tmp_path / "sessions.db-wal").mkdir(mode=0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "sessions.db-wal is not readable and writable" in failures.translate(unable, path).cause
    monkeypatch.undo()
    monkeypatch.setattr(os, "open", refuse)
    found = failures.translate(unable, path)
    assert "Too many open files" in found.cause and "ulimit -n" in found.remedy
    assert isinstance(failures.translate(sqlite3.OperationalError("database is locked"), path), errors.Busy)
    assert [entry.name for entry in tmp_path.iterdir()] == ["sessions.db-wal"]
