"""How one change of the outbox is sent and its answer recorded, or how it is taken back."""

from plue_session import errors
from plue_session.model import Input, Session, Share
from plue_session.model.input import ACCEPTED, COMPLETED
from plue_session.model.outgoing import CONFLICT
from plue_session.primitives import allocate_lock
from plue_session.rules import ids, inputs, merge, outbox
from plue_session.rules.jsontext import dumps, loads
from plue_session.services import descendants
from plue_session.services.sync import memory
from plue_session.services.turns import queue

#: Failures of a request that say nothing of what the server makes of it.
UNANSWERED = errors.Connection, errors.Timeout, errors.Aborted, errors.Closed


def delay(attempts, retry):
    """Return ms until a change is sent again that was in vain so often before."""
    return min(retry.base_ms * 2 ** min(attempts, 16), retry.max_ms)


class Sender:
    """Sends for one backend. Its caller has the session's lock."""

    def __init__(self, on, late):
        self._on = on
        self._late = late  # ms after which the server makes nothing more of a request whose answer was lost
        self._sending = set()
        self._missed = {}  # ids of deletes whose session the server lacked; the next comparison tells if it is the one
        self._listing, self._has_listed = allocate_lock(), False

    def is_sending(self, row_id):
        """Return whether a change is being sent just now."""
        return row_id in self._sending

    def begun(self):
        """Note that another process may have sent until now."""
        self._has_listed = False

    def send(self, row, call, fresh=False):
        """Send a change and record the answer; return whether the session's next one may follow, or this one cannot be
        sent yet. Fails if it is to be sent again. `fresh`: the server has answered to the one before just now, so the
        record has what it has."""
        on = self._on
        self._sending.add(row.id)
        try:
            if not on.writer.run(lambda transaction: _waits(transaction, row), call):
                return True
            with on.link.asking(row.session_id):
                return self._update(row, call, fresh) if row.op == "update" else getattr(self, f"_{row.op}")(row, call)
        except outbox.REFUSALS as error:
            if row.op == "unshare" and not isinstance(error, errors.NotFound):
                raise errors.Server(error.cause, error.remedy, session=error.session, details=error.details) from None
            if isinstance(error, errors.NotFound) and row.op != "create":
                if not on.sync.in_doubt:
                    on.sync.missing(row.session_id, call)
                if on.sync.in_doubt:  # by now: without an event stream that is yet to be found out
                    raise errors.Connection(
                        "the server has none of the sessions known here", details={"sent": True}
                    ) from None
                on.writer.run(lambda transaction: transaction.store.drop_outgoing_of(row.session_id), call)
            else:
                on.log.write(
                    "warning",
                    f"outbox {row.session_id}: a queued {row.op} is refused, and taken back: {error.cause}",
                )
                on.writer.run(lambda transaction: withdraw(on, transaction, row), call)
                for member in loads(row.base)["family"] if row.op == "delete" else ():
                    on.mirror.hurry(member)  # what waited for the delete
            return True
        finally:
            self._sending.discard(row.id)

    # -- one kind each ---------------------------------------------------------------------------------------------
    def _create(self, row, call):
        on, server = self._on, self._on.server
        session = on.store.read(row.session_id)
        if session is None:
            on.writer.run(lambda transaction: transaction.store.drop_outgoing_of(row.session_id), call)
            return True
        parent = session.parent_id
        if parent is not None and ids.is_given_here(parent):
            if on.store.read(parent) is not None:
                return False  # the event that tells of the parent's id has this one follow
            if on.resolve(parent) == parent:
                raise errors.NotFound(f"the parent session {parent} does not exist")
            return True  # it was made just now: the record that was read is not the newest
        if session.provider_id is not None:
            server.check_provider(session.provider_id, session.model_id, call)
        self._list(call)  # what an earlier process has made is found by its token
        if on.store.read(row.session_id) is None:
            return True
        there, asked = outbox.beneath(session), loads(row.arguments)
        with on.session_locks.expect(session.token, call):
            made = None
            if row.attempts or "sent" in loads(row.base) or session.directory not in (None, server.directory):
                made = server.find_created(session.token, call, directory=session.directory, title=asked.get("title"))
            if made is None:
                made = self._make(
                    row,
                    session.token,
                    call,
                    directory=session.directory,
                    title=asked.get("title"),
                    parent_id=parent,
                    metadata=loads(there["metadata"]) or None,
                )
            named = on.writer.run(lambda transaction: self._named(transaction, row, made))
            if named is None:  # it was discarded meanwhile
                on.mirror.lose(made.id)
            else:
                on.mirror.recorded(made, named)
        return True

    def _make(self, row, token, call, **fields):
        """Have the server make a session that it does not have. It may make it yet, if it was told of it and the answer
        was lost: then it is not told again until that takes too long. Should it make two, `Mirror.found` sees to it."""
        on, before = self._on, loads(row.base)
        if "sent" in before:
            if 0 <= on.writer.clock() - before["sent"] < self._late:
                raise errors.Busy("the server has not answered the create, and may make the session yet")
            before["again"] = True
        # Noted before, for who comes after a process that dies while the server is told.
        row.base = dumps({**before, "sent": on.writer.clock()})
        try:
            on.writer.run(lambda transaction: transaction.store.keep_outgoing(row), call)
            return on.server.create(token, call, **fields)
        except errors.PlueError as error:
            if not isinstance(error, UNANSWERED) or (error.details or {}).get("sent") is False:
                row.base = dumps(before)  # nothing is on its way; kept with the failure
            raise

    def _named(self, transaction, row, made):
        known = transaction.store.load(made.id)
        if known is not None and known.aliased:  # another process on the store has heard of it first
            self._on.mirror.keep(transaction, known, made)
            return known
        session = transaction.store.load(row.session_id)
        if session is None or not _waits(transaction, row):
            return None
        return self._on.mirror.name(transaction, session, made)

    def _list(self, call):
        """See once what the server has, since we are the one process that sends."""
        with self._listing:
            if not self._has_listed:
                self._on.sync.list(call)
                self._has_listed = True

    def _ended(self, row, call):
        """Forget a change of a session that is no more; unless that waits for the delete of an ancestor, which may be
        refused yet and bring it back."""
        on = self._on
        if on.store.is_being_deleted(row.session_id):
            return False
        on.writer.run(lambda transaction: transaction.store.drop_outgoing(row.id), call)
        return True

    def _update(self, row, call, fresh):
        on, server = self._on, self._on.server
        session = on.store.read(row.session_id)
        if session is None:
            return self._ended(row, call)
        asked, base = loads(row.arguments), loads(row.base)
        there, remote = session.copy(), None
        outbox.uncover(there)
        if not fresh:
            remote = server.get(session.id, call, directory=session.directory)
            merge.merge(there, remote, on.store.share(session.id))
        was_automatic = server.is_automatic(there.title)
        broken = outbox.broken(asked, there)
        if broken:
            on.writer.run(lambda transaction: self._conflict(transaction, row, remote, broken), call)
            return True
        lost = outbox.differences(asked, base, there)
        answer = server.update(session.id, call, directory=session.directory, **sent(session, asked))

        def record(transaction):
            session, is_there = transaction.store.load(row.session_id), transaction.store.drop_outgoing(row.id)
            if session is None:
                return None
            for field, ours, theirs in lost if is_there else ():
                tell_conflict(transaction, session, row, field, ours, theirs)
            if is_there and "title" in asked["patch"]:
                session.title_defended_at = None
            self._bring(transaction, session, answer)
            if is_there and "title" in asked["patch"] and was_automatic:
                session.title_defended_at = transaction.now
                transaction.store.save(session)
            return session

        recorded = on.writer.run(record)
        if recorded is not None:
            on.mirror.recorded(answer, recorded)
        return True

    def _bring(self, transaction, session, answer):
        """Record an answer, with one event of each kind."""
        mirror = self._on.mirror
        mirror.save(transaction, session, mirror.bring(transaction, session, answer))

    def _conflict(self, transaction, row, remote, found):
        row.state, row.error = CONFLICT, "the fields that its base names have changed on the server"
        fields = [{"field": field, "ours": ours, "theirs": theirs} for field, ours, theirs in found]
        row.base = dumps({**loads(row.base), "conflict": fields})
        transaction.store.keep_outgoing(row)
        session = transaction.store.load(row.session_id)
        if session is not None:
            for field, ours, theirs in found:
                tell_conflict(transaction, session, row, field, ours, theirs)
            if remote is not None:
                self._bring(transaction, session, remote)
            else:
                recover(transaction, session.id)

    def _unshare(self, row, call):
        on = self._on
        session = on.store.read(row.session_id)
        if session is None:
            return self._ended(row, call)
        if not session.unshare_pending:
            on.writer.run(lambda transaction: drop(transaction, row), call)
            return True
        answer = on.server.unshare(session.id, call, session.directory)

        def record(transaction):
            transaction.store.drop_outgoing(row.id)
            session = transaction.store.load(row.session_id)
            if session is not None:
                session.unshare_pending = False
                self._bring(transaction, session, answer)
            return session

        recorded = on.writer.run(record)
        if recorded is not None:
            on.mirror.recorded(answer, recorded)
        return True

    def _delete(self, row, call):
        on, base = self._on, loads(row.base)
        elsewhere = base["elsewhere"]
        if on.sync.in_doubt:
            raise errors.Connection("it is not known yet whether this is the right server", details={"sent": False})
        try:
            on.server.delete(row.session_id, call, directory=base["directory"], elsewhere=elsewhere)
        except errors.NotFound:  # it has gone by itself, if this is the right server
            if on.link.streaming is False and row.id not in self._missed:  # nothing tells of another in its place
                memory.remember(self._missed, row.id, True)
                on.link.lost()
                raise errors.Connection(
                    "the server does not have the session, and may be another one", details={"sent": True}
                ) from None
        self._missed.pop(row.id, None)

        def done(transaction):
            for member in (row.session_id, *base["family"]):
                transaction.store.drop_outgoing_of(member)

        on.writer.run(done)
        for member in base["family"]:
            on.mirror.ended(member)
        return True


def sent(session, asked):
    """Return what of an update the server keeps, as it takes it."""
    patch, found = asked["patch"], {}
    if "title" in patch:
        found["title"] = patch["title"]
    if "metadata" in patch:
        found.update(metadata=loads(patch["metadata"]), token=session.token)
    if "archived" in patch:
        found["archived"] = asked["at"] if patch["archived"] else None
    return found


def tell_conflict(transaction, session, row, field, ours, theirs):
    """Tell whose change was lost."""
    data = {"operation": row.name, "field": field, "ours": ours, "theirs": theirs}
    transaction.emit("sync.conflict", session, data)


def drop(transaction, row):
    """Forget a change that needs not be sent, and tell that it waits no more."""
    transaction.store.drop_outgoing(row.id)
    recover(transaction, row.session_id)


def recover(transaction, session_id, change=None):
    """Have a session show what still waits of it, after `change(session)`, and tell so."""
    session = transaction.store.load(session_id)
    if session is None:
        return
    before, title = session.outbox, session.title
    if before is not None:
        outbox.uncover(session)
    if change is not None:
        change(session)
    if before is not None:
        outbox.cover(session, transaction.store.outgoing(session_id))
    data = {"id": session_id}
    if session.title != title:
        data["title"] = session.title
    if change is not None or session.outbox != before:
        transaction.save(session, "session.updated", data, touch=False)


def _waits(transaction, row):
    """Return whether a change is still in the outbox. Who discards one does so in a change of the writer's, in whatever
    process: either it was first, or it sees that this one is being sent."""
    return transaction.store.has_outgoing(row)


# -- taking back ---------------------------------------------------------------------------------------------------
def withdraw(on, transaction, row):
    """Undo a change that is refused, or discarded, with an event; what depends on it, too. Gone already: nothing."""
    store = transaction.store
    if not _waits(transaction, row):
        return
    if row.op == "create":
        on.mirror.erase(transaction, row.session_id)
        return
    store.drop_outgoing(row.id)
    if row.op == "delete":
        restore(on, transaction, loads(row.base))
    elif row.op == "update":
        asked, base = loads(row.arguments), loads(row.base)
        for later in outbox.rebased(row, base, store.outgoing(row.session_id)):
            store.keep_outgoing(later)
        recover(transaction, row.session_id, lambda session: outbox.take_back(session, base, asked))
    else:

        def forget(session):
            session.unshare_pending = False

        recover(transaction, row.session_id, forget)


def remember(store, family):
    """Return what is needed to make sessions again that are erased: parents come first."""
    sessions = [session for session in map(store.load, family) if session is not None]
    shares = [share for share in map(store.share, family) if share is not None]
    waiting = [row for session in sessions for row in store.open_inputs(session.number)]
    return {
        "family": family,
        "sessions": [dict(zip(Session.__slots__, session.VALUES(session), strict=True)) for session in sessions],
        "shares": [list(share.VALUES(share)) for share in shares],
        "inputs": [list(row.VALUES(row)) for row in waiting],
    }


def restore(on, transaction, base):
    """Make sessions again that were erased, with a `session.created` each."""
    store = transaction.store
    for share in base["shares"]:
        store.put_share(Share(*share))
    for values in base["sessions"]:
        session = Session(**values)
        if store.load(session.id) is not None:
            continue
        if session.key is not None and store.load_by_key(session.key) is not None:  # somebody else has it by now
            session.key = None
        session.turn = session.held_until = None  # with the rows of turns, what they were has gone
        on.mirror.revived(session.id)
        outbox.uncover(session)
        outbox.cover(session, store.outgoing(session.id))
        transaction.insert(session)
        rows = (Input(*values) for values in base.get("inputs", ()))  # an older library kept none
        _enqueue_again(transaction, session, [row for row in rows if row.number == session.number])


def _enqueue_again(transaction, session, rows):
    """Put inputs back that were erased with their session. What a turn had taken was said, or is given up with the
    turn; what was meant for one waits for its own, unless that is yet to come."""
    store = transaction.store
    for row in rows:
        row.claim_id, row.state = None, COMPLETED if row.state == ACCEPTED else row.state
        store.add_input(row)
    for row in store.active_inputs(session.number):
        meant = inputs.turn_meant(row.ingress)
        if not queue.waits_for(store, session.number, meant, False):
            queue.defer(transaction, session.number, meant)
    waiting = [row for row in rows if row.state != COMPLETED]
    if waiting:
        kind, data = queue.told("enqueued", waiting)
        transaction.emit(kind, session, data)


def family_of(transaction, session_id):
    """Return the ids of a session and its descendants, as they are within a change."""
    return descendants.members(transaction.store.children, session_id)
