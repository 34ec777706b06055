"""Pending operations in the SQLite store: they survive the process, and cost nothing while there are none."""

import os
import signal
import sqlite3
import time

import pytest

from plue_session.model import Operation
from tests.stores import Forked, add, change, connected, folder, opened  # noqa: F401


def operation(kind="update", session_id="session_1", **fields):
    return Operation(kind=kind, session_id=session_id, created=1, due=1, **fields)


def put(store, *operations):
    store.begin()
    ids = [store.put_operation(each) for each in operations]
    store.commit()
    return ids


@pytest.mark.requirement("P-144")
def test_one_that_is_committed_survives_a_kill_and_one_that_is_not_does_not(opened, folder):
    opened().close()

    def work(say):
        from plue_session.adapters.sqlite.store import SqliteStore

        store = SqliteStore(folder, "embedded")
        put(store, operation(arguments='"kept"'), operation("tried"))
        store.begin()
        store.retry_operation(store.operation("tried", "session_1").id, 70)
        store.commit()
        store.begin()
        store.put_operation(operation("lost"))
        store.drop_operation("update", "session_1")
        say("committed")
        time.sleep(60)

    child = Forked(work)
    assert child.lines.readline() == "committed\n"
    child.kill()
    assert child.wait()[1] == -signal.SIGKILL
    found = [(each.kind, each.arguments, each.tries, each.due) for each in opened().operations()]
    assert found == [("update", '"kept"', 0, 1), ("tried", "{}", 1, 70)]


def test_no_id_comes_twice_also_when_all_are_gone_and_the_store_is_opened_anew(opened):
    store = opened()
    ids = put(store, operation(), operation("delete"))
    store.begin()
    store.drop_operations_of("session_1")
    store.commit()
    store.close()
    assert put(opened(), operation())[0] > max(ids)


def test_a_store_without_any_writes_no_more_than_one_without_the_table(opened, folder, connected):
    """What ends operations is called in each change that has to do with a server; the log grows by nothing."""
    store = opened()
    store.begin()
    seen = []
    for each in connected:
        each.set_trace_callback(seen.append)
    store.commit()
    number = add(store)
    change(store, number, title="other")
    store.begin()
    store.erase(f"session_{number}")
    store.commit()
    assert len(seen) > 10 and not [statement for statement in seen if "operation" in statement]
    for each in connected:
        each.set_trace_callback(None)
    before = os.stat(os.path.join(folder, "sessions.db-wal")).st_size
    store.begin()
    store.operation("update", "session_1")
    store.retry_operation(1, 1)
    store.drop_operation("update", "session_1")
    store.drop_operations_of("session_1")
    store.commit()
    assert os.stat(os.path.join(folder, "sessions.db-wal")).st_size == before


def test_arguments_that_are_not_json_are_found(opened):
    store = opened()
    put(store, operation())
    assert store.check() == []
    connection = sqlite3.connect(store.path)
    connection.execute("UPDATE operation SET arguments = 'broken'")
    connection.commit()
    connection.close()
    assert store.check() == ["operation 1: not JSON: broken"]
