"""Making sessions on a server: on the server first, then their records; what cannot be recorded is taken back (P-071,
P-176)."""

import contextlib
import os
import time

from plue_session import errors
from plue_session.rules.jsontext import loads
from plue_session.services.remote_sharing import SHARE
from plue_session.services.sessions import check_room

#: Seconds in which a session that could not be recorded is taken back from the server.
TAKE_BACK = 2.0


class Making:
    """What makes the sessions of `remote`, for one `call`; see `RemoteSessions`."""

    def __init__(self, remote, call=None):
        self._remote, self._call = remote, call
        self._server, self._mirror, self._writer = remote.server, remote.mirror, remote.writer

    @property
    def _way(self):
        """What each request of the call carries: its deadline and its right to go on."""
        return {"deadline": self._call.deadline, "cancel": self._call.cancel}

    def create(self, parent_id=None):
        """Create a session on the server, then its record (P-071), and return it."""
        return self._create({} if parent_id is None else {"parent_id": parent_id})

    def create_with(self, fields):
        """Create a session with these fields. A pair of provider and model is checked with the server first."""
        return self._create(fields)

    def get_or_create(self, key):
        """Return the session with this key, created if there is none; raced, also between processes, all get the same
        one."""
        remote = self._remote
        with remote.session_locks.hold(("key", key), self._call):
            token = self._token_of(key)
            found = self._writer.run(
                lambda transaction: transaction.store.load_by_key(key) or self._recover(transaction, key, token)
            )
            if found:
                return found
            try:
                return self._create({"key": key}, token)
            except errors.AlreadyExists as error:  # another process was faster; what was made here has been taken back
                return remote.read(error.details["sessionId"])

    def _token_of(self, key):
        """Return the token of the create of this key: the same in every process on the store, so that a lost one is
        found."""
        from hashlib import sha256

        store_id = self._remote.store.store_id
        return f"{store_id}-key-{sha256(f'{store_id}/{key}'.encode()).hexdigest()[:32]}"

    @staticmethod
    def _recover(transaction, key, token):
        """Give the key to the session that was created for it when the process died before it could be recorded."""
        session = transaction.store.load_by_token(token)
        if session is not None and session.key is None:
            session.key, session.imported = key, False
            transaction.save(session, "session.updated", {"id": session.id})
            return session
        return None

    def _create(self, fields, token=None):
        remote = self._remote
        key, role = fields.get("key"), fields.get("role")
        if remote.limit is not None or key is not None or role is not None:
            self._writer.run(lambda transaction: check_room(transaction.store, remote.limit, key, role))
        token = token or f"{remote.store.store_id}-{os.urandom(12).hex()}"  # whose it is, see Sync.apply
        metadata = loads(fields["metadata"]) if "metadata" in fields else None
        with remote.link.asking(), remote.session_locks.expect(token):
            if "provider_id" in fields:
                self._server.check_provider(fields["provider_id"], fields["model_id"], **self._way)
            keyed = key is not None and token == self._token_of(key)
            made = self._find_made(token) if keyed else None
            found = made is not None
            if not found:
                made = self._make(
                    token,
                    keyed,
                    directory=fields.get("directory"),
                    title=fields.get("title"),
                    parent_id=fields.get("parent_id"),
                    metadata=metadata,
                )
            try:
                shared = self._share_new(made) if remote.share_auto and made.parent_id is None else None
                session, recorded = self._writer.run(
                    lambda transaction: self._record(transaction, made, token, fields, shared and shared.share_url)
                )
            except errors.PlueError:
                if not found:  # else it may be of a process that is about to record it
                    self._take_back(made)
                raise
            if recorded:
                self._mirror.recorded(shared or made, session)
        return session

    def _find_made(self, token):
        """Return what an earlier call with this key has made, of ours or of a process that has died: it is this one's.
        None: nothing."""
        if self._mirror.was_tried(token) or not self._remote.sync.has_listed:
            return self._server.find_created(token, **self._way)
        return None

    def _make(self, token, keyed, **fields):
        """Create a session on the server; one whose answer is lost for good is taken back when it turns up, for the
        call has failed."""
        try:
            return self._server.create(token, **self._way, **fields)
        except (
            errors.Connection,
            errors.Timeout,
            errors.Aborted,
            errors.Closed,
            errors.Server,
            errors.AccessDenied,
            errors.LimitExceeded,
        ) as error:
            if (error.details or {}).get("sent") is not False:
                if keyed:
                    self._mirror.tried(token)
                else:
                    self._mirror.lose(token, fields["title"])
            raise

    def _record(self, transaction, made, token, fields, link):
        """Record a session that was made here, with what only we know of it; return it, and whether that had to be
        done."""
        store = transaction.store
        session = store.load(made.id)  # another process on the store may have heard of it first (O-029)
        known = session is not None
        if (
            known and session.key is not None and session.key == fields.get("key")
        ):  # or has found it by its token, and was faster
            self._call.made(session)
            return session, False
        check_room(store, self._remote.limit, fields.get("key"), fields.get("role"))
        if not known:
            session = self._mirror.adopted(transaction, made)
        session.imported, session.token = False, token
        for name in ("key", "description", "tags", "provider_id", "model_id", "role"):
            if name in fields:
                setattr(session, name, fields[name])
        if session.role is not None:
            session.relay_state, session.relay_active = "CREATED", transaction.now
        if not known:
            self._mirror.insert(transaction, session)
        elif fields.keys() & {"key", "description", "tags", "provider_id", "role"}:
            transaction.save(session, "session.updated", {"id": session.id})
        else:
            transaction.store.save(session)
        if link is not None:
            session.share_url, session.share_expires = link, None
            transaction.save(session, "session.shared", {"id": session.id, "url": link})
        elif self._remote.share_auto and session.parent_id is None and session.share_url is None:
            self._remote.sharing.share_in(transaction, session)
        self._call.made(session)
        return session, True

    def _share_new(self, made):
        """Return the new session with the server's link, or None if it gives none, for whatever reason: then ours
        does."""
        now = time.monotonic()
        try:
            return self._server.share(
                made.id, now + SHARE * (self._call.deadline - now), self._call.cancel, directory=made.directory
            )
        except (errors.Aborted, errors.Closed):
            raise
        except errors.PlueError:
            return None

    def _take_back(self, made):
        """Delete a session that was made and cannot be recorded. If that fails too, the next look finds it."""
        self._mirror.lose(made.id)
        with contextlib.suppress(errors.PlueError):
            self._remote.follow_ups.take_back(made.id, time.monotonic() + TAKE_BACK, directory=made.directory)
