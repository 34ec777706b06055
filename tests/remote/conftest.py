"""The library through its C interface, beside a second client of the one real server."""

import base64
import http.client
import itertools
import json
import uuid
from urllib.parse import quote, urlsplit

import pytest

from tests import support
from tests.opencode.fixtures import soon
from tests.opencode.stub import reply
from tests.remote.hosts import Host
from tests.remote.proxy import Proxy, answering, without_sequences

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plain():
    return support.library("plain")


@pytest.fixture(scope="session")
def begin(server, plain, repository, tmp_path_factory):
    """`begin(**config)` starts a host whose sessions are the real server's, which it reaches through `host.proxy`;
    `end` ends it.

    With `direct` there is no proxy: the store's sessions belong to the server's own address.
    """

    def start(rules=(), folder=None, direct=False, **config):
        folder = folder or tmp_path_factory.mktemp("store")
        proxy = None if direct else Proxy(server.url(soon()))
        if proxy:
            proxy.rules.extend(rules)
        backend = {
            "kind": "opencode",
            "url": proxy.url if proxy else server.url(soon()),
            "directory": repository,
            "username": server.username,
            "password": server.password,
        }
        host = Host(plain, folder, dataDir=str(folder), backend=backend, **config)
        host.proxy = proxy
        return host

    return start


def end(hosts):
    """End hosts, all at a time."""
    for host in hosts:
        host.end()
    for host in hosts:
        host.__exit__()
        if host.proxy:
            host.proxy.down()


@pytest.fixture
def connected(begin):
    """As `begin`; the hosts end with the test."""
    hosts = []

    def start(*arguments, **config):
        hosts.append(begin(*arguments, **config))
        return hosts[-1]

    yield start
    end(hosts)


#: Hosts that many tests use. Without a word, and unless said otherwise, a host asks the server for nothing by itself
#: once it is in step.
HOSTS = {
    "quiet": dict(cacheTtlMs=600_000),  # what it knows stays fresh: what is asked can be counted
    "eager": dict(cacheTtlMs=0),  # everything that was known a moment ago is stale
    "strict": dict(cacheTtlMs=0, offline="fail"),  # its reads fail when the server cannot be asked
    "hurried": dict(cacheTtlMs=0, requestTimeoutMs=2_000),  # its calls have no time to lose
    "older": dict(cacheTtlMs=600_000, rules=[without_sequences]),  # its server has no sequences
    "deaf": dict(
        cacheTtlMs=0, rules=[answering("GET", "(/global)?/event", reply(404, b""))]
    ),  # it hears nothing of what happens on the server
    "polling": dict(
        cacheTtlMs=600_000, syncIntervalMs=300, rules=[answering("GET", "(/global)?/event", reply(404, b""))]
    ),  # nor this one, which looks often
}
#: Those that hear nothing.
DEAF = ("deaf", "polling")


def shared(name):
    # One that looks often takes the server a third of a processor: it ends with the test.
    @pytest.fixture(scope="function" if "syncIntervalMs" in HOSTS[name] else "session", name=name)
    def host(begin):
        made = begin(**{"syncIntervalMs": 600_000, "requestTimeoutMs": 10_000, **HOSTS[name]})
        if name not in DEAF:
            made.await_stream()
        made.call("session_sync", 10_000)
        yield made
        end([made])

    return host


quiet, eager, strict, hurried, older, deaf, polling = map(shared, HOSTS)


@pytest.fixture(scope="session")
def pair(begin, tmp_path_factory):
    """Two processes on one store and one server."""
    folder = tmp_path_factory.mktemp("shared")
    hosts = [begin(folder=folder, direct=True, cacheTtlMs=600_000, syncIntervalMs=600_000) for _ in range(2)]
    for host in hosts:
        host.await_stream()
    yield hosts
    end(hosts)


@pytest.fixture(autouse=True)
def from_here_on(request):
    """Have hosts that several tests use take in all that the tests before have done, and leave that behind."""
    for name in {*HOSTS, "pair"} & set(request.fixturenames):
        found = request.getfixturevalue(name)
        for host in found if name == "pair" else [found]:
            if name not in DEAF:
                host.fence(request.getfixturevalue("client"))
            host.leave_behind()


@pytest.fixture
def proxy(request):
    """The way from this test's host to the server. What the test has it do ends with it."""
    (name,) = HOSTS.keys() & set(request.fixturenames)
    proxy = request.getfixturevalue(name).proxy
    before = list(proxy.rules)
    yield proxy
    proxy.rules[:] = before


@pytest.fixture
def title():
    """A title that no other test uses."""
    return f"Title {next(_numbers)}"


@pytest.fixture(scope="session")
def raw(server, repository):
    """`raw("PATCH", "/session/…", {…})`: another client, that says what it likes; returns `(status, parsed body)`."""
    place = urlsplit(server.url(soon()))
    credentials = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()

    def ask(method, path, body=None, directory=repository):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        try:
            connection.request(
                method,
                f"{path}?directory={quote(directory, safe='')}",
                None if body is None else json.dumps(body),
                {"authorization": f"Basic {credentials}", "content-type": "application/json"},
            )
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
        status, message = raw(
            "POST",
            f"/session/{session_id}/message",
            {
                "noReply": True,
                "model": {"providerID": "fake", "modelID": "fake-model"},
                "parts": [{"type": "text", "text": text}],
            },
        )
        assert status == 200
        return message["info"]["id"]

    return put


class Turn:
    """Turns that another client begins; the text is what tests/opencode/fake_llm.py does, and names the turn."""

    def __init__(self, client, model):
        self._client, self._model = client, model

    def prompt(self, session_id, text, directory=None):
        """Ask for a turn, and return its id."""
        turn_id = f"msg_{uuid.uuid4().hex[:26]}"
        self._client.prompt(
            session_id, turn_id, [{"type": "text", "text": text}], ("fake", "fake-model"), soon(60), directory=directory
        )
        return turn_id

    def begin(self, session_id, text, directory=None):
        """Ask for a turn, and wait until its first word is out; return its id."""
        turn_id = self.prompt(session_id, text, directory)
        while self._model.started.get(timeout=60) != text:  # other tests' turns
            pass
        return turn_id

    def await_end(self, text):
        """Wait for its end; return "done" or "left"."""
        while (ended := self._model.ended.get(timeout=60))[0] != text:
            pass
        return ended[1]


@pytest.fixture
def turn(client, model):
    return Turn(client, model)
