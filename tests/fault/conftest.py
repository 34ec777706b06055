"""Fixtures of the tests that break things."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """An empty folder for a store."""
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path
