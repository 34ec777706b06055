"""Whether a server is there: asked like everything else, of a slow one too, and what lacks here is not its fault."""

import gzip
import subprocess
import sys
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.opencode import health
from plue_session.adapters.opencode.api_call import headers
from tests.opencode.fixtures import ROOT, soon
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
    began = time.monotonic()
    assert health.Waiting({}).wait(stub.url, soon().deadline) == "1.18.33"
    assert time.monotonic() - began < 3 and len(stub.connections) == 4
    assert [target for _, target, _, _ in stub.requests] == ["/global/health"] * 4


def test_a_server_that_never_gets_well_is_what_its_last_answer_was(stub):
    stub.well, stub.default = False, lambda method, target: PAGE
    with pytest.raises(errors.Server, match="text/html"):
        health.Waiting({}).wait(stub.url, soon(1).deadline)
    stub.default = lambda method, target: reply(401, b"", None)
    with pytest.raises(errors.AccessDenied):
        health.Waiting({}).wait(stub.url, soon(60).deadline)


def test_closing_ends_the_wait_for_a_server_and_cuts_what_was_asked(stub):
    stub.well, stub.default = False, lambda method, target: stub.stall()
    waiting = health.Waiting({})
    closing = threading.Thread(target=lambda: (stub.asked.get(timeout=10), waiting.close()))
    closing.start()
    with pytest.raises(errors.Closed):
        waiting.wait(stub.url, soon(60).deadline)
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
    assert health.Waiting({}).wait(stub.url, soon(2.5).deadline) == "1.18.33"


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HINTS + reply(200, {"healthy": True}),
        reply(200, gzip.compress(b'{"healthy": true}'), headers=["Content-Encoding: gzip"]),
    ],
    ids=["103", "gzip"],
)
def test_what_calls_understand_is_understood_by_the_probe(stub, answer):
    stub.well, stub.default = False, lambda method, target: answer
    assert health.probe(stub.url, {}, 5) == ""


#: In a process of its own, where nobody closes what was opened.
DESCRIPTORS = """
import os, resource, sys, time
sys.path.insert(0, {root!r})
from plue_session import errors
from plue_session.adapters.opencode import health, needs
from plue_session.adapters.opencode.http import Transport
from plue_session.call import Call
needs.load()
transport, taken = Transport({url!r}, {{}}), []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for ask in (lambda: transport.send("GET", "/x", {{}}, None, Call(time.monotonic() + 10)),
            lambda: health.probe({url!r}, {{}}, 10),
            lambda: health.Waiting({{}}).wait({url!r}, time.monotonic() + 10)):
    try:
        ask()
    except errors.PlueError as error:
        print(error.message(error.name))
for fd in taken:
    os.close(fd)
print(transport.send("GET", "/x", {{}}, None, Call(time.monotonic() + 10)).status)
"""


def test_what_we_lack_ourselves_is_not_the_servers_fault(stub):
    """No descriptor is left: that was CONNECTION, "the server cannot be reached"."""
    stub.answers.append(reply(200))
    done = subprocess.run(
        [sys.executable, "-c", DESCRIPTORS.format(root=str(ROOT), url=stub.url)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    *failures, last = done.stdout.splitlines()
    assert (len(failures), last, done.stderr) == (3, "200", "")
    for failure in failures:
        assert failure.startswith("IO: ") and "Too many open files" in failure and "ulimit -n" in failure


@pytest.mark.requirement("O-009")
def test_health_of_the_real_server_needs_its_password(server):
    url = server.url(soon())
    with pytest.raises(errors.AccessDenied):
        health.probe(url, {}, 5)
    assert health.probe(url, headers(server.username, server.password), 5) == "1.18.33"
