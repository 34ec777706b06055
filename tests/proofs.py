"""The ledger's half of the tests: the `requirement` marker, the record of what was proven, no skips under CI.

A plugin: with several workers (pytest-xdist) each tells the one that started them what the tests claim, and that one
writes.
"""

import json
import os

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "requirement(*ids): the test proves these lines of docs/requirements.md")
    config.pluginmanager.register(Claims(config) if hasattr(config, "workerinput") else Proofs(), "plue-proofs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: under CI every test runs ({report.longrepr})"
    return report


def claims(items):
    """Return the tests that claim each requirement."""
    found = {}
    for item in items:
        for mark in item.iter_markers("requirement"):
            for requirement in mark.args:
                found.setdefault(requirement, []).append(item.nodeid)
    return {requirement: sorted(tests) for requirement, tests in found.items()}


class Claims:
    """A worker's part. It collects all tests, also those that others run."""

    def __init__(self, config):
        self._output = config.workeroutput

    def pytest_collection_finish(self, session):
        self._output["claims"] = claims(session.items)


class Proofs:
    """Collects which tests claim which requirements and how they went; written to the file that PLUE_PROVEN names."""

    def __init__(self):
        self.claims, self.outcomes, self.measured = {}, {}, []

    def pytest_collection_finish(self, session):
        self.claims = claims(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        # One that died has told nothing, but another took its place.
        self.claims.update(getattr(node, "workeroutput", {}).get("claims", {}))

    def pytest_runtest_logreport(self, report):
        # The worst of setup, call and teardown counts.
        if report.failed or report.skipped:
            self.outcomes[report.nodeid] = report.outcome
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")
            self.measured += report.user_properties

    def pytest_terminal_summary(self, terminalreporter):
        for name, value in self.measured:
            terminalreporter.write_line(f"{name}: {value}")

    def pytest_sessionfinish(self, session):
        path = os.environ.get("PLUE_PROVEN")
        if path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            ran = not session.config.option.collectonly
            with open(path, "w", encoding="utf-8") as file:
                json.dump(
                    {"ran": ran, "claims": self.claims, "outcomes": self.outcomes}, file, indent=1, sort_keys=True
                )
