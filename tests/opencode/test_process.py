"""A server of our own starts, says why it does not, comes back after a crash, and never outlives us."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plue_session import errors
from plue_session.adapters.child import child as module
from plue_session.adapters.opencode import process as own
from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.process import OwnServer
from plue_session.config import Settings
from tests.opencode.fixtures import ROOT, soon

#: How often servers and hosts are killed: `make torture` asks for more.
TIMES = 50 if os.environ.get("PLUE_TORTURE") else 2

#: A program that prints what a server prints, and then what the test wants: `sh -c FAKE sh …` ignores "serve …".
LISTENS = (
    "echo 'Warning: OPENCODE_SERVER_PASSWORD is not set'; echo 'opencode server listening on http://127.0.0.1:4321'; "
)
UNTIL_TOLD = "while [ ! -e told ]; do sleep 0.02; done; "


def fake(script, guard, folder, **more):
    return OwnServer(["sh", "-c", script, "sh"], str(folder), {"PATH": os.environ["PATH"]}, {}, program=guard, **more)


def alive(pid):
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone_within(seconds, *pids):
    until = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.02)
    return True


def children_of(pid):
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _parent(each) == pid]


def _parent(folder):
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.mark.requirement("O-001", "O-003")
def test_the_url_is_taken_from_the_line_that_says_it_listens(guard, tmp_path):
    owned = fake(LISTENS + "exec sleep 60", guard, tmp_path)
    assert owned.start(soon()) == "http://127.0.0.1:4321"
    pid = owned.pid
    assert alive(pid) and os.getpgid(pid) == pid and pid not in children_of(os.getpid())
    owned.stop()
    assert not alive(pid)
    owned.stop()
    with pytest.raises(errors.Closed):
        owned.url(soon())


@pytest.mark.requirement("O-006")
def test_a_server_is_spawned_offline_with_a_password_and_its_own_settings_win(guard, tmp_path):
    script = 'env > environment; pwd >> environment; echo "$@" >> environment; ' + LISTENS + "exec sleep 60"
    owned = fake(script, guard, tmp_path)
    owned.start(soon())
    said = (tmp_path / "environment").read_text().splitlines()
    assert {
        "npm_config_offline=true",
        "OPENCODE_DISABLE_AUTOUPDATE=1",
        "OPENCODE_DISABLE_MODELS_FETCH=1",
        str(tmp_path),
    } <= set(said)
    assert f"OPENCODE_SERVER_PASSWORD={owned.password}" in said and len(owned.password) == 48
    assert said[-1] == "serve --hostname 127.0.0.1 --port 0"
    owned.stop()
    owned = OwnServer(
        ["sh", "-c", script, "sh"],
        str(tmp_path),
        {"npm_config_offline": "x", "PATH": os.environ["PATH"]},
        {"npm_config_offline": "false", "OPENCODE_SERVER_PASSWORD": "mine"},
        program=guard,
    )
    owned.start(soon())
    said = (tmp_path / "environment").read_text().splitlines()
    assert owned.password == "mine" and {"npm_config_offline=false", "OPENCODE_SERVER_PASSWORD=mine"} <= set(said)
    owned.stop()


def test_who_shares_a_server_wants_the_same_of_it(tmp_path, monkeypatch):
    """What the environment has beside makes no difference, nor where a program was looked for before it was found."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("one", "two"):
        (programs / name).touch(0o700)
    usual, environ = {"command": ["one", "a"], "directory": "/", "env": {"A": "1"}}, {"HOME": "/h"}

    def name(environment=(), path=f"{programs}", **given):
        whole = {**environ, "PATH": path, **dict(environment)}
        return own.share_of(str(tmp_path), Settings({**usual, **given}), whole).file

    same = name()
    assert same == name(path=f"/nowhere:{programs}") == name({"TERM": "x"}) == name(command=[f"{programs}/one", "a"])
    others = [
        name(command=["two", "a"]),
        name(command=["one"]),
        name(directory="/tmp"),
        name(env={"A": "2"}),
        name(env={}),
        *(name({each: "/x"}) for each in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "OPENCODE_DB")),
    ]
    monkeypatch.setattr(os, "readlink", lambda path: "another container" if path.endswith("/net") else "")
    others.append(name())
    assert len({same, *others}) == len(others) + 1
    assert "hunter2" not in name({"OPENCODE_SERVER_PASSWORD": "hunter2"})
    long = Settings({**usual, "env": {"OPENCODE_SERVER_PASSWORD": "x" * 501}})
    assert own.share_of(str(tmp_path), long, environ) is None


@pytest.mark.requirement("O-004")
def test_a_server_that_ends_before_it_listens_says_why(guard, tmp_path):
    owned = fake("echo 'ServeError: port taken' >&2; exit 1", guard, tmp_path)
    with pytest.raises(
        errors.Server, match="before it listened .exit code 1.; its last words: ServeError: port taken"
    ) as caught:
        owned.start(soon())
    assert caught.value.details == {"exit": "exit code 1", "stderr": "ServeError: port taken"}
    owned.stop()


@pytest.mark.requirement("O-004")
def test_a_real_server_whose_port_is_taken_says_so(opencode, guard, repository, isolated):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        owned = OwnServer(
            [opencode, "serve", "--hostname", "127.0.0.1", "--port", str(taken.getsockname()[1])],
            repository,
            dict(os.environ),
            isolated,
            program=guard,
        )
        with pytest.raises(errors.Server, match="exit code 1.*(ServeError|port)"):
            owned.start(soon(60))
        owned.stop()


@pytest.mark.parametrize(
    "command, folder, program, text",
    [
        (["/nonexistent/opencode"], None, None, "command /nonexistent/opencode cannot be run: No such file"),
        (["/etc/passwd"], None, None, "command /etc/passwd cannot be run: Permission denied"),
        (["true"], "/nonexistent", None, "directory /nonexistent cannot be used"),
        (["true"], None, "/nonexistent/guard", "guard /nonexistent/guard cannot be run.*Install the package again"),
    ],
)
def test_what_cannot_be_run_is_named(guard, tmp_path, command, folder, program, text):
    owned = OwnServer(command, folder or str(tmp_path), {"PATH": os.environ["PATH"]}, {}, program=program or guard)
    with pytest.raises(errors.StoreIo) as caught:
        owned.start(soon())
    owned.stop()
    assert re.search(text, caught.value.message("plue_init"))


def test_a_server_that_never_listens_is_a_timeout_and_ended(guard, tmp_path):
    owned = fake("echo $$ > pid; echo almost; exec sleep 60", guard, tmp_path)
    began = time.monotonic()
    with pytest.raises(errors.Timeout, match="does not listen"):
        owned.start(soon(0.5))
    assert time.monotonic() - began < 3 and not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.requirement("O-003")
def test_a_talkative_server_is_read_for_ever_and_its_end_is_kept(guard, tmp_path):
    ended = threading.Event()
    owned = fake(
        LISTENS
        + UNTIL_TOLD
        + "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo 'last words' >&2; exit 3",
        guard,
        tmp_path,
        on_change=lambda url: ended.set() if url is None else None,
        back_off=(30, 30),
    )
    owned.start(soon())
    (tmp_path / "told").touch()
    assert ended.wait(10)
    with pytest.raises(errors.Connection, match="being restarted"):
        owned.url(soon(0.05))
    owned.stop()


@pytest.mark.requirement("O-005")
def test_a_swallowed_term_is_sent_again(guard, tmp_path):
    script = f"trap 'n=$((n+1)); echo $n >> terms; [ $n -ge 2 ] && exit 0' TERM; {LISTENS} while :; do sleep 0.05; done"
    owned = fake(script, guard, tmp_path)
    owned.start(soon())
    began = time.monotonic()
    owned.stop()
    assert (tmp_path / "terms").read_text().split() == ["1", "2"] and 1 < time.monotonic() - began < 4


@pytest.mark.requirement("O-005")
def test_who_ignores_term_is_killed_within_seven_seconds(guard, tmp_path):
    owned = fake(f"trap '' TERM; {LISTENS} while :; do sleep 0.05; done", guard, tmp_path)
    owned.start(soon())
    pid, began = owned.pid, time.monotonic()
    owned.stop()
    assert not alive(pid) and time.monotonic() - began < 7


@pytest.mark.requirement("O-005")
def test_a_wrapper_takes_what_it_started_with_it_also_from_other_groups(guard, tmp_path):
    script = (
        "sleep 61 & echo $! >> pids; setsid sleep 62 & setsid sh -c 'echo $$ >> pids; exec sleep 63' & "
        "sh -c 'sleep 64 & echo $! >> pids' ; " + LISTENS + "wait"
    )
    owned = fake(script, guard, tmp_path)
    owned.start(soon())
    until = time.monotonic() + 10
    while len((tmp_path / "pids").read_text().split()) < 3 and time.monotonic() < until:
        threading.Event().wait(0.02)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(alive, pids))
    owned.stop()
    assert not any(map(alive, pids))


def test_signals_that_the_host_blocks_or_ignores_are_at_their_defaults_in_the_server(guard, tmp_path):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        owned = fake("grep Sig /proc/self/status > signals; " + LISTENS + "exec sleep 60", guard, tmp_path)
        owned.start(soon())
        owned.stop()
    finally:
        signal.signal(signal.SIGUSR2, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    said = dict(line.split(":\t") for line in (tmp_path / "signals").read_text().splitlines())
    ours_to_set = ~(1 << 31 | 1 << 32)  # signals 32 and 33 are the C library's own
    assert int(said["SigBlk"], 16) & ours_to_set == int(said["SigIgn"], 16) & ours_to_set == 0


def test_the_server_inherits_no_descriptor(guard, tmp_path):
    with open(tmp_path / "other", "w") as file:
        os.set_inheritable(file.fileno(), True)
        owned = fake("ls -l /proc/self/fd > fds; " + LISTENS + "exec sleep 60", guard, tmp_path)
        owned.start(soon())
        owned.stop()
    places = [line.split(" -> ")[1] for line in (tmp_path / "fds").read_text().splitlines() if " -> " in line]
    assert not [place for place in places if "socket" in place or "other" in place]


def test_a_guard_that_is_killed_takes_the_server_with_it_and_another_one_is_started(guard, tmp_path):
    owned = fake(LISTENS + "exec sleep 60", guard, tmp_path, back_off=(0.05, 0.05))
    owned.start(soon())
    pid = owned.pid
    os.kill(_parent(Path(f"/proc/{pid}")), signal.SIGKILL)
    assert gone_within(5, pid)
    until = time.monotonic() + 10
    while owned.starts < 2 and time.monotonic() < until:
        threading.Event().wait(0.02)
    assert owned.url(soon()) and owned.pid != pid
    owned.stop()


def test_a_server_that_fails_three_health_checks_is_restarted(guard, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECK", 0.05)
    back = threading.Event()

    def check(url):
        if owned.starts < 2:
            raise errors.Timeout("x")
        back.set()

    owned = fake(LISTENS + "exec sleep 60", guard, tmp_path, check=check, back_off=(0.05, 0.05))
    owned.start(soon())
    assert back.wait(15) and owned.starts == 2
    owned.stop()


def test_stopping_wakes_who_waits_for_the_url_and_ends_a_pause(guard, tmp_path):
    down, outcomes = threading.Event(), []
    owned = fake(
        LISTENS + UNTIL_TOLD,
        guard,
        tmp_path,
        on_change=lambda url: down.set() if url is None else None,
        back_off=(60, 60),
    )
    owned.start(soon())
    (tmp_path / "told").touch()
    assert down.wait(5)

    def wait():
        try:
            owned.url(soon(30))
        except errors.PlueError as error:
            outcomes.append(error.name)

    thread = threading.Thread(target=wait)
    thread.start()
    began = time.monotonic()
    owned.stop()
    thread.join(5)
    assert outcomes == ["CLOSED"] and time.monotonic() - began < 1


@pytest.mark.requirement("O-065")
def test_after_each_kill_of_the_server_calls_work_again_and_nothing_acknowledged_is_lost(server, repository, guard):
    client = Client(server.url, repository, server.username, server.password)
    made = []

    def eventually(call):
        """A call that meets the dying server says so, and may be made again; none hangs."""
        until = time.monotonic() + 30
        while True:
            try:
                return call()
            except errors.Connection as error:
                assert error.retryable and time.monotonic() < until

    for number in range(TIMES):
        made.append(client.create(f"kill-{number}", soon(), title="Kept").id)
        pid = server.pid
        os.killpg(pid, signal.SIGKILL)
        session = eventually(lambda number=number: client.create(f"after-{number}", soon(30)))
        assert server.pid != pid and not alive(pid)
        assert client.get(made[-1], soon()).title == "Kept"
        made.append(session.id)
    assert set(made) <= {session.id for session in client.list(soon())}
    client.close()


HOST = """
import json, os, sys, threading, time
sys.path.insert(0, {root!r})
from plue_session.adapters.opencode.process import OwnServer
from plue_session.call import Call
owned = OwnServer(json.loads({command!r}), {folder!r}, dict(os.environ), json.loads({overrides!r}), program={guard!r})
if {listening}:
    owned.start(Call(time.monotonic() + 60))
else:
    threading.Thread(target=lambda: owned.start(Call(time.monotonic() + 60)), daemon=True).start()
while not owned.pid:
    time.sleep(0.001)
print(owned.pid, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def host(command, folder, overrides, guard, listening=True, **how):
    """Run a program that owns a server; yields it and the server's pid."""
    source = HOST.format(
        root=str(ROOT),
        command=json.dumps(command),
        folder=str(folder),
        overrides=json.dumps(overrides),
        guard=guard,
        listening=listening,
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, **how) as running:
        try:
            yield running, int(running.stdout.readline())
        finally:
            running.kill()


@pytest.mark.requirement("O-007")
def test_a_killed_host_leaves_no_real_server(opencode, guard, repository, isolated):
    for number in range(TIMES):  # now a server that listens, now one that has only begun to start
        with host([opencode], repository, isolated, guard, listening=number % 4 == 0, start_new_session=True) as (
            running,
            pid,
        ):
            guardian = _parent(Path(f"/proc/{pid}"))
            os.killpg(running.pid, signal.SIGKILL)  # the host's group: the guard is not in it
        assert gone_within(10, pid, guardian)


@pytest.mark.requirement("O-007")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_however_the_host_dies_nothing_is_left(guard, tmp_path, how):
    retried = "trap '' TERM HUP INT; " if how == signal.SIGKILL else ""
    script = f"{retried}setsid sleep 60 & echo $! > child; {LISTENS} while :; do sleep 0.1; done"
    with host(["sh", "-c", script, "sh"], tmp_path, {}, guard, stderr=subprocess.DEVNULL) as (running, pid):
        child = int((tmp_path / "child").read_text())
        guardian = _parent(Path(f"/proc/{pid}"))
        running.send_signal(how)
        running.wait()
    assert gone_within(10, pid, child, guardian)


@pytest.mark.parametrize(
    "lack", [errors.StoreIo("no descriptor is left"), MemoryError()], ids=["descriptors", "memory"]
)
def test_what_lacks_here_at_a_health_check_is_no_fault_of_the_servers(guard, tmp_path, monkeypatch, lack):
    """It was restarted after three of them."""
    monkeypatch.setattr(module, "CHECK", 0.05)
    enough, checks = threading.Event(), []

    def check(url):
        checks.append(url)
        if len(checks) > 3 * module.CHECKS:
            enough.set()
        raise lack

    owned = fake(LISTENS + "exec sleep 60", guard, tmp_path, check=check)
    owned.start(soon())
    pid = owned.pid
    assert enough.wait(15) and owned.starts == 1 and owned.pid == pid and alive(pid)
    owned.stop()


CHECKED = """
import ctypes, json, os, sys, threading, time
sys.path.insert(0, {root!r})
from plue_session.adapters.child import child
from plue_session.adapters.opencode import process
from plue_session.call import Call
child.CHECK = 0.05
enough, checks = threading.Event(), []
def check(url):
    checks.append(url)
    if len(checks) > 5:
        enough.set()
command = ["sh", "-c", {script!r}, "sh"]
owned = process.OwnServer(command, {folder!r}, dict(os.environ), {{}}, program={guard!r}, check=check)
owned.start(Call(time.monotonic() + 10))
pid = owned.pid
checks.clear()
ctypes.CDLL(None).threads_left(0)
print(enough.wait(10), owned.starts, owned.pid == pid, flush=True)
owned.stop()
print(os.path.exists(f"/proc/{{pid}}/stat"))
"""


def test_a_server_of_our_own_is_checked_and_ended_where_no_thread_can_be_started(guard, tmp_path, no_threads):
    """Each check had a thread of its own: without one, the healthy server was ended."""
    source = CHECKED.format(root=str(ROOT), script=LISTENS + "exec sleep 60", folder=str(tmp_path), guard=guard)
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "LD_PRELOAD": no_threads},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.split(), done.stderr) == (["True", "1", "True", "False"], "")
