"""Both stores, opened afresh for each test; all contract tests run against each."""

import pytest

from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore


@pytest.fixture(params=["sqlite", "memory"])
def scopes(request, tmp_path):
    """A function that opens the store of a scope; in one file, if it is a file."""
    stores = []

    def open_scope(scope):
        stores.append(SqliteStore(str(tmp_path / "data"), scope) if request.param == "sqlite" else MemoryStore(scope))
        return stores[-1]

    yield open_scope
    for each in stores:
        each.close()


@pytest.fixture
def store(scopes):
    """An empty store."""
    return scopes("embedded")
