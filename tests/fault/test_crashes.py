"""The host is killed at any moment: what was acknowledged is there, what was not is there whole or not at all.

SIGKILL comes at random times, and at each system call of a commit, one after the other (strace). It does not test the
disk: for that the log is cut and bent as a power failure would leave it. `make torture` kills a thousand times.
"""

import collections
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from plue_session.adapters.sqlite.store import SqliteStore
from tests import support

TORTURE = os.environ.get("PLUE_TORTURE") == "1"
KILLS = 1000 if TORTURE else 40
STEPS = 400 if TORTURE else 30
BENDS = 400 if TORTURE else 30


@pytest.fixture(scope="session")
def crasher():
    return support.library().compile(support.PROGRAMS / "crasher.c")


class Expected:
    """What must be stored: for each key its last acknowledged title (None: deleted), or what was under way when it
    ended."""

    def __init__(self):
        self.acknowledged = {}
        self.pending = {}

    def read(self, output):
        self.pending = {}
        for line in output.decode().splitlines(keepends=True):
            if not line.endswith("\n") or line.startswith("a 0 s"):
                continue
            kind, thread, what, key, value = line.split()
            if kind == "i":
                self.pending[thread] = key, None if what == "d" else value
            else:
                del self.pending[thread]
                self.acknowledged[key] = None if what == "d" else value

    def check(self, stored):
        """Compare, and take over how what was under way has ended."""
        pending = dict(self.pending.values())
        for key, title in self.acknowledged.items():
            allowed = {title, pending[key]} if key in pending else {title}
            assert stored.get(key) in allowed, (
                f"{key} is {stored.get(key)!r}, acknowledged was {title!r}, under way {pending.get(key, 'nothing')!r}"
            )
        strange = set(stored) - set(self.acknowledged) - set(pending)
        assert not strange, f"nobody made {strange}"
        for key in pending:
            assert stored.get(key) in (self.acknowledged.get(key), pending[key])
            self.acknowledged[key] = stored.get(key)


def stored(folder):
    """Open the store as the library does, see that it is sound in itself, and return title by key."""
    store = SqliteStore(str(folder), "embedded")
    try:
        assert store.check() == []
        infos = json.loads(b"[%b]" % store.infos())
        sound_log(folder)
        return {info["key"]: info["title"] for info in infos}
    finally:
        store.close()


def sound_log(folder):
    """Events and state are of one piece: each session's newest event is its revision, and nothing comes out of
    order."""
    with sqlite3.connect(f"file:{folder}/sessions.db?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT * FROM log ORDER BY id").fetchall()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(log)")]
        sessions = {row[0]: row[1:] for row in connection.execute("SELECT id, rev, title FROM session")}
        floor = connection.execute("SELECT count(*) FROM log").fetchone()[0]
    connection.close()
    assert floor == len(rows)
    events = [dict(zip(columns, row, strict=True)) for row in rows]
    by_session = collections.defaultdict(list)
    for event in events:
        by_session[event.get("session_id") or event.get("session")].append(event)
    for session_id, (revision, _) in sessions.items():
        own = by_session[session_id]
        assert own and own[-1]["id"] == revision, (
            f"{session_id}: revision {revision}, newest event {own and own[-1]['id']}"
        )
        assert [event["kind"] for event in own].count(2) == 0
    for session_id, own in by_session.items():
        if session_id not in sessions:
            assert [event["kind"] for event in own] == [2], f"{session_id} is gone, its events are not"
    ids = [event["id"] for event in events]
    assert ids == sorted(set(ids))


def run_and_kill(command, folder, after):
    """Let the program run for so long once it has started, kill it, and return what it printed."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=support.environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )  # what is buffered here would be lost to communicate()
    first = process.stdout.readline()
    time.sleep(after)  # the moment itself is what is random
    process.kill()
    rest, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, err.decode()
    return first + rest


@pytest.mark.requirement("P-071", "P-143", "P-144")
def test_kill_at_a_random_moment_loses_nothing_that_was_acknowledged(crasher, folder):
    expected, dice, acknowledged = Expected(), random.Random(20251120), 0
    for kill in range(KILLS):
        expected.read(run_and_kill([crasher, dice.choice((1, 4))], folder, dice.uniform(0.0, 0.06)))
        expected.check(stored(folder))
        acknowledged = len(expected.acknowledged)
        if kill % 50 == 49:  # so that checking stays cheap
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            expected = Expected()
    assert acknowledged > 40


@pytest.mark.requirement("P-143", "P-144", "L-082", "L-084")
def test_what_was_enqueued_is_there_after_a_kill_once_and_in_its_order(folder):
    """The first half of T-05: what becomes of it then is told by the tests of turns."""
    enqueuer = support.library().compile(support.PROGRAMS / "enqueuer.c")
    acknowledged, dice, total = {}, random.Random(20251129), 0
    for _ in range(KILLS // 4):
        first, *lines = run_and_kill([enqueuer, dice.choice((1, 16))], folder, dice.uniform(0.0, 0.08)).splitlines(True)
        known = first.decode().split(" ", 2)[2]
        check_queue(json.loads(known), acknowledged)
        last = {}
        for line in lines:
            if line.endswith(b"\n"):
                thread, name, input_id = line.decode().split()
                seq = int(input_id.removeprefix("input_"))
                assert seq > last.get(thread, 0), "the order of a thread's calls"
                last[thread] = acknowledged[name] = seq
                total += 1
        store = SqliteStore(str(folder), "embedded")
        rows = store.read_inputs(store.id_of_key("queue"), 0)
        assert store.check() == []
        store.close()
        check_queue([{"enqueueSeq": row.seq, "input": json.loads(row.content)} for row in rows], acknowledged)
        if len(rows) > 5000:
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            acknowledged = {}
    assert total > 100


def check_queue(queue, acknowledged):
    """What was acknowledged is in the queue once, and the queue in its order."""
    seqs = [each["enqueueSeq"] for each in queue]
    assert seqs == sorted(set(seqs))
    names = {each["input"]["text"]: each["enqueueSeq"] for each in queue}
    assert len(names) == len(queue), "one was enqueued twice"
    assert {name: names.get(name) for name in acknowledged} == acknowledged


@pytest.mark.requirement("P-071", "P-143", "P-144", "P-147")
def test_kill_at_each_system_call_of_a_start_and_a_few_commits(crasher, folder, tmp_path):
    """From the first file that is made: a store that is cut short in the making is made by the next start."""
    strace = shutil.which("strace")
    assert strace, "install strace: apt-get install strace"
    calls = "pwrite64,write,fdatasync,fsync,ftruncate,rename,unlink,openat,flock,fcntl,mkdir"
    trace = tmp_path / "trace"
    support.run(
        [strace, "-f", "-qq", "-o", trace, "-e", f"trace={calls}", crasher, 1, 12],
        env=support.environment(folder),
        cwd="/",
    )
    lines = trace.read_text().splitlines()
    # Each place where the store's files are touched: the how-manieth call of its kind it is.
    places, counts = [], collections.Counter()
    files = set()
    for line in lines:
        match = re.match(r"(\d+) +(\w+)\((?:(\d+)|AT_FDCWD, \"([^\"]*)\"|\"([^\"]*)\")", line)
        if not match:
            continue
        thread, name, fd, *paths = match.groups()
        counts[thread, name] += 1  # strace counts by thread too
        path = next((path for path in paths if path), "")
        if path.startswith(str(folder)):
            result = re.search(r"= (\d+)$", line)
            if name == "openat" and result:
                files.add(result.group(1))
            places.append((name, counts[thread, name]))
        elif fd in files and name != "fcntl":
            places.append((name, counts[thread, name]))
    assert len(places) > STEPS / 4, lines[-40:]
    shutil.rmtree(folder)
    dice, killed = random.Random(7), 0
    places = list(dict.fromkeys(places))
    for name, number in sorted(dice.sample(places, min(STEPS, len(places))), key=places.index):
        folder.mkdir(mode=0o700)
        expected = Expected()
        done = support.run(
            [
                strace,
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={name}",
                "-e",
                f"inject={name}:signal=SIGKILL:when={number}",
                crasher,
                1,
                12,
            ],
            env=support.environment(folder),
            cwd="/",
            code=None,
        )
        expected.read(done.stdout)
        killed += done.returncode != 0
        if (folder / "sessions.db").exists():
            expected.check(stored(folder))
        else:
            assert not expected.acknowledged
        again = support.run([crasher, 1, 5], env=support.environment(folder))  # and the next start needs no help
        expected.read(again.stdout)
        expected.check(stored(folder))
        assert not (folder / "sessions.db.new").exists()
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    assert killed > min(STEPS, len(places)) / 2


@pytest.mark.requirement("P-144", "P-147")
def test_log_that_a_power_failure_cut_or_bent_opens_at_an_earlier_whole_state(crasher, folder, tmp_path):
    output = run_and_kill([crasher, 2], folder, 0.3)
    wal = (folder / "sessions.db-wal").read_bytes()
    database = (folder / "sessions.db").read_bytes()
    assert len(wal) > 50_000
    # Every state that ever was: by thread, in order of the acknowledgements.
    states = collections.defaultdict(lambda: [None])
    for line in output.decode().splitlines():
        parts = line.split()
        if len(parts) == 5 and parts[2] in "cud":
            value = None if parts[2] == "d" else parts[4]
            if value not in states[parts[3]]:
                states[parts[3]].append(value)
    dice = random.Random(11)
    reached = set()
    for bend in range(BENDS):
        copy = tmp_path / f"copy{bend}"
        copy.mkdir(mode=0o700)
        at = dice.randrange(32, len(wal))
        bent = wal[:at] if bend % 2 else wal[:at] + bytes([wal[at] ^ 1 << dice.randrange(8)]) + wal[at + 1 :]
        (copy / "sessions.db").write_bytes(database)
        (copy / "sessions.db-wal").write_bytes(bent)
        for key, title in stored(copy).items():
            assert title in states[key], f"{key} was never {title!r}"
        reached.add(len(stored(copy)))
        shutil.rmtree(copy)
    assert reached


@pytest.mark.requirement("P-143")
def test_each_commit_is_on_the_disk_before_its_call_returns(crasher, folder, tmp_path):
    """SIGKILL cannot show it: the system keeps what a process has written. So the order of the system calls is looked
    at."""
    trace = tmp_path / "trace"
    support.run(
        [
            shutil.which("strace"),
            "-f",
            "-qq",
            "-y",
            "-o",
            trace,
            "-e",
            "trace=pwrite64,write,fdatasync,fsync",
            crasher,
            1,
            20,
        ],
        env=support.environment(folder),
        cwd="/",
    )
    dirty, acknowledged = False, 0
    for line in trace.read_text().splitlines():
        if "pwrite64" in line and "sessions.db-wal" in line:
            dirty = True
        elif (
            re.search(r"\b(fdatasync|fsync)\(", line)
            and "sessions.db-wal" in line
            or re.search(r"<\.\.\. (fdatasync|fsync) resumed", line)
        ):
            dirty = False
        elif "write(1<" in line and '"a 0 ' in line and " s started" not in line:
            acknowledged += 1
            assert not dirty, f"acknowledged before it was synced: {line}"
    assert acknowledged == 20
