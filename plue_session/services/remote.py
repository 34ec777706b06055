"""What all calls to one server share."""

import contextlib
import threading

from plue_session import errors
from plue_session.services.mirror import gone


class Remote:
    """What all calls of one backend share: the server and what mirrors it. `local` and `sharing` are the services of
    the store."""

    def __init__(self, server, writer, store, local, sharing, mirror, session_locks, sync, follow_ups, calls, settings):
        self.server, self.writer, self.store, self.local, self.sharing = server, writer, store, local, sharing
        self.mirror, self.session_locks, self.sync, self.follow_ups, self.calls = (
            mirror,
            session_locks,
            sync,
            follow_ups,
            calls,
        )
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
            raise gone(session_id)
        return session

    @contextlib.contextmanager
    def asking(self, session_id=None):
        """Note what the failures of the calls inside mean: the server is away, or the session is no more."""
        try:
            yield
            self.sync.answered()
        except errors.NotFound as error:
            if session_id is not None and error.session == session_id and (error.details or {}).get("status") == 404:
                self.sync.job("reread", session_id, self.sync.reread)
            raise
        except (errors.Connection, errors.Timeout, errors.AccessDenied) as error:
            self.sync.trouble(error)
            raise
