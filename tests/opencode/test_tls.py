"""Over https: whom we trust, and that all else is as over http. `tls/server.pem` is for "localhost", signed by
`tls/authority.pem`."""

import os
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from plue_session import errors
from plue_session.adapters.opencode.api_call import headers
from plue_session.adapters.opencode.health import probe
from plue_session.adapters.opencode.http import Transport
from plue_session.adapters.opencode.stream import Stream
from plue_session.call import Call
from tests.opencode.stub import Stub, reply

FOLDER = Path(__file__).parent / "tls"


@pytest.fixture
def secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem")
    with Stub(lambda method, target: reply(200), context) as stub:
        yield stub


@pytest.fixture
def trusted(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(FOLDER / "authority.pem"))


@pytest.fixture
def transport(secure):
    made = Transport(secure.url, headers(None, "secret"))
    yield made
    made.close()


def within(seconds):
    return Call(time.monotonic() + seconds)


def get(transport, seconds=5.0, call=None):
    return transport.send("GET", "/session", {}, None, call or within(seconds))


def test_a_server_that_the_machine_trusts_is_asked_over_a_kept_connection(secure, trusted, transport):
    assert [get(transport).status for _ in range(3)] == [200] * 3
    assert len(secure.connections) == 1 and secure.requests[0][2]["host"] == f"localhost:{secure.port}"
    assert probe(secure.url, {}, 5) == ""  # the stub says no version


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_server_that_nobody_vouches_for_is_told_nothing_and_the_error_says_why(secure, monkeypatch, wrong):
    if wrong == "name":
        monkeypatch.setenv("SSL_CERT_FILE", str(FOLDER / "authority.pem"))
    url = secure.url if wrong == "authority" else secure.url.replace("localhost", "127.0.0.1")
    transport = Transport(url, headers(None, "secret"))
    with pytest.raises(errors.Connection, match="no trusted connection .*(issuer|mismatch)") as caught:
        get(transport)
    transport.close()
    assert caught.value.details == {"sent": False} and "certificate" in caught.value.remedy
    with pytest.raises(errors.Connection, match="no trusted connection .*(issuer|mismatch)"):
        probe(url, {}, 5)
    told, heard = threading.Event(), []
    stream = Stream(
        lambda call: url,
        "/x",
        {},
        lambda: None,
        lambda change: None,
        lambda error: (heard.append(error), told.set()),
    )
    stream.start()
    assert told.wait(5)
    stream.stop()
    assert "no trusted connection" in heard[0].cause
    assert secure.requests == []


def test_a_server_that_speaks_no_tls_is_an_error_that_says_so():
    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=lambda: plain.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")).start()
        transport = Transport(f"https://localhost:{plain.getsockname()[1]}", {})
        with pytest.raises(errors.Connection, match="no trusted connection") as caught:
            get(transport)
        assert caught.value.details == {"sent": False}
        transport.close()


def test_a_secured_connection_that_breaks_once_the_request_was_sent_does_not_speak_of_trust(secure, trusted, transport):
    def garble(connection):
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            raw.sendall(b"this is no record of TLS")
        raise OSError

    secure.answers += [garble]
    with pytest.raises(
        errors.Connection, match="the server ended the connection without an answer.*not known"
    ) as caught:
        transport.send("PATCH", "/session/ses_a", {}, b"{}", within(5))
    assert caught.value.details == {"sent": True}


@pytest.mark.requirement("T-03")
def test_deadline_cancel_and_close_cut_a_secured_connection_too(secure, trusted):
    transport = Transport(secure.url, {})
    assert get(transport).status == 200
    secure.answers += [
        secure.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        secure.stall(),
        secure.stall(),
    ]
    began = time.monotonic()
    with pytest.raises(errors.Timeout):
        get(transport, 0.3)
    call, reason = within(5), errors.Aborted("aborted", "")
    threading.Timer(0.1, call.set, (reason,)).start()
    with pytest.raises(errors.Aborted):
        get(transport, call=call)
    threading.Timer(0.1, transport.close).start()
    with pytest.raises(errors.Closed):
        get(transport)
    assert time.monotonic() - began < 3
