"""What the server tells by itself. It waits while its session is locked, is dropped if it is an echo, is left to
whoever makes the session, or is recorded."""

from functools import partial

from plue_session import errors
from plue_session.services.sync.mirror import remember

#: Seconds that whoever makes a session, here or in another process on the store, has to record it after we have heard
#: of it.
SIBLING = 0.5
#: The kinds of changes that are of interest.
HEARD = frozenset(("created", "session", "deleted", "message"))


class Inbox:
    """Thread-safe. First comes what can be decided without the store. The rest is one change of the writer for each
    session; the changes of all that was told together share commits."""

    def __init__(self, store, mirror, session_locks, jobs, log):
        self._store, self._mirror, self._session_locks = store, mirror, session_locks
        self._jobs, self._log = jobs, log
        self._begun = {}  # messages that were heard to begin: each counts once

    def apply_all(self, changes):
        """Take in what the server has told, in this order."""
        self._record([change for change in changes if change.kind in HEARD and not self._waits(change)])

    def _waits(self, change):
        return change.kind != "message" and self._session_locks.defer(change, self._record)

    def _record(self, changes):
        """Record what was told. What cannot be is seen by the next comparison: this does not fail."""
        sessions = {}
        try:
            for change in changes:
                if self._is_news(change):
                    sessions.setdefault(change.session_id, []).append(change)
            outcomes = self._mirror.run_all([partial(self._change, each) for each in sessions.values()])
        except Exception as error:
            sessions = dict.fromkeys(change.session_id for change in changes)
            outcomes = [error] * len(sessions)
        for session_id, outcome in zip(sessions, outcomes, strict=True):
            if outcome is True:
                self._mirror.refreshed(session_id)
            elif outcome and not isinstance(outcome, errors.NotFound):  # which is heard of a session that has ended
                known = errors.known(outcome)
                self._log.write("error" if isinstance(known, errors.Unknown) else "warning", known.message("sync"))
                self._mirror.differs(session_id)

    def _is_news(self, change):
        """Return whether the store may have to be changed."""
        if change.kind == "message":
            if change.value.role == "assistant" and not change.value.ended:
                self._message_began(change.session_id, change.value.id)
            return False
        if change.kind == "deleted":
            return not self._mirror.has_ended(change.session_id)
        return not self._mirror.is_echo(change.value)

    def _message_began(self, session_id, message_id):
        if message_id in self._begun:
            return
        remember(self._begun, message_id, True)
        session = self._store.read(session_id)
        if session is not None and session.aborted:
            self._jobs.add("turn", session_id)

    def _change(self, changes, transaction):
        """Bring one session to what its events say; return whether it is still there."""
        for change in changes:
            if change.kind == "deleted":
                self._mirror.erase(transaction, change.session_id)
            else:
                self._mirror.merge(transaction, change.value, heard=True, unknown=self._unknown(change))
        return changes[-1].kind != "deleted"

    def _unknown(self, change):
        """Return after how many seconds to ask for the session if it has no record; None: it gets one at once.

        What another process on the store, or a fork under way here, is about to record is left to them: they know its
        key, tags or source. An update may come after its session was deleted (O-032).
        """
        token = change.value.token
        if token is not None and token.startswith(f"{self._store.store_id}-"):
            return SIBLING
        if change.kind == "created":
            return SIBLING if self._session_locks.unnamed else None
        return 0.0
