"""Public links of our own to sessions: make, withdraw, check."""

import os

from plue_session.errors import AccessDenied
from plue_session.model import Share
from plue_session.rules import shares
from plue_session.rules.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import ShareKey, Store

#: Stands in for a share that does not exist, so that a refusal costs the same work.
_NO_SHARE = "A" * 22


class Sharing:
    """Shares of one store's sessions. `keys` is the share key port: `load()` returns its 32 bytes. Thread-safe."""

    def __init__(self, store: "Store", keys: "ShareKey", clock, settings):
        self._store = store
        self._keys = keys
        self._clock = clock
        self._base_url = settings.share.base_url
        self._ttl_ms = settings.share.ttl_ms

    def load_key(self):
        """See that secrets can be told. May touch the disk."""
        self._keys.load()

    def is_shared(self, session_id):
        """Return whether the session has a share of ours that has not expired."""
        share = self._store.share(session_id)
        return share is not None and shares.is_live(share.expires, self._clock())

    def share(self, transaction, session):
        """Share the session and return `{"url","secret","link","expiresAt"?}` as JSON.

        While a share is valid it is returned again, with the same secret and no event; an expired one is replaced.
        """
        share = transaction.store.share(session.id)
        if share is None or not shares.is_live(share.expires, transaction.now):
            share_id = shares.share_id(os.urandom(shares.ID_SIZE))
            expires = None if self._ttl_ms is None else transaction.now + self._ttl_ms
            share = Share(session.id, share_id, shares.url(self._base_url, share_id), transaction.now, expires)
            transaction.store.put_share(share)
            session.share_url, session.share_expires = share.url, share.expires
            transaction.save(session, "session.shared", {"id": session.id, "url": share.url})
        secret = shares.secret(self._keys.load(), share.share_id)
        answer = {"url": share.url, "secret": secret, "link": shares.link(share.url, secret)}
        if share.expires is not None:
            answer["expiresAt"] = share.expires
        return dumps(answer)

    @staticmethod
    def withdraw(transaction, session):
        """End the session's share; its secret is refused at once. Not shared: nothing happens."""
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
        if share is None and (other := self._store.id_of_alias(session_id)):
            share = self._store.share(other)
        share_id, expires = (share.share_id, share.expires) if share else (_NO_SHARE, None)
        opens = shares.is_open(share_id, expires, secret, self._keys.load(), self._clock())
        if not opens or share is None:
            raise AccessDenied("the secret opens no valid share", "Ask for a new link.")
