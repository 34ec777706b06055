"""An OpenCode server of our own: how it is called, and where it says that it listens."""

import hashlib
import json
import os
import re

from plue_session import errors
from plue_session.adapters.child.child import Child
from plue_session.adapters.child.guard import Command
from plue_session.adapters.child.share import Share

#: A URL that a server may listen on, with its port.
_PLACE = re.compile(r"https?://(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?(?:/\S*)?", re.ASCII)

#: What keeps OpenCode from downloading: npm packages for plugins (63 MB), itself, the list of models (O-006).
ENVIRONMENT = {"npm_config_offline": "true", "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}


#: What of the host's environment makes it another server: where that finds what it keeps, and what begins so.
_FOLDERS, _PREFIX = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), "OPENCODE_"
#: The longest password that others are told, in characters: a note is a line of some 8,000 bytes.
_LONGEST = 500


def share_of(folder, spawn, environment):
    """Return where processes meet whose store is in `folder` and who want the server of `settings.backend.spawn`; or
    None: it cannot be shared. `environment` is the host's."""
    whole = {**environment, **spawn.env}
    if any(len(whole.get(f"OPENCODE_SERVER_{name}", "")) > _LONGEST for name in ("USERNAME", "PASSWORD")):
        return None
    key = [
        _program(spawn.command[0], spawn.directory, whole),
        spawn.command[1:],
        spawn.directory,
        sorted(spawn.env.items()),
        sorted(each for each in environment.items() if each[0] in _FOLDERS or each[0].startswith(_PREFIX)),
        # The guard lets in its own user, and a container may reach neither the server's port nor its process.
        [os.geteuid(), *map(_namespace, ("net", "pid"))],
    ]
    return Share(folder, "server-" + hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16])


def running(share):
    """Return what the processes that share a server know of it, {"url","username","password"}; None if none runs."""
    try:
        return json.loads(share.read() or "null") if share else None
    except (OSError, ValueError):  # not ours to read, or just being written: as good as none
        return None


def _namespace(kind):
    try:
        return os.readlink(f"/proc/self/ns/{kind}")
    except OSError:
        return ""


def _program(name, directory, environment):
    """Return the file that a command's first word names: two with another PATH may still mean the same."""
    if "/" in name:
        return os.path.join(directory, name)
    for folder in os.get_exec_path(environment):
        if os.access(path := os.path.join(directory, folder, name), os.X_OK):
            return path
    return name


class OwnServer(Child):
    """An OpenCode server that is kept running; what it is ready with is its URL.

    `command` is the program with what precedes "serve"; `environment` is the host's, `overrides` (`spawn.env`) wins
    over everything. Without a password in them a random one is set: a port of 127.0.0.1 is open to every user of the
    machine, and OpenCode runs commands for whoever asks. `username` and `password` are what the server takes; of one
    that another process has started they are known before it counts as ready, and `on_credentials()` is called. The
    other `options` are a `Child`'s.
    """

    url = Child.wait

    def __init__(self, command, directory, environment, overrides, *, on_credentials=None, **options):
        self._on_credentials = on_credentials or (lambda: None)
        environment = {**environment, **ENVIRONMENT, **overrides}
        self.username = environment.get("OPENCODE_SERVER_USERNAME") or "opencode"
        self.password = environment.get("OPENCODE_SERVER_PASSWORD")
        if not self.password and "OPENCODE_SERVER_PASSWORD" not in overrides:
            self.password = environment["OPENCODE_SERVER_PASSWORD"] = os.urandom(24).hex()
        serve = [] if "serve" in command[1:] else ["serve", "--hostname", "127.0.0.1", "--port", "0"]
        super().__init__(
            Command(
                [*command, *serve],
                directory,
                environment,
                name="the server",
                does="listen",
                key="backend.spawn",
                install="Install OpenCode (npm install -g opencode-ai)",
            ),
            _Output,
            **options,
        )

    def describe(self, value):
        """Return the note of a server: its address and who may come in."""
        return json.dumps({"url": value, "username": self.username, "password": self.password})

    def adopt(self, note):
        """Take the server of a note for ours. Should we be the one to start it again, it gets the same password: then
        the others need not learn another."""
        told = json.loads(note)
        if (told["username"], told["password"]) != (self.username, self.password):
            self.username, self.password = told["username"], told["password"]
            environment = {**self._command.environment, "OPENCODE_SERVER_PASSWORD": self.password}
            self._command = self._command._replace(environment=environment)
            self._on_credentials()
        return told["url"]


class _Output:
    """What a server prints."""

    def __init__(self):
        self._text = b""

    def feed(self, data):
        """Return the URL that it listens on as soon as it has said so, else None; `SERVER` if it is none."""
        self._text = (self._text + data)[-65536:]
        # Other lines may come before it: a warning about the password (O-003).
        *lines, _ = self._text.split(b"\n")
        for line in lines:
            _, found, said = line.partition(b"server listening on ")
            if found and said.startswith((b"http://", b"https://")):
                url = said.strip().decode("ascii", "backslashreplace")
                place = _PLACE.fullmatch(url)
                if place and 0 < int(place.group(1) or 80) < 65536:
                    return url
                shown = "".join(char if char.isprintable() else " " for char in url[:200])
                raise errors.Server(
                    f"the command says that it listens on {shown}, which is no URL of a server",
                    "See that backend.spawn.command starts OpenCode.",
                    details={"stdout": shown},
                )
        return None
