"""What all tests share: the ledger, two workers, one OpenCode server, an environment without our variables, no home
touched."""

import os
import signal

import hypothesis
import pytest

#: The ledger's half, who runs what when several workers do, and one OpenCode server for all folders.
pytest_plugins = ["tests.proofs", "tests.spread", "tests.opencode.fixtures"]

#: What judges the run as a whole comes after it: see scripts/test.sh.
collect_ignore = [] if "PLUE_AFTER" in os.environ else ["after"]

#: The machines that run this are shared: how long one example takes says nothing.
hypothesis.settings.register_profile("plue", deadline=None, print_blob=True)
hypothesis.settings.load_profile("plue")


def pytest_configure(config):
    for name in [name for name in os.environ if name.startswith(("PLUE_SESSION_", "PLUE_OPENCODE_", "OPENCODE_"))]:
        del os.environ[name]
    # A shell that runs us in the background has SIGINT ignored, and what we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_home(tmp_path_factory):
    """Whoever forgets to name a data directory gets one here, not the developer's."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("home"))
