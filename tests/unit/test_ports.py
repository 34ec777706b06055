"""Adapters, and the stand-ins of tests, have the methods that their ports name, called in the same way."""

import inspect

import pytest

from plue_session import config, ports
from plue_session.adapters.acp.agent import AcpAgent
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.opencode.server import Server
from plue_session.adapters.share_key import ShareKeyFile, ShareKeyMemory
from plue_session.adapters.sqlite.channel import Channel
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.capi.publish import Publisher
from plue_session.ports.agent import Agent
from tests.fake_server import FakeServer
from tests.ports import INFALLIBLE, REQUESTS, methods, signature
from tests.recording import RecordingPublisher


def server(tmp_path):
    settings = config.load('{"backend":{"kind":"opencode","url":"http://nobody","directory":"/tmp"}}', {})
    return Server(settings.backend, {})


#: What is behind each port: what makes it of an empty folder.
ADAPTERS = [
    (ports.Store, lambda folder: SqliteStore(str(folder / "data"), "embedded")),
    (ports.Store, lambda folder: MemoryStore("embedded")),
    (ports.ShareKey, lambda folder: ShareKeyFile(str(folder))),
    (ports.ShareKey, lambda folder: ShareKeyMemory()),
    (ports.Channel, lambda folder: Channel(str(folder), lambda: 1)),
    (ports.Publisher, lambda folder: Publisher(None, None, 1)),
    (ports.Publisher, lambda folder: RecordingPublisher()),
    (ports.Server, server),
    (ports.Server, lambda folder: FakeServer()),
    (Agent, lambda folder: AcpAgent(["agent"], str(folder), {}, None, environment={})),
]


def fits(actual, promised):
    """Return whether what is called as `promised` can be: the same parameters and defaults in the same order. Where any
    keywords are promised, an adapter may name those it takes; it may also have further ones with a default."""
    if promised and promised[-1][2] is inspect.Parameter.VAR_KEYWORD:
        promised = promised[:-1]
    further = actual[len(promised) :]
    return actual[: len(promised)] == promised and all(
        default is not inspect.Parameter.empty or kind is inspect.Parameter.VAR_KEYWORD for _, default, kind in further
    )


@pytest.mark.parametrize("port, make", ADAPTERS, ids=lambda each: getattr(each, "__name__", ""))
def test_an_adapter_has_the_signatures_of_its_port(tmp_path, port, make):
    adapter = make(tmp_path)
    promised = methods(port)
    assert promised
    unlike = {
        name: signature(getattr(adapter, name))
        for name, parameters in promised.items()
        if not fits(signature(getattr(adapter, name)), parameters)
    }
    assert not unlike, unlike
    assert all(hasattr(adapter, name) for name in inspect.get_annotations(port))
    if port is ports.Store:
        adapter.close()


def test_a_signature_that_drifts_is_noticed():
    class Drifted:
        def load(self, key): ...

        def trim(self, limit, older_than_ms, sessions, now_ms=0): ...

        def page(self): ...

        def count(self, query, more): ...

    promised = methods(ports.Store)
    for name in ("load", "trim", "page", "count"):
        assert not fits(signature(getattr(Drifted(), name)), promised[name])


def test_what_the_fault_walks_fail_is_what_the_ports_name():
    assert INFALLIBLE < methods(ports.Store).keys() and len(REQUESTS) > 10
