"""Keeping the store in step with the server by comparing all: what that has and we do not, what has changed, and who is
gone (P-114, P-117); at the start, at intervals and when asked. Where nothing is heard, that is enough (P-184)."""

import time

from plue_session import errors
from plue_session.primitives import allocate_lock
from plue_session.rules.ids import is_given_here
from plue_session.rules.reconcile import PROBE, WAIT
from plue_session.services.later import Later
from plue_session.services.sync.jobs import INTENT, KINDS, Worker
from plue_session.services.sync.link import Crowded, Doubtful

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Server, Store

#: Seconds that the first comparison waits for the event stream's own, which then is the first.
STREAM_FIRST = 1.0
#: Seconds from a failed comparison to the next: from the first to the longest. syncIntervalMs is the upper bound.
BACK_OFF = 1.0, 30.0
#: Missing sessions that are asked for at a time.
MISSING = 256
#: Seconds that one of them may take.
ASK = 10.0


class Sync:
    """Synchronisation as callers and the event stream see it. Thread-safe.

    `listing` has lists recorded, `trust` (rules/reconcile.py) judges what they lack; `works` does the jobs of all kinds
    but "reconcile" and "reread".
    """

    def __init__(
        self,
        server: "Server",
        store: "Store",
        publisher: "Publisher",
        mirror,
        session_locks,
        listing,
        inbox,
        histories,
        link,
        trust,
        jobs,
        works,
        log,
    ):
        self._server, self._store, self._publisher, self._mirror = server, store, publisher, mirror
        self._session_locks, self._listing, self._link, self._trust = session_locks, listing, link, trust
        self._jobs, self._histories, self._log = jobs, histories, log
        self.list, self.status, self.server = listing.refresh, link.status, link.server
        self.apply_all, self.on_state = inbox.apply_all, link.stream
        self.worker = Worker(
            jobs,
            {**works, "reconcile": self.compare, "reread": self._reread, INTENT: self._recover},
            link,
            publisher,
            log,
        )
        self.join = self.worker.join
        #: called when the event stream begins or has a gap: what came before that may not have been heard
        self.missed = lambda: None
        self._lock = allocate_lock()
        self._waiting = set()  # `Later`s that end with the next comparison
        self._place = 0  # how many of those missing were found there the last time
        self._closed, self._back_off, self._logged = False, BACK_OFF[0], None

    # -- life ------------------------------------------------------------------------------------------------------
    def begin(self, reason=None):
        """Begin to compare and to listen; `reason` is the error when the server is known to be away. Returns at
        once."""
        self._link.lost()  # not compared since the start: what is known now tells the right server from another one
        if reason is not None:
            self._link.contact(reason)
        self._jobs.add("reconcile", after=min(STREAM_FIRST, self._link.interval))
        self._mirror.take_up()
        self.worker.start()
        self._server.follow(self)

    def end(self):
        """Stop: a request under way is cut. Returns at once."""
        with self._lock:
            self._closed = True
        self.worker.stop(errors.closed())
        self._end(self._waiting.copy(), errors.closed())

    # -- asked by callers ------------------------------------------------------------------------------------------
    @property
    def has_listed(self):
        """Whether the store has been compared with the server since the start."""
        return self._link.last_sync is not None

    @property
    def in_doubt(self):
        """Whether it is not known that the server is the right one: that it lacks a session says nothing."""
        return self._trust.in_doubt

    def run(self, timeout_ms):
        """Synchronise now, with all that the server has. Returns how that ends, as `Later`; for 0 nothing, at once."""
        now = time.monotonic()
        later = Later(now + timeout_ms / 1000) if timeout_ms else None
        with self._lock:
            if self._closed:
                raise errors.closed()
            left = {each for each in self._waiting if each.deadline <= now}
            if later:
                self._waiting.add(later)
        self._jobs.add("reconcile")  # one that is under way may have asked before this moment
        # their callers have left: who asks again and again leaves nothing behind
        self._end(left, errors.Timeout("the synchronisation goes on", "See plue_session_sync_status()."))
        return later

    def _end(self, waiting, error):
        with self._lock:
            self._waiting -= waiting
        for each in waiting:  # an error of its own for each who waits
            each.end(error and type(error)(error.cause, error.remedy, session=error.session, details=error.details))

    def missing(self, session_id, call):
        """Erase a session that the server says it does not have; while it may be the wrong server, have all compared.
        Without an event stream nothing tells that one was replaced by another."""
        if self._link.streaming is False:
            self._link.lost()
        if self._trust.in_doubt:
            self._link.compare_soon()
        else:
            self._mirror.end(session_id, call)

    # -- what the event stream calls -------------------------------------------------------------------------------
    def snapshot(self):
        """Read the server's state: the stream begins, or has a gap. Fails if it cannot be read."""
        self._publisher.adopt()
        self.missed()
        call = self.worker.call.within(KINDS["reconcile"][0])
        if self._server.numbered:
            self._histories.catch_up(call)
        error = self.compare(None, call)
        self._jobs.add("asks")
        if error is not None and not isinstance(error, Doubtful):  # which status tells; the stream is all right
            raise error

    def knows(self, session_id):
        """Return whether a session, in whichever directory, has a record here."""
        return self._store.info(session_id) is not None

    # -- comparing -------------------------------------------------------------------------------------------------
    def compare(self, _, call):
        """Compare the store with the server, end those who wait for it, and return the error, if there is one."""
        self._jobs.drop("reconcile")
        with self._lock:
            waiting = self._waiting.copy()  # who comes from now on asks for the next one
        self._link.listing()
        error, further = None, False
        try:
            further = self._compare(call)
        except Exception as failure:
            error = errors.known(failure)
        try:
            self._link.listed(error)
        except errors.PlueError as failure:  # the store's; the next comparison comes all the same
            error = failure
        text = error and error.message("sync")
        if text and text != self._logged and not self._closed:  # once: a server that is away may be asked each second
            self._log.write("error" if isinstance(error, errors.Unknown) else "warning", text)
        self._logged = text
        self._back_off = BACK_OFF[0] if error is None else min(self._back_off * 2, BACK_OFF[1])
        after = 0.0 if further else self._link.interval
        self._jobs.add("reconcile", after=after if self._link.connected else min(after, self._back_off))
        self._end(waiting, error)
        if error is None and self._link.streaming is False:  # nothing tells what turns wait for
            self._jobs.add("asks")
        if error is None and self._store.wants_maintenance():
            self._store.maintain()
        return error

    def _compare(self, call):
        """Return whether some of those missing are yet to be asked for: by the next one."""
        directories = {each: directory for each, directory in self._store.ids() if not is_given_here(each)}
        known = set(directories)
        try:
            found = self._listing.refresh(call)
            for directory in sorted({*directories.values()} - {None, self._server.directory}):
                found = found | self._listing.refresh(call, directory)
        except Crowded:
            raise
        except (errors.Connection, errors.Timeout):
            self._trust.heard("unreachable", known)
            raise
        action = self._trust.judge(known, found, time.monotonic())
        if action == WAIT:
            raise self._doubtful()
        missing = [each for each in directories if each not in found and not self._session_locks.is_held(each)]
        place = self._place if self._place < len(missing) else 0
        there, gone, error = False, [], None
        for session_id in missing[place : place + MISSING]:
            try:
                self._ask(session_id, self.worker.call.within(ASK))
                there = True
            except errors.NotFound:
                gone.append(session_id)
            except errors.PlueError as failure:
                error = failure
                break
        if action == PROBE and not there:
            if error is None:
                self._trust.none_found(time.monotonic())
            raise error or self._doubtful()
        self._mirror.end_all(gone, call)
        if error is not None:
            raise error
        further = place + MISSING < len(missing)
        self._place = place + MISSING - len(gone) if further else 0
        self._trust.done({each for each, _ in self._store.ids() if each in found})
        return further

    def _ask(self, session_id, call):
        """Ask for one session, and record what the server says."""
        if is_given_here(session_id):  # made while the server was away, which knows nothing of it yet
            return
        since = self._mirror.now()
        remote = self._server.get(session_id, call)
        if not self._session_locks.is_held(session_id, remote.token):
            self._mirror.take(remote, since, call)

    def _reread(self, session_id, call):
        try:
            self._ask(session_id, call)
        except errors.NotFound:
            self.missing(session_id, call)

    def _recover(self, session_id, call):
        """See what has become of a change of ours that was asked for, and is not recorded."""
        with self._session_locks.hold(session_id, call):
            since = self._mirror.now()
            try:
                remote = self._server.get(session_id, call)
            except errors.NotFound:
                self.missing(session_id, call)
                if self._trust.in_doubt:
                    raise self._doubtful() from None  # to be asked again
            else:
                self._mirror.recover(remote, since, call)

    def _doubtful(self):
        return Doubtful(
            f"the server has none of the {len(self._trust.base)} sessions known here: another one seems to run in its "
            "place, else they are erased here soon",
            "See that backend.url names the right server, and that this has its database.",
        )
