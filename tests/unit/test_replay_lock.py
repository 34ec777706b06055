"""Of all processes on a store, and of all stores in one, one replays."""

import contextlib
import os
import subprocess
import sys

import pytest

from plue_session.adapters.sqlite.store import SqliteStore

HOLDER = """
import sys, time
from plue_session.adapters.sqlite.replay_lock import ReplayLock
lock = ReplayLock(sys.argv[1])
print(lock.take("scope"), flush=True)
sys.stdin.read()
"""


@pytest.mark.requirement("P-173")
def test_another_process_has_to_wait_and_comes_next_when_the_first_is_killed(tmp_path):
    with contextlib.closing(SqliteStore(str(tmp_path), "scope")) as store:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout.readline() == b"True\n"
            assert not store.begin_replay()
            with contextlib.closing(SqliteStore(str(tmp_path), "other")) as other:
                assert other.begin_replay()
            holder.kill()
        assert store.begin_replay()


def test_two_stores_in_one_process_do_not_both_replay_and_closing_lets_the_other(tmp_path):
    first, second = SqliteStore(str(tmp_path), "scope"), SqliteStore(str(tmp_path), "scope")
    assert first.begin_replay() and not second.begin_replay()
    second.end_replay()
    second.close()
    third = SqliteStore(str(tmp_path), "scope")
    assert not third.begin_replay()
    first.close()
    assert third.begin_replay()
    third.close()
    assert os.stat(tmp_path / "outbox.lock").st_mode & 0o777 == 0o600
