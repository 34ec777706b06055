"""Agents that end with their test, and leave nothing behind: fake ones (`agents`), and the four real ones (`agent`), each
alone with its fake model, its home and its worktree."""

import os

import pytest

from tests.agents import real
from tests.agents.fake_models import FakeModels
from tests.agents.held import Held


def children():
    """Return the processes whose parent is this one, zombies, too."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(name))
    return found


@pytest.fixture
def agents(tmp_path, guard):
    """`agents(words…)` makes a `Held`; at the end each is closed and checked."""
    before, made = set(children()), []

    def make(*words, **options):
        made.append(Held(tmp_path, guard, words, **options))
        return made[-1]

    yield make
    for each in made:
        each.end()
    assert not set(children()) - before


@pytest.fixture(scope="session")
def models():
    with FakeModels() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def installed():
    real.install()


@pytest.fixture(params=real.KINDS)
def agent(request, tmp_path, models, installed):
    """One after the other, as nothing else has used it."""
    return real.KINDS[request.param](tmp_path, models)
