"""The store as a mirror of the server: everything that is learned of its sessions comes through here."""

import time

from plue_session import errors
from plue_session.primitives import allocate_lock
from plue_session.rules import ids, info, made, merge, outbox
from plue_session.rules.jsontext import dumps, loads
from plue_session.services import descendants
from plue_session.services.sync.jobs import INTENT, KINDS, postpone
from plue_session.services.sync.memory import remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Store

#: Seconds that a failed call has to take back what it has made.
FIRST = 2.0
#: Kinds of pending operations that are about the token of a create, and ms after which nobody asks for it.
LOST, DAY = ("take back", "tried", "twice"), 86_400_000
#: A `since` that nothing overtakes.
NEVER = float("inf")
#: The mark of a record that a GET has changed.
AHEAD = object()
#: Sessions merged in one commit, so that others' changes come in between.
CHUNK = 128


class Mirror:
    """Brings what the server says into the store. Thread-safe. What is to be put right later becomes a job.

    What was said is overtaken when the record has changed since, by another thread or another process on the store: the
    log's ids, which all of them share, tell. Sessions that ended stay ended: a late event, or a list that was asked for
    before, does not bring them back (O-032). One that was missing only, not deleted, may turn up again: when the right
    server runs again.
    """

    def __init__(
        self, writer, store: "Store", publisher: "Publisher", jobs, numbers, unnumbered, version, is_automatic
    ):
        self._writer, self._store, self._publisher, self._jobs, self._version = writer, store, publisher, jobs, version
        self._numbers, self._unnumbered, self._is_automatic = numbers, unnumbered, is_automatic
        self._lock = allocate_lock()
        self._refreshed = {}
        self._ended = {}  # session id: for ever (None), or since when it is missing, in monotonic seconds
        self._differing = set()
        #: called with the id of a session whose outbox can go on; set by whoever has one
        self.hurry = lambda session_id: None

    def take(self, remote, since=NEVER, call=None):
        """Bring one session up to date and return its record, which is made if there is none.

        `since` is the `now()` of when the server was asked, if anything may have overtaken it. A session that ended
        meanwhile is `NOT_FOUND`. What changes nothing, as most answers do not, needs no writer.
        """
        session = self._store.read(remote.id)
        if session is None or self.would_change(session, remote):
            session = self._writer.run(lambda transaction: self.merge(transaction, remote, since), call)
            if session is None:
                raise errors.gone(remote.id)
        else:
            self._unnumbered.merged(session)
        self.refreshed(remote.id)
        return session

    def take_all(self, remotes, since, call, asked=0.0):
        """Bring many up to date, of a list that was asked for at `asked` (monotonic seconds); return the ids of those
        that could not be, and why the first could not (None: all were)."""
        with self._lock:
            for remote in remotes:
                if (self._ended.get(remote.id) or asked) < asked:
                    del self._ended[remote.id]
        failed, reason = [], None
        outcomes = self.run_all(
            [lambda transaction, each=each: self.merge(transaction, each, since, mark=None) for each in remotes],
            call,
        )
        for remote, outcome in zip(remotes, outcomes, strict=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, errors.NotFound):
                failed.append(remote.id)
                reason = reason or outcome
        return failed, reason

    def run_all(self, changes, call=None):
        """Run changes in groups, so that others' come in between; return a result or an exception for each."""
        outcomes = []
        for start in range(0, len(changes), CHUNK):
            outcomes += self._writer.run_all(changes[start : start + CHUNK], call)
        return outcomes

    def merge(self, transaction, remote, since=NEVER, heard=False, unknown=None, mark=AHEAD):
        """Bring one session up to date within a change, and return its record; see `take`.

        `heard`: nobody asked, this is an event without a number. `unknown`: one that has no record is asked for in so
        many seconds instead of being recorded. None: it has no record, and gets none. `mark`: see `keep`.
        """
        session = transaction.store.load(remote.id)
        if session is None:
            return self.found(transaction, remote, None, unknown)
        overtaken = self._unnumbered.is_overtaken(session) if heard else session.rev > since
        if overtaken:
            if self.would_change(session, remote, heard):
                self._jobs.add("reread", session.id)
            return session
        self.keep(transaction, session, remote, mark, heard)
        self._unnumbered.merged(session)
        return session

    def found(self, transaction, remote, mark, unknown=None):
        """Record a session that has no record, with this mark (rules/sequences.py); see `merge`."""
        if remote.id in self._ended or any(row.op == "delete" for row in transaction.store.outgoing(remote.id)):
            raise errors.gone(remote.id)
        ours = remote.token and transaction.store.load_by_token(remote.token)
        if ours and ids.is_given_here(ours.id) and _is_made_for(transaction, ours, remote):
            return self.name(transaction, ours, remote, mark)
        if ours and self._is_surplus(transaction, remote):
            postpone(transaction, "take back", remote.id)
            self._jobs.add("take back", remote.id)
            return None
        if self._is_lost(transaction, remote):
            return None
        if unknown is not None:
            self._jobs.add("reread", remote.id, unknown)
            return None
        session = self.adopted(transaction, remote)
        session.remote_seq = mark
        if session.token is not None:
            self._complete(transaction, session)
        transaction.insert(session)
        if session.share_url is not None:
            transaction.save(session, "session.shared", {"id": session.id, "url": session.share_url}, touch=False)
        self._unnumbered.merged(session)
        return session

    def _complete(self, transaction, session):
        """Have a new record be what the create of ours that made it had in mind, as its note says. A key or role that
        is taken by now stays with who has it."""
        store = transaction.store
        intent = store.operation(INTENT, session.token)
        if intent is None:
            return
        store.drop_operation(INTENT, session.token)
        ours = loads(intent.arguments)
        for name, load in (("key", store.load_by_key), ("role", store.load_by_role)):
            if name in ours and load(ours[name]) is not None:
                del ours[name]
        made.keep(session, ours, transaction.now)
        session.imported = False

    def recover(self, remote, since, call):
        """Record what has become of a change of ours that was asked for (its note says what), and is not recorded."""

        def change(transaction):
            self.merge(transaction, remote, since)
            transaction.store.drop_operation(INTENT, remote.id)

        self._writer.run(change, call)
        self.refreshed(remote.id)

    def name(self, transaction, session, remote, mark=AHEAD):
        """Give a session that was made while the server was away the id of the one that the server has made for it, and
        return its record. The old id stays an alias (P-177)."""
        store, old = transaction.store, session.id
        children, title = store.children(old), session.title
        if store.load(remote.id) is not None:  # of a library that did not know the token
            transaction.erase(remote.id)
        for row in store.outgoing(old):
            if row.op == "create":
                store.drop_outgoing(row.id)
                if "again" in loads(row.base):
                    postpone(transaction, "twice", session.token, dumps(loads(row.arguments).get("title")))
        transaction.log()  # what was told of it goes with it
        store.rename(old, remote.id)
        session = store.load(remote.id)
        session.aliased = True
        outbox.uncover(session)
        merge.merge(session, remote, _share(store, session))
        outbox.cover(session, store.outgoing(session.id))
        if mark is AHEAD:
            self._numbers.created(session)
        else:
            session.remote_seq = mark
        data = {"id": session.id, "aliases": [old]}
        if session.title != title:
            data["title"] = session.title
        transaction.save(session, "session.updated", data, touch=False)
        self._unnumbered.merged(session)
        for child in map(store.load, children):
            child.parent_id = session.id
            transaction.save(child, "session.updated", {"id": child.id}, touch=False)  # which the outbox hears
        return session

    def keep(self, transaction, session, remote, mark=AHEAD, heard=False):
        """Bring a record up to date and store it, with this mark; what changes nothing leaves it as it was."""
        told = self.bring(transaction, session, remote, mark, heard)
        if told is not None:
            self.save(transaction, session, told)

    def save(self, transaction, session, told):
        """Store a record that was brought up to date, once, and tell each of the events."""
        if told:
            transaction.save_told(session, told)
        else:
            transaction.store.save(session)

    def bring(self, transaction, session, remote, mark=AHEAD, heard=False):
        """Bring a record up to date, for its caller to save; return the events that would tell of it, None if it was up
        to date."""
        before, unshare = _unseen(session), session.unshare_pending
        known = self._numbers.mark(session) if mark is AHEAD else None
        covered, under, shown = session.outbox, session.beneath, merge.visible(session)
        if covered is not None:
            outbox.uncover(session)
        contested = self._is_contested(transaction, session, remote)
        if unshare and remote.share_url is not None:
            self.hurry(session.id)
        if session.aborted and remote.updated != session.remote_updated:
            self._jobs.add("turn", remote.id)
        events = merge.merge(session, remote, _share(transaction.store, session), contested, heard)
        if unshare and not session.unshare_pending:
            for row in transaction.store.outgoing(session.id):
                if row.op == "unshare":
                    transaction.store.drop_outgoing(row.id)
        if covered is not None:
            outbox.cover(session, transaction.store.outgoing(session.id))
            events = _told(events, session, covered, shown)
        if not events and before == _unseen(session) and (covered, under) == (session.outbox, session.beneath):
            return None
        if mark is AHEAD:
            self._numbers.answered(session, known)
        else:
            session.remote_seq = mark
        return events

    def _is_contested(self, transaction, session, remote):
        """Return whether the server may have replaced a title that was set here, and have that settled (O-027). When it
        was heard of counts, not when it is settled."""
        if remote.title == session.title or session.title_defended_at is None:
            return False
        intent = transaction.store.operation(INTENT, session.id)
        if intent is not None and loads(intent.arguments).get("title") == remote.title:
            return False  # a rename of ours that is yet to be recorded
        theirs = dumps(remote.title)
        known = transaction.store.operation("title", session.id)
        if known is None and not merge.is_defended(session, transaction.now):
            return False
        if known is None or known.arguments != theirs:
            postpone(transaction, "title", session.id, theirs)
        self._jobs.add("title", session.id)
        return True

    def adopted(self, transaction, remote):
        """Return a new record for a session of the server's, for its caller to insert."""
        session = merge.adopt(remote, transaction.store.next_number(transaction.now), self._version)
        if session.token is not None and (remote.is_fork or transaction.store.load_by_token(session.token) is not None):
            session.token = None  # a fork has its source's, who may have ended
        if session.token is not None:
            transaction.store.drop_operation("tried", session.token)
        self._numbers.created(session)
        return session

    def would_change(self, session, remote, heard=False):
        """Return whether merging may have an effect."""
        copy = session.copy()
        outbox.uncover(copy)
        events = merge.merge(copy, remote, _share(self._store, session), heard=heard)
        return bool(events) or _unseen(copy) != _unseen(session)

    def recorded(self, answer, session):
        """Note that a change of ours, which the server answered so, is in the store: its events tell nothing new
        (P-123)."""
        self._unnumbered.recorded(answer, session)
        self.refreshed(answer.id)

    # -- the end of sessions -------------------------------------------------------------------------------------------
    def end(self, session_id, call):
        """Erase a session that the server does not have, and its descendants. Unknown or erased before: nothing
        happens."""
        self._writer.run(lambda transaction: self.erase(transaction, session_id, True), call)

    def end_all(self, session_ids, call):
        """Erase many that the server does not have; those that cannot be are left for the next comparison."""
        self.run_all([lambda transaction, each=each: self.erase(transaction, each, True) for each in session_ids], call)

    def erase(self, transaction, session_id, missing=False):
        """Erase a session and its descendants within a change. They have ended before the commit: whoever writes next
        must not bring them back. Should the commit fail, their records say that they have not."""
        for member in descendants.members(transaction.store.children, session_id):
            self.give_up(transaction, member)
        for member in descendants.erase(transaction, session_id) or [session_id]:
            transaction.store.drop_operations_of(member)
            transaction.store.drop_outgoing_of(member)
            self._jobs.drop("take back", member)
            self.ended(member, missing)

    def give_up(self, transaction, session_id):
        """Have a session that the server is yet to be told of never be made: what it has made of it all the same is
        taken back, when it is seen. Any other: nothing."""
        session = transaction.store.load(session_id) if ids.is_given_here(session_id) else None
        if session is not None:
            transaction.store.drop_outgoing_of(session_id)
            postpone(transaction, "take back", session.token, dumps(session.title))

    def ended(self, session_id, missing=False):
        """Note that a session has ended, for ever; `missing`: until a list has it that is asked for from now on."""
        with self._lock:
            if not missing or self._ended.get(session_id, 0) is not None:
                remember(self._ended, session_id, time.monotonic() if missing else None)
            self._refreshed.pop(session_id, None)
            self._differing.add(session_id)  # a list that is the same as the last one may have it all the same

    def revived(self, session_id):
        """Note that a session has not ended after all: the server refuses to delete it."""
        with self._lock:
            self._ended.pop(session_id, None)
            self._differing.add(session_id)

    def has_ended(self, session_id):
        """Return whether the session is known to have ended."""
        return session_id in self._ended and self._store.info(session_id) is None

    # -- what an earlier process has left ------------------------------------------------------------------------------
    def take_up(self):
        """Have done what is pending. A create that has made nothing for a day makes nothing any more."""
        old = self._writer.clock() - DAY
        for each in self._store.operations(limit=1 << 30):
            if each.kind in KINDS and each.session_id is not None:
                self._jobs.add(each.kind, each.session_id)
            elif each.kind in LOST and each.created < old:
                self._writer.run_later(
                    lambda transaction, each=each: transaction.store.drop_operation(each.kind, each.name)
                )

    # -- creates that failed -------------------------------------------------------------------------------------------
    def lose(self, name, title=None):
        """Note that a call has failed though the server has done what it asked, or may have: the session with this id,
        or with this token and title, is taken back when it is seen. Nobody else may have used the token. Does not fail:
        the call has already."""
        self._note("take back", name, dumps(title))
        if ids.is_id(name):
            self._jobs.add("take back", name, FIRST)  # the call itself may do so first

    def tried(self, token):
        """Note that a create with a token that others may use, too, has failed in this way; until it is recorded."""
        self._note("tried", token)

    def _note(self, *operation):
        self._writer.run_later(lambda transaction: postpone(transaction, *operation))

    def was_tried(self, token, call):
        """Return whether that was noted."""
        return self._writer.run(lambda transaction: transaction.store.operation("tried", token), call) is not None

    def _is_lost(self, transaction, remote):
        store = transaction.store
        if store.operation("take back", remote.id) is None:
            lost = remote.token and store.operation("take back", remote.token)
            # A fork has its source's token; what was asked for by a title like a fork's is none.
            if not lost or remote.is_fork and lost.arguments != dumps(remote.title):
                return False
            store.drop_operation("take back", remote.token)
            postpone(transaction, "take back", remote.id)
        self._jobs.add("take back", remote.id)
        return True

    def _is_surplus(self, transaction, remote):
        """Return whether a session with the token of another one is what the server has made of a create that it was
        told of twice (P-176). One with another title may be somebody's copy, and stays."""
        twice = transaction.store.operation("twice", remote.token)
        if twice is None:
            return False
        asked = loads(twice.arguments)
        return remote.title == asked if asked is not None else self._is_automatic(remote.title)

    # -- freshness -----------------------------------------------------------------------------------------------------
    def now(self):
        """Return where the store is now, as `since` counts it: the newest log id that was told here. Another process's
        may be newer by a moment; then what is asked for now counts as overtaken by it, and is asked for anew should it
        differ."""
        return self._writer.published

    def refreshed(self, session_id, listed=False):
        """Note that the session's record is what the server says now; `listed`: in a list, which then says so, too."""
        with self._lock:
            remember(self._refreshed, session_id, time.monotonic_ns())
            if not listed:
                self._differing.add(session_id)
        self._publisher.fresh(session_id)

    def last_refreshed(self, session_id):
        """Return when that was, in monotonic nanoseconds; 0: not lately."""
        return self._refreshed.get(session_id, 0)

    def differs(self, session_id):
        """Note that the store has learned of a session, or failed to, what the last list does not say."""
        with self._lock:
            self._differing.add(session_id)

    def take_differing(self):
        """Return the ids of these sessions, and forget them: the next list compares them anew."""
        with self._lock:
            differing, self._differing = self._differing, set()
        return differing


def _is_made_for(transaction, session, remote):
    """Return whether a session has been made for one of ours that the server is yet to be told of, and whose token it
    has: a fork has its source's, too. What was asked for by a title like a fork's is none."""
    if not remote.is_fork:
        return True
    creates = (row for row in transaction.store.outgoing(session.id) if row.op == "create")
    return any(loads(row.arguments).get("title") == remote.title for row in creates)


def _told(events, session, outbox_before, shown):
    """Return what is to be told of a session part of which is covered by what waits."""
    events = [each for each in events if each[0] != "session.updated"]
    now = merge.visible(session)
    if now != shown and not (events and now[1:] == shown[1:]) or outbox_before != session.outbox:
        data = {"id": session.id}
        if now[1] != shown[1]:
            data["title"] = session.title
        changed = [name for name, *each in zip(merge.VISIBLE, shown, now, strict=True) if each[0] != each[1]]
        data["fields"] = info.keys((*changed, "outbox") if outbox_before != session.outbox else changed)
        events.insert(0, ("session.updated", data))
    return events


def _unseen(session):
    """Return what the server decides of a record and nobody is told."""
    return session.remote_updated, session.unshare_pending


def _share(store, session):
    """Return the session's share of ours, or None: the record of one that has a share has a link."""
    return None if session.share_url is None else store.share(session.id)
