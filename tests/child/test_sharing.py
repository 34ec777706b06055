"""Processes that want the same command have one, whoever comes first, goes first or is killed at whatever moment."""

import contextlib
import json
import os
import queue
import random
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plue_session.adapters.child.child import Child
from plue_session.adapters.child.guard import Command, Guarded
from plue_session.adapters.child.share import Share
from plue_session.errors import StoreIo
from tests.opencode.fixtures import ROOT, soon
from tests.robust.host import alive, eventually

TIMES = 60 if os.environ.get("PLUE_TORTURE") else 8
#: Says which process it is, and leaves a line for each time that it was started.
SERVES = 'echo $$ >> starts; echo "it is $$"; exec sleep 300'
PROGRAM = Path(__file__).parent / "user.py"


class User:
    """A process that uses the command `script`, shared in `folder`."""

    def __init__(self, guard, folder, script=SERVES, name="server-1", where=None):
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, guard, str(folder), name, script, str(where or folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.pid, self._said = self._process.pid, queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self._said.put(json.loads(line))

    def next(self, word, seconds=20):
        """Return the next thing of the kind that it tells; what comes before is passed over."""
        until = time.monotonic() + seconds
        while word not in (said := self._said.get(timeout=max(until - time.monotonic(), 0.01))):
            pass
        return said

    def back(self, before):
        """Wait until it has another command than the process `before`, and return that."""
        until = time.monotonic() + 20
        while (said := self.next("changed", until - time.monotonic()))["pid"] in (None, before):
            pass
        return said

    def tell(self, word):
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def user(guard, tmp_path):
    """`user(…)` starts one. At the end all are killed, and nothing of the command and its guards may be left."""
    made, folders, before = [], {tmp_path}, guards(guard)  # an earlier test's may go with its garbage

    def begin(folder=tmp_path, **more):
        folders.add(more.get("where") or folder)
        made.append(User(guard, folder, **more))
        return made[-1]

    yield begin
    for each in made:
        with contextlib.suppress(OSError):
            each.kill()
    ours = guards(guard) - before
    assert eventually(lambda: not any(alive(pid) for folder in folders for pid in starts(folder)), 10)
    assert eventually(lambda: not any(map(alive, ours)), 30)
    assert not [name for folder in folders for name in os.listdir(folder) if name.startswith("server-")]


def guards(program):
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_guard(int(pid), program)}


def is_guard(pid, program):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == program.encode()
    except OSError:
        return False


def starts(folder):
    """Return the process ids of the commands that were started."""
    try:
        return [int(line) for line in (Path(folder) / "starts").read_text().split()]
    except FileNotFoundError:
        return []


def guard_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def together(*actions):
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


# -- one for all -------------------------------------------------------------------------------------------------------
def test_a_second_process_uses_the_command_of_the_first(user, tmp_path):
    first = user()
    ready = first.next("ready")
    second = user()
    assert second.next("ready") == ready and starts(tmp_path) == [ready["pid"]]


def test_its_files_are_the_owners_alone_and_say_how_it_is(user, tmp_path):
    mask = os.umask(0)
    try:
        first = user()
    finally:
        os.umask(mask)
    ready = first.next("ready")
    there = {path.name: path for path in tmp_path.iterdir() if path.name.startswith("server-")}
    assert set(there) == {"server-1.json", "server-1.socket"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in there.values()} == {0o600}
    assert eventually(lambda: there["server-1.json"].read_text() == ready["ready"] + "\n")
    assert Share(tmp_path, "server-1").read() == ready["ready"] + "\n" and Share(tmp_path, "server-2").read() == ""
    first.tell("stop")
    first.next("stopped")
    assert not [path for path in there.values() if path.exists()]


def test_the_umask_of_the_command_is_the_hosts(user, tmp_path):
    mask = os.umask(0o027)
    try:
        user(script="umask > mask; " + SERVES).next("ready")
    finally:
        os.umask(mask)
    assert (tmp_path / "mask").read_text() == "0027\n"


@pytest.mark.parametrize("number", range(TIMES // 4))
def test_of_those_that_start_at_once_one_starts_it(user, tmp_path, number):
    users = [user() for _ in range(6)]
    assert len({each.next("ready")["pid"] for each in users}) == 1 and len(starts(tmp_path)) == 1


def test_another_name_and_another_folder_are_another_command(user, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    pids = {
        each.next("ready")["pid"] for each in (user(), user(name="server-2"), user(other), user(name="", where=other))
    }
    assert len(pids) == 4


def test_the_command_is_read_for_ever_also_when_who_has_started_it_is_gone(user, tmp_path):
    script = (
        'echo $$ >> starts; echo "it is $$"; while [ ! -e told ]; do sleep 0.02; done; '
        "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; touch done; exec sleep 300"
    )
    first, second = user(script=script), user(script=script)
    pid = first.next("ready")["pid"]
    second.next("ready")
    (first if guard_is_of(first, pid) else second).kill()
    (tmp_path / "told").touch()
    assert eventually((tmp_path / "done").exists) and alive(pid)


def guard_is_of(user, pid):
    """Return whether the user is the one that has started the command: it reads what that prints."""
    mine = {os.readlink(f"/proc/{user.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{user.pid}/fd")}
    return os.readlink(f"/proc/{guard_of(pid)}/fd/1") in mine


def test_the_last_words_reach_who_has_started_it(user):
    early = user(script="echo last words >&2; exit 3").next("failed")["failed"]
    assert "exit code 3" in early and "last words" in early


def test_a_folder_of_a_long_name_will_do(user, tmp_path):
    folder = tmp_path
    for _ in range(3):
        folder = folder / ("x" * 100)
        folder.mkdir()
    first, second = user(folder), user(folder)
    assert first.next("ready") == second.next("ready") and len(starts(folder)) == 1


# -- the end -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_it_lives_until_the_last_user_is_gone(user, order, how):
    users = [user()]
    pid = users[0].next("ready")["pid"]
    guardian = guard_of(pid)
    users += [user(), user()]
    for each in users[1:]:
        assert each.next("ready")["pid"] == pid
    for number in order:
        assert alive(pid)
        if how == "stop":
            users[number].tell("stop")
            took = users[number].next("stopped")["stopped"]
            assert took < 7 and (number == order[-1] or alive(pid))
        else:
            users[number].kill()
    assert eventually(lambda: not alive(pid) and not alive(guardian), 10)


def test_who_leaves_a_command_that_others_use_does_not_wait(user):
    script = "trap '' TERM; echo $$ >> starts; echo \"it is $$\"; while :; do sleep 0.05; done"
    first = user(script=script)
    pid = first.next("ready")["pid"]
    second = user(script=script)
    second.next("ready")
    first.tell("stop")
    assert first.next("stopped")["stopped"] < 1 and alive(pid)
    second.tell("stop")
    assert 4 < second.next("stopped")["stopped"] < 7 and not alive(pid)


def test_who_comes_while_it_ends_has_to_wait_for_another_one(user, tmp_path):
    """Never two at a time."""
    script = "trap 'sleep 0.7; exit 0' TERM; echo $$ >> starts; echo \"it is $$\"; while :; do sleep 0.05; done"
    first = user(script=script)
    pid = first.next("ready")["pid"]
    first.tell("stop")
    assert eventually(lambda: not (tmp_path / "server-1.socket").exists())
    ready = user(script=script).next("ready")
    assert ready["pid"] != pid and not alive(pid) and first.next("stopped")


def test_a_forked_child_keeps_nothing_alive(user):
    first = user()
    pid = first.next("ready")["pid"]
    second = user()
    second.next("ready")
    children = []
    for each in (first, second):
        each.tell("fork")
        children.append(each.next("forked")["forked"])
    try:
        guardian = guard_of(pid)
        first.kill()
        assert alive(pid)
        second.kill()
        assert eventually(lambda: not alive(pid) and not alive(guardian), 10) and all(map(alive, children))
    finally:
        for each in children:
            os.kill(each, signal.SIGKILL)


# -- death at any moment -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(TIMES))
def test_the_first_may_be_killed_at_any_moment_of_its_start(user, tmp_path, number):
    first = user(script="sleep 0.1; " + SERVES)
    second = user(script="sleep 0.1; " + SERVES)
    threading.Event().wait(random.Random(number).uniform(0.05, 0.6))
    first.kill()
    ready = second.next("ready")
    assert eventually(lambda: [pid for pid in starts(tmp_path) if alive(pid)] == [ready["pid"]])
    assert user().next("ready")["pid"] == ready["pid"]


def test_who_waits_for_a_command_whose_starter_is_killed_starts_it(user, tmp_path):
    """It was never ready, and nobody else could say so."""
    script = 'echo $$ >> starts; while [ ! -e told ]; do sleep 0.02; done; echo "it is $$"; exec sleep 300'
    first = user(script=script)
    assert eventually(lambda: starts(tmp_path))
    (pid,) = starts(tmp_path)
    second = user(script=script)
    assert eventually(lambda: sockets(second.pid) > 0)
    first.kill()
    assert eventually(lambda: not alive(pid))
    (tmp_path / "told").touch()
    assert second.next("ready")["pid"] != pid


def sockets(pid):
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    return found


def test_a_command_that_dies_is_started_by_one_and_joined_by_the_others(user, tmp_path):
    users = [user() for _ in range(3)]
    pids = [each.next("ready")["pid"] for each in users]
    for _ in range(3):
        os.kill(pids[0], signal.SIGKILL)
        again = [each.back(pids[0])["pid"] for each in users]
        assert len(set(again)) == 1
        pids = again
    assert len(starts(tmp_path)) == 4


def test_a_guard_that_is_killed_takes_it_along_and_another_one_is_started(user, tmp_path):
    users = [user() for _ in range(3)]
    pid = [each.next("ready")["pid"] for each in users][0]
    os.kill(guard_of(pid), signal.SIGKILL)
    again = {each.back(pid)["pid"] for each in users}
    assert len(again) == 1 and not alive(pid) and len(starts(tmp_path)) == 2


def test_a_command_that_fails_for_one_fails_for_all(user):
    users = [user(script="sleep 0.2; echo broken >&2; exit 4") for _ in range(3)]
    for each in users:
        assert "broken" in each.next("failed")["failed"]


# -- what lies there ---------------------------------------------------------------------------------------------------
def test_what_a_killed_guard_has_left_is_taken_over(user, guard, tmp_path):
    first = user()
    pid = first.next("ready")["pid"]
    os.kill(first.pid, signal.SIGSTOP)  # it cannot start another one
    os.kill(guard_of(pid), signal.SIGKILL)
    assert eventually(lambda: not alive(pid))
    assert {"server-1.json", "server-1.socket"} <= set(os.listdir(tmp_path))
    assert Share(tmp_path, "server-1").read() == ""  # of no use to anybody
    second = user()
    again = second.next("ready")["pid"]
    os.kill(first.pid, signal.SIGCONT)
    assert first.back(pid)["pid"] == again


@pytest.mark.parametrize("what", ["file", "folder", "link", "text"])
def test_what_is_in_the_way_costs_no_more_than_the_sharing(user, tmp_path, what):
    """Two processes then have two commands, as if nobody shared."""
    socket, file = tmp_path / "server-1.socket", tmp_path / "server-1.json"
    if what == "file":
        socket.write_text("x")
    elif what == "folder":
        socket.mkdir()
    elif what == "link":
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.write_text('{"url": "http://127.0.0.1:1"}' * 100)
    users = [user(), user()]
    assert len({each.next("ready")["pid"] for each in users}) == (2 if what in ("folder", "link") else 1)
    assert not (tmp_path / "elsewhere").exists()
    for each in users:
        each.tell("stop")
        each.next("stopped")
    if what == "folder":
        socket.rmdir()
    elif what == "link":
        file.unlink()


def test_a_folder_that_is_gone_or_cannot_be_written_costs_no_more_than_the_sharing(guard, tmp_path):
    """Root may write anywhere; /proc takes no file from anybody."""
    command = Command(
        ["sh", "-c", "exec sleep 300"], str(tmp_path), dict(os.environ), name="it", does="", key="", install=""
    )
    for folder in ("/proc", str(tmp_path / "nowhere")):
        running = Guarded(command, guard, None, Share(folder, "server-1"))
        assert eventually(lambda running=running: running.listen() or running.pid, 5) and alive(running.pid)
        running.leave()
        assert eventually(lambda running=running: running.listen() or running.gone, 5) and not alive(running.pid)
        running.close()


def test_a_guard_hears_no_stranger_and_no_nonsense(user, tmp_path):
    first = user()
    ready = first.next("ready")
    share, words = Share(tmp_path, "server-1"), []
    for said in (b"x" * 20000, b"note another\n", b"\n", b"nonsense\nlea", b"leave\nend\n"):
        line = share.join(None)
        assert eventually(lambda line=line: line.listen() or line.note == ready["ready"])
        line._socket.setblocking(True)
        with contextlib.suppress(OSError):
            line._socket.sendall(said)
        words.append(said)
        line.close()
    assert alive(ready["pid"]) and user().next("ready") == ready and len(words) == 5


def test_more_users_than_there_is_room_for_are_sent_away(user, tmp_path):
    first = user()
    ready = first.next("ready")
    share, lines = Share(tmp_path, "server-1"), []
    try:
        for _ in range(600):
            line = eventually(lambda: share.join(None), 10)
            lines.append(line)
            if not eventually(lambda line=line: line.listen() or line.pid or line.gone, 10):
                raise AssertionError("it is not heard")
            if line.gone:
                break
        assert len(lines) == 512 and lines[-1].pid is None and alive(ready["pid"])
    finally:
        for line in lines:
            line.close()
    assert eventually(lambda: user().next("ready") == ready)


# -- one process -------------------------------------------------------------------------------------------------------
def test_a_sick_command_is_ended_for_all(guard, tmp_path, monkeypatch):
    from plue_session.adapters.child import child as module

    monkeypatch.setattr(module, "CHECK", 0.05)
    command = Command(["sh", "-c", SERVES], str(tmp_path), dict(os.environ), name="it", does="", key="", install="")

    class Line:
        def feed(self, data):
            return data.decode().strip() or None

    def check(value):
        if len(starts(tmp_path)) < 2:
            raise OSError("sick")

    share = Share(str(tmp_path), "server-1")
    one = Child(command, Line, program=guard, share=share, back_off=(0.05, 0.1))
    two = Child(command, Line, program=guard, share=share, back_off=(0.05, 0.1), check=check)
    one.start(soon())
    two.start(soon())
    assert eventually(lambda: one.starts == two.starts == 2) and one.wait(soon()) == two.wait(soon())
    together(one.stop, two.stop)
    assert not any(map(alive, starts(tmp_path)))


def test_a_guard_without_descriptors_sends_away_who_comes_and_rests(guard, tmp_path):
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    words = [guard, "share", str(tmp_path), "server-1", str(theirs.fileno()), "100", "100", "sleep", "60"]
    process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (24, 24))
    theirs.close()
    with ours, process.stdout:
        assert ours.recv(100).startswith(b"started ")
        share = Share(str(tmp_path), "server-1")
        lines = [share.join(None) for _ in range(40)]
        assert all(lines)

        def rests():
            before = spent(process.pid)
            time.sleep(0.5)
            return spent(process.pid) - before < 0.1

        assert eventually(rests, 10)
        for line in lines:
            line.listen()
        assert 10 < sum(line.gone for line in lines) < 40
        for line in lines:
            line.close()
        assert eventually(lambda: (line := share.join(None)) and (line.listen(), line.close(), not line.gone)[2], 10)
        ours.sendall(b"end\n")
        assert process.wait(10) == 0


def spent(pid):
    """Return the seconds of a processor that a process has spent."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_for_a_while_it_is_started_again_all_the_same(guard, tmp_path):
    command = Command(["sh", "-c", SERVES], str(tmp_path), dict(os.environ), name="it", does="", key="", install="")
    lacking, asked = [], threading.Event()

    class Lacking(Share):
        def join(self, command):
            if lacking:
                asked.set()
                raise StoreIo("no descriptor is left")
            return super().join(command)

    class Line:
        def feed(self, data):
            return data.decode().strip() or None

    child = Child(command, Line, program=guard, share=Lacking(str(tmp_path), "server-1"), back_off=(0.3, 0.3))
    first = child.start(soon())
    lacking.append(True)
    os.kill(child.pid, signal.SIGKILL)
    assert asked.wait(10)
    lacking.clear()
    assert eventually(lambda: child.starts == 2) and child.wait(soon()) != first
    child.stop()
