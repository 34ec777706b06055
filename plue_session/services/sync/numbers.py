"""How far the sequence of each session was applied, and what of it is held (rules/sequences.py)."""

import time

from plue_session.rules.outbox import beneath
from plue_session.rules.sequences import ABSENT, Sequence
from plue_session.services.sync.memory import remember


class Numbers:
    """Kept beside the store: a record holds the mark as of its last change, and what came since, such as the parts of
    messages, is in no record. A change of a session that is run again, or fails, finds the record's. Used within the
    writer's changes."""

    def __init__(self, server):
        self._server = server
        self._known = {}  # session id: (its `Sequence`, what the record showed then, the mark)

    def mark(self, session, session_id=None):
        """Return the mark of a session; it may have no record. Another process on the store may have changed it."""
        _, base, mark = self._known.get(session_id or session.id, (None, None, None))
        shown = _shown(session)
        return mark if base == shown else shown[0]

    def sequence(self, session_id):
        """Return what is held of a session."""
        return self._known[session_id][0] if session_id in self._known else Sequence()

    def is_overtaken(self, session, session_id):
        """Return whether another process has changed the record since this was noted."""
        return session_id in self._known and self._known[session_id][1] != _shown(session)

    def keep(self, session, session_id, sequence, mark):
        """Note what is held of a session, and its mark."""
        remember(self._known, session_id, (sequence, _shown(session), mark))

    def forget(self, session_id):
        """Forget a session that has ended."""
        self._known.pop(session_id, None)

    def ask(self, session):
        """Note that the history of a session is asked for; return from which number on, None if that is not known."""
        mark, sequence = self.mark(session), self.sequence(session.id)
        number = sequence.ask(mark)
        self.keep(session, session.id, sequence, mark)
        return number

    def answered(self, session, mark):
        """Note that the record, whose mark was this one, shows what the server has answered."""
        sequence = self.sequence(session.id)
        session.remote_seq = mark = sequence.answered(mark, time.monotonic())
        self.keep(session, session.id, sequence, mark)

    def created(self, session):
        """Note that an answer to its create has made a record."""
        self.answered(session, ABSENT if self._server.numbered else None)


def _shown(session):
    """Return the mark of a record, and what it shows."""
    return (ABSENT, None) if session is None else (session.remote_seq, shown(session))


def shown(session):
    """Return what tells what the server keeps of a record from its other states."""
    there = beneath(session)
    return hash((session.remote_updated, there["title"], there["archived"], there["metadata"], session.share_url))
