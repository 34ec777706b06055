"""The store as a mirror of the server: everything that is learned of its sessions comes through here."""

import threading
import time

from plue_session import errors
from plue_session.rules import merge
from plue_session.services import descendants

#: Sessions of which something is remembered beside the store: when they were refreshed, what was heard, that they
#: ended.
MOST = 16_384
#: Seconds that the events of a change of ours may take to come.
ECHO = 2.0
#: Sessions merged in one commit, so that others' changes come in between.
CHUNK = 128


class Mirror:
    """Brings what the server says into the store. Thread-safe.

    Two functions are called that must only take a note. `learned(session_id)`: the store knows more of a session than
    the last list said. `follow_up(kind, session_id, after)`: something is to be put right in so many seconds. "title":
    the server may have replaced a title that was set here (O-027); "unshare": it has a share that was withdrawn here;
    "turn": one may have begun since the session was aborted; "take back": it has a session that a failed call of ours
    made; "reread": it is to be asked, for what it said may have been overtaken; after None: no more.

    What was said is overtaken when the record has changed since, by another thread or another process on the store: the
    log's ids, which all of them share, tell. Sessions that ended stay ended: a late event, or a list that was asked for
    before, does not bring them back (O-032). One that was missing only, not deleted, may turn up again: when the right
    server runs again.
    """

    def __init__(self, writer, store, publisher, version, follow_up, learned):
        self._writer, self._store, self._publisher, self._version = writer, store, publisher, version
        self._follow_up, self._learned = follow_up, learned
        self._lock = threading.Lock()
        writer.changed = self._changed_here
        self._refreshed, self._revs = {}, {}
        self._ended = {}  # session id: for ever (None), or since when it is missing, in monotonic seconds
        # ids of sessions, and tokens of creates with their titles, that failed calls have left on the server
        self._lost = {}
        self._tried = {}  # tokens of creates that have failed and will be made again, if at all, with the same token
        # session id: (what the server answered to our last change, when its event can no longer come)
        self._echoes = {}

    def take(self, remote, since=None, heard=False):
        """Bring one session up to date and return its record, which is made if there is none.

        `since` is the `now()` of when the server was asked; `heard`: it was not, this is an event. A session that ended
        meanwhile is `NOT_FOUND`.
        """
        if self.has_ended(remote.id):
            raise errors.gone(remote.id)
        session = self._store.read(remote.id)
        if session is None and self._is_lost(remote):
            raise errors.gone(remote.id)
        if session is None or self._would_change(session, remote, heard):
            session = self._writer.run(lambda transaction: self.merge(transaction, remote, since, heard))
        else:
            self._merged(session)
        self.refreshed(remote.id)
        return session

    def take_all(self, remotes, since, asked=0.0):
        """Bring many up to date, of a list that was asked for at `asked` (monotonic seconds); return the ids of those
        that could not be, and why the first could not (None: all were)."""
        failed, reason = [], None
        for start in range(0, len(remotes), CHUNK):
            chunk = [
                remote
                for remote in remotes[start : start + CHUNK]
                if not self._stays_ended(remote.id, asked) and not self._is_lost(remote)
            ]
            outcomes = self._writer.run_all(
                [lambda transaction, remote=remote: self.merge(transaction, remote, since) for remote in chunk]
            )
            for remote, outcome in zip(chunk, outcomes):
                if isinstance(outcome, Exception) and not self.has_ended(remote.id):
                    failed.append(remote.id)
                    reason = reason or outcome
        return failed, reason

    def merge(self, transaction, remote, since=None, heard=False):
        """Bring one session up to date within a change, and return its record; see `take`."""
        session = transaction.store.load(remote.id)
        if session is None:
            if self.has_ended(remote.id):  # while the change waited for its turn
                raise errors.gone(remote.id)
            session = self.adopted(transaction, remote)
            self.insert(transaction, session)
            if session.share_url is not None:
                transaction.save(session, "session.shared", {"id": session.id, "url": session.share_url}, touch=False)
        elif since is not None and session.rev > since or heard and session.rev != self._revs.get(session.id):
            if self._would_change(session, remote, heard):
                self._follow_up("reread", session.id, 0.0)
            return session
        else:
            for kind, data in self.bring(transaction, session, remote, heard):
                transaction.save(session, kind, data, touch=False)
            transaction.store.save(session)
        self._merged(session)
        return session

    def _changed_here(self, session_id, rev, new):
        """Follow a change of this process's: it overtakes nothing that the server said before."""
        with self._lock:
            if self._revs.get(session_id) == rev:
                remember(self._revs, session_id, new)

    def _merged(self, session):
        """Note up to which of its changes the record is what the server told us."""
        with self._lock:
            remember(self._revs, session.id, session.rev)

    def bring(self, transaction, session, remote, heard=False):
        """Bring a record up to date, for its caller to save; return the events that would tell of it."""
        contested = merge.is_contested(session, remote, transaction.now)
        if contested:
            self._follow_up("title", remote.id, 0.0)
        if session.unshare_pending and remote.share_url is not None:
            self._follow_up("unshare", remote.id, 0.0)
        if session.aborted and remote.updated != session.remote_updated:
            self._follow_up("turn", remote.id, 0.0)
        return merge.merge(session, remote, self._share(transaction.store, session), contested, heard)

    def adopted(self, transaction, remote):
        """Return a new record for a session of the server's, for its caller to `insert`."""
        session = merge.adopt(remote, transaction.store.next_number(transaction.now), self._version)
        if session.token is not None and (remote.is_fork or transaction.store.load_by_token(session.token) is not None):
            session.token = None  # a fork has its source's, who may have ended
        return session

    @staticmethod
    def insert(transaction, session):
        """Store a new record; it is told of once (O-029)."""
        transaction.insert(
            session,
            {"id": session.id} if session.parent_id is None else {"id": session.id, "parentId": session.parent_id},
        )

    def _would_change(self, session, remote, heard):
        """Return whether merging may have an effect: most refreshes find nothing new, and need no turn of the
        writer."""
        twin = session.copy()
        events = merge.merge(twin, remote, self._share(self._store, session), heard=heard)
        return bool(events) or any(
            getattr(twin, name) != getattr(session, name) for name in ("remote_updated", "unshare_pending")
        )

    @staticmethod
    def _share(store, session):
        """Return the session's share of ours, or None: the record of one that has a share has a link."""
        return None if session.share_url is None else store.share(session.id)

    def recorded(self, answer, session):
        """Note that a change of ours, which the server answered so, is in the store: its events tell nothing new
        (P-123).

        The server tells of a change of several fields field by field, with states that were never asked for.
        """
        with self._lock:
            remember(self._echoes, answer.id, (answer, time.monotonic() + ECHO))
        self._merged(session)
        self.refreshed(answer.id)

    def is_echo(self, remote):
        """Return whether what the event stream has told of a session is the echo of a change of ours, and tells nothing
        new."""
        with self._lock:
            answer, deadline = self._echoes.get(remote.id, (None, 0))
            echo = time.monotonic() < deadline
            if not echo or remote == answer:
                self._echoes.pop(remote.id, None)
        if echo:
            # Before the answer's own event come the states on the way there. Should one be another client's change, a
            # look tells.
            self._follow_up("reread", remote.id, None if remote == answer else ECHO)
        return echo

    def heard(self, remote):
        """Bring a session up to date that the event stream has told of."""
        if not self._is_lost(remote):
            self.take(remote, heard=True)

    def end(self, session_id, missing=False):
        """Erase a session that the server has deleted (`missing`: does not have), and its descendants. Unknown or
        erased before: nothing happens."""
        (outcome,) = self._end([session_id], missing)
        if isinstance(outcome, Exception):
            raise outcome

    def end_all(self, session_ids):
        """Erase many that the server does not have; those that cannot be are left for the next look."""
        for start in range(0, len(session_ids), CHUNK):
            self._end(session_ids[start : start + CHUNK], True)

    def erase(self, transaction, session_id, noted, missing=False):
        """Erase a session and its descendants within a change; `noted` gets those whose end is new."""
        for member in descendants.erase(transaction, session_id) or [session_id]:
            if not self.has_ended(member):
                noted.append(member)
                self.ended(member, missing)  # before the commit: whoever writes next must not bring it back

    def revive(self, session_ids):
        """Take back that sessions have ended: that could not be recorded."""
        with self._lock:
            for session_id in session_ids:
                self._ended.pop(session_id, None)

    def _end(self, session_ids, missing):
        noted = [[] for _ in session_ids]
        outcomes = self._writer.run_all(
            [lambda transaction, each=each: self.erase(transaction, *each, missing) for each in zip(session_ids, noted)]
        )
        for outcome, members in zip(outcomes, noted):
            if isinstance(outcome, Exception):
                self.revive(members)
        for member in [member for members in noted for member in members] if missing else ():
            self._learned(member)  # a list that is the same as the last one may have it all the same
        return outcomes

    # -- creates that failed ---------------------------------------------------------------------------------------
    def lose(self, name, title=None):
        """Note that a call has failed though the server has done what it asked, or may have: the session with this id,
        or with this token and title, is taken back when it is seen. Nobody else may have used the token."""
        with self._lock:
            remember(self._lost, name, title)

    def keep(self, session_id):
        """Note that a session that was lost has become somebody's."""
        with self._lock:
            self._lost.pop(session_id, None)

    def tried(self, token):
        """Note that a create with a token that others may use, too, has failed in this way."""
        with self._lock:
            remember(self._tried, token, True)

    def was_tried(self, token):
        """Forget that, and return whether it was so."""
        with self._lock:
            return self._tried.pop(token, False)

    def _is_lost(self, remote):
        # A fork has its source's token; what was asked for by a title like a fork's is none.
        if remote.id not in self._lost and (
            remote.token not in self._lost or remote.is_fork and self._lost[remote.token] != remote.title
        ):
            return False
        self._follow_up("take back", remote.id, 0.0)
        return True

    def ended(self, session_id, missing=False):
        """Note that a session has ended, for ever; `missing`: until a list has it that is asked for from now on."""
        with self._lock:
            remember(self._ended, session_id, time.monotonic() if missing else None)
            self._refreshed.pop(session_id, None)

    def _stays_ended(self, session_id, asked):
        """Return whether a session has ended, also for a list that was asked for at `asked`."""
        with self._lock:
            since = self._ended.get(session_id)
            if since is not None and since < asked:
                del self._ended[session_id]
        return self.has_ended(session_id)

    def has_ended(self, session_id):
        """Return whether the session is known to have ended."""
        return session_id in self._ended

    # -- freshness -------------------------------------------------------------------------------------------------
    def now(self):
        """Return where the store is now, as `since` counts it: the newest log id that was told here. Another process's
        may be newer by a moment; then what is asked for now counts as overtaken by it, and is asked for anew should it
        differ."""
        return self._writer.published

    def refreshed(self, session_id):
        """Note that the session's record is what the server says now."""
        with self._lock:
            remember(self._refreshed, session_id, time.monotonic_ns())
        self._learned(session_id)
        self._publisher.fresh(session_id)

    def confirmed(self, session_ids):
        """Note the same of many that a list has just told."""
        for session_id in session_ids:
            with self._lock:
                remember(self._refreshed, session_id, time.monotonic_ns())
            self._publisher.fresh(session_id)

    def last_refreshed(self, session_id):
        """Return when that was, in monotonic nanoseconds; 0: not lately."""
        return self._refreshed.get(session_id, 0)


def remember(memory, key, value):
    """Note the newest thing about a session; the oldest notes are forgotten."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST:
        del memory[next(iter(memory))]
