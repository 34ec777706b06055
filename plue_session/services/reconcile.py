"""A look at everything: what the server has and we do not, what has changed, and who is gone (P-114, P-117)."""

import time

from plue_session import errors
from plue_session.services.session_listing import Crowded

#: Missing sessions that one look asks for.
MISSING = 256
#: Seconds that one of them may take.
ASK = 10.0
#: Seconds for which a server that has none of our sessions is taken for the wrong one, before they are erased.
DOUBT = 60.0


class Doubtful(errors.Server):
    """The server has none of the sessions that are known here: another one may be running in its place for a moment."""


class Reconciliation:
    """Thread-safe: who looks at the same time may look twice. `session_listing` look at a directory each; `mirror`
    records, but for what `session_locks` holds."""

    def __init__(self, server, store, session_listing, mirror, session_locks):
        self._server, self._store, self._listing, self._mirror, self._session_locks = (
            server,
            store,
            session_listing,
            mirror,
            session_locks,
        )
        # ids of those that the server had when last looked at, or that were known when it was lost; None: all that are
        # known
        self._base = None
        self._is_lost = False  # since then it has not been found again
        self._place = 0  # how many of those missing the last look has found there
        self._none_since = None  # since when the server has none of these

    def take(self, deadline, cancel):
        """Look at everything, and return whether some of those missing are yet to be asked for: by the next one."""
        known = self._store.ids()
        elsewhere = {directory for _, directory in known if directory not in (None, self._server.directory)}
        try:
            found = self._listing.refresh(deadline, cancel)
            for directory in sorted(elsewhere):
                found = found | self._listing.refresh(deadline, cancel, directory)
        except Crowded:
            raise
        except (
            errors.Connection,
            errors.Timeout,
        ):  # what is found after this may be another one, or the right one at its start
            self._none_since = None
            self._doubt({session_id for session_id, _ in known})
            raise
        missing = [
            session_id
            for session_id, _ in known
            if session_id not in found and not self._session_locks.is_held(session_id)
        ]
        # What has become known since the last look, or since the server was lost, may be of the wrong one itself: it
        # counts only where too little else is known, and the server has none of it.
        everything = {session_id for session_id, _ in known}
        base = {session_id for session_id in everything if self._base is None or session_id in self._base}
        if len(base) < 2 and everything.isdisjoint(found):
            base = everything
        alien = len(base) > 1 and base.isdisjoint(found)
        since = self._none_since  # as it is now: another one may be looking, and find the same
        if not alien:
            self._none_since = None
        else:
            self._doubt(base)  # before anything can fail: what this look has recorded may be of the wrong one
            if since is not None and time.monotonic() - since < DOUBT:
                raise _doubtful(base)
        place = self._place if self._place < len(missing) else 0
        there, gone, error = self._ask_for(missing[place : place + MISSING], cancel)
        if alien and since is None and not there:
            if error is None:
                self._none_since, error = time.monotonic(), _doubtful(base)
            raise error
        self._mirror.end_all(gone)
        if error is not None:
            raise error
        further = place + MISSING < len(missing)
        self._place = place + MISSING - len(gone) if further else 0
        self._base, self._is_lost, self._none_since = (
            {each for each, _ in self._store.ids() if each in found},
            False,
            None,
        )
        return further

    def lost(self):
        """Note that the server is lost: another one may be found in its place."""
        if not self._is_lost:
            self._doubt({session_id for session_id, _ in self._store.ids()})

    def _doubt(self, base):
        if not self._is_lost:
            self._base, self._is_lost = base, True

    @property
    def in_doubt(self):
        """Whether it is not known if the server is the right one: that it lacks a session says nothing."""
        return self._is_lost or self._none_since is not None

    def _ask_for(self, session_ids, cancel):
        """Ask for sessions that a list lacks; return whether the server has any, those that it says it has not, and
        what has cut this short."""
        there, gone = False, []
        for session_id in session_ids:
            since = self._mirror.now()
            try:
                remote = self._server.get(session_id, time.monotonic() + ASK, cancel)
                there = True
                if not self._session_locks.is_held(session_id, remote.token):
                    self._mirror.take(remote, since)
            except errors.NotFound:
                gone.append(session_id)
            except errors.PlueError as error:
                return there, gone, error
        return there, gone, None


def _doubtful(base):
    return Doubtful(
        f"the server has none of the {len(base)} sessions known here: another one seems to run in its place, else they are erased here soon",
        "See that backend.url names the right server, and that this has its database.",
    )
