"""What all tests share: the `requirement` marker and the record of what was proven, no skips under CI, no home touched."""

import json
import os
import signal

import hypothesis
import pytest

#: One OpenCode server for all folders.
pytest_plugins = ["tests.opencode.fixtures"]

#: The machines that run this are shared: how long one example takes says nothing.
hypothesis.settings.register_profile("plue", deadline=None, print_blob=True)
hypothesis.settings.load_profile("plue")


def pytest_configure(config):
    config.addinivalue_line("markers", "requirement(*ids): the test proves these lines of docs/requirements.md")
    config.pluginmanager.register(Proofs(), "plue-proofs")
    for name in [name for name in os.environ if name.startswith(("PLUE_SESSION_", "PLUE_OPENCODE_", "OPENCODE_"))]:
        del os.environ[name]
    # A shell that runs us in the background has SIGINT ignored, and what we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_home(tmp_path_factory):
    """Whoever forgets to name a data directory gets one here, not the developer's."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: under CI every test runs ({report.longrepr})"
    return report


class Proofs:
    """Collects which tests claim which requirements and how they went; written to the file that PLUE_PROVEN names."""

    def __init__(self):
        self.claims, self.outcomes = {}, {}

    def pytest_collection_finish(self, session):
        for item in session.items:
            for mark in item.iter_markers("requirement"):
                for requirement in mark.args:
                    self.claims.setdefault(requirement, []).append(item.nodeid)

    def pytest_runtest_logreport(self, report):
        # The worst of setup, call and teardown counts.
        if report.failed or report.skipped:
            self.outcomes[report.nodeid] = report.outcome
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

    def pytest_sessionfinish(self, session):
        path = os.environ.get("PLUE_PROVEN")
        if path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            ran = not session.config.option.collectonly
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"ran": ran, "claims": self.claims, "outcomes": self.outcomes}, file, indent=1, sort_keys=True)
