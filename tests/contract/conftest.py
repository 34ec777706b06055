"""Both stores, opened afresh for each test; all contract tests run against each."""

import pytest

from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore


@pytest.fixture(params=["sqlite", "memory"])
def store(request, tmp_path):
    """An empty store."""
    opened = SqliteStore(str(tmp_path / "data"), "embedded") if request.param == "sqlite" else MemoryStore("embedded")
    yield opened
    opened.close()
