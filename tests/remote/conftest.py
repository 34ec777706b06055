"""The library through its C interface, beside a second client of the one real server."""

import base64
import http.client
import itertools
import json
from urllib.parse import quote, urlsplit

import pytest

from tests import support
from tests.opencode.fixtures import soon
from tests.remote.hosts import Host
from tests.remote.proxy import Proxy

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plain():
    return support.library("plain")


@pytest.fixture(scope="session")
def connected(server, plain, repository, tmp_path_factory):
    """`connected(url=None, **config)` starts a host whose sessions are the real server's; it ends with the run."""
    hosts = []

    def start(url=None, folder=None, backend=None, **config):
        folder = folder or tmp_path_factory.mktemp("store")
        place = {"kind": "opencode", "url": url or server.url(soon()), "directory": repository, "username": server.username, "password": server.password}
        hosts.append(Host(plain, folder, dataDir=str(folder), backend={**place, **(backend or {})}, **config))
        return hosts[-1]
    yield start
    for host in hosts:
        host.__exit__()


@pytest.fixture(scope="session")
def line(server):
    """The way from the library to the server. See `proxy`."""
    with Proxy(server.url(soon())) as proxy:
        yield proxy


@pytest.fixture
def proxy(line):
    """The way from the library to the server, for one test: what it does to it ends with it."""
    yield line
    line.rules.clear()


@pytest.fixture(scope="session")
def quiet(connected, line):
    """A host that asks the server for nothing by itself once it has begun: what is asked can be counted."""
    host = connected(line.url, cacheTtlMs=600_000, syncIntervalMs=600_000, requestTimeoutMs=10_000)
    host.await_stream()
    host.call("session_sync", 10_000)
    return host


@pytest.fixture(scope="session")
def eager(connected, line):
    """A host to which everything that was known a moment ago is stale."""
    host = connected(line.url, cacheTtlMs=0, syncIntervalMs=600_000, requestTimeoutMs=10_000)
    host.await_stream()
    return host


@pytest.fixture
def title():
    """A title that no other test uses."""
    return f"Title {next(_numbers)}"


@pytest.fixture(scope="session")
def raw(server, repository):  # noqa: F811
    """`raw("PATCH", "/session/…", {…})`: another client, that says what it likes; returns `(status, parsed body)`."""
    place = urlsplit(server.url(soon()))
    credentials = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()

    def ask(method, path, body=None, directory=repository):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        try:
            connection.request(method, f"{path}?directory={quote(directory, safe='')}", None if body is None else json.dumps(body),
                               {"authorization": f"Basic {credentials}", "content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None
    return ask


@pytest.fixture(scope="session")
def say(raw):
    """`say(session_id, text)` puts a message of the user's into a session, without any answer; returns its id."""
    def put(session_id, text):
        status, message = raw("POST", f"/session/{session_id}/message", {
            "noReply": True, "model": {"providerID": "fake", "modelID": "fake-model"}, "parts": [{"type": "text", "text": text}]})
        assert status == 200
        return message["info"]["id"]
    return put
