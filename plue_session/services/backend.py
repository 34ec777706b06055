"""What the operations of one backend work with."""

from plue_session.errors import gone


class Backend:
    """The store's services and, with a server, what mirrors it; `version` is the library's, kept in what it makes."""

    def __init__(self, store, writer, sharing, settings, version, log=None, server=None, **mirroring):
        self.store, self.writer, self.sharing, self.version, self.log = store, writer, sharing, version, log
        self.limit, self.share_auto = settings.limits.active_sessions, settings.share.auto
        #: whether reads that cannot reach the server are answered with what was last known
        self.answers_stale = settings.offline == "queue"
        self.server = server
        self.link = self.sync = self.mirror = self.session_locks = self.jobs = self.follow_ups = self.calls = None
        for name, service in mirroring.items():
            setattr(self, name, service)

    def read(self, session_id):
        """Return the record of a session, or fail with NOT_FOUND."""
        session = self.store.read(session_id)
        if session is None:
            raise gone(session_id)
        return session
