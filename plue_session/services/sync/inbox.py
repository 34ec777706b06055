"""What the server tells by itself: kept while its session is locked, dropped as an echo, left to who makes the session,
or recorded."""

from functools import partial

from plue_session import errors
from plue_session.services.sync.mirror import remember

#: Seconds that whoever makes a session, here or in another process on the store, has to record it after we have heard
#: of it.
SIBLING = 0.5
#: The kinds of changes that are of interest.
HEARD = frozenset(("created", "session", "deleted", "message"))


class Inbox:
    """Thread-safe. What can be decided without the store is; the rest is one change of the writer for each event, and
    those that have come together share commits."""

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
        try:
            news = [change for change in changes if self._is_news(change)]
            outcomes = self._mirror.run_all([partial(self._change, change) for change in news])
        except Exception as error:
            news, outcomes = changes, [error] * len(changes)
        for change, outcome in zip(news, outcomes, strict=True):
            if isinstance(outcome, errors.NotFound):  # what is heard of a session that has ended
                continue
            if isinstance(outcome, Exception):
                error = errors.known(outcome)
                self._log.write("error" if isinstance(error, errors.Unknown) else "warning", error.message("sync"))
                self._mirror.differs(change.session_id)
            elif change.kind != "deleted":
                self._mirror.refreshed(change.session_id)

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

    def _change(self, change, transaction):
        if change.kind == "deleted":
            self._mirror.erase(transaction, change.session_id)
            return
        unknown = 0.0 if change.kind == "session" else None  # which may come after the session was deleted (O-032)
        if self._is_being_made(change):  # told of once, by who knows its key, tags or source
            unknown = SIBLING
        self._mirror.merge(transaction, change.value, heard=True, unknown=unknown)

    def _is_being_made(self, change):
        """Return whether this, if it is new, is a session that another process on the store, or a fork under way here,
        is about to record."""
        token = change.value.token
        made_by_us = token is not None and token.startswith(f"{self._store.store_id}-")
        return made_by_us or change.kind == "created" and self._session_locks.unnamed
