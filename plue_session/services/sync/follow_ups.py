"""What is put right behind the callers' backs: titles that the server replaced, abort flags that a new turn has made
void."""

import contextlib

from plue_session import errors
from plue_session.rules import turns
from plue_session.services.sync.memory import remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store

#: Newest messages that are read to learn when turns ran.
NEWEST = 16
#: So many are enough as a rule to find the model's newest.
NEWEST_FIRST = 2
#: Seconds that it may take to learn where the transcript of an aborted session stands.
MARKING = 1.0


class FollowUps:
    """Works on one server and the store that mirrors it. The work of a job is `(session_id, call)`."""

    def __init__(self, server: "Server", writer, store: "Store", mirror, session_locks, link, calls):
        self._server, self._writer, self._store, self._mirror = server, writer, store, mirror
        self._session_locks, self._link, self._calls = session_locks, link, calls
        self._put = {}  # session id: since when the title is defended that was put back

    def settle_title(self, session_id, call):
        """Put a title back that was set here and that the server has replaced by its automatic one; accept another
        client's (O-027).

        The server makes one title, during the first turn of a session that has an automatic one: only a rename that
        falls into a turn can have been overwritten. Nothing tells its title from another client's. So while the turn is
        young, each is put back that comes: were it once only, another client's would use that up, and the server's win.
        Later one is, unless one was before.
        """
        since = self._mirror.now()
        remote = self._server.get(session_id, call)
        contest = self._writer.run(lambda transaction: transaction.store.operation("title", session_id), call)
        session = self._store.read(session_id)
        if contest is None or session is None or session.title_defended_at is None or remote.title == session.title:
            self._writer.run(lambda transaction: self._settled(transaction, session_id), call)
            self._mirror.take(remote, since, call)
            return
        page, further = self._server.messages(session_id, call, session.directory, limit=NEWEST)
        ahead, defended = self._server.ahead(), session.title_defended_at  # messages have the server's times
        heard, messages = contest.created + ahead - self._link.lag(), [message for message, _ in page]
        young = turns.may_be_making_title(messages, heard)
        first = young or self._put.get(session_id) != defended
        if further is None and first and turns.may_have_made_title(messages, defended + ahead, heard):
            self._put_back(session_id, defended, young, call)
        else:
            self._writer.run(lambda transaction: self._settled(transaction, session_id, defended), call)
            self._mirror.take(remote, since, call)

    def _put_back(self, session_id, defended, young, call):
        """Set the title that was set here at `defended` once more, as a change of ours like any other: what comes late
        of the one that it replaces is not shown. `young`: it is defended against a further one, too."""
        with self._session_locks.hold(session_id, call):
            session = self._store.read(session_id)
            if session is None or session.title_defended_at != defended:  # another one was set meanwhile
                self._writer.run(lambda transaction: self._settled(transaction, session_id), call)
                return
            answer = self._server.update(session_id, call, session.directory, title=session.title)
            if young:
                remember(self._put, session_id, defended)

            def record(transaction):
                self._settled(transaction, session_id, None if young else defended)
                return self._mirror.merge(transaction, answer, session.rev)

            self._mirror.recorded(answer, self._writer.run(record, call))

    @staticmethod
    def _settled(transaction, session_id, defended=None):
        """Note that a title is settled, and that the one that was set at `defended` is defended no more."""
        transaction.store.drop_operation("title", session_id)
        session = transaction.store.load(session_id)
        if session is not None and defended is not None and session.title_defended_at == defended:
            session.title_defended_at = None
            transaction.store.save(session)

    def take_back(self, session_id, call, directory=None, is_alone=False):
        """Delete a session that a call of ours made and could not say so: it failed, and has changed nothing.

        Not if it has been recorded as somebody's meanwhile: what is made for a key another process finds by its token
        (P-176), unless we are `is_alone` with it.
        """
        if is_alone or not self._writer.run(lambda transaction: self._is_somebodys(transaction, session_id), call):
            with contextlib.suppress(errors.NotFound):
                self._server.delete(session_id, call, directory)
            self._writer.run_later(lambda transaction: self._mirror.erase(transaction, session_id))

    @staticmethod
    def _is_somebodys(transaction, session_id):
        session = transaction.store.load(session_id)
        if session is None or session.imported:
            return False
        transaction.store.drop_operation("take back", session_id)
        return True

    # -- aborts --------------------------------------------------------------------------------------------------------
    def mark_abort(self, session_id, call, directory, mark=None):
        """Note where the transcript stands once the session is aborted: what comes later is a new turn (P-065). `mark`:
        the model's newest message is known. Where it is not, and cannot be read, the time of the abort must do."""
        if mark is None:
            try:
                mark = turns.message_mark(self._newest(session_id, call.within(MARKING), directory))
            except (errors.Server, errors.LimitExceeded, errors.Connection, errors.Timeout):
                return

        def change(transaction):
            session = transaction.store.load(session_id)
            if session is not None and session.aborted and session.abort_mark != mark:
                session.abort_mark = mark
                transaction.store.save(session)

        self._writer.run_later(change)

    def clear_aborted(self, session_id, call):
        """Clear the abort flag if a turn has begun since (P-065)."""
        session = self._store.read(session_id)
        if session is None or not session.aborted:
            return
        newest = self._newest(session_id, call, session.directory)
        self._writer.run(lambda transaction: self._clear(transaction, session_id, newest), call)

    def _newest(self, session_id, call, directory):
        """Return the newest message of the model's, or None. Many prompts may have come after it, and each may be
        long."""
        limit, before = NEWEST_FIRST, None
        while True:
            page, before = self._server.messages(session_id, call, directory, limit=limit, before=before)
            found = next((message for message, _ in reversed(page) if message.role == "assistant"), None)
            if found is not None or before is None:
                return found
            limit = NEWEST

    def _clear(self, transaction, session_id, newest):
        session = transaction.store.load(session_id)
        if (
            session is not None
            and session.aborted
            and not self._calls.is_aborting(session_id)
            and turns.began_since(session.abort_mark, newest, self._server.ahead())
        ):
            session.aborted, session.abort_mark = False, None
            transaction.save(session, "session.updated", {"id": session_id})
