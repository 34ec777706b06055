"""What is put right behind the callers' backs: titles that the server replaced, shares that it is yet to withdraw, abort flags
that a new turn has made void. All run on the thread of `Sync`, as its chores."""

from plue_session.rules import merge

#: Newest messages that are looked at to learn when turns ran.
NEWEST = 16
#: Milliseconds by which a title of the server's making may come after the turn that it was made in.
TRAILING_MS = 10_000


class Repairs:
    """Works on one server and the store that mirrors it. Each function is `work(session_id, until, cancel)`."""

    def __init__(self, server, commits, store, mirror, calls):
        self._server, self._commits, self._store, self._mirror, self._calls = server, commits, store, mirror, calls
        self._aborted = {}  # session id: the id of its newest message, or None, when an abort was confirmed

    def settle_title(self, session_id, until, cancel):
        """Put a title back that was set here and that the server has replaced by its automatic one; accept another client's (O-027).

        The server makes a title during the first turn of a session that has an automatic one: only a rename that falls into a
        turn can have been overwritten.
        """
        since = self._mirror.now()
        remote = self._server.get(session_id, until, cancel)
        session = self._store.look(session_id)
        if session is None or not merge.is_contested(session, remote, self._commits.clock()):
            self._mirror.take(remote, since)
            return
        page, _ = self._server.messages(session_id, until, cancel, session.directory, limit=NEWEST)
        overlaps = [message for message, _ in page if message.role == "assistant" and message.created <= session.titled + TRAILING_MS
                    and (message.completed is None or message.completed + TRAILING_MS >= session.titled)]
        if overlaps:
            remote = self._server.update(session_id, until, cancel, session.directory, title=session.title)
        self._commits.run(lambda unit: self._undefend(unit, session_id, session.titled))
        self._mirror.take(remote)

    @staticmethod
    def _undefend(unit, session_id, titled):
        session = unit.store.find(session_id)
        if session is not None and session.titled == titled:
            session.titled = None
            unit.store.save(session)

    def withdraw_share(self, session_id, until, cancel):
        """Tell the server that a share was withdrawn here (P-100)."""
        session = self._store.look(session_id)
        if session is not None and session.unshared:
            answer = self._server.unshare(session_id, until, cancel, session.directory)
            self._mirror.recorded(answer, self._mirror.take(answer))

    # -- aborts ----------------------------------------------------------------------------------------------------
    def abort_confirmed(self, session_id, until, cancel, directory):
        """Remember where the transcript stood when an abort had ended the turn: what comes later is a new one."""
        newest = self._newest(session_id, until, cancel, directory)
        self._aborted[session_id] = newest and newest.id
        if len(self._aborted) > 1024:
            del self._aborted[next(iter(self._aborted))]

    def clear_aborted(self, session_id, until, cancel):
        """Clear the abort flag if a turn has begun since (P-065)."""
        session = self._store.look(session_id)
        if session is None or not session.aborted:
            return
        newest = self._newest(session_id, until, cancel, session.directory)
        if newest is None:
            return
        # Without a memory of the abort (it was another process's) only a turn that runs is a new one for certain.
        if newest.id != self._aborted[session_id] if session_id in self._aborted else not newest.ended:
            self._commits.run(lambda unit: self._clear(unit, session_id))

    def _newest(self, session_id, until, cancel, directory):
        """Return the newest message of the model's, or None."""
        page, _ = self._server.messages(session_id, until, cancel, directory, limit=NEWEST)
        return next((message for message, _ in reversed(page) if message.role == "assistant"), None)

    def _clear(self, unit, session_id):
        session = unit.store.find(session_id)
        if session is not None and session.aborted and not self._calls.is_aborting(session_id):
            session.aborted = False
            unit.save(session, "session.updated", {"id": session_id})
