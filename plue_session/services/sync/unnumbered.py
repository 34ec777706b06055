"""What is heard without numbers, of servers that have no sequences: which of it is the echo of a change of ours, and
which is older than what is known, is told by values, times and the ids of our own log."""

import time

from plue_session.primitives import allocate_lock
from plue_session.services.sync.memory import remember

#: Seconds that the events of a change of ours may take to come.
ECHO = 2.0


class Unnumbered:
    """Thread-safe. Not asked about events with a number (rules/sequences.py)."""

    def __init__(self, jobs):
        self._jobs, self._lock = jobs, allocate_lock()
        # session id: log ids of the two last changes that brought the record to what the server told us
        self._merged_at = {}
        # session id: (what the server answered to our last change, when its event can no longer come)
        self._echoes = {}

    def merged(self, session):
        """Note that the record, as of its last change, is what the server told us. The change noted before counts too:
        should this one not be committed, the record is back at that."""
        with self._lock:
            before = self._merged_at.get(session.id, (None,))[-1]
            if before != session.rev:
                remember(self._merged_at, session.id, (before, session.rev))

    def is_overtaken(self, session):
        """Return whether the record has changed since, by another thread or another process on the store."""
        return session.rev not in self._merged_at.get(session.id, ())

    def recorded(self, answer, session):
        """Note that a change of ours is in the store. The server tells of a change of several fields field by field,
        with states that were never asked for."""
        with self._lock:
            remember(self._echoes, answer.id, (answer, time.monotonic() + ECHO))
        self.merged(session)

    def is_echo(self, remote):
        """Return whether what the event stream has told of a session is the echo of a change of ours, and tells nothing
        new."""
        with self._lock:
            answer, deadline = self._echoes.get(remote.id, (None, 0))
            echo = time.monotonic() < deadline
            if not echo or remote == answer:
                self._echoes.pop(remote.id, None)
        if echo and remote == answer:
            self._jobs.drop("reread", remote.id)
        elif echo:
            # Before the answer's own event come the states on the way there. One of them may be another client's
            # change.
            self._jobs.add("reread", remote.id, ECHO)
        return echo
