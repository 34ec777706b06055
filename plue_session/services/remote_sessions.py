"""Sessions that live on a server. What asks the server is an operation, or a function of the call that it is for."""

import threading
import time
from functools import partial

from plue_session import errors
from plue_session.rules import ids, info
from plue_session.services.operations.create import Fork
from plue_session.services.operations.end import AbortTurn
from plue_session.services.sessions import Sessions


class RemoteSessions(Sessions):
    """The sessions of one server's backend. Thread-safe."""

    def __init__(self, on):
        super().__init__(on)
        # The text of thousands is put together by one at a time: it takes milliseconds, and megabytes.
        self._listing = threading.Lock()

    def fork(self, session_id, message_id=None):
        """Copy the session up to a message, all of it when None."""
        return Fork(self._on, session_id, message_id)

    def abort_turn(self, session_id, turn_id):
        """End the turn that this message of the user's began, if it runs."""
        return AbortTurn(self._on, session_id, turn_id)

    # -- reading -------------------------------------------------------------------------------------------------------
    def open(self, id_or_key):
        """Return the session with this id or key. An id that is not known here is asked for, wherever its directory is
        (O-023)."""
        if not ids.is_id(id_or_key):
            return super().open(id_or_key)
        return self._on.named(id_or_key, self._open)

    def _open(self, session_id):
        if self._store.info(session_id) is not None:
            return session_id
        if ids.is_given_here(session_id):
            raise errors.gone(session_id)
        if self._on.mirror.has_ended(session_id):
            raise errors.gone(session_id)
        return partial(self._fetch, session_id)

    def _fetch(self, session_id, call):
        on = self._on
        since = on.mirror.now()
        with on.link.asking():
            found = on.server.get(session_id, call)
        return on.mirror.take(found, since, call)

    def get_info(self, session_id):
        """Ask the server for the session, record what it says, and return the info. Away: what was last known,
        "stale"."""
        return partial(self._ask_info, session_id)

    def fresh_info(self, session_id, age_ns):
        """Return the info of a session that the server was heard about no longer ago than that, or None."""
        on, session_id = self._on, self._on.resolve(session_id)
        heard = on.mirror.last_refreshed(session_id)
        if not (heard and on.link.connected and time.monotonic_ns() - heard <= age_ns):
            return None
        found = self._store.info(session_id)
        return found and found[1]

    def _ask_info(self, session_id, call):
        on = self._on
        known = on.known(session_id)
        session_id = known.id
        if ids.is_given_here(session_id):
            return known.info
        if on.answers_stale and not on.link.connected:
            return self._stale(known)
        since = on.mirror.now()
        try:
            with on.link.asking():
                found = on.server.get(session_id, call, directory=known.directory)
        except errors.NotFound:
            on.sync.missing(session_id, call)
            raise errors.gone(session_id) from None
        except (errors.Connection, errors.Timeout):
            if not on.answers_stale:
                raise
            return self._stale(known)
        if on.session_locks.is_held(session_id):  # a change of ours is on its way: its answer is the newer one
            return on.read(session_id).info
        return on.mirror.take(found, since, call).info

    def _stale(self, known):
        self._on.link.answered_stale()
        return info.stale(known.info)

    def list(self, shown=None):
        """Return the infos of all sessions, after a listing of the server's. Away: what was last known."""
        return self._list

    def _list(self, call):
        on, is_fresh = self._on, False
        if on.link.connected or not on.answers_stale:
            try:
                with on.link.asking():
                    on.sync.list(call)
                is_fresh = True
            except (errors.Connection, errors.Timeout):
                if not on.answers_stale:
                    raise
        if not is_fresh:
            on.link.answered_stale()
        with self._listing:
            return on.store.infos_apart() if is_fresh else super().list(info.stale)

    def query(self, query, shown=None):
        """Return a page of matching sessions, as the store knows them."""
        if self._on.link.connected:
            return super().query(query)
        self._on.link.answered_stale()
        return super().query(query, info.stale)
