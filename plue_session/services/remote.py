"""What all calls to one server share."""

import threading

from plue_session import errors


class Remote:
    """What all calls of one backend share: the server and what mirrors it. `local` and `sharing` are the services of
    the store."""

    def __init__(self, server, writer, store, local, sharing, half, calls, settings):
        self.server, self.writer, self.store, self.local, self.sharing = server, writer, store, local, sharing
        self.link, self.jobs, self.sync, self.log, self.calls = half.link, half.jobs, half.sync, half.log, calls
        self.mirror, self.session_locks, self.follow_ups = half.mirror, half.session_locks, half.follow_ups
        self.listing = (
            threading.Lock()
        )  # the text of thousands is put together by one at a time: it takes milliseconds, and megabytes
        self.limit, self.share_auto, self.answers_stale = (
            settings.limits.active_sessions,
            settings.share.auto,
            settings.offline == "queue",
        )

    def read(self, session_id):
        """Return the record of a session, or fail with NOT_FOUND."""
        session = self.store.read(session_id)
        if session is None:
            raise errors.gone(session_id)
        return session
