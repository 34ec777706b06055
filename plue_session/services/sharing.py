"""Public links to sessions: make, withdraw, check."""

import os

from plue_session.errors import AccessDenied
from plue_session.model import Share
from plue_session.rules import shares
from plue_session.rules.jsontext import dumps

#: Stands in for a share that does not exist, so that a refusal costs the same work.
_NO_SHARE = "A" * 22


class Sharing:
    """Shares of one store's sessions. `keys` is the share key port: `load()` returns its 32 bytes. Thread-safe."""

    def __init__(self, writer, store, keys, settings):
        self._writer = writer
        self._store = store
        self._keys = keys
        self._base_url = settings.share.base_url
        self._ttl_ms = settings.share.ttl_ms

    def create(self, session_id):
        """Share the session and return `{"url","secret","link","expiresAt"?}` as JSON.

        While a share is valid it is returned again, with the same secret and no event; an expired one is replaced.
        """
        key = self._keys.load()  # before the transaction: it may touch the disk, or fail
        return _answer(
            key, self._writer.run(lambda transaction: self._share(transaction, transaction.load(session_id)))
        )

    def is_shared(self, session_id):
        """Return whether the session has a share of ours that has not expired."""
        share = self._store.share(session_id)
        return share is not None and shares.is_live(share.expires, self._writer.clock())

    def share_in(self, transaction, session):
        """Share a session that was just inserted in this change (`share.auto`)."""
        self._keys.load()  # a share whose secret cannot be told is none
        self._share(transaction, session)

    def withdraw(self, session_id):
        """End the session's share; its secret is refused at once. Not shared: nothing happens."""
        self._writer.run(lambda transaction: self.withdraw_in(transaction, transaction.load(session_id)))

    @staticmethod
    def withdraw_in(transaction, session):
        """End the share in this change."""
        if transaction.store.share(session.id) is None and session.share_url is None:
            return
        transaction.store.drop_share(session.id)
        session.share_url = session.share_expires = None
        transaction.save(session, "session.unshared", {"id": session.id})

    def validate(self, session_id, secret):
        """Return if `secret` opens the session's share, else fail with `ACCESS_DENIED`.

        The message and the work are the same for an unknown session, a wrong secret, an expired or withdrawn share.
        """
        share = self._store.share(session_id)
        share_id, expires = (share.share_id, share.expires) if share else (_NO_SHARE, None)
        opens = shares.is_open(share_id, expires, secret, self._keys.load(), self._writer.clock())
        if not opens or share is None:
            raise AccessDenied("the secret opens no valid share", "Ask for a new link.")

    def _share(self, transaction, session):
        share = transaction.store.share(session.id)
        if share is None or not shares.is_live(share.expires, transaction.now):
            share_id = shares.share_id(os.urandom(shares.ID_SIZE))
            expires = None if self._ttl_ms is None else transaction.now + self._ttl_ms
            share = Share(session.id, share_id, shares.url(self._base_url, share_id), transaction.now, expires)
            transaction.store.put_share(share)
            session.share_url, session.share_expires = share.url, share.expires
            transaction.save(session, "session.shared", {"id": session.id, "url": share.url})
        return share


def _answer(key, share):
    secret = shares.secret(key, share.share_id)
    answer = {"url": share.url, "secret": secret, "link": shares.link(share.url, secret)}
    if share.expires is not None:
        answer["expiresAt"] = share.expires
    return dumps(answer)
