"""What lies between here and the server: tunnels and login pages that answer for it, and a way that takes its time."""

import json

import pytest

from tests.opencode.stub import Stub, reply
from tests.remote.hosts import Host

PAGE = b"<!doctype html><title>x</title>"
AWAY = {
    "530": reply(530, b"error code: 1033", "text/plain"),
    "521": reply(521, PAGE, "text/html"),
    "429": reply(429, b"", "", ["Retry-After: 60"]),
    "403": reply(403, PAGE, "text/html; charset=UTF-8"),
    "401": reply(401, PAGE, "text/html"),
}


@pytest.mark.requirement("P-115", "P-161")
@pytest.mark.parametrize("status", AWAY)
def test_what_a_tunnel_answers_means_that_the_server_is_away(strict, proxy, title, status):
    session = strict.create_with(title=title)
    proxy.rules.append(lambda request: AWAY[status])
    error = session.fails("update_title", "x")
    assert (
        error.code == "CONNECTION"
        and error.retryable
        and error.details["status"] == int(status)
        and "username" not in error.message
    )
    assert strict.fails("session_sync", 5_000).code == "CONNECTION"
    shown = strict.status()
    assert shown["connected"] is False and status in shown["server"]["error"]
    proxy.rules.clear()
    strict.call("session_sync", 10_000)
    assert strict.status()["connected"] is True and session.update_title("x") == 0


@pytest.fixture
def stub():
    with Stub(lambda method, target: reply(200, []) if target.startswith("/session?") else reply(404)) as made:
        yield made


def config(stub, folder, offline):
    return json.dumps(
        {
            "dataDir": str(folder / "store"),
            "offline": offline,
            "backend": {"kind": "opencode", "url": stub.url, "directory": str(folder)},
        }
    )


@pytest.mark.requirement("X-007")
@pytest.mark.parametrize("status", AWAY)
def test_at_the_start_it_means_the_same(plain, stub, tmp_path, status):
    stub.well, stub.default = False, lambda method, target: AWAY[status]
    with Host(plain, tmp_path, init=False) as host:
        error = host.fails("init", config(stub, tmp_path, "fail"))
        assert (
            error.code == "CONNECTION"
            and error.retryable
            and status in error.message
            and "username" not in error.message
        )
        host.call("init", config(stub, tmp_path, "queue"))
        assert host.status()["connected"] is False


@pytest.mark.requirement("X-007")
@pytest.mark.parametrize("late", [0.3, 2.0])
def test_a_start_waits_for_a_slow_server_as_its_calls_would(plain, stub, tmp_path, late):
    stub.well, answer = False, stub.default

    def default(method, target):
        if target != "/global/health":
            return answer(method, target)

        def slow(connection):
            stub.released.wait(late)
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(200, {"healthy": True}))

        return slow

    stub.default = default
    with Host(plain, tmp_path, init=False) as host:
        host.call("init", config(stub, tmp_path, "fail"))
        assert host.list() == {}
