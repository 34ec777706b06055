"""The command plue-session in a process of its own, over the real library: what its tests run."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import support
from tests.opencode.stub import reply


class Shell:
    """Runs the command in a folder whose store it uses."""

    def __init__(self, root, folder, temporary):
        self.root, self.store = root, str(folder)
        self.env = {**os.environ, "TMPDIR": str(temporary)}
        self.started, self.prefix = [], []

    def command(self, *arguments, before=""):
        """Return the command; `before` is Python that runs in front of it."""
        start = ["-m", "plue_session.cli"]
        if before:
            start = [
                "-c",
                f"import sys\nfrom plue_session.cli import demo, doctor, host, locks, server, show\n"
                f"{before}\n"
                "import plue_session.cli\nsys.exit(plue_session.cli.main())",
            ]
        return [
            *self.prefix,
            sys.executable,
            *start,
            *arguments,
            *(["--data-dir", self.store] if arguments[0][0] != "-" else []),
        ]

    def __call__(self, *arguments, code=0, before="", env=()):
        """Run to the end; failures say one line on stderr, and never more."""
        done = support.run(
            self.command(*arguments, before=before), env={**self.env, **dict(env)}, cwd=self.root, code=code, timeout=60
        )
        assert "Traceback" not in done.err
        if code == 1 and arguments[0] != "doctor":
            assert done.err.splitlines()[-1].startswith(f"plue-session {arguments[0]}: ")
        return done

    def unwatched(self):
        """Measure no coverage from now on, which could not be written where the command is to fail."""
        self.env = {name: value for name, value in self.env.items() if name not in support.WATCHED}

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options).out)

    def start(self, *arguments):
        """Start a command that goes on; returns once it watches."""
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            cwd=self.root,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        line = process.stderr.readline()
        assert line.startswith("Watching ") and line.endswith(f"{self.store}; Ctrl-C ends.\n")
        process.watches = line[len("Watching ") :]
        return process


@pytest.fixture
def shell(plain, folder, tmp_path):
    made = Shell(plain.root, folder, tmp_path)
    yield made
    for process in made.started:
        process.kill()  # one that has ended does not mind
        process.communicate()


@pytest.fixture(scope="module")
def demonstrated(plain, tmp_path_factory):
    """A store in which the demo left a session, to be copied, and the session's info."""
    folder = tmp_path_factory.mktemp("demonstrated")
    folder.chmod(0o700)
    shell = Shell(plain.root, folder, folder.parent)
    shell("demo", "--keep")
    return folder, shell.json("list")[0]


@pytest.fixture
def kept(folder, demonstrated):
    """The info of a session that the demo left in the store."""
    shutil.copytree(demonstrated[0], folder, dirs_exist_ok=True)
    return demonstrated[1]


@pytest.fixture
def project(tmp_path):
    """A directory of the server's, without sessions yet."""
    path = tmp_path / "project"
    path.mkdir()
    return str(path.resolve())


def configure(shell, tmp_path, **config):
    """Have the command find this configuration."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(config))
    shell.env["PLUE_SESSION_CONFIG"] = str(file)


def attach(shell, tmp_path, url, directory, username=None, password=None, **config):
    """Have the command find a server."""
    given = {"kind": "opencode", "url": url, "directory": directory, "username": username, "password": password}
    configure(shell, tmp_path, backend={key: value for key, value in given.items() if value is not None}, **config)


@pytest.fixture
def attached(shell, server, project, tmp_path):
    """The shell, whose sessions are the real server's."""
    attach(shell, tmp_path, server.place[0], project, server.username, server.password)
    return shell


def answering(answers):
    """Return what a healthy server without a password answers, beside these: {path: JSON}."""
    known = {"/session": [], "/session/status": {}, "/permission": [], "/question": [], **answers}
    return lambda method, target: (
        reply(200, known[target.partition("?")[0]]) if target.partition("?")[0] in known else reply(404, b"{}")
    )
