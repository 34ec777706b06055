"""The turns that are this process's: those that it has begun, and those that are waited for here."""

import threading

from plue_session.rules import inputs


class OwnTurns:
    """Those of each session, which the C half shows the number of. Thread-safe."""

    def __init__(self, publisher):
        self._publisher, self._lock = publisher, threading.Lock()
        self._own: dict = {}  # session id: {turn id: its input's seq, or None}

    def __bool__(self):
        return bool(self._own)

    def __contains__(self, session_id):
        return session_id in self._own

    def add(self, session_id, turn_id, seq=None):
        """Note a turn; `seq`: of the input that it is to have. Return what was noted, or None: it was noted before."""
        with self._lock:
            own = self._own.setdefault(session_id, {})
            is_new = turn_id not in own
            own[turn_id] = seq
            self._publisher.turns(session_id, len(own))
        return (session_id, turn_id) if is_new else None

    def take_back(self, noted):
        """Take back what `add` has returned: the turn will not come."""
        if noted is not None:
            self.over(*noted)

    def over(self, session_id, turn_id):
        """Note the end of a turn."""
        with self._lock:
            own = self._own.get(session_id, {})
            if turn_id in own:
                del own[turn_id]
                if not own:
                    del self._own[session_id]
                self._publisher.turns(session_id, len(own))

    def over_with(self, session_id, names):
        """Note the end of the turns that these inputs were to have."""
        seqs = {inputs.seq_of(name) for name in names}
        for turn_id, seq in list(self._own.get(session_id, {}).items()):
            if seq in seqs:
                self.over(session_id, turn_id)

    def gone(self, session_id):
        """Note that a session is no more."""
        with self._lock:
            self._own.pop(session_id, None)
            self._publisher.turns(session_id, 0)

    def renamed(self, before, session_id):
        """Note that a session has got another id."""
        with self._lock:
            moved = self._own.pop(before, None)
            if moved:
                own = self._own[session_id] = {**moved, **self._own.get(session_id, {})}
                self._publisher.turns(before, 0)
                self._publisher.turns(session_id, len(own))

    def of(self, *session_ids):
        """Return the ids of the turns of these sessions."""
        with self._lock:
            return {turn_id for each in session_ids for turn_id in self._own.get(each, ())}

    def all(self):
        """Return a copy: `{session id: {turn id: its input's seq, or None}}`."""
        with self._lock:
            return {session_id: dict(own) for session_id, own in self._own.items()}
