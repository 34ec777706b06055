"""The worlds in which the services with a server are tried."""

import pytest

from plue_session.adapters.sqlite.store import SqliteStore
from tests.remote_world import RemoteWorld


@pytest.fixture
def world():
    return RemoteWorld()


@pytest.fixture
def running(world):
    """A world whose thread runs; it compares each 50 ms."""
    world.link.interval = 0.05
    world.sync.begin()
    world.outbox.begin()
    yield world
    world.outbox.end()
    world.sync.end()
    world.sync.join(5)


@pytest.fixture
def two(tmp_path):
    """Two processes on one store and one server, each with its own stream; their events come by hand."""
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    streams = [], []
    first.server.tell = lambda change: [stream.append(change) for stream in streams]

    def deliver(number):
        world, stream = (first, second)[number], streams[number]
        while stream:
            world.hear(stream.pop(0))

    yield first, second, deliver
    first.store.close()
    second.store.close()


@pytest.fixture
def made(world):
    """A session that the server has; it is away then."""
    session = world.create(title="T", metadata={"a": 1})
    world.told.take()
    world.away()
    world.server.asked.clear()
    return session
