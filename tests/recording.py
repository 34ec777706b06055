"""A Publisher and a log that remember what they were told, for tests."""

import json

from plue_session.adapters.log import LEVELS
from plue_session.model import EVENTS


class RecordingPublisher:
    """Remembers every call in `calls`; `held` are the ids that somebody has a handle to (None: all that were ever
    seen)."""

    def __init__(self, held=None):
        self.held = held
        self.calls = []
        self.infos = {}

    def known(self, session_id):
        return session_id in (self.infos if self.held is None else self.held)

    def known_ids(self):
        return list(self.infos if self.held is None else self.held)

    def snapshot(self, session_id, rev, info, revive=False):
        self.calls.append(("snapshot", session_id, rev, info))
        self.infos[session_id] = info

    def gone(self, session_id, before=None):
        self.calls.append(("gone", session_id) if before is None else ("gone", session_id, before))
        self.infos.pop(session_id, None)

    def publish(self, rows, store_id):
        self.calls += [("event", row, store_id) for row in rows]

    def transient(self, kind, session_id, tail, cursor):
        self.calls.append(("transient", kind, session_id, tail, cursor))
        return True

    def turns(self, session_id, count):
        self.calls.append(("turns", session_id, count))

    def skip(self, log_id):
        self.calls.append(("skip", log_id))

    def lost(self, log_id):
        self.calls.append(("lost", log_id))

    def fresh(self, session_id):
        self.calls.append(("fresh", session_id))

    def away(self, flag):
        self.calls.append(("away", flag))

    def adopt(self):
        self.calls.append(("adopt",))

    # -- what tests ask ------------------------------------------------------------------------------------------------
    def events(self):
        """Return `(kind name, data)` of every durable event told so far, in order."""
        rows = [call[1] for call in self.calls if call[0] == "event"]
        return [(EVENTS[row.kind], json.loads('{"x":0' + row.tail)["data"]) for row in rows]

    def take(self):
        """Return `events()` and forget all calls."""
        events = self.events()
        self.calls.clear()
        return events


class RecordingLog:
    """Remembers `(level, message)` of each record in `records`."""

    def __init__(self, level="debug"):
        self.records = []
        self._least = LEVELS.index(level)
        self.trace = (lambda message: self.records.append(("debug", message))) if level == "debug" else None

    def wants(self, level):
        return LEVELS.index(level) >= self._least

    def write(self, level, message):
        if self.wants(level):
            self.records.append((level, message))

    def take(self):
        """Return what was written, and forget it."""
        records, self.records = self.records, []
        return records
