"""The one assembly, for the product and for its tests. Each is built from what is built already."""

from plue_session.rules.reconcile import Trust
from plue_session.services.backend import Backend
from plue_session.services.calls import Calls
from plue_session.services.operations import Executor
from plue_session.services.outbox import Outbox
from plue_session.services.remote_sessions import RemoteSessions
from plue_session.services.sync.follow_ups import FollowUps
from plue_session.services.sync.histories import Histories
from plue_session.services.sync.inbox import Inbox
from plue_session.services.sync.jobs import Jobs
from plue_session.services.sync.link import Link
from plue_session.services.sync.mirror import Mirror
from plue_session.services.sync.numbers import Numbers
from plue_session.services.sync.reconcile import Sync
from plue_session.services.sync.session_listing import SessionListing
from plue_session.services.sync.session_locks import SessionLocks
from plue_session.services.sync.unnumbered import Unnumbered
from plue_session.services.turns.asks import Asks
from plue_session.services.turns.driver import Driver
from plue_session.services.turns.inputs import Inputs
from plue_session.services.turns.messages import RemoteMessages
from plue_session.services.turns.running import Turns
from plue_session.services.turns.streams import Streams
from plue_session.services.turns.transcript import Transcript
from plue_session.services.turns.views import Views


class RemoteHalf:
    """The sessions of `server`, and what keeps the store in step with it. `tell(connected, reason)` is told when that
    goes away or comes back; `tell_of(session_id, kind, data)` sends an event that is not stored."""

    def __init__(
        self,
        server,
        writer,
        store,
        publisher,
        sharing,
        settings,
        log,
        tell,
        clock,
        version,
        tell_of=lambda *_: None,
        agents=None,
    ):
        trust, interval = Trust(), settings.sync_interval_ms / 1000
        self.calls, self.session_locks, self.jobs = Calls(), SessionLocks(), Jobs()
        self.link = Link(server, store, publisher, self.jobs, trust, interval, log, tell, clock)
        numbers, unnumbered = Numbers(server), Unnumbered(self.jobs)
        self.mirror = Mirror(writer, store, publisher, self.jobs, numbers, unnumbered, version, server.is_automatic)
        self.transcript = Transcript(server, writer, store, self.link, self.jobs)
        inbox = Inbox(store, self.mirror, self.session_locks, self.transcript, self.jobs, numbers, unnumbered, log)
        self.streams = Streams(store, writer, publisher, clock)
        self.streams.follow(inbox, self.transcript)
        histories = Histories(server, writer, store, self.mirror, inbox, numbers, self.jobs, log)
        listing = SessionListing(server, store, publisher, self.mirror, self.session_locks, histories, log)
        follow_ups = FollowUps(server, writer, store, self.mirror, self.session_locks, self.link, self.calls)
        views = Views(server, store, writer, self.link, self.jobs, settings.default_model)
        self.asks = Asks(server, store, writer, self.link, self.jobs, settings.permissions, log, views)
        inbox.hearers.update(self.asks.hearers)
        inbox.hearers.update(views.hearers)
        works = {
            "history": histories.run,
            "wake": inbox.wake,
            "transcript": self.transcript.catch_up,
            "turn": follow_ups.clear_aborted,
            "title": follow_ups.settle_title,
            "take back": follow_ups.take_back,
            "asks": self.asks.read,
            "deadline": self.asks.settle,
            "withdraw": self.asks.withdraw,
            "todos": views.read_todos,
        }
        self.sync = Sync(
            server,
            store,
            publisher,
            self.mirror,
            self.session_locks,
            listing,
            inbox,
            histories,
            self.link,
            trust,
            self.jobs,
            works,
            log,
        )
        self.sync.missed = self._missed
        backend = Backend(
            store,
            writer,
            sharing,
            settings,
            version,
            log,
            server,
            link=self.link,
            sync=self.sync,
            mirror=self.mirror,
            session_locks=self.session_locks,
            jobs=self.jobs,
            follow_ups=follow_ups,
            calls=self.calls,
            transcript=self.transcript,
            asks=self.asks,
        )
        if agents is not None:
            backend.agents = agents
        views.agents = backend.agents
        self.backend = backend
        self.calls.resolve = self.asks.resolve = views.resolve = backend.resolve
        backend.outbox = self.outbox = Outbox(backend, publisher, settings)
        self.executor, self.sessions = Executor(writer, self.link), RemoteSessions(backend)
        self.inputs = Inputs(backend)
        self.messages = RemoteMessages(backend, self.transcript)
        self._server, self._publisher, self._views = server, publisher, views
        backend.driver = self.driver = Driver(backend, publisher, settings, tell_of)
        backend.turns = self.turns = Turns(backend, publisher)
        for kind in ("message", "status", "idle", "failed"):
            inbox.hearers[kind] = self.driver.hear

    def _missed(self):
        """The event stream begins, or has a gap."""
        self.streams.missed()
        self._views.missed()
        if not self._server.numbered:
            self.transcript.missed(self._publisher.known_ids())
