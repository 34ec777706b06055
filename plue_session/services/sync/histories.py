"""Asking for what was missed of the sessions' sequences: all that is needed together, in one question."""

from plue_session import errors
from plue_session.rules.ids import is_given_here
from plue_session.services.sync.inbox import Told
from plue_session.services.sync.jobs import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store


class Histories:
    """Thread-safe. What cannot be had is not asked for again: then sessions are listed, or read."""

    def __init__(self, server: "Server", writer, store: "Store", mirror, inbox, numbers, jobs, log):
        self._server, self._writer, self._store, self._mirror = server, writer, store, mirror
        self._inbox, self._numbers, self._jobs, self._log = inbox, numbers, jobs, log

    def run(self, _, call):
        """Ask for what events have shown to be missing."""
        asked = self._inbox.asked
        known = {session_id: asked.pop(session_id) for session_id in list(asked)}
        if known:
            self._ask(known, call, "history")

    def catch_up(self, call):
        """Ask for what was missed of all sessions: the stream begins. Where they are too many, a list must do."""
        self._ask_all([session_id for session_id, _ in self._store.ids() if not is_given_here(session_id)], call)

    def listed(self, remotes, call):
        """Ask for what the records of these sessions lack, as a list shows them; return those that are to be recorded
        as they were listed. A history is newer than the list."""
        rest, behind = [], {}
        for remote in remotes:
            session = self._store.read(remote.id)
            if session is None or self._numbers.mark(session) is None:
                rest.append(remote)
            elif self._mirror.would_change(session, remote):
                behind[remote.id] = remote
        found = self._ask_all(behind, call)
        return rest + [remote for session_id, remote in behind.items() if not found.get(session_id)]

    def _ask_all(self, session_ids, call):
        if not 0 < len(session_ids) <= self._server.most_asked:
            return {}

        def begin(transaction):
            known = {}
            for session_id in session_ids:
                session = transaction.store.load(session_id)
                number = None if session is None else self._numbers.ask(session)
                if number is not None:
                    known[session_id] = number
            return known

        known = self._writer.run(begin, call)
        return self._ask(known, call, "missing") if known else {}

    def _ask(self, known, call, otherwise):
        """Ask, and have what is answered applied; return it. `otherwise` is what is told when it cannot be had."""
        try:
            found = self._server.history(known, call.within(KINDS["history"][0]))
        except (errors.Connection, errors.AccessDenied, errors.Aborted, errors.Closed):
            self._inbox.asked.update(known)
            self._jobs.add("history")
            raise
        except errors.PlueError as error:
            self._log.write("warning", error.message("sync history"))
            found = None
        if found is None:
            self._inbox.apply_all([Told(otherwise, session_id) for session_id in known])
            return {}
        self._inbox.apply_all([Told("history", session_id, changes) for session_id, changes in found.items()])
        return found
