"""What the operations of one backend work with."""

from plue_session.errors import gone
from plue_session.rules import ids
from plue_session.services.agents import LazyAgents
from plue_session.services.naming import named
from plue_session.services.relay.rates import Rates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store
    from plue_session.services.calls import Calls
    from plue_session.wiring import (
        Asks,
        Driver,
        FollowUps,
        Jobs,
        Link,
        Mirror,
        Outbox,
        SessionLocks,
        Sync,
        Transcript,
        Turns,
    )


class Backend:
    """The store's services and, with a server, what mirrors it; `version` is the library's, kept in what it makes."""

    link: "Link"
    sync: "Sync"
    mirror: "Mirror"
    session_locks: "SessionLocks"
    jobs: "Jobs"
    follow_ups: "FollowUps"
    calls: "Calls"
    outbox: "Outbox"
    driver: "Driver | None" = None
    turns: "Turns"
    asks: "Asks"
    transcript: "Transcript"

    def __init__(
        self, store: "Store", writer, sharing, settings, version, log=None, server: "Server" = None, **mirroring
    ):
        self.store, self.writer, self.sharing, self.version, self.log = store, writer, sharing, version, log
        self.limit, self.share_auto = settings.limits.active_sessions, settings.share.auto
        #: whether reads that cannot reach the server are answered with what was last known
        self.answers_stale = settings.offline == "queue"
        #: whether changes that cannot be told to the server wait until they can
        self.queues = server is not None and settings.offline == "queue"
        self.server, self.seconds = server, settings.request_timeout_ms / 1000
        #: what is attached to the sessions
        self.agents = LazyAgents(store)
        #: how fast inputs come to agents
        self.rates = Rates()
        vars(self).update(mirroring)

    def resolve(self, session_id):
        """Return the id that the session has by now: one that was made while the server was away has got another
        (P-177)."""
        if self.server is None or session_id is None or not ids.is_given_here(session_id):
            return session_id
        return self.store.id_of_alias(session_id) or session_id

    def named(self, session_id, read):
        """Return what `read(id)` returns for the id that the session has, as naming.py does."""
        return named(self.resolve, session_id, read)

    def known(self, session_id):
        """Return the record of a session, by any id of its, or fail with NOT_FOUND."""
        return self.named(session_id, self.read)

    def read(self, session_id):
        """Return the record of the session that has this id, or fail with NOT_FOUND."""
        session = self.store.read(session_id)
        if session is None:
            raise gone(session_id)
        return session
