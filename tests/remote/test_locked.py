"""Another process keeps the store locked, and does not end: nothing can be recorded, the server is well."""

import contextlib
import fcntl

import pytest

from tests.opencode.fixtures import soon
from tests.remote_world import until


@contextlib.contextmanager
def locked(host):
    with open(host.folder / "sessions.lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.requirement("P-150", "O-042")
def test_calls_end_in_time_and_say_why_and_leave_room_for_those_that_need_no_lock(hurried, client, title):
    untouched = hurried.create_with(title=title)
    sessions = [hurried.create_with(title=f"{title} {number}") for number in range(8)]
    with locked(hurried):
        for error in [each.failure() for each in [each.start("update_title", "renamed") for each in sessions]]:
            assert error.code == "BUSY" and "kept the store locked" in error.message or error.code == "TIMEOUT"
        assert untouched.info()["title"] == title
    theirs = [client.get(each.id, soon()).title for each in sessions]
    assert "renamed" in theirs
    until(lambda: [each.peek()["title"] for each in sessions] == theirs, 10)


@pytest.mark.requirement("T-01")
def test_an_abort_is_sent_all_the_same(hurried, client, turn, title):
    session = hurried.create_with(title=title)
    order = f"[wait] {title}"
    turn.begin(session.id, order)
    with locked(hurried):
        error = session.start("abort")
        assert turn.await_end(order) == "left"
        assert error.failure().code == "BUSY"
