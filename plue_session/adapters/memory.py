"""A store in memory: for tests and for sessions that nobody wants kept. A twin of the SQLite store, not SQLite. See
ports/ for what each method promises.

The state is kept twice, as the writer sees it and as it is committed: tables of rows by key. Each change of the
writer's tables is noted in a journal. To undo is to go back through the journal, to commit is to repeat it on the other
side. Pages sort what matches: their cost grows with the number of sessions, unlike that of a file's indices.
"""

import os
from itertools import islice

from plue_session import errors
from plue_session.adapters.apart import apart
from plue_session.primitives import allocate_lock, get_ident

#: Rows that `trim` looks at for their age, each time.
TRIM_ROWS = 1000

ACTIVE = ("active", "suspended")

_TABLES = ("session", "key", "role", "share", "log", "operation", "counter")
_SORTS = {
    "updated": lambda session: (session.updated, session.number),
    "created": lambda session: (session.created, session.number),
    "title": lambda session: (session.title.casefold(), session.number),
    "artifactCount": lambda session: (session.artifact_count, session.number),
}
_REMEDIES = {
    "key": "Open the session that has it, or use another key.",
    "role": "End the relay that holds it, or use another role.",
}


class MemoryStore:
    """A `ports.Store` for the sessions of one `scope`, gone with the process."""

    name = "memory"

    def __init__(self, scope):
        self.scope = scope
        self.store_id = os.urandom(4).hex()
        self._lock = allocate_lock()  # guards the committed side; never held for longer than one call
        self._committed = _tables()
        self._tables = _tables()
        self._logged = {}  # session id -> ids of its rows in the log, as the writer sees them
        self._journal = []  # (table, key, old row, new row); None stands for no row
        self._mark = 0
        self._owner = None  # the thread that is between begin and commit or rollback
        self._closed = False

    # -- writer side ---------------------------------------------------------------------------------------------------
    def begin(self):
        self._live()
        self._owner = get_ident()

    def commit(self):
        with self._lock:
            for table, key, _, row in self._journal:
                _put(self._committed[table], key, row)
        self._journal.clear()
        self._owner = None

    def rollback(self):
        self._back_to(0)
        self._owner = None

    def savepoint(self):
        self._mark = len(self._journal)

    def release(self):
        self._mark = 0

    def undo(self):
        self._back_to(self._mark)

    def load(self, session_id):
        session = self._tables["session"].get(session_id)
        return session and session.copy()

    def written(self):
        return len(self._journal)

    def load_by_key(self, key):
        return self.load(self._tables["key"].get(key))

    def load_by_role(self, role):
        return self.load(self._tables["role"].get(role))

    def load_by_token(self, token):
        found = [
            session for session in self._tables["session"].values() if token is not None and session.token == token
        ]
        return min(found, key=_SORTS["created"]).copy() if found else None

    def children(self, session_id):
        return _children(self._tables, session_id)

    def active_count(self):
        return sum(session.status in ACTIVE and not session.imported for session in self._tables["session"].values())

    def next_number(self, now_ms):
        return max(now_ms, self._tables["counter"]["number"] + 1)

    def insert(self, session):
        sessions = self._tables["session"].values()
        if session.id in self._tables["session"]:
            raise _taken(session, "id")
        if session.number <= self._tables["counter"]["number"] and any(s.number == session.number for s in sessions):
            raise _taken(session, "number")
        self._store(session, None)
        self._set("counter", "number", max(session.number, self._tables["counter"]["number"]))

    def save(self, session):
        old = self._tables["session"].get(session.id)
        if old is None:
            raise errors.NotFound("the session does not exist, or was deleted", session=session.id)
        self._store(session, old)

    def erase(self, session_id):
        session = self._tables["session"].get(session_id)
        if session is not None:
            self._set("session", session_id, None)
            self._set("key", session.key, None)
            if _role(session) is not None:
                self._set("role", session.role, None)
        self.drop_share(session_id)
        for log_id in list(self._logged.get(session_id, ())):
            self._set("log", log_id, None)

    def share(self, session_id):
        if self._owner == get_ident():
            share = self._tables["share"].get(session_id)
            return share and share.copy()
        with self._lock:
            share = self._live()["share"].get(session_id)
        return share and share.copy()

    def put_share(self, share):
        self._set("share", share.session_id, share.copy())

    def drop_share(self, session_id):
        self._set("share", session_id, None)

    def last_log_id(self):
        return self._tables["counter"]["last"]

    def append(self, row):
        self._set("log", row.id, row.copy())
        self._set("counter", "last", row.id)

    def trim(self, limit, older_than_ms, sessions, now_ms=None):
        rows, newest = self._tables["log"], self.last_log_id()
        beyond = float("inf") if now_ms is None else 2 * now_ms - older_than_ms
        removed = {row.id for row in islice(rows.values(), TRIM_ROWS) if row.time < older_than_ms or row.time > beyond}
        for session_id in sessions:
            own = sorted(self._logged.get(session_id, ()))
            removed.update(own[: max(0, len(own) - max(0, limit))])
        removed.discard(newest)
        for log_id in removed:
            self._set("log", log_id, None)
        self._set("counter", "floor", max(self._tables["counter"]["floor"], *removed, 0))

    def put_operation(self, operation):
        before, new = self._operation(operation.kind, operation.name), operation.copy()
        if before is not None:
            new.due = min(before.due, new.due)
            self._set("operation", before.id, None)
        new.id = self._tables["counter"]["operation"] + 1
        self._set("counter", "operation", new.id)
        self._set("operation", new.id, new)
        return new.id

    def operation(self, kind, name):
        found = self._operation(kind, name)
        return found and found.copy()

    def retry_operation(self, id, due):
        found = self._tables["operation"].get(id)
        if found is not None:
            new = found.copy()
            new.due, new.tries = due, found.tries + 1
            self._set("operation", id, new)

    def drop_operation(self, kind, name, id=None):
        found = self._operation(kind, name)
        if found is not None and id in (None, found.id):
            self._set("operation", found.id, None)

    def drop_operations_of(self, session_id):
        for each in list(self._tables["operation"].values()):
            if each.session_id == session_id:
                self._set("operation", each.id, None)

    # -- reader side ---------------------------------------------------------------------------------------------------
    def info(self, session_id):
        with self._lock:
            session = self._live()["session"].get(session_id)
        return session and (session.rev, session.info)

    def read(self, session_id):
        with self._lock:
            session = self._live()["session"].get(session_id)
        return session and session.copy()

    def read_children(self, session_id):
        with self._lock:
            return _children(self._live(), session_id)

    def id_of_key(self, key):
        with self._lock:
            return self._live()["key"].get(key)

    def ids(self):
        return [(session.id, session.directory) for session in self._sessions()]

    def infos(self):
        return ",".join([s.info for s in sorted(self._sessions(), key=_SORTS["created"])]).encode()

    def infos_apart(self):
        return apart([session.info.encode() for session in sorted(self._sessions(), key=_SORTS["created"])])

    def page(self, query):
        place = _SORTS[query.sort]
        found = sorted((s for s in self._sessions() if _matches(s, query)), key=place, reverse=query.descending)
        if query.after is not None:
            after = tuple(query.after)
            found = [s for s in found if (place(s) < after if query.descending else place(s) > after)]
        more = len(found) > query.limit
        found = found[: query.limit]
        return [session.info for session in found], place(found[-1]) if more else None

    def count(self, query):
        return sum(_matches(session, query) for session in self._sessions())

    def events_after(self, log_id, limit, size=None):
        with self._lock:
            rows = []
            for row in reversed(self._live()["log"].values()):
                if row.id <= log_id:
                    break
                rows.append(row)
        found = []
        for row in rows[: -limit - 1 : -1]:
            found.append(row.copy())
            if size is not None and (size := size - len(row.tail)) <= 0:
                break
        return found

    def log_state(self):
        with self._lock:
            counter = self._live()["counter"]
            return counter["floor"], counter["last"]

    def operations(self, due=None, limit=100):
        with self._lock:
            found = [each for each in self._live()["operation"].values() if due is None or each.due <= due]
        return [each.copy() for each in sorted(found, key=lambda each: (each.due, each.id))[:limit]]

    def count_operations(self, kind=None):
        with self._lock:
            return sum(kind in (None, each.kind) for each in self._live()["operation"].values())

    def check(self):
        self._sessions()
        return []

    def wants_maintenance(self):
        return False

    def maintain(self):
        self._live()

    def lock_fds(self):
        return []

    def close(self):
        with self._lock:
            self._closed = True

    # -- inside --------------------------------------------------------------------------------------------------------
    def _live(self):
        """Return the committed tables, or fail with CLOSED."""
        if self._closed:
            raise errors.Closed("the store is closed", "Open a new one.")
        return self._committed

    def _sessions(self):
        with self._lock:
            return list(self._live()["session"].values())

    def _operation(self, kind, name):
        found = (each for each in self._tables["operation"].values() if (each.kind, each.name) == (kind, name))
        return next(found, None)

    def _store(self, session, old):
        """Put the record and what finds it by key and by role, if both are free or its own."""
        keys = [("key", session.key, old and old.key), ("role", _role(session), old and _role(old))]
        for table, name, _ in keys:
            if self._tables[table].get(name, session.id) != session.id:
                raise _taken(session, table)
        for table, name, before in keys:
            if name != before:
                self._set(table, before, None)
                self._set(table, name, None if name is None else session.id)
        self._set("session", session.id, session.copy())

    def _set(self, table, key, row):
        self._journal.append((table, key, self._tables[table].get(key), row))
        self._apply(table, key, row)

    def _back_to(self, mark):
        while len(self._journal) > mark:
            table, key, old, _ = self._journal.pop()
            self._apply(table, key, old)

    def _apply(self, table, key, row):
        """Put a row into the writer's tables, and note whose a row of the log is."""
        rows = self._tables[table]
        if table == "log":
            before = rows.get(key)
            if before is not None:
                own = self._logged[before.session_id]
                del own[key]
                if not own:
                    del self._logged[before.session_id]
            if row is not None:
                self._logged.setdefault(row.session_id, {})[key] = None
        _put(rows, key, row)


def _tables():
    tables = {name: {} for name in _TABLES}
    tables["counter"].update(number=0, last=0, floor=0, operation=0)
    return tables


def _put(rows, key, row):
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row


def _children(tables, session_id):
    found = [
        session for session in tables["session"].values() if session.parent_id == session_id and not session.is_fork
    ]
    return [session.id for session in sorted(found, key=lambda session: session.number)]


def _role(session):
    """Return the role that the session holds, None when it holds none or its relay is over."""
    return None if session.relay_state in (None, "CLEANED") else session.role


def _taken(session, field):
    value = getattr(session, field)
    return errors.AlreadyExists(
        f"the {field} {value!r} is taken",
        _REMEDIES.get(field, "Open the session that has it."),
        details={"field": field, "value": value},
    )


def _matches(session, query):
    s, q = session, query
    return (
        (q.status is None or s.status in q.status)
        and (q.relay_state is None or s.relay_state in q.relay_state)
        and (q.residency is None or s.residency in q.residency)
        and (q.role is None or s.role == q.role)
        and (q.key is None or s.key == q.key)
        and (q.parent_id is None or s.parent_id == q.parent_id)
        and (q.archived is None or (s.archived is not None) == q.archived)
        and (q.created_after is None or s.created >= q.created_after)
        and (q.created_before is None or s.created < q.created_before)
        and (q.updated_after is None or s.updated >= q.updated_after)
        and (q.updated_before is None or s.updated < q.updated_before)
        and all(tag in s.tags for tag in q.tags)
        and (q.text is None or q.text in s.title.casefold() or q.text in (s.description or "").casefold())
    )
