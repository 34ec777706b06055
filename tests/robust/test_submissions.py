"""What is submitted ends with exactly one last event, whatever the server does and whenever the library stops."""

import collections
import json
import random
import threading
import time

import pytest

from tests.robust import gate as gates
from tests.robust.conftest import TORTURE
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually

SEEDS = range(100 if TORTURE else 20)
THREADS = 8
LAST = ("operation.completed", "operation.failed", "operation.cancelled")


def weather(chance):
    """What the gate does to a request: it passes most, delays some, cuts some, and lets a few stall."""

    def act(gate, connection, forward):
        action = chance.choices([None, gates.delay(0.05), gates.cut, gates.stall], [60, 25, 10, 5])[0]
        if action:
            action(gate, connection, forward)
        else:
            connection.sendall(forward())

    return act


def work(host, session_id, chance, stop, submitted, lock):
    """Submit and cancel at random, and remember what was submitted."""
    while not stop.is_set():
        operations = [
            {"op": "create"},
            {"op": "update_title", "session": session_id, "title": str(chance.random())},
            {"op": "update_title", "session": session_id, "title": "short", "timeoutMs": 30},
            {"op": "abort", "session": session_id},
            {"op": "get_info", "session": session_id},
            {"op": "nonsense"},
        ]
        text = json.dumps(chance.sample(operations, chance.randint(0, 4))) if chance.random() < 0.9 else "{"
        try:
            operation = host.start("session_submit", text).result()
        except Exception:  # it stops: what is refused has no event
            return
        with lock:
            submitted.append(operation)
        if chance.random() < 0.4:
            host.start("session_cancel_operation", chance.choice(submitted))
        threading.Event().wait(chance.random() * 0.02)


@pytest.mark.requirement("P-171")
def test_each_submission_has_one_last_event_also_when_the_library_stops(daemon, folder):
    with Gate(daemon.url) as gate, Host(folder) as host:
        config = json.dumps({"dataDir": str(folder), "backend": gate.backend(daemon), "requestTimeoutMs": 3000})
        kinds = collections.Counter()
        for seed in SEEDS:
            chance, stop, submitted, lock = random.Random(seed), threading.Event(), [], threading.Lock()
            host.init(config)
            host.subscribe()
            session_id = host.session_get_id(host.session_create(None))
            gate.rules.append((gates.of(None), weather(random.Random(-seed))))
            threads = [
                threading.Thread(
                    target=work, args=(host, session_id, random.Random(seed * 100 + number), stop, submitted, lock)
                )
                for number in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            threading.Event().wait(0.1 + chance.random() * 0.5)
            began = time.monotonic()
            host.shutdown()
            took = time.monotonic() - began
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), "a submission hangs"
            gate.clear()
            told = []
            assert eventually(lambda told=told: told.extend(host.heard()) or "library.shutdown" in types(told)), seed
            last = [event["data"]["operation"] for event in told if event["type"] in LAST]
            assert sorted(last) == sorted(submitted), (seed, set(last) ^ set(submitted))
            assert types(told)[-1] == "library.shutdown" and took < 7.5, (seed, took)
            kinds.update(kind for kind in types(told) if kind in LAST)
        assert all(kinds[kind] for kind in LAST), kinds


def types(told):
    return [event["type"] for event in told]


@pytest.mark.requirement("P-171")
def test_submissions_that_a_mute_server_holds_up_are_told_of_at_the_shutdown(daemon, folder):
    with Gate(daemon.url) as gate, Host(folder) as host:
        host.init(json.dumps({"dataDir": str(folder), "backend": gate.backend(daemon)}))
        host.subscribe()
        session_id = host.session_get_id(host.session_create(None))
        gate.rules.append((gates.of("PATCH"), gates.stall))
        text = json.dumps([{"op": "update_title", "session": session_id, "title": "x"}, {"op": "create"}])
        submitted = [host.session_submit(text) for _ in range(100)]
        assert gate.asked.get(timeout=20)
        began = time.monotonic()
        host.shutdown()
        assert time.monotonic() - began < 7.5
        told = []
        assert eventually(lambda: told.extend(host.heard()) or "library.shutdown" in types(told))
        last = {event["data"]["operation"]: event for event in told if event["type"] in LAST}
        assert sorted(last) == sorted(submitted)
        for event in last.values():
            codes = [each["error"]["code"] for each in event["data"]["results"]]
            assert event["type"] == "operation.cancelled" and codes == ["CLOSED", "CLOSED"]
