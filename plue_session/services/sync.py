"""Keeping the store in step with the server: by its events, and by looking, at the start, at intervals and when asked.

One thread looks, and does what else must not keep a caller or the event stream waiting (chores). The event stream has a
thread of its own; what it tells comes in through `apply`. Where nothing is heard, looking is enough (P-184).
"""

import contextlib
import threading
import time

from plue_session import errors, threads
from plue_session.cancel import Cancel
from plue_session.rules.jsontext import dumps
from plue_session.services.jobs import Jobs
from plue_session.services.later import Later
from plue_session.services.reconcile import Doubtful, Reconciliation
from plue_session.services.session_listing import Crowded, SessionListing

#: Seconds that the first look waits for the event stream's own, which then is the first.
STREAM_FIRST = 1.0
#: Seconds from a failed look to the next: from the first to the longest. syncIntervalMs is the upper bound.
BACK_OFF = 1.0, 30.0
#: Seconds between two looks for a server that is away, for those who are answered stale.
SOON = 1.0
#: Seconds that one look, and one chore, may take at most; and those that chores may take from a look that waits.
ROUND, JOB, JOBS = 30.0, 3.0, 1.0
#: Seconds that whoever makes a session, here or in another process on the store, has to record it after we have heard
#: of it.
SIBLING = 0.5
#: The kinds of changes that are of interest.
HEARD = frozenset(("created", "session", "deleted", "message"))
#: Messages whose beginning was heard, so that each counts once.
MOST_MESSAGES = 4_096


class Sync:
    """Thread-safe. `tell(connected, reason)` is told when the server goes away or comes back."""

    def __init__(self, server, store, publisher, calls, settings, log, tell, clock):
        self._server, self._store, self._publisher, self._calls = server, store, publisher, calls
        self._interval = settings.sync_interval_ms / 1000
        self.log, self._tell, self._clock = log, tell, clock
        self.mirror = self.session_locks = self.follow_ups = self._listing = self._reconciliation = (
            None  # see `connect`
        )
        self._changed = threading.Condition()
        self._jobs = Jobs(log, retried=("unshare",))
        self._begun = {}  # messages that were heard to begin
        self._asked = self._done = 0  # rounds: asked for, ended
        self._ended_at = 0.0  # when the last round ended, in monotonic seconds
        self._waiting = []  # who waits for a round's end: (`Later`, its number)
        self._logged = None
        self._streaming = None  # None: not known yet
        self._stopping = False
        self._cancel = Cancel()
        self.connected, self._reason, self._failed, self._last_sync = True, None, None, None
        self._thread = None

    def connect(self, mirror, session_locks, follow_ups):
        """Name those that need it as much as it needs them."""
        self.mirror, self.session_locks, self.follow_ups = mirror, session_locks, follow_ups
        self._listing = SessionListing(self._server, self._store, self._publisher, mirror, session_locks, self.log)
        self._reconciliation = Reconciliation(self._server, self._store, self._listing, mirror, session_locks)

    # -- life ------------------------------------------------------------------------------------------------------
    def begin(self, reason=None):
        """Begin to look and to listen; `reason` is the error when the server is known to be away. Returns at once."""
        # not compared since the start: what is known now tells the right server from another one
        self._reconciliation.lost()
        if reason is not None:
            self.contact(reason)
        self._thread = threads.start(self._run, "plue-sync")
        self._server.follow()

    def end(self):
        """Stop looking: a request under way is cut. Returns at once."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            waiting, self._waiting = self._waiting, []
        self._cancel.set(_closed())
        for each, _ in waiting:
            each.end(_closed())

    def join(self, seconds):
        """Wait for the thread's end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    # -- asked by callers ------------------------------------------------------------------------------------------
    def run(self, timeout_ms):
        """Synchronise now, with all that the server has. Returns how that ends, as `Later`; for 0 nothing, at once."""
        with self._changed:
            if self._stopping:
                raise _closed()
            self._asked += 1
            number = self._asked
            self._changed.notify_all()
            if timeout_ms == 0:
                return None
            now = time.monotonic()
            later = Later(now + timeout_ms / 1000)
            gone = [each for each, _ in self._waiting if each.deadline <= now]
            # A round that runs already may have asked before this moment: only the one after it counts.
            self._waiting = [waiting for waiting in self._waiting if waiting[0].deadline > now] + [(later, number)]
        for each in gone:  # its caller has left: who asks again and again leaves nothing behind
            each.end(
                errors.Timeout("the synchronisation is not done in time; it goes on", "See plue_session_sync_status().")
            )
        return later

    def status(self):
        """Return `{"connected","lastSync"?,"pending","conflicts","server"}` as JSON."""
        with self._changed:
            server = {
                **self._server.where(),
                "events": bool(self._streaming),
            }  # "events": whether it tells, or must be asked
            if self._failed is not None or self._reason is not None:
                server["error"] = self._failed or self._reason
            status = {
                "connected": self.connected,
                "pending": self._jobs.count("unshare"),
                "conflicts": [],
                "server": server,
            }
            if self._last_sync is not None:
                status["lastSync"] = self._last_sync
        return dumps(status)

    @contextlib.contextmanager
    def asking(self, session_id=None):
        """Note what the failures of the calls inside mean: the server is away, or the session is no more."""
        try:
            yield
            self.answered()
        except errors.NotFound as error:
            if session_id is not None and error.session == session_id and (error.details or {}).get("status") == 404:
                self.job("reread", session_id, self.reread)
            raise
        except (errors.Connection, errors.Timeout, errors.AccessDenied) as error:
            self.trouble(error)
            raise

    def add(self, kind, session_id, after=0.0):
        self.follow_up(kind, session_id, after)

    def list(self, deadline, cancel, directory=None):
        """Look at all sessions of one directory and record what has changed; return their ids (see
        `SessionListing.refresh`)."""
        return self._listing.refresh(deadline, cancel, directory)

    def learned(self, session_id):
        """Note that the store knows more of a session than the last survey: the next one compares it anew."""
        self._listing.learned(session_id)

    def server(self):
        """Return what is known of the server: `{"running","url"?,"pid"?}`."""
        return {"running": self.connected, **self._server.where()}

    # -- the server's state ----------------------------------------------------------------------------------------
    def contact(self, error=None):
        """Note that the server was reached, or (error) could not be."""
        with self._changed:
            connected = error is None
            reason = None if connected else error.cause
            changed, self.connected, self._reason = connected != self.connected, connected, reason
        if changed:
            if not connected:
                self._reconciliation.lost()
            self._publisher.away(not connected)
            self._tell(connected, reason)
            self.log.write(
                "info" if connected else "warning",
                "the server is back" if connected else f"the server is away: {reason}",
            )

    def follow_up(self, kind, session_id, after=0.0):
        """Note that something of a session is to be put right in so many seconds; None: no more (see `Mirror`)."""
        if after is None:
            with self._changed:
                self._jobs.drop(kind, session_id)
            return
        works = {
            "title": self.follow_ups.settle_title,
            "unshare": self.follow_ups.withdraw_share,
            "turn": self.follow_ups.clear_aborted,
            "take back": self.follow_ups.take_back,
            "reread": self.reread,
        }
        self.job(kind, session_id, works[kind], after)

    def trouble(self, error):
        """Note that a call could not reach the server, or was not let in: look soon, so that status tells."""
        with self._changed:
            if self.connected and self._asked == self._done:
                self._asked += 1
                self._changed.notify_all()

    def answered(self):
        """Note that a call has reached the server: if it was away, look soon whether it is back."""
        if not self.connected:
            with self._changed:
                if self._asked == self._done:
                    self._asked += 1
                    self._changed.notify_all()

    def answered_stale(self):
        """Note that a read had to do with what was last known: look soon whether the server is back, but at most once
        in `SOON`."""
        if not self.connected and time.monotonic() - self._ended_at >= SOON:
            self.answered()

    @property
    def has_listed(self):
        """Whether the store has been compared with the server since the start."""
        return self._last_sync is not None

    def job(self, kind, session_id, work, after=0.0):
        """Have `work(session_id, deadline, cancel)` done on the thread of this, in so many seconds; once, however often
        it is asked for."""
        with self._changed:
            self._jobs.add(kind, session_id, work, after)
            self._changed.notify_all()

    def lag(self):
        """Return after how many ms what happens on the server is heard of at the latest."""
        return 0 if self._streaming else int(self._interval * 1000)

    # -- what the event stream calls -------------------------------------------------------------------------------
    def snapshot(self):
        """Read the server's state: the stream begins, or has a gap."""
        self._publisher.adopt()
        with contextlib.suppress(Doubtful):  # which status tells; of what is made there the stream tells
            self._round(time.monotonic() + ROUND)

    def on_state(self, error):
        """Hear that the stream is connected (None) or lost. Without it the next look is due now."""
        with self._changed:
            lost, self._streaming = self._streaming is not False and error is not None, error is None
        try:
            if lost:
                self._reconciliation.lost()
        finally:
            with self._changed:
                self._asked += lost
                self._changed.notify_all()

    def apply(self, change):
        """Take in what the server tells."""
        if change.kind not in HEARD or change.kind != "message" and self.session_locks.defer(change):
            return
        if not self.mirror.has_ended(change.session_id) and self._is_being_made(
            change
        ):  # told of once, by who knows its key, tags or source
            self.job("reread", change.session_id, self.reread, SIBLING)
        else:
            self.release(change)

    def _is_being_made(self, change):
        """Return whether this is a new session that another process on the store, or a fork under way here, is about to
        record."""
        token = getattr(change.value, "token", None)
        made = (
            token is not None
            and token.startswith(f"{self._store.store_id}-")
            or change.kind == "created"
            and self.session_locks.unnamed
        )
        return made and self._store.info(change.session_id) is None

    def release(self, change):
        """Take in what was told, now. What cannot be recorded is seen by the next look."""
        try:
            self._apply(change)
        except errors.PlueError as error:
            self.log.write("warning", error.message("sync"))
            self.learned(change.session_id)
        except Exception as error:  # a defect of ours: it must not leave the session held for ever (`SessionLocks`)
            self.log.write("error", f"sync: internal error, {type(error).__name__}: {error}. Please report it.")
            self.learned(change.session_id)

    def _apply(self, change):
        kind, session_id = change.kind, change.session_id
        if kind in ("created", "session"):
            if self.mirror.has_ended(session_id) or self.mirror.is_echo(change.value):
                return
            if (
                kind == "session" and self._store.read(session_id) is None
            ):  # of a session that was deleted, perhaps (O-032)
                self.job("reread", session_id, self.reread)
                return
            self.mirror.heard(change.value)
        elif kind == "deleted":
            # The echo of a delete of ours needs no turn of the writer, unless somebody has recorded the session
            # meanwhile.
            if not self.mirror.has_ended(session_id) or self._store.read(session_id) is not None:
                self.mirror.end(session_id)
        elif kind == "message" and change.value.role == "assistant" and not change.value.ended:
            self._turn_began(session_id, change.value.id)

    def _turn_began(self, session_id, message_id):
        if message_id in self._begun:
            return
        self._begun[message_id] = True
        if len(self._begun) > MOST_MESSAGES:
            del self._begun[next(iter(self._begun))]
        session = self._store.read(session_id)
        if session is not None and session.aborted:
            self.job("turn", session_id, self.follow_ups.clear_aborted)

    def reread(self, session_id, deadline, cancel):
        """Ask for one session and record what the server says; gone: it is erased here."""
        since = self.mirror.now()
        try:
            remote = self._server.get(session_id, deadline, cancel)
        except errors.NotFound:
            self.missing(session_id)
        else:
            if not self.session_locks.is_held(session_id, remote.token):
                self.mirror.take(remote, since)

    def missing(self, session_id):
        """Erase a session that the server says it does not have; while it may be the wrong server, leave that to a
        look. Without an event stream nothing tells that one was replaced by another."""
        if self._streaming is False:
            self._reconciliation.lost()
        if not self._reconciliation.in_doubt:
            self.mirror.end(session_id, missing=True)
            return
        with self._changed:
            if self._asked == self._done:
                self._asked += 1
                self._changed.notify_all()

    # -- the thread ------------------------------------------------------------------------------------------------
    def _run(self):
        self._publisher.adopt()
        due, first, back_off = time.monotonic() + min(STREAM_FIRST, self._interval), True, BACK_OFF[0]
        while True:
            with self._changed:
                while not self._stopping and self._asked == self._done:
                    left = min([due, *self._jobs.times()]) - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                if self._stopping:
                    return
                jobs = self._jobs.take()
            self._work(jobs, due)
            number = self._asked  # now, for it may have been asked for while chores were done
            is_due = time.monotonic() >= due
            if (
                number > self._done or is_due and not (first and self.has_listed)
            ):  # the stream's own look may have been the first
                error = self._guarded_round()
                with self._changed:
                    self._done, self._ended_at = max(self._done, number), time.monotonic()
                    ended = [each for each, asked in self._waiting if asked <= self._done]
                    self._waiting = [waiting for waiting in self._waiting if waiting[1] > self._done]
                for each in ended:  # an error of its own for each who waits
                    each.end(
                        error and type(error)(error.cause, error.remedy, session=error.session, details=error.details)
                    )
                back_off = BACK_OFF[0] if error is None else min(back_off * 2, BACK_OFF[1])
                is_due = True
            if is_due:
                due, first = (
                    time.monotonic() + (self._interval if self.connected else min(self._interval, back_off)),
                    False,
                )

    def _guarded_round(self):
        try:
            self._round(time.monotonic() + ROUND)
        except errors.PlueError as error:
            if (
                not self._stopping and error.message("sync") != self._logged
            ):  # once: a server that is away may be looked for each second
                self._logged = error.message("sync")
                self.log.write("warning", self._logged)
            return error
        except Exception as error:  # a defect of ours: it must be noticed, and not end the thread
            self.log.write("error", f"sync: internal error, {type(error).__name__}: {error}. Please report it.")
            return errors.Unknown(f"internal error, {type(error).__name__}: {error}", "Please report it.")
        self._logged = None
        return None

    def _round(self, deadline):
        """Look at everything: P-114. Who is missing from the list is asked for by name before it is taken for gone
        (P-117)."""
        try:
            self._reconcile(deadline)
        except Crowded:
            raise
        except errors.PlueError as error:
            with self._changed:
                self._failed = error.cause
            if isinstance(error, (errors.Connection, errors.Timeout, errors.AccessDenied, Doubtful)):
                self.contact(error)
            raise
        self.contact()
        with self._changed:
            self._last_sync, self._failed = self._clock(), None
        if self._store.wants_maintenance():
            self._store.maintain()

    def _reconcile(self, deadline):
        further = self._reconciliation.take(deadline, self._cancel)
        with self._changed:
            self._asked += further  # the rest by the next look, which comes at once: chores have their turn in between
            self._jobs.bring_back()

    def _work(self, jobs, due=float("inf")):
        """Do chores, until a look that is asked for, or due, has waited for too long."""
        began = time.monotonic()
        while jobs and not self._stopping:
            name, work = next(iter(jobs.items()))
            again = self._jobs.do(name, work, time.monotonic() + JOB, self._cancel)
            del jobs[name]
            with self._changed:
                self._jobs.done(name, again)
                now = time.monotonic()
                if now - began >= JOBS and (self._asked != self._done or now >= due):
                    self._jobs.give_back(jobs)
                    return


def _closed():
    return errors.Closed("the library shut down during the call", "Call plue_init() again.")
