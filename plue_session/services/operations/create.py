"""Creating sessions: on the server first, then their records; what cannot be recorded is taken back (P-071, P-176)."""

import contextlib
import os
import time

from plue_session import errors
from plue_session.call import Call
from plue_session.errors import AlreadyExists, LimitExceeded, NotFound
from plue_session.model import Session
from plue_session.rules import ids, made, outbox
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.services.operations import Operation
from plue_session.services.operations.share import ask_for_link
from plue_session.services.sync.jobs import INTENT, postpone

#: Seconds in which a session that could not be recorded is taken back from the server.
TAKE_BACK = 2.0
#: Failures of a create after which the server may have made the session all the same.
_LOST = (
    errors.Connection,
    errors.Timeout,
    errors.Aborted,
    errors.Closed,
    errors.Server,
    errors.AccessDenied,
    errors.LimitExceeded,
)


class Create(Operation):
    """Creates a session with `fields`, as `rules.parameters.options` gives them; its result is the session."""

    #: nobody else knows the token
    is_alone = True
    is_queued = True
    #: whether the server may have made the session, and has not said so
    _is_unanswered = False

    def __init__(self, on, fields, token=None):
        super().__init__(on)
        self.fields, self.key, self.token = fields, fields.get("key"), token
        self.resolve()

    def resolve(self):
        before = self.fields.get("parent_id")
        parent_id = self.on.resolve(before)
        if parent_id != before:
            self.fields = {**self.fields, "parent_id": parent_id}
        return parent_id != before

    def preview(self, transaction):
        on, store, now = self.on, transaction.store, transaction.now
        fields = dict(self.fields)
        parent_id = fields.get("parent_id")
        if parent_id is not None and store.load(parent_id) is None:
            raise NotFound(
                f"the parent session {parent_id} does not exist", "Pass the id of an existing session, or none."
            )
        check_room(on, transaction, self.key, fields.get("role"))
        number = store.next_number(now)
        if "role" in fields:
            fields.update(relay_state="CREATED", relay_active=now)
        session = Session(number=number, id=f"session_{number}", version=on.version, created=now, updated=now, **fields)
        transaction.insert(session)
        if on.share_auto and parent_id is None:
            on.sharing.share(transaction, session)
        return session

    # -- while the server is away --------------------------------------------------------------------------------------
    def waits(self):
        """Return whether the parent is yet to be made."""
        return self.fields.get("parent_id") is not None and ids.is_given_here(self.fields["parent_id"])

    def queue(self, transaction, sent):
        """Make a session with an id of our own, which it keeps as an alias (P-177)."""
        on, store, now = self.on, transaction.store, transaction.now
        fields = {"directory": on.server.directory, **self.fields}
        parent_id = fields.get("parent_id")
        if parent_id is not None and store.load(parent_id) is None:
            raise NotFound(
                f"the parent session {parent_id} is not known here", "Pass the id of a known session, or none."
            )
        check_room(on, transaction, self.key, fields.get("role"))
        if "role" in fields:
            fields.update(relay_state="CREATED", relay_active=now)
        number = store.next_number(now)
        session = Session(number=number, id=f"session_{number}", version=on.version, created=now, updated=now, **fields)
        session.backend, session.token = "opencode", self.token
        for kind in ("take back", "tried"):  # what the call has left on the server is found by the token, and kept
            store.drop_operation(kind, self.token)
        asked = {"title": fields["title"]} if "title" in fields else {}
        since = {"sent": now} if self._is_unanswered else None  # not for what `send` asks before
        outbox.cover(session, [self.put(transaction, "create", session.id, sent, asked, since)])
        transaction.insert(session)
        if on.share_auto and parent_id is None:
            on.sharing.share(transaction, session)
        return session

    # -- its intent ----------------------------------------------------------------------------------------------------
    def has_intent(self):
        return self.is_alone and not self.on.share_auto

    def is_sure(self):
        """A list finds the session by its token: one of the library's own directory that nobody takes for a fork. Until
        then somebody may take its key or role."""
        fields, own = self.fields, (None, self.on.server.directory)
        is_found = fields.get("directory") in own and " (fork #" not in (fields.get("title") or "")
        return is_found and not fields.keys() & {"key", "role"}

    @property
    def intent_name(self):
        return self.token

    def intend(self, transaction):
        """The session is known by its token, and the note says what of it is ours."""
        return postpone(transaction, INTENT, self.token, dumps(made.kept(self.fields)))

    def recover(self, answer):
        self.on.jobs.add(INTENT, answer.id)

    # -- with a server -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def locks(self, call):
        """Have events of the new session wait: its token tells which they are (O-029)."""
        if self.token is None:  # its beginning tells other processes on the store, see `Inbox`
            self.token = f"{self.on.store.store_id}-{os.urandom(12).hex()}"
        with self.on.session_locks.expect(self.token, call):
            yield

    def check(self, call):
        on, role = self.on, self.fields.get("role")
        if on.limit is not None or self.key is not None or role is not None:
            on.writer.run(lambda transaction: check_room(on, transaction, self.key, role), call)
        return True

    def send(self, call):
        """OpenCode: POST /session, and what the options ask for besides."""
        on, fields, server = self.on, self.fields, self.on.server
        if "provider_id" in fields:
            server.check_provider(fields["provider_id"], fields["model_id"], call)
        made = self._find(call)
        self._is_found = made is not None
        if made is None:
            made = self._make(call)
        try:
            shared = ask_for_link(on, made, call) if on.share_auto and made.parent_id is None else None
        except errors.PlueError:
            self.undo(made)
            raise
        self._link = shared and shared.share_url
        return shared or made

    def _find(self, call):
        """Return what an earlier create with this token has made, or None."""

    def _make(self, call):
        fields = self.fields
        try:
            return self.on.server.create(
                self.token,
                call,
                directory=fields.get("directory"),
                title=fields.get("title"),
                parent_id=fields.get("parent_id"),
                metadata=loads(fields["metadata"]) if "metadata" in fields else None,
            )
        except _LOST as error:
            self._is_unanswered = (error.details or {}).get("sent") is not False
            raise

    def refused(self, error):
        self.lost()
        raise error

    def lost(self):
        """Not before it is known that the create is not queued: another process would take back what it makes."""
        if self._is_unanswered:
            self._lose()

    def _lose(self):
        """Note that the server may have made the session. Nobody will ask for it, so it is taken back."""
        self.on.mirror.lose(self.token, self.fields.get("title"))

    def undo(self, answer):
        if not self._is_found:  # else it may be of a process that is about to record it
            take_back(self.on, answer, self.is_alone)

    def record(self, transaction, answer):
        on, fields, store = self.on, self.fields, transaction.store
        session = store.load(answer.id)  # another process on the store may have heard of it first (O-029)
        is_new = session is None
        self._is_ours = is_new or session.key is None or session.key != self.key
        if not self._is_ours:  # another process has found it by its token and recorded it
            return session
        check_room(on, transaction, self.key, fields.get("role"))
        if is_new:
            session = on.mirror.adopted(transaction, answer)
            if self._link is not None:
                session.share_url = None  # told of by itself, below
        session.imported, session.token = False, self.token
        kept = made.kept(fields)
        made.keep(session, kept, transaction.now)
        if is_new:
            transaction.insert(session)
        elif kept:
            transaction.save(session, "session.updated", {"id": session.id})
        else:
            store.save(session)
        if self._link is not None:
            session.share_url, session.share_expires = self._link, None
            transaction.save(session, "session.shared", {"id": session.id, "url": self._link})
        elif on.share_auto and session.parent_id is None and session.share_url is None:
            on.sharing.share(transaction, session)
        return session

    def recorded(self, answer, result):
        if self._is_ours:
            super().recorded(answer, result)


class GetOrCreate(Create):
    """Returns the session with a key, created if there is none. Callers that race, also in other processes, get the
    same one."""

    is_alone = False

    def __init__(self, on, key):
        super().__init__(on, {"key": key})

    def preview(self, transaction):
        return self._holder(transaction) or super().preview(transaction)

    def queue(self, transaction, sent):
        return self._holder(transaction) or super().queue(transaction, sent)

    def _holder(self, transaction):
        """Return the session with the key, or None."""
        found = transaction.store.load_by_key(self.key)
        return found if found and not self.on.agents.take_back_left(transaction, found) else None

    @contextlib.contextmanager
    def locks(self, call):
        """Lock the key as well."""
        self.token = token_of(self.on.store.store_id, self.key)
        with self.on.session_locks.hold(("key", self.key), call), super().locks(call):
            yield

    def check(self, call):
        self._known = self.on.writer.run(self._load, call)
        try:
            return self._known is None and super().check(call)
        except AlreadyExists as error:  # another process was faster
            self._known = self.on.read(error.details["sessionId"])
            return False

    def _load(self, transaction):
        """Return the session with the key, or None. One that a process made for it, and died before it could record it,
        is given the key."""
        session = self._holder(transaction)
        if session is None:
            session = transaction.store.load_by_token(self.token)
            if session is None or session.key is not None:
                return None
            session.key, session.imported = self.key, False
            transaction.save(session, "session.updated", {"id": session.id})
        return session

    def _find(self, call):
        on = self.on
        if on.mirror.was_tried(self.token, call) or not on.sync.has_listed:
            return on.server.find_created(self.token, call)
        return None

    def _lose(self):
        """Note it for the next call with this key, in whatever process: that call finds the session."""
        self.on.mirror.tried(self.token)

    def record(self, transaction, answer):
        if answer is None:
            return self._known
        holder = transaction.store.load_by_key(self.key)
        self._is_surplus = holder is not None and holder.id != answer.id  # another process was faster
        return holder if self._is_surplus else super().record(transaction, answer)

    def recorded(self, answer, result):
        if self._is_surplus:
            self.undo(answer)
        else:
            super().recorded(answer, result)


class Fork(Operation):
    """Copies a session up to a message (all of it when None); the copy's parent is the session (P-049)."""

    def __init__(self, on, session, message_id):
        super().__init__(on, session)
        self.message_id = message_id

    def asks_unmade(self):
        raise errors.Connection(
            "the server does not have the session yet: it was away when that was made",
            "See plue_session_sync_status(), and try again.",
            session=self.session,
        )

    def locks(self, call):
        self.source = self.on.read(self.session)
        return self.on.session_locks.expect(self.source.token, call)

    def check(self, call):
        on = self.on
        if on.limit is not None:
            on.writer.run(lambda transaction: check_room(on, transaction), call)
        return True

    def send(self, call):
        """OpenCode: POST /session/{id}/fork."""
        return self.on.server.fork(self.session, call, directory=self.source.directory, message_id=self.message_id)

    def undo(self, answer):
        take_back(self.on, answer, True)

    def record(self, transaction, answer):
        session = transaction.store.load(answer.id)
        is_new = session is None
        if is_new:
            session = self.on.mirror.adopted(transaction, answer)
        session.token, session.parent_id, session.is_fork, session.imported = None, self.session, True, False
        if is_new:
            transaction.insert(session)
        else:
            transaction.save(session, "session.updated", {"id": session.id})
        return session

    def recorded(self, answer, result):
        self.on.mirror.refreshed(result.id)


def take_back(on, answer, is_alone):
    """Delete what was made and cannot be recorded; if that fails, too, as soon as the server tells of it."""
    on.mirror.lose(answer.id)
    with contextlib.suppress(errors.PlueError):
        on.follow_ups.take_back(answer.id, Call(time.monotonic() + TAKE_BACK), answer.directory, is_alone)


def token_of(store_id, key):
    """Return the token of the create of this key: the same in every process on the store, so that a lost one is
    found."""
    from hashlib import sha256

    return f"{store_id}-key-{sha256(f'{store_id}/{key}'.encode()).hexdigest()[:32]}"


def check_room(on, transaction, key=None, role=None):
    """Fail if the key or the live role is taken (`ALREADY_EXISTS` names its session), or the limit reached
    (`LIMIT_EXCEEDED`). What a process has left half made that died takes nothing."""
    store, limit = transaction.store, on.limit
    for what, name, load in (("key", key, store.load_by_key), ("role", role, store.load_by_role)):
        holder = name and load(name)
        if holder and not on.agents.take_back_left(transaction, holder):
            raise AlreadyExists(
                f"the {what} {quote(name)} belongs to session {holder.id}",
                f"Open that session, or choose another {what}.",
                details={"sessionId": holder.id},
            )
    if limit is not None and store.active_count() >= limit:
        raise LimitExceeded(
            f"limits.activeSessions is {limit}, and so many sessions are active or suspended",
            "Complete, fail or delete one, or raise the limit.",
        )
