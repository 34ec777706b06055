"""The link to the server: whether it is there, why not, who is told, and what a call's failure means."""

import time

from plue_session import errors
from plue_session.primitives import allocate_lock
from plue_session.rules import outbox
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Server, Store

#: Seconds between two comparisons with a server that is away, for those who are answered stale.
SOON = 1.0
#: Seconds between two times that the event stream is connected at once, because the server is back.
SELDOM = 5.0
#: While the store is being compared; see `_listed_at`.
UNDER_WAY = float("inf")


class Doubtful(errors.Server):
    """The server has none of the sessions that are known here: another one may be running in its place for a moment."""


class Crowded(errors.Timeout):
    """Others had lists made all the time: it says nothing of the server."""


#: The failures of a call that say that the server is away.
AWAY = errors.Connection, errors.Timeout, errors.AccessDenied


class Link:
    """Thread-safe. `trust` (rules/reconcile.py) says whether the server is the right one; `tell(connected, reason)` is
    told when it goes away or comes back."""

    def __init__(
        self, server: "Server", store: "Store", publisher: "Publisher", jobs, trust, interval, log, tell, clock
    ):
        self._server, self._store, self._publisher, self._jobs, self._trust = server, store, publisher, jobs, trust
        self._log, self._tell, self._clock = log, tell, clock
        #: seconds between two comparisons
        self.interval = interval
        self._lock = allocate_lock()
        self.connected, self._error, self._denied = True, None, False
        #: whether events come; None: not known yet
        self.streaming: bool = None
        #: how often that has begun anew: the server may be another process since
        self.connections = 0
        #: when the store was last compared with the server, in ms; None: not since the start
        self.last_sync = None
        #: what the outbox adds: `back(was_away)` hears that the server is there, `is_sending(id)` tells of a change
        self.back, self.is_sending = lambda was_away=False: None, lambda id: False
        self._hurried = -SELDOM  # when the event stream was last, likewise
        self._listed_at = 0.0  # when that was last tried, in monotonic seconds

    def contact(self, error=None):
        """Note that the server was reached, or (error) could not be."""
        with self._lock:
            connected, self._error = error is None, error and error.cause
            self._denied = isinstance(error, errors.AccessDenied)
            changed, self.connected = connected != self.connected, connected
        if changed:
            self._jobs.pause(not connected)
            self._publisher.away(not connected)
            self._tell(connected, error and error.cause)
            if connected:
                self._log.write("info", "the server is back")
                self.back(True)
                self._listen()
            else:
                self._log.write("warning", f"the server is away: {error.cause}")
                self.lost()

    def _listen(self):
        """Have the event stream connected, which may wait half a minute: a server that ends again is to be noticed.
        Seldom: each connection makes the server grow (O-059), and it may come and go all the time."""
        now = time.monotonic()
        if self.streaming is False and now - self._hurried >= SELDOM:
            self._hurried = now
            self._server.hurry()

    @property
    def is_away(self):
        """Whether the server cannot be reached, as far as is known. One that refuses our credentials can: who calls is
        to know of that."""
        return not (self.connected or self._denied)

    def lost(self):
        """Note that another server may be found where this one was."""
        if not self._trust.in_doubt:
            self._trust.heard(
                "lost", {session_id for session_id, _ in self._store.ids() if not is_given_here(session_id)}
            )

    def stream(self, error):
        """Note that the event stream is connected (None) or lost."""
        lost, self.streaming = self.streaming is not False and error is not None, error is None
        self.connections += 1
        if lost:
            self._jobs.add("reconcile")
            self.lost()
        elif error is not None and self.connected:  # it was hurried in vain: the server may have ended again
            self.compare_soon()
        if (
            error is not None and not self._server.where()
        ):  # our own, started anew: who asks waits, and hears of nothing
            self._publisher.adopt()
            self.contact(error)

    @property
    def is_deaf(self):
        """Whether the server is there, and nothing tells what happens on it."""
        return self.connected and self.streaming is False

    def lag(self):
        """Return after how many ms what happens on the server is heard of at the latest."""
        return 0 if self.streaming else int(self.interval * 1000)

    # -- calls ---------------------------------------------------------------------------------------------------------
    def asking(self, session_id=None):
        """Note, for `with`, what the failures of the calls inside mean: the server is away, or the session is no
        more."""
        return _Asking(self, session_id)

    def answered(self):
        """Note that a call has reached the server: if it was away, it may be back."""
        if not self.connected:
            self.compare_soon()

    def answered_stale(self):
        """Note that a read had to do with what was last known."""
        if not self.connected and time.monotonic() - self._listed_at >= SOON:
            self.compare_soon()

    def refused(self, error, session_id=None):
        """Note how a call has failed."""
        if isinstance(error, errors.NotFound):
            if session_id is not None and error.session == session_id and (error.details or {}).get("status") == 404:
                self._jobs.add("reread", session_id)
        elif isinstance(error, AWAY) and self.connected:
            self.compare_soon()

    def compare_soon(self):
        """Have the store compared with the server, if that is not under way."""
        if self._listed_at != UNDER_WAY:
            self._jobs.add("reconcile")

    # -- comparing -----------------------------------------------------------------------------------------------------
    def listing(self):
        """Note that the store is being compared with the server; `listed` follows."""
        self._listed_at = UNDER_WAY

    def listed(self, error):
        """Note that it was, or (error) why not."""
        self._listed_at = time.monotonic()
        if error is None:
            self.last_sync = self._clock()
        if isinstance(error, Crowded):
            return
        if error is None or isinstance(error, (*AWAY, Doubtful)):
            self.contact(error)
            if error is None:
                self.back()
        else:
            self._error = error.cause

    # -- what callers see ----------------------------------------------------------------------------------------------
    def server(self):
        """Return what is known of the server: `{"running","url"?,"pid"?}`."""
        return {"running": self.connected, **self._server.where()}

    def status(self):
        """Return `{"connected","lastSync"?,"pending","operations","conflicts","server"}` as JSON. "events": whether the
        server tells, or must be asked."""
        server = {**self._server.where(), "events": bool(self.streaming)}
        if self._error is not None:
            server["error"] = self._error
        listed = outbox.listed(self._store.all_outgoing(outbox.MOST), self.is_sending)
        status = {"connected": self.connected, "pending": len(listed["operations"]), **listed, "server": server}
        if self.last_sync is not None:
            status["lastSync"] = self.last_sync
        return dumps(status)


class _Asking:
    """A part of a call that asks the server."""

    __slots__ = ("_link", "_session_id")

    def __init__(self, link, session_id):
        self._link, self._session_id = link, session_id

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if error is None:
            self._link.answered()
        else:
            self._link.refused(error, self._session_id)
