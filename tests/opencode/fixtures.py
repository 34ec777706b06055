"""One real OpenCode server for all tests, with a model of our own, offline and away from the user's files.

A plugin, not a conftest: every folder's tests name `server` and get the same one. Do not import a fixture, or a second
server is started.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from plue_session.adapters.opencode.process import OwnServer
from plue_session.adapters.opencode.turns import Turns
from plue_session.call import Call
from tests.opencode.fake_llm import FakeModel
from tests.support import alone

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.18.33"
FOLDER = ROOT / ".tools" / "opencode"
GUARD = ROOT / "plue_session" / "adapters" / "child" / "guard.c"

#: What keeps a server from doing what no test is about: downloads, other tools' configuration, language servers.
QUIET = dict.fromkeys(
    (
        "OPENCODE_DISABLE_SHARE",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS",
        "OPENCODE_DISABLE_CLAUDE_CODE",
        "OPENCODE_DISABLE_EXTERNAL_SKILLS",
        "OPENCODE_DISABLE_PROJECT_CONFIG",
        "OPENCODE_DISABLE_EMBEDDED_WEB_UI",
        "OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER",
    ),
    "1",
)


def install():
    """Return OpenCode's program, from the npm registry the first time."""
    with alone("opencode"):
        found = next(
            iter(sorted(FOLDER.glob("node_modules/opencode-linux-*/bin/opencode"), key=lambda path: len(str(path)))),
            None,
        )
        package = FOLDER / "node_modules" / "opencode-ai" / "package.json"
        if found and package.exists() and json.loads(package.read_text())["version"] == VERSION:
            return str(found)
        if not (shutil.which("npm") and shutil.which("node")):
            pytest.fail(
                "The OpenCode tests need node and npm to install opencode-ai: install Node.js 20 or newer.",
                pytrace=False,
            )
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text('{"private": true}\n')
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--save-exact", f"opencode-ai@{VERSION}"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            pytest.fail(f"npm cannot install opencode-ai@{VERSION}: {done.stderr[-500:]}", pytrace=False)
    return install()


@pytest.fixture(scope="session")
def opencode():
    return install()


@pytest.fixture(scope="session")
def guard(tmp_path_factory):
    """The guard's program, compiled."""
    program = tmp_path_factory.mktemp("guard") / "plue-session-guard"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, GUARD], check=True)
    return str(program)


@pytest.fixture(scope="session")
def no_threads(tmp_path_factory):
    """A library to preload that leaves its process without threads."""
    made = tmp_path_factory.mktemp("preload") / "no_threads.so"
    source = Path(__file__).parent / "no_threads.c"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", made, source, "-ldl"], check=True
    )
    return str(made)


@pytest.fixture(scope="session")
def model():
    with FakeModel() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The directory that sessions are about."""
    folder = tmp_path_factory.mktemp("repository")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "First"], cwd=folder, check=True)
    return str(folder.resolve())


def isolate(root, model):
    """Return what a server's environment must hold to be alone: folders of its own under `root`, our model and no
    other."""
    config = root / "opencode.json"
    config.write_text(
        json.dumps(
            {
                "autoupdate": False,
                "share": "disabled",
                "model": "fake/fake-model",
                "small_model": "fake/fake-model",
                "enabled_providers": ["fake"],
                "provider": {
                    "fake": {
                        "npm": "@ai-sdk/openai-compatible",
                        "name": "Fake",
                        "options": {"baseURL": model.url, "apiKey": "key"},
                        "models": {"fake-model": {"name": "Fake", "limit": {"context": 128000, "output": 8192}}},
                    }
                },
            }
        )
    )
    environment = {
        **QUIET,
        "OPENCODE_PERMISSION": '{"bash": "ask"}',
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "OPENCODE_CONFIG": str(config),
    }
    for name in ("data", "config", "state", "cache"):
        environment[f"XDG_{name.upper()}_HOME"] = str(root / name)
    for path in ("home", "tmp"):
        (root / path).mkdir()
    return environment


@pytest.fixture(scope="session")
def isolated(tmp_path_factory, model):
    return isolate(tmp_path_factory.mktemp("opencode"), model)


def serve(opencode, guard, repository, environment):
    """Start a real server, spawned and owned as the library does it. Two with one environment (`isolate`) share their
    database, and no events."""
    owned = OwnServer([opencode], repository, dict(os.environ), environment, program=guard, back_off=(0.05, 0.2))
    owned.start(soon(60))
    return owned


@pytest.fixture(scope="session")
def server(opencode, guard, repository, isolated):
    """The one real server that most tests use."""
    owned = serve(opencode, guard, repository, isolated)
    yield owned
    owned.stop()


@pytest.fixture(scope="session")
def heard():
    return EventSignal()


@pytest.fixture(scope="session")
def client(server, repository, heard):
    made = Client(server.url, repository, server.username, server.password, heard)
    yield made
    made.close()


@pytest.fixture(scope="session")
def turns(client, heard):
    return Turns(client, heard)


def permissions(client, directory=None):
    """Return what tools wait for leave to do. The library never asks that, so there is no public call."""
    return client._call("GET", "/permission", directory, soon())


def soon(seconds=10.0):
    """Return a call that ends in so many seconds."""
    return Call(time.monotonic() + seconds)
