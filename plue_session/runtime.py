"""Build and connect: from a configuration to a running library. Nothing is decided here but what belongs together."""

import os
import time

from plue_session import __version__, config
from plue_session.adapters.log import Log
from plue_session.errors import Unsupported
from plue_session.model import EVENT_NUMBER
from plue_session.rules import cursors
from plue_session.rules.jsontext import dumps, quote
from plue_session.services.commits import Commits
from plue_session.services.sessions import Sessions
from plue_session.services.sharing import Sharing

#: What the configuration may take from the environment.
VARIABLES = ("PLUE_SESSION_CONFIG", "PLUE_SESSION_DATA_DIR", "PLUE_OPENCODE_URL", "OPENCODE_SERVER_USERNAME",
             "OPENCODE_SERVER_PASSWORD", "XDG_DATA_HOME")


def now_ms():
    """Return the wall clock in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class Runtime:
    """The running library: settings, store, services. `environment(name)` reads one variable of the host's or None."""

    def __init__(self, config_json, environment, publisher, library_path=""):
        self.settings = config.load(config_json, {name: value for name in VARIABLES if (value := environment(name)) is not None})
        self.publisher = publisher
        self.library_path = library_path
        self.started = time.monotonic_ns()
        if self.settings.backend.kind != "embedded":
            raise Unsupported(f'backend.kind "{self.settings.backend.kind}" is not part of version {__version__}',
                              'Set backend.kind to "embedded"; unset PLUE_OPENCODE_URL if it came from there.')
        self.store, keys = open_store(self.settings)
        self.log = None
        try:
            self.log = Log(self.settings.log.level, self.settings.log.file, self._tell_log)
            replay = self.settings.replay
            self.commits = Commits(self.store, publisher, now_ms, replay.limit, replay.age_ms)
            self.sharing = Sharing(self.commits, self.store, keys, self.settings)
            self.sessions = Sessions(self.commits, self.store, self.sharing, self.settings, __version__)
        except BaseException:
            self.close()
            raise

    def watched(self):
        """Return the folder and the file in it that hold the id of the newest log row, or None: no other process writes."""
        return (self.settings.data_dir, "sessions.lock") if self.store.name == "sqlite" else None

    def greet(self):
        """Tell that the library runs."""
        self.log.write("info", f"plue_session {__version__} runs: backend {self.settings.backend.kind}, store {self.store.name} "
                               f"{getattr(self.store, 'path', '')}".rstrip())
        self._tell("library.initialized", {"version": __version__})

    def farewell(self):
        """Tell that the library stops."""
        self.log.write("info", "plue_session stops")
        self._tell("library.shutdown", {})

    def close(self):
        """Close the store; everything acknowledged is durable already. Twice is harmless."""
        self.store.close()
        if self.log:
            self.log.close()

    def app_info(self):
        """Describe the running library as JSON text (c-api.md, plue_get_app_info)."""
        import sys
        return dumps({
            "version": __version__, "abi": 0, "python": sys.version.split()[0],
            "paths": {"library": self.library_path, "python": sys.prefix, "dataDir": self.settings.data_dir},
            "backend": self.settings.backend.kind, "store": self.store.name,
            "uptimeMs": (time.monotonic_ns() - self.started) // 1_000_000, "server": {"running": False},
        })

    def gap_tail(self, after, last):
        """Return the rest of a gap event: the log between `after` and `last` was trimmed; this is how things stand."""
        store_id = self.store.store_id
        return (f',"timestamp":{now_ms()},"correlationId":"gap-{last:x}","data":{{"reason":"trimmed",'
                f'"requestedCursor":"{cursors.render(store_id, after, None)}","latestCursor":"{cursors.render(store_id, last, None)}",'
                f'"latestRevision":{last},"sessions":{self.store.list_text().decode()}}}}}')

    def _tell(self, kind, data):
        """Send an event that is not stored."""
        _, last = self.store.log_state()
        self.publisher.transient(
            EVENT_NUMBER[kind], None, f',"timestamp":{now_ms()},"correlationId":{quote(os.urandom(6).hex())},"data":{dumps(data)}}}',
            cursors.render(self.store.store_id, last, None))

    def _tell_log(self, level, message):
        self._tell("log", {"level": level, "message": message})


def open_store(settings):
    """Open the configured store; returns it with the share key that belongs to it."""
    scope = settings.backend.kind
    if settings.store == "sqlite":
        from plue_session.adapters.share_key import ShareKeyFile
        from plue_session.adapters.sqlite.store import SqliteStore
        return SqliteStore(settings.data_dir, scope), ShareKeyFile(settings.data_dir)
    if settings.store == "memory":
        from plue_session.adapters.memory import MemoryStore
        from plue_session.adapters.share_key import ShareKeyMemory
        return MemoryStore(scope), ShareKeyMemory()
    raise Unsupported(f"the PostgreSQL store is not part of version {__version__}", 'Set store to "sqlite" or "memory".')



