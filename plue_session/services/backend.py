"""What the operations of one backend work with."""

from plue_session.errors import gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store
    from plue_session.services.calls import Calls
    from plue_session.wiring import FollowUps, Jobs, Link, Mirror, SessionLocks, Sync


class Backend:
    """The store's services and, with a server, what mirrors it; `version` is the library's, kept in what it makes."""

    link: "Link"
    sync: "Sync"
    mirror: "Mirror"
    session_locks: "SessionLocks"
    jobs: "Jobs"
    follow_ups: "FollowUps"
    calls: "Calls"

    def __init__(
        self, store: "Store", writer, sharing, settings, version, log=None, server: "Server" = None, **mirroring
    ):
        self.store, self.writer, self.sharing, self.version, self.log = store, writer, sharing, version, log
        self.limit, self.share_auto = settings.limits.active_sessions, settings.share.auto
        #: whether reads that cannot reach the server are answered with what was last known
        self.answers_stale = settings.offline == "queue"
        self.server = server
        vars(self).update(mirroring)

    def read(self, session_id):
        """Return the record of a session, or fail with NOT_FOUND."""
        session = self.store.read(session_id)
        if session is None:
            raise gone(session_id)
        return session
