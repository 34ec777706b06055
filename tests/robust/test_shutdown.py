"""A shutdown, and a start that fails, end in time and leave nothing: no thread, no descriptor, no process."""

import json
import os
import signal
import socket
import sys
import threading

import pytest

from tests.robust import gate as gates
from tests.robust.conftest import TORTURE
from tests.robust.gate import Gate
from tests.robust.host import Host, alive, eventually, outcome, processes_with
from tests.robust.test_kills import STUBBORN

TIMES = 20
#: What plue_shutdown may take at most, and what a loaded machine may add.
LIMIT, NOISE = 7.0, 1.5


def spawning(command, directory, mark):
    return {"kind": "opencode", "spawn": {"command": command, "directory": directory, "env": dict([mark.split("=")])}}


def footprint(host):
    """What the library keeps for ever (Python, an idle control thread) is there after the first time."""
    return sorted(host.descriptors()), host.threads()


@pytest.mark.requirement("P-112", "O-005")
def test_a_shutdown_takes_seven_seconds_at_most_whatever_the_server_does(spawned, repository, tmp_path, mark):
    """One hangs (SIGSTOP), with calls in flight; one shrugs off every TERM."""

    def hanging():
        folder = tmp_path / "hanging"
        folder.mkdir()
        with Host(folder, {"dataDir": str(folder), "backend": spawned}) as host:
            handle = host.session_create(None)
            pid = host.status()["server"]["pid"]
            os.kill(pid, signal.SIGSTOP)
            calls = [
                host.start("session_create", None),
                host.start("session_update_title", handle, "x"),
                host.start("session_list"),
                host.start("session_abort", handle),
            ]
            threading.Event().wait(0.3)
            shut(host, calls)
            assert not alive(pid)

    def retried():
        folder = tmp_path / "stubborn"
        folder.mkdir()
        with Host(
            folder, {"dataDir": str(folder), "backend": spawning([sys.executable, "-c", STUBBORN], repository, mark)}
        ) as host:
            calls = [host.start("session_create", None), host.start("session_list")]
            threading.Event().wait(0.3)
            shut(host, calls)

    def shut(host, calls):
        shutdown = host.start("shutdown")
        codes = [outcome(call) for call in calls]
        shutdown.result()
        homecoming = max(call.at for call in calls) - (shutdown.at - shutdown.took)
        report.append((codes, homecoming, shutdown.took))

    def guarded(scene):
        try:
            scene()
        except BaseException as error:
            failures.append((scene.__name__, error))

    report, failures = [], []
    threads = [threading.Thread(target=guarded, args=(scene,)) for scene in (hanging, retried)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not failures and len(report) == 2
    for codes, homecoming, took in report:
        assert set(codes) == {"CLOSED"} and homecoming < 1 and took < LIMIT + NOISE
    assert eventually(lambda: not processes_with(mark), 5)


@pytest.mark.requirement("P-112")
def test_a_shutdown_during_the_first_synchronisation_cuts_it(daemon, folder):
    with Gate(daemon.url) as gate:
        gate.rules.append((gates.of("GET"), gates.stall))
        with Host(folder) as host:
            config = json.dumps({"dataDir": str(folder), "backend": gate.backend(daemon)})
            host.init(config)
            gate.asked.get(timeout=5)
            threads = host.threads()
            shutdown = host.start("shutdown")
            shutdown.result()
            assert shutdown.took < 1 and host.threads() < threads


@pytest.mark.requirement("X-005", "X-007", "P-113", "P-182")
def test_twenty_lives_leave_no_thread_and_no_descriptor(daemon, folder, tmp_path):
    quiet = (
        tmp_path / "quiet"
        # each life lists what other tests have made, thousands of sessions, and the allocator keeps room for that
    )
    quiet.mkdir()
    config = json.dumps({"dataDir": str(folder), "backend": {**daemon.backend, "directory": str(quiet)}})
    with Host(folder) as host:

        def live(number):
            host.init(config)
            if number % 3:
                host.session_destroy(host.session_open(session_id))
                json.loads(host.session_list())
            if number % 3 == 2:
                assert eventually(lambda: host.status()["server"]["events"], 10)
            if number % 5 == 4:
                host.shutdown()
            host.shutdown()

        host.init(config)
        session_id = host.session_get_id(host.session_create(None))
        host.shutdown()
        for number in range(6):  # the allocator keeps an arena for each of many threads
            live(number)
        assert eventually(lambda: settled(host), 3)
        before = footprint(host)
        resident = host.resident_kib()
        for number in range(TIMES):
            live(number)
        assert eventually(lambda: footprint(host) == before, 5), (footprint(host), before)
        assert host.resident_kib() - resident < 8192


def settled(host):
    """Return whether the number of threads has stopped to change."""
    first = host.threads()
    threading.Event().wait(0.3)
    return host.threads() == first


def taken_port():
    server = socket.create_server(("127.0.0.1", 0))
    return server, server.getsockname()[1]


@pytest.mark.requirement("O-004", "T-09", "X-007")
def test_a_server_that_cannot_be_spawned_says_why_and_leaves_nothing(spawned, opencode, repository, folder, mark):
    listener, port = taken_port()
    environment = spawned["spawn"]["env"]
    cases = [
        (["/nonexistent/opencode"], "IO", "/nonexistent/opencode cannot be run"),
        ([opencode, "serve", "--hostname", "127.0.0.1", "--port", str(port)], "SERVER", "exit code 1"),
        (
            ["sh", "-c", "echo 'cannot read my configuration' >&2; exit 3", "sh"],
            "SERVER",
            "exit code 3); its last words: cannot read my configuration",
        ),
        (["sh", "-c", "sleep 200 & kill -9 $$", "sh"], "SERVER", "signal 9"),
    ]
    with listener, Host(folder) as host:
        host.init(json.dumps({"dataDir": str(folder)}))
        host.shutdown()
        assert eventually(lambda: settled(host), 3)
        before = footprint(host)
        for command, code, text in cases:
            backend = {"kind": "opencode", "spawn": {"command": command, "directory": repository, "env": environment}}
            error = host.start("init", json.dumps({"dataDir": str(folder), "backend": backend})).failure()
            assert (error.code, text in error.message) == (code, True), error
        assert eventually(lambda: footprint(host) == before and not processes_with(mark), 8), (
            footprint(host),
            before,
            processes_with(mark),
        )
        # The host lives on, and so does the library.
        host.init(json.dumps({"dataDir": str(folder)}))
        assert host.session_create(None)
        host.shutdown()


@pytest.mark.requirement("O-007")
def test_a_server_that_never_says_that_it_listens_is_ended_with_who_waits_for_it(repository, folder, mark):
    """In the suite the host is killed meanwhile; that plue_init gives up by itself takes 30 s, and is seen in
    torture."""
    backend = spawning(["sh", "-c", "sleep 300 & wait", "sh"], repository, mark)
    with Host(folder) as host:
        starting = host.start("init", json.dumps({"dataDir": str(folder), "backend": backend}))
        assert eventually(lambda: len(processes_with(mark)) >= 2)
        if TORTURE:
            error = starting.failure(40)
            assert error.code == "TIMEOUT" and starting.took < 31 and "listen" in error.message
            assert eventually(lambda: not processes_with(mark), 8)
    assert eventually(lambda: not processes_with(mark), 10)


@pytest.mark.requirement("P-112")
def test_a_shutdown_while_the_server_is_started_need_not_wait_for_it(repository, folder, mark):
    backend = spawning(["sh", "-c", "sleep 300 & wait", "sh"], repository, mark)
    with Host(folder) as host:
        starting = host.start("init", json.dumps({"dataDir": str(folder), "backend": backend}))
        assert eventually(lambda: len(processes_with(mark)) >= 2)
        shutdown = host.start("shutdown")
        error = starting.failure(20)
        assert error.code == "CLOSED" and "shut down" in error.message
        shutdown.result()
        assert shutdown.took < LIMIT + NOISE
        assert eventually(lambda: not processes_with(mark), 5)
        host.init(json.dumps({"dataDir": str(folder)}))
        assert host.session_create(None)
        host.shutdown()
