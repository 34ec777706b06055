"""Servers and hosts that are killed in the middle of everything: what was acknowledged stays, nothing is left behind,
calls go on."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from tests.robust.conftest import TORTURE
from tests.robust.host import Host, alive, eventually, outcome, processes_with

#: How often servers and hosts are killed.
TIMES = 50 if TORTURE else 1
#: What a call may end with while its server dies or is away.
BECAUSE_OF_THE_KILL = {"OK", "CONNECTION", "TIMEOUT", "SERVER"}


class Storm:
    """Eight threads that create, rename, read, list and delete until they are told to stop, and know what was
    acknowledged."""

    def __init__(self, host):
        self._host, self._stop = host, threading.Event()
        # id: titles, one of which it must have: the last acknowledged, and those of calls whose end is not known
        self.titles = {}
        self.deleted, self.doomed = set(), set()  # acknowledged; asked for
        self.outcomes, self.acknowledged = set(), 0
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a call hangs"

    def _try(self, name, *arguments):
        answer = self._host.start(name, *arguments)
        code = outcome(answer)
        self.outcomes.add(code)
        if code != "OK":
            return None
        self.acknowledged += 1
        return answer.result()

    def _work(self, number):
        step = 0
        while not self._stop.is_set():
            step += 1
            title = f"{number}.{step}"
            handle = self._try("session_create_with", json.dumps({"title": title}))
            if handle is None:
                self._stop.wait(0.05)
                continue
            session_id = self._host.session_get_id(handle)
            self.titles[session_id] = {title}
            for again in "ab":
                done = self._try("session_update_title", handle, title + again)
                self.titles[session_id] = (
                    {title + again} if done is not None else self.titles[session_id] | {title + again}
                )
            self._try("session_list" if step % 4 else "session_get_info", *([] if step % 4 else [handle]))
            self._stop.wait(0.05)  # what waits in the outbox takes no time: thousands would
            if step % 3 == 0:
                self.doomed.add(session_id)
                if self._try("session_delete", handle) is not None:
                    self.deleted.add(session_id)

    def check(self, titles):
        """Hold what was acknowledged against what there is, as {id: title}. What was made while the server was away is
        known by its alias."""
        host = self._host
        assert eventually(lambda: host.status()["pending"] == 0, 90), host.status()
        named = {info["aliases"][0]: info["id"] for info in host.query(limit=10_000) if "aliases" in info}
        self.titles = {named.get(session_id, session_id): each for session_id, each in self.titles.items()}
        self.doomed = {named.get(session_id, session_id) for session_id in self.doomed}
        self.deleted = {named.get(session_id, session_id) for session_id in self.deleted}
        titles = titles()
        assert self.outcomes <= BECAUSE_OF_THE_KILL
        missing = {
            session_id for session_id in self.titles if session_id not in titles and session_id not in self.doomed
        }
        wrong = {
            session_id: titles[session_id]
            for session_id, allowed in self.titles.items()
            if session_id in titles and titles[session_id] not in allowed
        }
        assert not missing and not wrong and not self.deleted & titles.keys()


def in_step(host, titles):
    """Wait until the host's list is what the server has, as {id: title}."""
    assert eventually(lambda: host.status()["pending"] == 0, 90), host.status()
    host.session_sync(20000)
    return eventually(lambda: {session["id"]: session["title"] for session in host.list()} == titles(), 10, 0.2)


@pytest.mark.requirement("O-065", "T-03")
def test_an_attached_server_killed_under_eight_threads_loses_nothing_acknowledged(attached, daemon, other):
    for _ in range(TIMES):
        with Storm(attached) as storm:
            threading.Event().wait(0.4)
            daemon.kill()
            threading.Event().wait(0.2)
            daemon.start()
            back = storm.acknowledged
            assert eventually(lambda back=back: storm.acknowledged > back + 16, 20), (
                f"calls do not work again: {storm.outcomes}"
            )
            storm.stop()
        assert in_step(attached, other.titles)
        storm.check(other.titles)
        storm.check(lambda: {session["id"]: session["title"] for session in attached.list()})


def running(host):
    """Return the pid of the host's server, which may be about to come back."""
    return eventually(lambda: host.status()["server"].get("pid"), 40)


@pytest.mark.requirement("O-007", "T-04", "P-117")
def test_a_spawned_server_killed_under_eight_threads_comes_back_and_nothing_is_lost(spawned, folder, mark):
    with Host(folder, {"dataDir": str(folder), "backend": spawned}) as host:
        for _ in range(TIMES):
            with Storm(host) as storm:
                threading.Event().wait(0.4)
                pid = running(host)
                os.killpg(pid, signal.SIGKILL)
                back = storm.acknowledged
                assert eventually(lambda back=back: storm.acknowledged > back + 16, 40), (
                    f"calls do not work again: {storm.outcomes}"
                )
                storm.stop()
            assert running(host) != pid
            host.session_sync(20000)
            storm.check(lambda: {session["id"]: session["title"] for session in host.list()})
        host.kill()
    assert eventually(lambda: not processes_with(mark))


def kill(host):
    host.signal(signal.SIGKILL)


def terminate(host):
    host.signal(signal.SIGTERM)


def leave(host):
    """exit() on one thread, while others are in the library."""
    host.start("exit")


def abort(host):
    host.start("abort")


def close_input(host):
    """Return from main() without a shutdown."""
    host.close_input()


ENDS = {kill: -signal.SIGKILL, terminate: -signal.SIGTERM, leave: 7, abort: -signal.SIGABRT, close_input: 0}


#: A server that listens, never answers, shrugs off every TERM, and has a child in a session of its own. Cheaper than a
#: real one.
STUBBORN = """
import signal, socket, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
listener = socket.create_server(("127.0.0.1", 0))
print("opencode server listening on http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    time.sleep(60)
"""


def ends(way, server, folder, mark):
    """Start a host with a server, have calls in flight, end it in this way, and return how long something of it lived
    on."""
    with Host(folder, {"dataDir": str(folder), "backend": server}) as host:
        assert len(processes_with(mark)) >= 2  # the guard and the server
        for _ in range(4):
            host.start("session_create", None)
            host.start("session_list")
        threading.Event().wait(0.1)
        way(host)
        assert host.wait() == ENDS[way]
    ended = time.monotonic()
    assert eventually(lambda: not processes_with(mark), 15), "processes are left"
    return time.monotonic() - ended


@pytest.mark.requirement("O-005", "O-007", "T-04")
def test_nothing_of_a_stubborn_server_outlives_its_host_however_that_ends(repository, tmp_path, mark):
    """All ways at once."""

    def one(way):
        try:
            folder, own = tmp_path / way.__name__, f"{mark}-{way.__name__}"
            folder.mkdir()
            took.append(
                ends(
                    way,
                    {
                        "kind": "opencode",
                        "spawn": {
                            "command": [sys.executable, "-c", STUBBORN],
                            "directory": repository,
                            "env": dict([own.split("=")]),
                        },
                    },
                    folder,
                    own,
                )
            )
        except BaseException as error:
            failures.append((way.__name__, error))

    took, failures = [], []
    threads = [threading.Thread(target=one, args=(way,)) for way in ENDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not failures and len(took) == len(ENDS) and max(took) < 10


@pytest.mark.requirement("T-04")
def test_a_forked_child_is_refused_and_keeps_nothing_alive(spawned, folder, mark):
    with Host(folder, {"dataDir": str(folder), "backend": spawned}) as host:
        first, second = (json.loads(host.start("fork", alone=False).result()) for _ in range(2))
        try:
            assert first["code"] == second["code"] == -27  # FORKED
            os.kill(first["pid"], signal.SIGKILL)
            handle = host.session_create(None)
            pid = host.status()["server"]["pid"]
            assert handle and alive(pid)
            host.kill()
            assert alive(second["pid"])
            assert eventually(lambda: not processes_with(mark), 10)
            assert alive(second["pid"])
        finally:
            os.kill(second["pid"], signal.SIGKILL)


if TORTURE:

    @pytest.mark.requirement("O-007", "T-04")
    @pytest.mark.parametrize("way", ENDS, ids=lambda way: way.__name__)
    def test_nothing_of_a_real_server_outlives_its_host(spawned, tmp_path, mark, way):
        for number in range(TIMES // len(ENDS)):
            folder = tmp_path / str(number)
            folder.mkdir()
            assert ends(way, spawned, folder, mark) < 10
