"""Who runs what when several workers do (scripts/test.sh): what shares something dear stays together, long tests come
first.

Without pytest-xdist's workers nothing changes: the tests run in the order in which they were found. Its own `loadgroup`
does not do: it writes groups into the tests' names, which pytest 9.2 no longer takes (pytest-xdist's issue 1386). So
the workers, who know the tests' fixtures, leave the groups in a file, and whoever gives out the tests reads it.
"""

import json
import os
import tempfile

import pytest

#: Fixtures that a run is to have once, and the group of the tests that stand on them: one worker runs them all.
TOGETHER = {"server": "server", "daemon": "daemon", "tree": "packaging", "lasting": "agents"}
#: What comes first, by the beginning of its name: what takes longest, so that no worker is alone with it at the end.
FIRST = ("tests/integration/test_c_programs", "tests/integration/test_benchmarks", "tests/integration/", "tests/fault/")


def group(item):
    """Return the name of the group that the test belongs to, or None."""
    return next((TOGETHER[name] for name in item.fixturenames if name in TOGETHER), None)


def rank(item):
    """Return where the test's place is: groups before all others, these in the order of `FIRST`."""
    place = next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))
    return -1 if group(item) else place


def pytest_configure(config):
    config.pluginmanager.register(
        Worker(config.workerinput) if hasattr(config, "workerinput") else Starter(), "plue-spread"
    )


class Worker:
    """A worker's part. It collects all tests, also those that others run."""

    def __init__(self, told):
        self._told = told

    def pytest_collection_modifyitems(self, items):
        items.sort(key=rank)
        path = self._told["groups"]
        with open(f"{path}.{self._told['workerid']}", "w", encoding="utf-8") as file:
            json.dump({item.nodeid: group(item) for item in items if group(item)}, file)
        os.replace(file.name, path)


class Starter:
    """The part of the one that starts the workers, if there are any."""

    def __init__(self):
        self._folder = self._groups = None

    @property
    def _path(self):
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="plue-spread-")
        return os.path.join(self._folder.name, "groups.json")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["groups"] = self._path

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config, log):
        """Have it give tests to workers by group, the largest first, then one by one."""
        from xdist.scheduler import LoadScopeScheduling  # by hand the tests run without it

        scheduler = LoadScopeScheduling(config, log)
        scheduler._split_scope = self._transaction
        return scheduler

    def _transaction(self, nodeid):
        if self._groups is None:  # first asked when all have collected
            with open(self._path, encoding="utf-8") as file:
                self._groups = json.load(file)
        return self._groups.get(nodeid, nodeid)
