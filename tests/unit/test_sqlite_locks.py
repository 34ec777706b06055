"""The SQLite store among others: the write lock, foreign locks, full disks, and kills."""

import fcntl
import os
import shutil
import sqlite3
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sqlite import files
from plue_session.adapters.sqlite import store as store_module
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import LogRow, Query, Share
from plue_session.services.writer import TRIM_EVERY, Writer
from tests.recording import RecordingPublisher
from tests.stores import Forked, add, change, connected, execute, folder, opened, python, session  # noqa: F401


# -- the write lock ----------------------------------------------------------------------------------------------------
def waiting(path):
    """Wait until somebody waits for the lock on `path`, as /proc/locks tells."""
    inode = f":{os.stat(path).st_ino} "
    while True:
        with open("/proc/locks") as file:
            if any("->" in line and inode in line for line in file):
                return


def test_a_store_closed_while_it_waits_for_its_turn_writes_nothing(opened, folder):
    first, second = opened(), opened()
    first.begin()
    outcome = []

    def attempt():
        try:
            add(second)
        except errors.PlueError as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    waiting(os.path.join(folder, "sessions.lock"))
    second.close()
    first.rollback()
    thread.join()
    assert isinstance(outcome[0], errors.Closed)
    assert second.lock_fds() == []
    assert first.count(Query()) == 0
    add(first)


def test_a_writer_forgets_what_it_knew_when_another_store_has_written(opened):
    one, two = opened(), opened()
    number = add(one, title="One")
    change(two, number, title="Two")
    one.begin()
    assert one.load(f"session_{number}").title == "Two"
    one.rollback()
    two.begin()
    two.erase(f"session_{number}")
    two.append(LogRow(two.last_log_id() + 1, None, 2, 0, ",}"))
    assert two.active_count() == 0
    two.commit()
    one.begin()
    assert one.load(f"session_{number}") is None
    assert one.last_log_id() == 2
    assert one.active_count() == 0
    assert one.next_number(0) == number + 1
    one.rollback()


def test_the_rows_kept_in_mind_are_bounded(opened, monkeypatch):
    monkeypatch.setattr(store_module, "KNOWN_ROWS", 3)
    store = opened()
    for _ in range(8):
        add(store)
    store.begin()
    for number in range(1000, 1008):
        assert store.load(f"session_{number}").number == number
    store.commit()
    store.begin()
    assert len(store._rows) <= 3  # memory that nothing else shows
    store.rollback()


@pytest.mark.requirement("P-160")
def test_a_lock_of_a_foreign_tool_is_waited_for(opened):
    store = opened()
    foreign = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.05, foreign.rollback)
    timer.start()
    add(store)
    timer.join()
    foreign.close()
    assert store.count(Query()) == 1


@pytest.mark.requirement("P-160")
def test_a_lock_that_a_foreign_tool_never_releases_is_busy_and_the_turn_passes_on(opened, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    store, other = opened(), opened()
    foreign = sqlite3.connect(store.path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    for each in (store, other, store):
        with pytest.raises(errors.Busy) as raised:
            each.begin()
        assert raised.value.retryable and store.path in raised.value.cause
    foreign.close()
    add(store)
    add(other)


@pytest.mark.requirement("P-144")
def test_a_full_disk_fails_the_change_and_leaves_the_store_whole(opened, connected):
    store, mine, other = opened(), connected.copy(), opened()
    number = add(store)
    (size,) = execute(store, "PRAGMA page_count")[0]
    for each in mine:
        each.execute(f"PRAGMA max_page_count = {size}")
    store.begin()
    with pytest.raises(errors.StoreIo, match="full") as raised:
        store.append(LogRow(store.last_log_id() + 1, f"session_{number}", 1, 0, "x" * 100_000))
    assert raised.value.remedy
    store.rollback()
    add(other)
    for each in mine:
        each.execute("PRAGMA max_page_count = 1000000")
    add(store)
    assert store.count(Query()) == 3
    assert store.check() == []


class Sabotage:
    """Fails a statement on the connections of a store, after a ROLLBACK if asked to, until it is undone."""

    def __init__(self, connections, statement, end_transaction=False, error=None):
        self.real = {each: each.answer for each in connections}
        error = error or sqlite3.OperationalError("disk I/O error")
        for each, real in self.real.items():

            def answer(sql, values=(), execute=real):
                if sql.startswith(statement):
                    if end_transaction:
                        execute("ROLLBACK")
                    raise error
                return execute(sql, values)

            each.answer = answer

    def undo(self):
        for each, real in self.real.items():
            each.answer = real


@pytest.mark.requirement("P-144")
@pytest.mark.parametrize("ended", [True, False])
def test_a_commit_that_fails_is_rolled_back_and_the_lock_passes_on(opened, connected, ended):
    store, mine, other = opened(), connected.copy(), opened()
    number = add(store, title="Before")
    sabotage = Sabotage(mine, "COMMIT", ended)
    with pytest.raises(errors.StoreIo):
        change(store, number, title="After")
    sabotage.undo()
    change(other, number, description="Theirs")
    store.begin()
    found = store.load(f"session_{number}")
    assert (found.title, found.description) == ("Before", "Theirs")
    store.rollback()


def test_when_sqlite_drops_the_whole_transaction_nothing_more_of_it_runs(opened, connected):
    store = opened()
    add(store)
    sabotage = Sabotage(connected, "INSERT INTO log", True, MemoryError())
    store.begin()
    store.savepoint()
    with pytest.raises(errors.StoreIo, match="memory"):
        store.append(LogRow(store.last_log_id() + 1, None, 0, 0, ",}"))
    sabotage.undo()
    with pytest.raises(errors.StoreIo, match="memory"):
        store.undo()
    with pytest.raises(errors.StoreIo, match="memory"):
        store.commit()
    add(store)
    assert store.count(Query()) == 2


@pytest.mark.requirement("P-144")
def test_nothing_of_a_group_is_kept_when_sqlite_drops_its_transaction_before_it_has_written(opened, connected):
    store, mine = opened(), connected.copy()
    number = add(store)
    writer = Writer(store, RecordingPublisher(), lambda: 1)
    sabotage = Sabotage(mine, "INSERT INTO log", True)

    def lost(transaction):
        transaction.emit("log", None, {})

    def neighbour(transaction):
        transaction.store.put_share(Share(f"session_{number}", "share", "url", 1, None))

    assert all(isinstance(outcome, errors.StoreIo) for outcome in writer.run_all([lost, neighbour]))
    sabotage.undo()
    assert store.share(f"session_{number}") is None
    writer.run(neighbour)
    assert store.share(f"session_{number}").share_id == "share"


def test_a_rollback_that_sqlite_complains_of_still_releases_the_lock(opened, connected):
    store, mine, other = opened(), connected.copy(), opened()
    store.begin()
    sabotage = Sabotage(mine, "ROLLBACK", True)
    store.rollback()
    sabotage.undo()
    add(other)
    add(store)


@pytest.mark.parametrize("statement", ["PRAGMA data_version", "BEGIN"])
def test_a_transaction_that_cannot_begin_gives_the_lock_back(opened, connected, statement):
    store, mine, other = opened(), connected.copy(), opened()
    sabotage = Sabotage(mine, statement)
    with pytest.raises(errors.StoreIo):
        store.begin()
    sabotage.undo()
    add(other)
    add(store)


def test_a_lock_that_the_system_refuses_is_an_io_error(opened, monkeypatch):
    store = opened()

    def refuse(*_):
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr(files.Locks, "lock_writing", refuse)
        with pytest.raises(errors.StoreIo, match="No locks available"):
            store.begin()
    add(store)


# -- other processes ---------------------------------------------------------------------------------------------------
WRITER = """
import sys
from plue_session.adapters.sqlite.store import SqliteStore
from tests.stores import add
store = SqliteStore(sys.argv[1], "embedded")
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.requirement("P-042")
def test_numbers_are_unique_across_processes_and_none_starves(opened, folder):
    code = (
        WRITER
        + """
import os, threading
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
numbers = []
while not done.is_set():
    numbers.append(add(store, 1_700_000_000_000))
store.close()
print(*numbers)
"""
    )
    store = opened()
    writers = [python(code, folder) for _ in range(4)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    while store.count(Query()) < 2400:  # for as long that who comes first has no lead worth the name
        store.events_after(store.log_state()[1], 10)
    for writer in writers:
        writer.stdin.close()
    shares = [[int(number) for number in writer.stdout.read().split()] for writer in writers]
    assert [writer.wait() for writer in writers] == [0] * 4
    everything = sorted(number for share in shares for number in share)
    assert everything == list(range(1_700_000_000_000, 1_700_000_000_000 + len(everything)))
    assert store.count(Query()) == store.log_state()[1] == len(everything)
    assert min(map(len, shares)) * 20 >= max(map(len, shares)), list(map(len, shares))  # 57 times, without the lock
    assert store.check() == []


def test_a_second_process_sees_what_the_first_has_committed(opened, folder):
    store = opened()
    number = add(store, title="From here")
    other = python(
        WRITER
        + """
store.begin()
found = store.load(sys.argv[2])
found.title += ", and there"
store.save(found)
store.commit()
store.close()
""",
        folder,
        f"session_{number}",
    )
    assert other.stdout.readline() == "ready\n"
    change(store, number, title="From here again")
    other.communicate("go\n")
    assert other.returncode == 0
    store.begin()
    assert store.load(f"session_{number}").title == "From here again, and there"
    store.rollback()


def test_processes_that_create_the_store_at_the_same_moment_all_succeed(folder):
    start_read, start_write = os.pipe()

    def race(say):
        os.close(start_write)
        say("ready")
        os.read(start_read, 1)  # returns for all when the parent closes its end
        store = SqliteStore(folder, "embedded")
        say(f"{store.store_id} {add(store)}")
        store.close()

    racers = [Forked(race) for _ in range(6)]
    for racer in racers:
        assert racer.lines.readline() == "ready\n"
    os.close(start_write)
    ended = [racer.wait() for racer in racers]
    os.close(start_read)
    assert [status for _, status in ended] == [0] * 6
    answers = [said[0].split() for said, _ in ended]
    assert len({store_id for store_id, _ in answers}) == 1
    assert sorted(int(number) for _, number in answers) == list(range(1000, 1006))


@pytest.mark.requirement("P-144")
def test_what_was_acknowledged_survives_sigkill_in_the_middle_of_commits(opened, folder):
    """Each commit writes two sessions and an event: a kill leaves both or none, and nothing acknowledged is lost."""

    def write(say):
        store = SqliteStore(folder, "embedded")
        while True:
            store.begin()
            number = store.next_number(1000)
            store.insert(session(number))
            store.insert(session(number + 1))
            store.append(LogRow(store.last_log_id() + 1, f"session_{number}", 0, 0, ",}"))
            store.commit()
            say(number)

    acknowledged = set()
    for kill in range(20):
        victim = Forked(write)
        acknowledged.update(int(victim.lines.readline()) for _ in range(1 + kill % 8))
        victim.kill()
        rest, status = victim.wait()
        acknowledged.update(map(int, rest))
        assert status == -9
    store = opened()
    stored = [number for (number,) in execute(store, "SELECT number FROM session ORDER BY number")]
    assert stored == list(range(1000, 1000 + len(stored)))
    assert len(stored) % 2 == 0
    assert acknowledged <= set(stored[::2])
    assert [int(row.session_id[8:]) for row in store.events_after(0, 100_000)] == stored[::2]
    assert store.check() == []


def test_what_would_be_written_into_a_removed_folder_is_refused(opened, folder):
    store = opened()
    add(store)
    shutil.rmtree(folder)
    with pytest.raises(errors.StoreIo, match="was removed"):
        add(store)


def test_what_others_would_not_hear_of_is_refused_their_lock_file_is_another_one(opened, folder):
    store = opened()
    add(store)
    os.unlink(os.path.join(folder, files.WRITE_LOCK))
    add(opened())
    with pytest.raises(errors.StoreIo, match="was removed"):
        add(store)


@pytest.mark.requirement("T-09", "X-007")
def test_a_start_does_not_wait_for_ever_for_whoever_holds_the_lock(folder, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    os.mkdir(folder)
    holder = os.open(os.path.join(folder, "sessions.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(errors.Busy, match="sessions.lock is locked: another process writes"):
        SqliteStore(folder, "embedded")
    os.close(holder)
    assert not [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}").startswith(folder)]
    SqliteStore(folder, "embedded").close()


def test_rows_of_another_scope_are_passed_over_once(opened):
    """Else an idle process reads them all again whenever there is one more, and their trimming looks to it like a loss
    of its own."""
    mine, theirs, told = opened("embedded"), opened("opencode http://x /p"), RecordingPublisher()
    writer, others = Writer(mine, told, lambda: 1000), Writer(theirs, RecordingPublisher(), lambda: 1000, 2, 120_000)
    others.run(lambda transaction: transaction.insert(session(1)))
    writer.catch_up()
    assert told.calls == [("skip", 1)] and writer.published == 1
    for number in range(TRIM_EVERY):
        others.run(
            lambda transaction, number=number: transaction.save(
                transaction.load("session_1"), "session.updated", {"n": number}
            )
        )
    assert theirs.log_state()[0] > 1 and mine.log_state()[0] == 0
    writer.catch_up()
    assert told.calls == [("skip", 1), ("skip", 1 + TRIM_EVERY)]
    writer.run(lambda transaction: transaction.insert(session(2)))
    assert [kind for kind, _ in told.events()] == ["session.created"] and writer.published == 2 + TRIM_EVERY
