"""Sharing sessions by public links: the server's own if it gives one, else ours (P-099)."""

from plue_session import errors
from plue_session.rules import outbox
from plue_session.rules.jsontext import dumps
from plue_session.services.operations import Operation

#: Part of a call's time that the server may take to share, so that time is left for a link of ours.
SHARE = 0.5
#: Seconds that a call waits for the server to withdraw a share; it is withdrawn here already.
WITHDRAW = 5.0


class Share(Operation):
    """Shares a session; its result is `{"url","secret","link","expiresAt"?}` as JSON, or `{"url","link"}` with the
    server's link. A session that is shared keeps its link."""

    def __init__(self, on, session):
        super().__init__(on, session)
        on.sharing.load_key()  # before the transaction: it may touch the disk, or fail

    def preview(self, transaction):
        return self.on.sharing.share(transaction, transaction.load(self.session))

    # -- with a server -------------------------------------------------------------------------------------------------
    def check(self, call):
        on = self.on
        self.known = session = on.read(self.session)
        self.is_servers = is_servers(session, on.store.share(session.id))
        return not self.is_servers and not on.sharing.is_shared(session.id) and on.link.connected

    def send(self, call):
        """OpenCode: POST /session/{id}/share."""
        return self.on.server.share(self.session, part_of(call), self.known.directory)

    def refused(self, error):
        if not isinstance(error, (errors.Unsupported, errors.Connection, errors.Timeout)):
            raise error

    def record(self, transaction, answer):
        if answer is None:
            return servers_link(self.known.share_url) if self.is_servers else self.preview(transaction)
        session = transaction.load(self.session)
        transaction.store.drop_share(session.id)  # one of ours that has expired
        for row in transaction.store.outgoing(session.id):
            if row.op == "unshare":
                transaction.store.drop_outgoing(row.id)
        session.unshare_pending = False
        if not self.is_overtaken(session, answer):
            self.on.mirror.keep(transaction, session, answer)
        self.shared = session
        return servers_link(answer.share_url)

    def recorded(self, answer, result):
        super().recorded(answer, self.shared)


class Unshare(Operation):
    """Ends a session's share: here at once, on the server as soon as it can be told (P-100). Not shared: nothing
    happens."""

    def preview(self, transaction):
        session = transaction.load(self.session)
        if is_servers(session, transaction.store.share(session.id)):
            session.unshare_pending = True
            row = self.put(transaction, "unshare", session.id, False, {"away": not self.on.link.connected})
            outbox.add(session, row)
        self.on.sharing.withdraw(transaction, session)
        return session.unshare_pending

    # -- with a server -------------------------------------------------------------------------------------------------
    def check(self, call):
        self.on.read(self.session)
        return False

    def done(self, call, result):
        on = self.on
        if result and on.link.connected and not self.waits():
            try:
                on.outbox.replay(self.session, call.within(WITHDRAW))
                return
            except errors.PlueError as error:
                on.log.write("warning", error.message("plue_session_unshare"))
        if result:
            on.outbox.poke(self.session)


def ask_for_link(on, session, call):
    """Return a new session with the server's link, or None if it gives none, for whatever reason: then ours does."""
    try:
        return on.server.share(session.id, part_of(call), directory=session.directory)
    except (errors.Aborted, errors.Closed):
        raise
    except errors.PlueError:
        return None


def part_of(call):
    """Return the part of a call that the server may take to share."""
    return call.within(SHARE * call.left)


def is_servers(session, share):
    """Return whether the link that the session shows is the server's; `share` is the one of ours, or None, and may be
    there beside it."""
    return session.share_url is not None and (share is None or share.url != session.share_url)


def servers_link(url):
    """Return what a caller gets of the server's link: whoever has it may read the session, there is no secret."""
    return dumps({"url": url, "link": url})
