"""A real server behind https, as one that is attached over a network is."""

import ssl

import pytest

from tests import support
from tests.opencode.fixtures import soon
from tests.opencode.test_tls import FOLDER
from tests.remote.hosts import Host
from tests.remote.proxy import Proxy


@pytest.fixture
def secured(server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem")
    with Proxy(server.url(soon()), context) as proxy:
        yield proxy


@pytest.fixture
def begin(plain, server, repository, secured, tmp_path):
    def start(environ, **config):
        backend = {
            "kind": "opencode",
            "url": secured.url,
            "directory": repository,
            "username": server.username,
            "password": server.password,
        }
        return Host(plain, tmp_path, environ, dataDir=str(tmp_path / "data"), backend=backend, **config)

    return start


@pytest.mark.requirement("O-009")
def test_sessions_live_on_a_server_behind_https_and_its_events_are_heard(begin, client, secured):
    with begin({"SSL_CERT_FILE": str(FOLDER / "authority.pem")}, cacheTtlMs=600_000) as host:
        host.await_stream()
        session = host.create_with(title="Secured")
        assert client.get(session.id, soon()).title == "Secured"
        client.update(session.id, soon(), title="Renamed elsewhere")
        host.wait_for("session.updated", session.id, title="Renamed elsewhere")
        assert session.peek()["title"] == "Renamed elsewhere" and session.id in host.list()
        session_id = session.id
        session.delete()
        assert session_id not in {each.id for each in client.list(soon())}
        assert {request.path for request in secured.requests} > {"/global/event", "/session"} and all(
            "authorization" in request.headers for request in secured.requests
        )


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_password(begin, secured):
    with begin({}) as host:
        failure = host.fails("session_open", "ses_0000000000nobody")
        assert (
            failure.code == "CONNECTION"
            and "no trusted connection" in failure.message
            and "certificate" in failure.message
        )
        assert "no trusted connection" in host.status()["server"]["error"] and secured.requests == []


def test_a_host_that_exits_meanwhile_ends_as_it_says(plain, tmp_path):
    """OpenSSL would take itself apart in `exit`, below the thread that loads certificates: one run in four died."""
    program = plain.compile(support.PROGRAMS / "exits.c")
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        support.run([program], env=support.environment(folder, watched=False), silent=True)
