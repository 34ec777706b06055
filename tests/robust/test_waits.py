"""Who waits for the synchronisation takes nothing from others: not one of the threads that ask the server."""

import json

import pytest

from tests.robust import gate as gates
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually, outcome

#: More than there are threads of any kind; and as many as a service may have.
CALLERS, MANY = 40, 1000


@pytest.fixture
def behind(daemon, folder):
    """`(gate, host)`: a host in step with the server, which it reaches through a gate; it compares by itself only when
    asked."""
    config = {"dataDir": str(folder), "requestTimeoutMs": 20_000, "syncIntervalMs": 600_000, "cacheTtlMs": 600_000}
    with Gate(daemon.url) as gate, Host(folder, {**config, "backend": gate.backend(daemon)}) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        host.session_sync(20_000)
        yield gate, host


def hold_up(gate):
    """Let comparisons wait until the gate is cleared, and no other request."""
    gate.rules.append((lambda method, path: (method, path) == ("GET", "/session"), gates.delay(60)))


def test_any_number_of_callers_wait_for_a_synchronisation_and_keep_no_call_waiting(behind, other):
    gate, host = behind
    hold_up(gate)
    threads = host.library_threads()
    waiting = [host.start("session_sync", 60_000) for _ in range(MANY)]
    assert gate.asked.get(timeout=20)
    handle = host.session_create(None)
    host.session_update_title(handle, "Made meanwhile")
    assert other.titles()[host.session_get_id(handle)] == "Made meanwhile"
    late = host.start("session_sync", 300)
    with pytest.raises(
        Exception,
        match=r"plue_session_sync: the synchronisation is not done in time; it goes on\. "
        r"See plue_session_sync_status\(\)\.",
    ):
        late.result()
    assert outcome(late) == "TIMEOUT" and late.took < 10
    assert host.session_sync(0) == 0 and json.loads(host.session_sync_status())["connected"]
    assert not any(answer.is_there for answer in waiting)
    assert host.library_threads() == threads
    gate.clear()
    assert {outcome(answer) for answer in waiting} == {"OK"}
    assert host.session_sync(20_000) == 0


def test_each_who_waits_hears_why_a_synchronisation_failed(behind):
    gate, host = behind
    gate.rules.append((lambda method, path: (method, path) == ("GET", "/session"), gates.refuse(500)))
    answers = [host.start("session_sync", 60_000) for _ in range(CALLERS)]
    assert {outcome(answer) for answer in answers} == {"SERVER"}
    gate.clear()
    assert host.session_sync(20_000) == 0


@pytest.mark.requirement("P-112")
def test_a_shutdown_sends_home_who_waits_for_a_synchronisation(behind):
    gate, host = behind
    hold_up(gate)
    waiting = [host.start("session_sync", 60_000) for _ in range(CALLERS)]
    waiting += [
        host.start("session_sync", 1) for _ in range(CALLERS)
    ]  # these are gone by then, with nothing left behind
    assert gate.asked.get(timeout=20)
    assert {outcome(answer) for answer in waiting[CALLERS:]} <= {"TIMEOUT", "BUSY"}
    stopping = host.start("shutdown")
    # NOT_INITIALIZED: of a thread that a busy machine lets begin only now.
    assert {"CLOSED"} <= {outcome(answer) for answer in waiting[:CALLERS]} <= {"CLOSED", "NOT_INITIALIZED"}
    stopping.result()
    assert stopping.took < 7
