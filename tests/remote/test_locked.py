"""Another process keeps the store locked, and does not end: nothing can be recorded, the server is well."""

import contextlib
import fcntl
import json
import sqlite3

import pytest

from tests.opencode.fixtures import soon
from tests.remote.hosts import Failed
from tests.remote_world import until


@contextlib.contextmanager
def locked(host):
    with open(host.folder / "sessions.lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def begun(connected):
    """`begun(ms)` starts a host of the test's own whose calls may take so long."""

    def start(ms):
        host = connected(syncIntervalMs=600_000, requestTimeoutMs=ms)
        host.await_stream()
        host.call("session_sync", 10_000)
        return host

    return start


# -- calls -------------------------------------------------------------------------------------------------------------
def test_a_call_ends_in_time_and_says_why_and_what_the_server_did_is_recorded_later(hurried, client, title):
    session = hurried.create_with(title=title)
    with locked(hurried):
        error = session.start("update_title", "renamed").failure()
        assert error.code == "BUSY" and "kept the store locked" in error.message
        assert client.get(session.id, soon()).title == "renamed" and session.peek()["title"] == title
    until(lambda: session.peek()["title"] == "renamed", 10)


def test_as_many_as_there_are_threads_leave_them_to_who_needs_no_lock(hurried, client, title):
    untouched = hurried.create_with(title=title)
    sessions = [hurried.create_with(title=f"{title} {number}") for number in range(8)]
    with locked(hurried):
        for call in [each.start("update_title", "renamed") for each in sessions]:
            assert call.failure().code in ("BUSY", "TIMEOUT")  # those that found no thread
        assert untouched.info()["title"] == title
    theirs = [client.get(each.id, soon()).title for each in sessions]
    assert "renamed" in theirs
    until(lambda: [each.peek()["title"] for each in sessions] == theirs, 10)


def test_to_read_what_is_no_more_or_has_changed_keeps_no_thread(hurried, client, title):
    untouched, changed = hurried.create_with(title=title), hurried.create_with(title=f"{title} too")
    gone = [hurried.create_with(title=f"{title} {number}") for number in range(6)]
    with locked(hurried):
        for each in gone:
            client.delete(each.id, soon())
        client.update(changed.id, soon(), title="theirs")
        calls = [each.start("get_info") for each in gone] + [hurried.start("session_list")] * 2
        for call in calls:
            with contextlib.suppress(Failed):
                call.result()
        assert untouched.info()["title"] == title
    until(lambda: changed.peek()["title"] == "theirs", 10)
    until(lambda: all(each.fails("get_info").code == "NOT_FOUND" for each in gone), 10)


# -- what was made -----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-071")
def test_what_was_made_and_cannot_be_recorded_is_deleted_at_once(begun, client, title):
    host = begun(2_000)
    source = host.create_with(title=title)
    source_id = source.id
    with locked(host):
        calls = [host.start("session_create_with", json.dumps({"title": title})), source.start("fork", None)]
        assert {call.failure().code for call in calls} <= {"BUSY", "TIMEOUT"}  # the latter on a busy machine
        host.call("shutdown")
        assert [each.id for each in client.list(soon()) if each.title.startswith(title)] == [source_id]


def test_a_start_does_not_wait_to_forget_what_is_a_day_old(begun):
    host = begun(2_000)
    host.create()
    host.call("shutdown")
    with sqlite3.connect(host.folder / "sessions.db") as store:
        store.execute(
            "INSERT INTO operation (scope, kind, subject, arguments, created, due, tries) "
            "SELECT scope, 'tried', 'a token', '{}', 1, 1, 0 FROM session LIMIT 1"
        )
    store.close()
    with locked(host):
        host.call("init", host.config)
        host.call("shutdown")


# -- aborts ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-01", "P-065")
@pytest.mark.parametrize("ms", [500, 6_000])
def test_an_abort_is_sent_all_the_same_and_its_flag_follows(begun, turn, title, ms):
    host = begun(ms)
    session, order = host.create_with(title=title), f"[wait] {title}"
    turn.begin(session.id, order)
    mark = host.proxy.mark()
    with locked(host):
        for _ in range(20):  # half a second may be too little for a busy machine
            assert session.start("abort").failure().code in ("BUSY", "TIMEOUT")
            if any(each.endswith("/abort") for each in host.proxy.since(mark)):
                break
        assert turn.await_end(order) == "left"
    until(lambda: session.peek()["aborted"], 10)


@pytest.mark.requirement("T-01")
def test_more_aborts_than_there_are_threads_all_reach_the_server(begun, turn, title):
    host = begun(30_000)  # each ends as soon as it is sent, a few at a time
    sessions = [host.create_with(title=f"{title} {number}") for number in range(20)]
    for session in sessions:
        turn.begin(session.id, f"[wait] {session.id}")
    mark = host.proxy.mark()
    with locked(host):
        for call in [each.start("abort") for each in sessions]:
            assert call.failure().code in ("BUSY", "TIMEOUT")
        assert len({each for each in host.proxy.since(mark) if each.endswith("/abort")}) == 20
