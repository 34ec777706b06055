"""The four real agents: their programs, and an environment in which each is alone with a model of ours."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.opencode import fixtures
from tests.real_agents.fake_models import INPUT, OUTPUT
from tests.real_agents.raw import Raw
from tests.support import ROOT, alone

FOLDER = ROOT / ".tools" / "agents"
PACKAGES = Path(__file__).parent / "package.json"
#: What Codex says before each answer, of a model that it does not know.
NOTICE = (
    "Model metadata for `fake-model` not found. "
    "Defaulting to fallback metadata; this can degrade performance and cause issues."
)
BIN = FOLDER / "node_modules" / ".bin"


def install():
    """Have the agents of package.json in .tools/agents, from the npm registry the first time."""
    with alone("agents"):
        wanted = json.loads(PACKAGES.read_text())["dependencies"]
        if {name: _version(name) for name in wanted} == wanted:
            return
        if not (shutil.which("npm") and shutil.which("node")):
            pytest.fail("The tests of agents need node and npm: install Node.js 20 or newer.", pytrace=False)
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGES, FOLDER / "package.json")
        done = subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            pytest.fail(f"npm cannot install {wanted}: {done.stderr[-500:]}", pytrace=False)


def _version(name):
    package = FOLDER / "node_modules" / name / "package.json"
    return json.loads(package.read_text())["version"] if package.exists() else None


class Agent:
    """One agent, with a home and a worktree that are the test's own. `environment` is all that its process gets."""

    #: of `authenticate`, before a session is made
    login = None
    #: the tokens that it says a turn with one answer has used, (input, output)
    used = INPUT, OUTPUT
    #: the ways to log in that it names
    logins = ()
    #: it restores a conversation without telling all of it again
    resumes = True
    #: the outcome of a prompt whose permission was rejected
    rejected = "end_turn"

    def __init__(self, root, models):
        self.root, self.models, self.home, self.worktree = root, models, root / "home", root / "worktree"
        self.home.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "TMPDIR": str(root / "tmp"),
            **self.prepare(),
        }
        (root / "tmp").mkdir(exist_ok=True)
        repository(self.worktree)

    def __repr__(self):
        return type(self).__name__

    def start(self):
        """Start it to be spoken to by hand."""
        return Raw(self.command, self.environment, self.worktree, self.root / "errors")

    def log_out(self):
        """Take its account from it. OpenCode needs none for a model of one's own."""
        raise NotImplementedError

    def given(self, **more):
        """Return the `agent` of create_with."""
        return {
            "kind": "acp",
            "command": self.command,
            "env": self.environment,
            "worktree": str(self.worktree),
            "startMs": 60_000,
            **more,
        }

    def processes(self):
        """Return all that runs with its home, whoever is its parent by now, as pid to command line; not our guard."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # gone by now, or another user's
                if f"HOME={self.environment['HOME']}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return {pid: command for pid, command in found.items() if "plue-session-guard" not in command.split(" ")[0]}

    def kill(self):
        """Kill all of it at once."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def has_kept(self, text):
        """Return whether this is in its files, which it writes when it likes; the rest is lost when it is killed."""
        return any(text.encode() in path.read_bytes() for path in (self.home / self.keeps).rglob("*") if path.is_file())

    def forget(self):
        """Have it know no conversation any more."""
        shutil.rmtree(self.home / self.keeps)

    def age(self):
        """Make what it has written look older than this minute."""


class OpenCode(Agent):
    used = 1, 3  # those of fake_llm.py
    keeps = "../opencode/data"

    @property
    def command(self):
        return [fixtures.install(), "acp"]

    def prepare(self):
        (self.root / "opencode").mkdir()
        return fixtures.isolate(self.root / "opencode", self.models)


class Claude(Agent):
    #: the tool that makes a plan, and how that is given to it
    plan = "TodoWrite", "todos", "content", {"activeForm": "As told"}
    keeps = ".claude/projects"
    command = [str(BIN / "claude-agent-acp")]

    def prepare(self):
        return {
            "ANTHROPIC_BASE_URL": self.models.root,
            "ANTHROPIC_API_KEY": "x",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    def log_out(self):
        del self.environment["ANTHROPIC_API_KEY"]


class Codex(Agent):
    plan = "update_plan", "plan", "step", {}
    used = None
    keeps = "sessions"
    logins = "chatgpt", "codex-api-key", "openai-api-key"
    command = [str(BIN / "codex-acp")]
    rejected = "cancelled"

    def prepare(self):
        (self.home / "config.toml").write_text(
            'model = "fake-model"\n'
            'model_provider = "fake"\n'
            "[model_providers.fake]\n"
            'name = "Fake"\n'
            f'base_url = "{self.models.root}/v1"\n'
            'env_key = "FAKE_KEY"\n'
            'wire_api = "responses"\n'
        )
        return {"CODEX_HOME": str(self.home), "FAKE_KEY": "x"}

    def log_out(self):
        (self.home / "config.toml").write_text("")  # OpenAI's models, then, which want one


class Gemini(Agent):
    keeps = ".gemini/tmp"
    logins = "oauth-personal", "gemini-api-key"
    command = [str(BIN / "gemini"), "--experimental-acp", "-m", "gemini-2.5-flash"]
    login = "gemini-api-key"
    resumes = False

    def prepare(self):
        return {"GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": self.models.root}

    def log_out(self):
        del self.environment["GEMINI_API_KEY"], self.environment["GOOGLE_GEMINI_BASE_URL"]

    def age(self):
        # It names what it keeps by the minute, and empties the file of a conversation that it is to load in the same
        # minute (0.61.0): "No previous sessions found".
        for path in self.home.glob(".gemini/tmp/*/chats/session-*"):
            path.rename(path.with_name(re.sub(r"session-\d{4}", "session-2020", path.name)))


KINDS = {"opencode": OpenCode, "claude": Claude, "codex": Codex, "gemini": Gemini}


def repository(folder):
    """Make a git repository with a file in it."""
    git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    folder.mkdir()
    (folder / "kept.txt").write_text("kept\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *arguments], check=True)


def contents(folder):
    """Return all of a folder, as path to mode and bytes."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def until(condition, seconds=30.0):
    """Wait until this is so, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return value
