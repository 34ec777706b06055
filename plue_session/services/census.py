"""A look at everything: what the server has and we do not, what has changed, and who is gone (P-114, P-117)."""

import time

from plue_session import errors

#: Missing sessions that one look asks for.
MISSING = 256
#: Seconds that one of them may take.
ASK = 10.0
#: Seconds for which a server that has none of our sessions is taken for the wrong one, before they are erased.
DOUBT = 60.0


class Doubtful(errors.Server):
    """The server has none of the sessions that are known here: another one may be running in its place for a moment."""


class Census:
    """Thread-safe: who looks at the same time may look twice. `surveys` look at a directory each; `mirror` records, but for what `turnstile` holds."""

    def __init__(self, server, store, surveys, mirror, turnstile):
        self._server, self._store, self._surveys, self._mirror, self._turnstile = server, store, surveys, mirror, turnstile
        self._base = None  # ids of those that were known when the server was lost, until it is found again; None: all that are known
        self._none_since = None  # since when the server has none of these

    def take(self, until, cancel):
        """Look at everything, and return whether some of those missing are yet to be asked for: by the next one."""
        known = self._store.ids()
        found = self._surveys.look(until, cancel)
        elsewhere = {directory for _, directory in known if directory not in (None, self._server.directory)}
        for directory in sorted(elsewhere):
            found = found | self._surveys.look(until, cancel, directory)
        missing = [session_id for session_id, _ in known if session_id not in found and not self._turnstile.is_held(session_id)]
        # What has become known since the server was lost may be of the wrong one itself.
        base = {session_id for session_id, _ in known if self._base is None or session_id in self._base}
        alien = len(base) > 1 and base.isdisjoint(found)
        since = self._none_since  # as it is now: another one may be looking, and find the same
        if not alien:
            self._none_since = None
        elif since is not None and time.monotonic() - since < DOUBT:
            raise _doubtful(base)
        there, gone, error = self._ask_for(missing[:MISSING], cancel)
        if alien and since is None and not there:
            if error is None:
                self._none_since, self._base, error = time.monotonic(), base, _doubtful(base)
            raise error
        self._mirror.end_all(gone)
        if error is not None:
            raise error
        self._base = None
        return len(missing) > MISSING

    def lost(self):
        """Note that the server is lost: another one may be found in its place."""
        if self._base is None:
            self._base = {session_id for session_id, _ in self._store.ids()}

    def _ask_for(self, session_ids, cancel):
        """Ask for sessions that a list lacks; return whether the server has any, those that it says it has not, and what has cut this short."""
        there, gone = False, []
        for session_id in session_ids:
            since = self._mirror.now()
            try:
                remote = self._server.get(session_id, time.monotonic() + ASK, cancel)
                there = True
                if not self._turnstile.is_held(session_id, remote.token):
                    self._mirror.take(remote, since)
            except errors.NotFound:
                gone.append(session_id)
            except errors.PlueError as error:
                return there, gone, error
        return there, gone, None


def _doubtful(base):
    return Doubtful(f"the server has none of the {len(base)} sessions known here: another one seems to run in its place, else they are erased here soon",
                    "See that backend.url names the right server, and that this has its database.")
