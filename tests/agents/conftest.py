"""Agents that end with their test, and leave nothing behind."""

import os

import pytest

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
