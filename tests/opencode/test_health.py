"""Whether a server is there: asked like everything else, of a slow one too, and what lacks here is not its fault."""

import contextlib
import gzip
import os
import resource
import threading

import pytest

from plue_session import errors
from plue_session.adapters.opencode import health
from plue_session.adapters.opencode.http import Transport
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply

PAGE = reply(200, b"<!doctype html><title>OpenCode</title>", "text/html")


@pytest.fixture
def stub():
    with Stub() as server:
        yield server


@pytest.mark.requirement("O-002")
def test_readiness_is_asked_for_on_new_connections_the_second_after_a_quarter_of_a_second(stub):
    stub.well, healthy = False, reply(200, {"healthy": True, "version": "1.18.33"})
    stub.answers += [stub.stall(), stub.stall(), reply(500), healthy]
    began = soon(0)
    assert health.Waiting({}).wait(stub.url, soon()) == "1.18.33"
    assert soon(0) - began < 3 and len(stub.connections) == 4
    assert [target for _, target, _, _ in stub.requests] == ["/global/health"] * 4


def test_a_server_that_never_gets_well_is_what_its_last_answer_was(stub):
    stub.well, stub.default = False, lambda method, target: PAGE
    with pytest.raises(errors.Server, match="text/html"):
        health.Waiting({}).wait(stub.url, soon(1))
    stub.default = lambda method, target: reply(401, b"", None)
    with pytest.raises(errors.AccessDenied):
        health.Waiting({}).wait(stub.url, soon(60))


def test_closing_ends_the_wait_for_a_server_and_cuts_what_was_asked(stub):
    stub.well, stub.default = False, lambda method, target: stub.stall()
    waiting = health.Waiting({})
    closing = threading.Thread(target=lambda: (stub.asked.get(timeout=10), waiting.close()))
    closing.start()
    with pytest.raises(errors.Closed):
        waiting.wait(stub.url, soon(60))
    closing.join()
    assert stub.ended.get(timeout=10) is not None  # the client has ended its connection


@pytest.mark.requirement("O-002")
@pytest.mark.parametrize("late", [0.3, 1.2])
def test_a_slow_server_is_found_by_who_waits_for_it_no_later_than_it_answers(stub, late):
    """At a quarter of a second for each try it was never found, although every call would have been answered."""
    stub.well = False

    def answer(connection):
        stub.released.wait(late)
        connection.sendall(reply(200, {"healthy": True, "version": "1.18.33"}))
    stub.default = lambda method, target: answer
    assert health.Waiting({}).wait(stub.url, soon(2.5)) == "1.18.33"


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("answer", [HINTS + reply(200, {"healthy": True}),
                                    reply(200, gzip.compress(b'{"healthy": true}'), headers=["Content-Encoding: gzip"])], ids=["103", "gzip"])
def test_what_calls_understand_is_understood_where_a_server_is_looked_for(stub, answer):
    stub.well, stub.default = False, lambda method, target: answer
    assert health.probe(stub.url, {}, 5) == ""


def test_what_we_lack_ourselves_is_not_the_servers_fault(stub):
    """No descriptor is left: that was CONNECTION, "the server cannot be reached"."""
    transport = Transport(stub.url)
    with no_descriptors():
        for ask in (lambda: transport.send("GET", "/x", {}, None, soon(5)), lambda: health.probe(stub.url, {}, 5), lambda: health.Waiting({}).wait(stub.url, soon(5))):
            with pytest.raises(errors.StoreIo, match="Too many open files") as caught:
                ask()
            assert "ulimit -n" in caught.value.remedy
    stub.answers.append(reply(200))
    assert transport.send("GET", "/x", {}, None, soon(5)).status == 200
    transport.close()


@contextlib.contextmanager
def no_descriptors():
    """Leave this process no descriptor to open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken, most = [], max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("answer, text", [(reply(200, {"ok": True}), 'does not say "healthy": true'), (reply(200, {"healthy": False}), 'does not say "healthy": true'),
                                          (reply(200, b"[]"), 'does not say "healthy": true'), (reply(200, b'{"healthy"'), "Expecting"), (PAGE, "with text/html, not JSON")])
def test_what_is_wrong_with_an_answer_about_health_is_said(stub, answer, text):
    stub.well, stub.default = False, lambda method, target: answer
    with pytest.raises(errors.Server, match=text):
        health.probe(stub.url, {}, 5)


@pytest.mark.requirement("O-009")
def test_health_of_the_real_server_needs_its_password(server):
    url = server.url(soon())
    with pytest.raises(errors.AccessDenied):
        health.probe(url, {}, 5)
    assert health.probe(url, Transport(url, server.username, server.password).headers, 5) == "1.18.33"
