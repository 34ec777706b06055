"""Fixtures of the unit tests: what they prove of the services, they prove over each store."""

import pytest

from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore
from tests.world import World


@pytest.fixture(params=["memory", "sqlite"])
def build(request, tmp_path):
    """Return a function that builds a `World` with the given settings."""
    worlds = []

    def build(settings=None):
        folder = str(tmp_path / f"data{len(worlds)}")
        worlds.append(
            World(settings, SqliteStore(folder, "embedded") if request.param == "sqlite" else MemoryStore("embedded"))
        )
        return worlds[-1]

    yield build
    for world in worlds:
        world.store.close()


@pytest.fixture
def world(build):
    return build()
