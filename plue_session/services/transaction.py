"""What a change works with."""

from plue_session.errors import gone
from plue_session.model import EVENT_NUMBER, LogRow
from plue_session.rules import info
from plue_session.rules.jsontext import dumps, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Store

#: What has become of a session that was erased.
GONE = object()


class Transaction:
    """What a change works with: the store's writer side, the time, and the events that tell of it. Those of all changes
    of a group are appended to the log together."""

    def __init__(self, store: "Store", effects, log_id):
        self.store = store
        self.effects, self._logged = effects, 0  # `_logged`: how many of them are in the log
        self.log_id = log_id
        self.now = 0  # the time (ms) and the correlation id of the change that is made
        self.correlation = ""

    def load(self, session_id):
        """Return the session, or fail with NOT_FOUND."""
        session = self.store.load(session_id)
        if session is None:
            raise gone(session_id)
        return session

    def insert(self, session):
        """Store a new session and tell `session.created`, once (O-029); or one that was erased and is back."""
        data = {"id": session.id}
        if session.parent_id is not None:
            data["parentId"] = session.parent_id
        if session.role is not None:
            data["role"] = session.role
        self._put(self.store.insert, session, "session.created", data)

    def save(self, session, kind, data, touch=True):
        """Store a changed session and tell so; with `touch`, raise `updated` to now. `session.updated` names what has
        changed."""
        if touch:
            session.updated = max(session.updated, self.now)
        self._put(self.store.save, session, kind, data)

    def save_told(self, session, told):
        """Store a session that was brought up to date, once, and tell each of `told`, `(kind, data)` in order; data may
        be JSON text."""
        session.rev = self.log_id + len(told)
        session.revision += len(told)
        session.info = info.render(session)
        self.store.save(session)
        rows = [self._log(kind, session.id, data) for kind, data in told]
        self.effects += [(row, None) for row in rows[:-1]]
        self.effects.append((rows[-1], (session.rev, session.info)))

    def erase(self, session_id):
        """Erase the session and tell `session.deleted`."""
        self.log()  # with the session go the events that tell of it
        session, data = self.store.load(session_id), {"id": session_id}
        if session is not None and session.aliased:  # whoever knows it by that one alone is to hear, too
            data["aliases"] = [f"session_{session.number}"]
        self.store.erase(session_id)
        self.effects.append((self._log("session.deleted", session_id, data), GONE))

    def emit(self, kind, session, data):
        """Tell an event of any kind, of a session's (its record) or (None) of none's."""
        if session is not None:
            session.rev = self.log_id + 1
            session.revision += 1
            self.store.save(session)
        self.effects.append((self._log(kind, session and session.id, data), None))

    def _put(self, store, session, kind, data):
        session.rev = self.log_id + 1
        session.revision += 1
        session.info = info.render(session)
        changed = store(session)
        if kind == "session.updated":
            data = {**data, "fields": info.keys(changed)}
        row = self._log(kind, session.id, data)
        self.effects.append((row, (row.id, session.info)))

    def _log(self, kind, session_id, data):
        self.log_id += 1
        text = data if type(data) is str else dumps(data)
        return LogRow(
            self.log_id,
            session_id,
            EVENT_NUMBER[kind],
            self.now,
            f',"timestamp":{self.now},"correlationId":{quote(self.correlation)},"data":{text}}}',
        )

    def log(self):
        """Append to the log what is not in it yet."""
        rows = [row for row, _ in self.effects[self._logged :]]
        if rows:
            self.store.append(*rows)
            self._logged = len(self.effects)

    def forget(self, mark, log_id):
        """Forget what a change has told that is undone; before it there were so many effects, and the log's last id was
        this one."""
        del self.effects[mark:]
        self.log_id, self._logged = log_id, min(self._logged, mark)
