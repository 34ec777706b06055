"""Fixtures of the tests that run the real library: its builds, and a folder for each test's store."""

import pytest

from tests import support


@pytest.fixture(scope="session")
def plain():
    return support.library("plain")


@pytest.fixture
def folder(tmp_path):
    """An empty folder for a store."""
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path
