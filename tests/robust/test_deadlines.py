"""However a server stalls, each call ends within its time, what never waits goes on not waiting, and afterwards all is
as before."""

import json
import socket
import threading

import pytest

from tests import support
from tests.robust import gate as gates
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually, outcome

#: What a call may take (requestTimeoutMs), and what a loaded machine may add. Seconds.
LIMIT, NOISE = 1.0, 1.5
#: Microseconds.
INSTANT = 1000
IN_TIME = {"TIMEOUT", "CONNECTION"}

STALLS = {
    "silence": gates.stall,
    "a header byte by byte": gates.drip_header,
    "a body byte by byte": gates.drip_body,
    "silence after the request took effect": gates.stall_after,
    "half-open": None,
}


#: What may succeed once the server is known to be away.
NEEDS_NO_SERVER = {
    "session_get_info",
    "session_list",
    "session_create_share",
    "session_create",
    "session_update_title",
}


def config(folder, backend, **more):
    return {"dataDir": str(folder), "backend": backend, "requestTimeoutMs": int(LIMIT * 1000), "cacheTtlMs": 0, **more}


def calls(host, handle=None, aborted=None):
    """Make one call of each kind at once, and time instant functions meanwhile; returns `(name, code, seconds)` of
    each, and the times."""
    timing = host.start("latency", int(LIMIT * 800), handle or 0)
    given = [
        ("session_create", None),
        ("session_list",),
        ("session_sync", int(LIMIT * 1000)),
        ("session_open", "ses_" + "0" * 26),
    ]
    if handle:
        given += [
            ("session_get_info", handle),
            ("session_update_title", handle, "x"),
            ("session_create_share", handle),
            ("session_abort", aborted),
        ]
    answers = [(each[0], host.start(*each)) for each in given]
    return [(name, outcome(answer), answer.took) for name, answer in answers], json.loads(timing.result())


def judge(made, timing):
    for name, code, took in made:
        # What is known may be read while the server is away, a share of ours needs no server, and changes wait for it.
        allowed = IN_TIME | {"OK"} if name in NEEDS_NO_SERVER else IN_TIME
        assert code in allowed and took < LIMIT + NOISE, (name, code, took)
    assert timing["count"] > 100 and all(
        timing[name] < INSTANT for name in ("peek_info", "get_id", "poll", "observer_next")
    ), timing


def at_once(scenes):
    """Run all scenes in threads of their own; what went wrong is told together."""
    failures = {}

    def guarded(name, scene):
        try:
            scene()
        except BaseException as error:
            failures[name] = error

    threads = [threading.Thread(target=guarded, args=each) for each in scenes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not failures, failures


@pytest.mark.requirement("T-03", "P-161")
def test_every_stall_ends_in_time_and_delays_nothing_that_does_not_wait(daemon, other, tmp_path):
    ready, stalled = threading.Barrier(len(STALLS) + 1, timeout=60), threading.Barrier(len(STALLS) + 1, timeout=60)

    def scene(name, action):
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        with Gate(daemon.url) as gate, Host(folder, config(folder, gate.backend(daemon))) as host:
            assert eventually(lambda: host.status()["server"]["events"])
            handle, aborted = (eventually(lambda: created(host), 20) for _ in range(2))
            ready.wait()
            if action:
                gate.rules.append((gates.of(None), action))
            else:
                stalled.wait()
            judge(*calls(host, handle, aborted))
            if action:
                stalled.wait()
            gate.clear()
            over.wait(20)
            title = f"after {name}"
            assert eventually(lambda: outcome(host.start("session_update_title", handle, title)) == "OK", 20)
            assert eventually(lambda: other.titles().get(host.session_get_id(handle)) == title, 20)
            # Nothing hangs on: eight calls at once find all threads and connections free.
            assert eventually(
                lambda: {outcome(answer) for answer in [host.start("session_list") for _ in range(8)]} == {"OK"}, 10
            )

    def half_open():
        ready.wait()
        daemon.stop()
        stalled.wait()
        threading.Event().wait(LIMIT + 1)
        daemon.resume()
        over.set()

    over = threading.Event()
    try:
        at_once(
            {
                "the server": half_open,
                **{name: lambda name=name, action=action: scene(name, action) for name, action in STALLS.items()},
            }
        )
    finally:
        daemon.resume()


def created(host):
    answer = host.start("session_create", None)
    return answer.result() if outcome(answer) == "OK" else None


@pytest.mark.requirement("T-03", "P-161")
def test_a_server_that_never_takes_the_connection_or_has_no_address_yet_is_bounded_too(repository, tmp_path):
    def nobody_answers():
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            fillers = []
            for _ in range(4):  # the backlog is full: further connects get no answer
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            judge_away(f"http://127.0.0.1:{full.getsockname()[1]}", "nobody")
            for filler in fillers:
                filler.close()

    def no_address():
        shim = tmp_path / "slow.so"
        support.run(
            ["gcc", "-shared", "-fPIC", "-o", shim, support.PROGRAMS / "remote_slow_names.c", "-ldl"],
            env=support.os.environ,
        )
        judge_away("http://server.slow:4096", "name", LD_PRELOAD=shim)

    def judge_away(url, name, **environment):
        folder = tmp_path / name
        folder.mkdir()
        with Host(folder, **environment) as host:
            starting = host.start(
                "init", json.dumps(config(folder, {"kind": "opencode", "url": url, "directory": repository}))
            )
            starting.result()
            assert starting.took < 3
            for _ in range(2):  # the second time, all who could wait for the server may still do
                judge(*calls(host))
            shutdown = host.start("shutdown")
            shutdown.result()
            assert shutdown.took < 2

    at_once({"nobody answers": nobody_answers, "no address": no_address})


@pytest.mark.requirement("T-03")
def test_a_stalled_session_does_not_hold_up_another(daemon, other, tmp_path):
    with (
        Gate(daemon.url) as gate,
        Host(tmp_path, {**config(tmp_path, gate.backend(daemon)), "requestTimeoutMs": 4000}) as host,
    ):
        first, second = host.session_create(None), host.session_create(None)
        gate.rules.append((gates.of("PATCH", host.session_get_id(first)), gates.stall))
        stuck = host.start("session_update_title", first, "never")
        gate.asked.get(timeout=5)
        # More than there are threads that talk to the server: who waits for its session's lock takes up none.
        waiting = [host.start("session_update_title", first, f"nor {number}") for number in range(8)]
        for number in range(4):
            answer = host.start("session_update_title", second, f"number {number}")
            assert answer.result() == 0 and answer.took < 3
            assert host.start("session_list").result()
        assert other.titles()[host.session_get_id(second)] == "number 3"
        assert {outcome(answer) for answer in (stuck, *waiting)} <= IN_TIME
