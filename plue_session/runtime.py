"""Build and connect: from a configuration to a running library. Nothing is decided here but what belongs together."""

import os
import time

from plue_session import __version__, config
from plue_session.adapters.log import Log
from plue_session.call import Call
from plue_session.errors import Connection, Timeout, Unsupported, known
from plue_session.errors import Server as ServerError
from plue_session.model import EVENT_NUMBER
from plue_session.rules import cursors, info
from plue_session.rules.jsontext import dumps, quote
from plue_session.rules.scopes import scope_of
from plue_session.services.agents import LazyAgents
from plue_session.services.agents.echo import Echo
from plue_session.services.backend import Backend
from plue_session.services.calls import Calls
from plue_session.services.no_server import NoServer
from plue_session.services.observations import Observations
from plue_session.services.relay.ids import Ids
from plue_session.services.relay.relay import Relay
from plue_session.services.sessions import Sessions
from plue_session.services.sharing import Sharing
from plue_session.services.turns.inputs import Inputs
from plue_session.services.turns.local_asks import LocalAsks
from plue_session.services.turns.messages import Messages
from plue_session.services.turns.running import Turns
from plue_session.services.writer import Writer

#: What the configuration may take from the environment.
VARIABLES = (
    "PLUE_SESSION_CONFIG",
    "PLUE_SESSION_DATA_DIR",
    "PLUE_OPENCODE_URL",
    "OPENCODE_SERVER_USERNAME",
    "OPENCODE_SERVER_PASSWORD",
    "PLUE_SESSION_LOG",
    "XDG_DATA_HOME",
    "HOME",
)
#: Seconds that plue_init waits for a server of our own, and for one that is attached and must be there.
SPAWN, ATTACH = 29.0, 3.0
#: Seconds that it waits for one that may be away.
GLANCE = 1.0
#: Seconds that `close` waits for the server's end.
CLOSING = 5.5
#: Seconds that it has in any case, should the ends of agents have taken those.
GRACE = 0.5
#: Seconds that it waits for a cleaning whose cleaner has returned.
CLEANING = 0.5


def now_ms():
    """Return the wall clock in milliseconds since the Unix epoch. Not by time_ns(), which ends in 2262."""
    return int(time.clock_gettime(time.CLOCK_REALTIME) * 1000)


class Runtime:
    """The running library: settings, store, services, and the server if there is one.

    `environment(name)` reads one variable of the host's or None, `environ()` all of them; `lifeline(fd, open)` hears of
    descriptors that a forked child must close; `given_up()` tells whether nobody waits for this to be built any more;
    `places` are the folders that hold what the library needs, should a host's own Python lack it; `children` starts
    programs that are no children of the host's; `cleaner(info)` cleans up after a session whose agent has ended.
    """

    def __init__(
        self,
        config_json,
        environment,
        publisher,
        library_path="",
        *,
        environ=None,
        lifeline=None,
        given_up=None,
        places=(),
        children=None,
        lead=None,
        cleaner=None,
        began=0,
    ):
        self.relay = self.agents = self._backend = self._streams = self._recorder = self._echo = None
        self.settings = config.load(
            config_json, {name: value for name in VARIABLES if (value := environment(name)) is not None}
        )
        self.publisher = publisher
        self.library_path = library_path
        self.started = time.monotonic_ns()
        #: whether calls go to a server
        self.remote = self.settings.backend.kind == "opencode"
        #: how old a snapshot may be to be shown without asking the server, ns; -1: any
        self.cache_ttl_ns = self.settings.cache_ttl_ms * 1_000_000 if self.remote else -1
        self.sync, self._half, self._server, self.log, self._closing = NoServer(), None, None, None, False
        #: the operations in bulk, put here by who knows the functions that there are
        self.batches = None
        self._read_environ, self._lifeline = environ or (lambda: dict(os.environ)), lifeline
        self._environ = self._read_environ() if self.remote else {}
        self._given_up, self._places, self._children = given_up, places, children
        if self.remote:
            from plue_session.adapters.opencode import needs

            needs.check_primitives()
        self.store, keys = open_store(self.settings, scope_of(self.settings.backend, self._environ))
        try:
            self.log = Log(self.settings.log.level, self.settings.log.file, self._tell_log)
            replay = self.settings.replay
            self.writer = Writer(self.store, publisher, now_ms, replay.limit, replay.age_ms, lead)
            self.sharing = Sharing(self.store, keys, now_ms, self.settings)
            self.observations = Observations(self.store, replay.limit, replay.age_ms, now_ms, self._shown)
            self.agents = LazyAgents(self.store, self._load_agents)
            if self.store.name == "sqlite":
                self._echo = Echo(self.store, self.writer, self.log, self._load_channel)
            if self.remote:
                self._connect(lifeline)
            else:
                backend = Backend(self.store, self.writer, self.sharing, self.settings, __version__, self.log)
                backend.agents, backend.calls, backend.turns = self.agents, Calls(), Turns(backend, publisher)
                self._backend = backend  # once `hang_up` can close it
                self.sessions, self.inputs, self.turns = Sessions(backend), Inputs(backend), backend.turns
                self.messages, self.asks, self.calls = Messages(backend), LocalAsks(backend), backend.calls
            self.relay = Relay(
                self.store,
                self.writer,
                Ids(lambda: os.urandom(8).hex()),
                now_ms,
                cleaner or (lambda info: None),
                self.log,
                self.sessions.resolve,
                self.settings.request_timeout_ms / 1000,
            )
            self.relay.agents = self.agents  # type: ignore[assignment]
        except BaseException as error:
            self.close("plue_init", began, known(error).name)
            raise

    def watched(self):
        """Return the folder and the file in it that hold the id of the newest log row, or None: no other process
        writes."""
        return (self.settings.data_dir, "sessions.lock") if self.store.name == "sqlite" else None

    def greet(self):
        """Tell that the library runs."""
        self.log.write(
            "info",
            f"plue_session {__version__} runs: backend {self.settings.backend.kind}, store {self.store.name} "
            f"{getattr(self.store, 'path', '')}".rstrip(),
        )
        self._tell("library.initialized", {"version": __version__})

    def farewell(self):
        """Tell that the library stops."""
        self.log.write("info", "plue_session stops")
        self._tell("library.shutdown", {})

    def hang_up(self):
        """Cut what is under way with agents and with the server, and begin to stop those of our own. Returns within 200
        ms; twice is harmless."""
        if self._closing:
            return
        self._closing = True
        if self.agents is not None:
            self.agents.hang_up()
        if self._backend is not None:
            self._backend.calls.close()
            self._backend.turns.close()
        if self._half is not None:
            self._half.sync.end()
            self._half.outbox.end()
            self._half.driver.end()
            self._half.streams.end()
        if self._server is not None:
            self._server.end()

    def close(self, *call):
        """Stop the server of our own and close the store; everything acknowledged is durable already. Twice is
        harmless. `call`: the one that ends so, as `Log.trace_call` takes it."""
        try:
            self.hang_up()
            if self.relay is not None:
                self.relay.close(CLEANING)
            until = time.monotonic() + CLOSING
            if self.agents is not None:
                self.agents.close(CLOSING)
            if self._echo is not None:
                self._echo.close()
            if self._streams is not None:
                self._streams.end()
            if self._server is not None:
                self._server.close(max(until - time.monotonic(), GRACE))
            if self._half is not None:
                self._half.sync.join(0.1)
        finally:  # whatever the server's end met
            try:
                self.store.close()
            finally:
                if self.log:
                    if call:
                        self.log.trace_call(*call)
                    self.log.close()

    def app_info(self):
        """Describe the running library as JSON text, for plue_get_app_info()."""
        import sys

        return dumps(
            {
                "version": __version__,
                "abi": 0,
                "python": sys.version.split()[0],
                "paths": {
                    "library": self.library_path,
                    "python": sys.prefix,
                    "dataDir": self.settings.data_dir,
                    "dataDirRule": self.settings.data_dir_rule,
                },
                "backend": self.settings.backend.kind,
                "store": self.store.name,
                "uptimeMs": (time.monotonic_ns() - self.started) // 1_000_000,
                "server": self.sync.server(),
            }
        )

    # -- with a server -------------------------------------------------------------------------------------------------
    def _connect(self, lifeline):
        """Find or spawn the server, and put what mirrors it between it and the services."""
        from plue_session.adapters import openssl

        openssl.keep()
        from plue_session.adapters.opencode.server import Server
        from plue_session.wiring import RemoteHalf

        self._server = server = Server(
            self.settings.backend,
            self._environ,
            on_lifeline=lifeline,
            children=self._children,
            trace=self.log.trace,
            shared_in=self.settings.data_dir if self.store.name == "sqlite" else None,
        )
        self._half = half = RemoteHalf(
            server,
            self.writer,
            self.store,
            self.publisher,
            self.sharing,
            self.settings,
            self.log,
            self._tell_state,
            now_ms,
            __version__,
            self._tell_of,
            self.agents,
        )
        self._backend = half.backend
        self.calls, self.executor, self.sessions = half.calls, half.executor, half.sessions
        self.asks = half.asks  # type: ignore[assignment]
        self.inputs, self.turns = half.inputs, half.turns  # type: ignore[assignment]
        self.messages = half.messages
        self.sync = half.sync  # type: ignore[assignment]
        self.refreshed = half.mirror.last_refreshed
        self._away = self._open(server)

    def _open(self, server):
        """Return why the server is away, if it may be, or None."""
        from plue_session.adapters.opencode import needs

        spawned, may_be_away = self.settings.backend.spawn, self.settings.offline == "queue"
        server.begin()  # it takes seconds to start, and what speaks with it a tenth of one to load
        needs.load(self._places)  # all that calls will need: later it may have been replaced by another version
        attach = GLANCE if may_be_away else min(ATTACH, self.settings.request_timeout_ms / 1000)
        seconds = SPAWN if spawned else attach
        try:
            server.open(Call(time.monotonic() + seconds), self._given_up)
        except (Connection, Timeout, ServerError) as error:
            if may_be_away and not spawned:
                return error
            if spawned or not isinstance(error, Timeout):
                raise
            raise Connection(error.cause, error.remedy, details=error.details) from None
        return None

    def _load_agents(self):
        """Make what attaches agents, when the first one is, or one of another process's is met."""
        from plue_session.services.agents.attachments import Agents

        if self.remote:
            recorder, streams = self._half.transcript, self._half.streams
        else:
            recorder, streams = self._said()
        streams.echo = self._echo
        return Agents(
            self._backend, self.relay, self.publisher, self.settings, self.log, recorder, streams, self._make_agent
        )

    def _said(self):
        """Return what records and tells what agents say to sessions of the embedded backend."""
        if self._streams is None:
            from plue_session.services.turns.recorder import Recorder
            from plue_session.services.turns.streams import Streams

            recorder, streams = Recorder(), Streams(self.store, self.writer, self.publisher, now_ms)
            streams.record_with(recorder)
            self._recorder, self._streams = recorder, streams
        return self._recorder, self._streams

    def _load_channel(self):
        """Return the channel to the other processes on the store, and what tells of what comes by it."""
        from plue_session.adapters.sqlite.channel import Channel

        streams = self._half.streams if self.remote else self._said()[1]
        return Channel(self.settings.data_dir, self.store.owner, self.publisher.adopt), streams

    def _make_agent(self, given, ear):
        """Return an agent that is yet to be started."""
        from plue_session.adapters.acp.agent import AcpAgent

        return AcpAgent(
            given.command,
            given.worktree,
            given.env,
            ear,
            files=given.options.get("files", "none"),
            environment=self._read_environ(),
            children=self._children,
            on_lifeline=self._lifeline,
        )

    def begin(self):
        """Begin to follow the server, if there is one: from now on things happen by themselves."""
        self.agents.settle_all()
        if self._echo is not None:
            self._echo.look()
        if self.remote:
            self._half.sync.begin(self._away)
            self._half.outbox.begin()
            self._half.driver.begin()

    def _shown(self):
        """Return how infos are shown now: of a server that is away, as stale."""
        is_away = self.remote and not self._half.link.connected
        return info.stale if is_away else None

    def _tell_state(self, connected, reason):
        self._tell(
            "sync.state", {"connected": connected} if reason is None else {"connected": connected, "reason": reason}
        )

    # -- what others tell ----------------------------------------------------------------------------------------------

    def _tell(self, kind, data):
        self.tell(kind, dumps(data))

    def _tell_of(self, session_id, kind, data):
        self.tell(kind, dumps(data), session_id)

    def tell(self, kind, data, session_id=None):
        """Send an event that is not stored, of a session's or of none's; `data` is JSON text. Return whether there was
        memory for it."""
        return self.publisher.transient(
            EVENT_NUMBER[kind],
            session_id,
            f',"timestamp":{now_ms()},"correlationId":{quote(os.urandom(6).hex())},"data":{data}}}',
            cursors.render(self.store.store_id, self.writer.published, session_id),
        )

    def _tell_log(self, level, message):
        self._tell("log", {"level": level, "message": message})


def open_store(settings, scope):
    """Open the configured store for the sessions of `scope`; returns it with the share key that belongs to it."""
    if settings.store == "sqlite":
        from plue_session.adapters.share_key import ShareKeyFile
        from plue_session.adapters.sqlite.store import SqliteStore

        return SqliteStore(settings.data_dir, scope), ShareKeyFile(settings.data_dir)
    if settings.store == "memory":
        from plue_session.adapters.memory import MemoryStore
        from plue_session.adapters.share_key import ShareKeyMemory

        return MemoryStore(scope), ShareKeyMemory()
    raise Unsupported(
        f"the PostgreSQL store is not part of version {__version__}", 'Set store to "sqlite" or "memory".'
    )
