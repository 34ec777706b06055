"""Public links to sessions that live on a server: the server's own if it gives one, else ours (P-099)."""

import time

from plue_session import errors
from plue_session.rules.jsontext import dumps
from plue_session.services.sync.jobs import postpone

#: Part of a call's time that the server may take to share; then there is time left for a link of ours.
SHARE = 0.5
#: Seconds that a call waits for the server to withdraw a share; it is withdrawn here already.
WITHDRAW = 5.0


class RemoteSharing:
    """The functions of `sharing.Sharing` for one `call`; None for what needs no server."""

    def __init__(self, remote, call=None):
        self._remote, self._call = remote, call

    def create(self, session_id):
        """Share the session: `{"url","link"}` with the server's link, or as `Sharing.create` answers. Shared before:
        the same again."""
        remote = self._remote
        with remote.session_locks.hold(session_id, self._call):
            session = remote.read(session_id)
            if _is_servers(session, remote.store.share(session_id)):
                return _answer(session.share_url)
            if not remote.sharing.is_shared(session_id) and remote.link.connected:
                answer = self._ask(session)
                if answer is not None:
                    remote.mirror.recorded(
                        answer,
                        remote.writer.run(lambda transaction: self._record(transaction, session_id, answer.share_url)),
                    )
                    return _answer(answer.share_url)
            return remote.sharing.create(session_id)

    def _ask(self, session):
        """Return the session with the server's link, or None if it gives none, or cannot be asked."""
        now = time.monotonic()
        try:
            with self._remote.link.asking(session.id):
                return self._remote.server.share(
                    session.id, now + SHARE * (self._call.deadline - now), self._call.cancel, session.directory
                )
        except (errors.Unsupported, errors.Connection, errors.Timeout):
            return None

    @staticmethod
    def _record(transaction, session_id, url):
        session = transaction.load(session_id)
        transaction.store.drop_share(session_id)  # one of ours that has expired
        transaction.store.drop_operation("unshare", session_id)
        session.share_url, session.share_expires, session.unshare_pending = url, None, False
        transaction.save(session, "session.shared", {"id": session_id, "url": url})
        return session

    def withdraw(self, session_id):
        """End the share: here at once, on the server as soon as it can be told (P-100). Not shared: nothing happens."""
        remote = self._remote
        with remote.session_locks.hold(session_id, self._call):
            remote.read(session_id)
            if not remote.writer.run(lambda transaction: self._withdraw(transaction, session_id)):
                return
        if remote.link.connected:
            deadline = min(self._call.deadline, time.monotonic() + WITHDRAW)
            try:
                remote.follow_ups.withdraw_share(session_id, deadline, self._call.cancel)
                return
            except errors.PlueError as error:
                remote.log.write("warning", error.message("plue_session_unshare"))
        remote.jobs.add("unshare", session_id)

    def _withdraw(self, transaction, session_id):
        """End the share here and return whether the server is to be told."""
        session = transaction.load(session_id)
        if _is_servers(session, transaction.store.share(session_id)):
            session.unshare_pending = True
            postpone(transaction, "unshare", session_id)
        self._remote.sharing.withdraw_in(transaction, session)
        return session.unshare_pending

    def validate(self, session_id, secret):
        """Return if `secret` opens the session's share. One of the server's has no secret."""
        self._remote.sharing.validate(session_id, secret)


def _is_servers(session, share):
    """Return whether the link that the session shows is the server's; `share` is the one of ours, or None, and may be
    there beside it."""
    return session.share_url is not None and (share is None or share.url != session.share_url)


def _answer(url):
    """Return what a caller gets of the server's link: whoever has it may look, there is no secret."""
    return dumps({"url": url, "link": url})
