"""How far the sequence of each session was applied, and what of it is held (rules/sequences.py)."""

import time

from plue_session.rules.sequences import ABSENT, CREATED, Sequence
from plue_session.services.sync.memory import remember


class Numbers:
    """Kept beside the store: a record holds the mark as of its last change, and what came since, such as the parts of
    messages, is in no record. A change of a session that is run again, or fails, finds the record's. Used within the
    writer's changes."""

    def __init__(self, server):
        self._server = server
        self._known = {}  # session id: (its `Sequence`, the record's mark, the mark now)

    @property
    def created(self):
        """The mark of a record that an answer to its create has made."""
        return CREATED if self._server.numbered else None

    def mark(self, session, session_id=None):
        """Return the mark of a session; it may have no record."""
        recorded = ABSENT if session is None else session.remote_seq
        _, base, mark = self._known.get(session_id or session.id, (None, None, None))
        return mark if base == recorded else recorded

    def sequence(self, session_id):
        """Return what is held of a session."""
        return self._known[session_id][0] if session_id in self._known else Sequence()

    def keep(self, session, session_id, sequence, mark):
        """Note what is held of a session, and its mark."""
        remember(self._known, session_id, (sequence, ABSENT if session is None else session.remote_seq, mark))

    def forget(self, session_id):
        """Forget a session that has ended."""
        self._known.pop(session_id, None)

    def ask(self, session):
        """Note that the history of a session is asked for; return from which number on, None if that is not known."""
        mark, sequence = self.mark(session), self.sequence(session.id)
        number = sequence.ask(mark)
        self.keep(session, session.id, sequence, mark)
        return number

    def answered(self, session_id):
        """Note that an answer to a change of ours was recorded."""
        if self._server.numbered:
            sequence, base, mark = self._known.get(session_id) or (Sequence(), None, None)
            sequence.answered(mark, time.monotonic())
            remember(self._known, session_id, (sequence, base, mark))
