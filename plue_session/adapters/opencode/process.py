"""An OpenCode server of our own: how it is called, and where it says that it listens."""

import os
import re

from plue_session import errors
from plue_session.adapters.child.child import Child
from plue_session.adapters.child.guard import Command

#: A URL that a server may listen on, with its port.
_PLACE = re.compile(r"https?://(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?(?:/\S*)?", re.ASCII)

#: What keeps OpenCode from downloading: npm packages for plugins (63 MB), itself, the list of models (O-006).
ENVIRONMENT = {"npm_config_offline": "true", "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}


class OwnServer(Child):
    """An OpenCode server that is kept running; what it is ready with is its URL.

    `command` is the program with what precedes "serve"; `environment` is the host's, `overrides` (`spawn.env`) wins
    over everything. Without a password in them a random one is set: a port of 127.0.0.1 is open to every user of the
    machine, and OpenCode runs commands for whoever asks. `username` and `password` are what the server takes. The
    `options` are a `Child`'s.
    """

    url = Child.wait

    def __init__(self, command, directory, environment, overrides, **options):
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
