"""Thousands of sessions on the server: they all come, nobody waits for it, and the server is never asked too much at
once."""

import http.client
import json
import threading
import time
from base64 import b64encode
from urllib.parse import quote

import pytest

from tests.robust.conftest import TORTURE, Other
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually, outcome

COUNT = 5000 if TORTURE else 400
#: KiB of memory that a session may cost here.
EACH_KIB = 6


@pytest.fixture
def crowded(daemon, tmp_path):
    """`(directory, ids)`: a directory with so many sessions, made over eight connections."""
    directory = tmp_path / "crowded"
    directory.mkdir()
    directory = str(directory.resolve())
    ids, lock = [], threading.Lock()

    def fill(number):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        headers = {
            "content-type": "application/json",
            "authorization": "Basic " + b64encode(f"opencode:{daemon.password}".encode()).decode(),
        }
        for each in range(number, COUNT, 8):
            connection.request(
                "POST",
                f"/session?directory={quote(directory, safe='')}",
                json.dumps({"title": f"Session {each}"}),
                headers,
            )
            made = json.loads(connection.getresponse().read())
            with lock:
                ids.append(made["id"])
        connection.close()

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ids) == COUNT
    return directory, ids


@pytest.mark.requirement("P-111", "P-114", "O-021", "O-066")
def test_a_crowded_server_is_mirrored_whole_while_nobody_waits(daemon, crowded, folder, request):
    directory, ids = crowded
    with Gate(daemon.url) as gate, Host(folder) as host:
        host.init(json.dumps({"dataDir": str(folder / "small"), "store": "memory"}))
        host.shutdown()
        resident = host.resident_kib()
        began = time.monotonic()
        host.init(json.dumps({"dataDir": str(folder), "backend": {**gate.backend(daemon), "directory": directory}}))
        # While the first synchronisation is under way, calls on one session are answered.
        handle = host.session_open(ids[COUNT // 2])
        waited = [host.start("session_update_title", handle, "renamed meanwhile")]
        while host.session_count(None) < COUNT and time.monotonic() - began < 60:
            waited += [
                host.start("session_get_info", handle),
                host.start("session_update_title", handle, f"renamed {len(waited)}"),
            ]
            assert [outcome(answer) for answer in waited[-2:]] == ["OK", "OK"]
        converged = time.monotonic() - began
        slowest = max(answer.took for answer in waited)
        assert slowest < 3
        began = time.monotonic()
        listed = {session["id"]: session for session in host.list()}
        first = time.monotonic() - began
        began = time.monotonic()
        host.list()
        again = time.monotonic() - began
        assert set(listed) == set(ids) and listed[ids[0]]["title"].startswith("Session ")
        # Many at once: the server gets eight, the others wait here.
        everybody = [host.start("session_list") for _ in range(12)] + [
            host.start("session_create", None) for _ in range(24)
        ]
        assert {outcome(answer) for answer in everybody} == {"OK"}
        assert 2 <= gate.most <= 8
        # Listing boots nothing: the server was asked for lists, and by name for no session but ours.
        asked = {path for method, path in gate.requests if path.startswith("/session/") and path != "/session/status"}
        assert asked == {f"/session/{ids[COUNT // 2]}"}
        grown = host.resident_kib() - resident
        assert grown < 30_000 + COUNT * EACH_KIB
        # What is deleted elsewhere goes here, too.
        other = Other.of(daemon, directory)
        doomed = ids[:100]
        host.subscribe()
        for session_id in doomed:
            other.delete(session_id)
        other.close()
        host.session_sync(30000)
        assert (
            not set(doomed) & {session["id"] for session in host.list()}
            and host.session_count(None) == COUNT - 100 + 24
        )
        told = []
        assert eventually(
            lambda: (
                told.extend(host.heard()) or len([event for event in told if event["type"] == "session.deleted"]) >= 100
            )
        )
        assert sorted(event["sessionId"] for event in told if event["type"] == "session.deleted") == sorted(doomed)
        if TORTURE:
            for name, value in (
                ("sessions", COUNT),
                ("converged s", converged),
                ("slowest call meanwhile s", slowest),
                ("first list s", first),
                ("later list s", again),
                ("grown KiB", grown),
                ("most requests at once", gate.most),
            ):
                request.node.user_properties.append((name, round(value, 3)))
