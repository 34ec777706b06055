"""A network that drops, delays and cuts at random: what was acknowledged stays, and when it is over all is in step
after one synchronisation."""

import collections
import json
import random
import threading
import time

import pytest

from tests.robust import gate as gates
from tests.robust.conftest import TORTURE
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually, outcome
from tests.robust.test_concurrency import differences, known, on_server

SEEDS = range(20 if TORTURE else 1)
SECONDS = 6 if TORTURE else 3
#: What a call may end with in such weather.
EXPECTED = {"OK", "CONNECTION", "TIMEOUT", "NOT_FOUND", "SERVER"}


SETTINGS = {"requestTimeoutMs": 1500, "retry": {"baseMs": 100, "maxMs": 1000}}


class Chaos:
    """Does something else to each request; about half get through."""

    def __init__(self, seed):
        self._chance, self._lock = random.Random(seed), threading.Lock()

    def __call__(self, gate, connection, forward):
        with self._lock:
            action = self._chance.choices(
                [
                    self.pass_on,
                    gates.delay(0.05),
                    gates.delay(0.3),
                    gates.cut,
                    gates.cut_after,
                    gates.cut_inside,
                    gates.stall,
                    gates.stall_after,
                ],
                [40, 10, 4, 5, 6, 5, 1, 1],
            )[0]
        action(gate, connection, forward)

    @staticmethod
    def pass_on(gate, connection, forward):
        connection.sendall(forward())


def work(host, number, stop, promised, codes, lock):
    """Create, rename, patch and delete own sessions, and remember what was promised: {id: (titles allowed, may be gone,
    must be gone)}."""
    chance = random.Random(number)
    mine = {}
    while not stop.is_set():
        if not mine or chance.random() < 0.3:
            title = f"{number} {chance.random()}"
            answer = host.start("session_create_with", json.dumps({"title": title}))
            code = outcome(answer)
            if code == "OK":
                handle = answer.result()
                session_id = host.session_get_id(handle)
                mine[session_id] = handle
                with lock:
                    promised[session_id] = [{title}, False, False]
        else:
            session_id = chance.choice(list(mine))
            if chance.random() < 0.8:
                title = f"{number} {chance.random()}"
                code = outcome(host.start("session_update_title", mine[session_id], title))
                with lock:
                    promise = promised[session_id]
                    promise[0] = {title} if code == "OK" else promise[0] | {title}
            else:
                code = outcome(host.start("session_delete", mine.pop(session_id)))
                with lock:
                    promised[session_id][1:] = [True, code in ("OK", "NOT_FOUND")]
        with lock:
            codes[code] += 1
        stop.wait(0.02)  # what waits in the outbox takes no time: thousands would


@pytest.mark.requirement("P-114", "P-115", "P-117", "O-058", "O-065")
@pytest.mark.parametrize("offline", ["fail", "queue"])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_the_chaos_all_is_in_step_and_no_promise_is_broken(daemon, other, folder, seed, offline):
    with (
        Gate(daemon.url) as gate,
        Host(folder, {**SETTINGS, "dataDir": str(folder), "backend": gate.backend(daemon), "offline": offline}) as host,
    ):
        assert eventually(lambda: host.status()["server"]["events"])
        stop, promised, codes, lock = threading.Event(), {}, collections.Counter(), threading.Lock()
        gate.rules.append((gates.of(None), Chaos(seed)))
        threads = [
            threading.Thread(target=work, args=(host, seed * 10 + number, stop, promised, codes, lock))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        until, chance, elsewhere = time.monotonic() + SECONDS, random.Random(-seed), []

        def enough():
            return codes["OK"] >= 40 and (offline == "queue" or codes["CONNECTION"] + codes["TIMEOUT"] >= 10)

        while time.monotonic() < until or not enough() and time.monotonic() < until + 30:
            threading.Event().wait(0.3)
            if chance.random() < 0.3:
                gate.cut_all()  # the event stream, too
            elsewhere.append(other.create(f"elsewhere {chance.random()}"))
            if chance.random() < 0.5:
                other.rename(chance.choice(elsewhere), f"renamed {chance.random()}")
            if chance.random() < 0.3:
                other.delete(elsewhere.pop(chance.randrange(len(elsewhere))))
        stop.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a call hangs"
        assert set(codes) <= EXPECTED and enough(), codes
        gate.clear()
        # One synchronisation is enough. One: the first that the server is there for.
        assert eventually(lambda: outcome(host.start("session_sync", 10000)) == "OK", 20)
        assert eventually(lambda: host.status()["pending"] == 0, 120), host.status()
        named = {info["aliases"][0]: info["id"] for info in host.query(limit=10_000) if "aliases" in info}
        promised = {named.get(session_id, session_id): promise for session_id, promise in promised.items()}
        there, told = on_server(other), promised.keys() | set(elsewhere)
        assert eventually(lambda: not differences(known(host), there).keys() & told, 2), differences(known(host), there)
        # What creates that failed have made all the same is deleted: where that failed, too, after its back-off.
        assert eventually(lambda: known(host) == on_server(other), 30), differences(known(host), on_server(other))
        for session_id, (titles, may_be_gone, must_be_gone) in promised.items():
            assert session_id in there or may_be_gone, f"{session_id} is lost"
            assert session_id not in there or not must_be_gone, f"{session_id} is not deleted"
            assert session_id not in there or there[session_id][0] in titles, (
                f"{session_id} has the title {there[session_id][0]}, not of {titles}"
            )
        assert set(elsewhere) <= there.keys()
