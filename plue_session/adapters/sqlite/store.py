"""The default store: one SQLite file per data folder. See ports/ for what each method promises."""

from functools import partial
from sqlite3 import IntegrityError

from plue_session import errors
from plue_session.adapters.apart import apart
from plue_session.adapters.sql import queries, rows, states
from plue_session.adapters.sql.asks import Asks
from plue_session.adapters.sql.attachments import Attachments
from plue_session.adapters.sql.inputs import Inputs
from plue_session.adapters.sql.messages import Messages
from plue_session.adapters.sql.operations import Operations
from plue_session.adapters.sql.outbox import Outbox
from plue_session.adapters.sql.pages import Pages
from plue_session.adapters.sql.turns import Turns
from plue_session.adapters.sqlite import failures, files
from plue_session.adapters.sqlite.connections import Connections
from plue_session.model import LogRow, Share
from plue_session.primitives import get_ident
from plue_session.rules.jsontext import loads
from plue_session.rules.replay import Window

#: Rows that `trim` looks at for their age, each time. It does so only if one of the first few is old or, after a clock
#: was set back, of the future.
TRIM_ROWS, FIRST_ROWS = 1000, 8
#: Sessions of a list that are put together at a time where it is to leave no trace in memory: of texts beyond 128 KiB
#: the allocator keeps more for each thread (50 MB instead of 31 for 5,000 sessions, measured).
PART = 32
#: Later than any time.
FAR = 1 << 62
#: Session rows that the writer keeps in mind from one transaction to the next, at the most.
KNOWN_ROWS = 1024
#: How often a title is written: in two columns, in the info, and in an index.
COPIES = 4

#: What goes with a session, by its number.
_ERASED = tuple(
    f"erase_{name}"
    for name in ("input", "claim", "turn", "message", "part", "usage", "transcript", "ask", "attachment")
)
ACTIVE = ("active", "suspended")

_SQL = queries.load(files.FOLDER)
_PAGES = Pages("session INDEXED BY {}", "likelihood({}, 1.0)", "instr({}, ?) > 0")
_FIND, _APPEND = _SQL["find"], _SQL["append"]


class SqliteStore:
    """A `ports.Store` in `data_dir`/sessions.db for the sessions of one `scope`; the ids of the log span all scopes.

    What the writer has read or written it keeps in mind (`_rows`, `_last`, `_number`, `_counted`, `_active`) for as
    long as nobody else has written; what is undone it forgets.
    """

    name, flushes = "sqlite", True

    def __init__(self, data_dir, scope, connect=Connections):
        self._scope = scope
        self._connections = connections = connect(data_dir)
        self.path, self.lock_fds, self.close = connections.path, connections.lock_fds, connections.close
        self.is_locked = connections.is_locked
        self.promise, self.keep = connections.promise, connections.keep
        self.written, self.wants_maintenance, self.maintain = (
            connections.written,
            connections.wal_is_long,
            connections.checkpoint,
        )
        self._change, self._read, self._snapshot = connections.write, connections.read, connections.snapshot
        operations = Operations(_SQL, scope, self._change, self._read)
        self.put_operation, self.operation = operations.put_operation, operations.operation
        self.retry_operation, self.drop_operation = operations.retry_operation, operations.drop_operation
        self.drop_operations_of = operations.drop_operations_of
        self.operations, self.count_operations = operations.operations, operations.count_operations
        outbox = Outbox(_SQL, scope, self._change, self._read)
        self.has_room, self.has_outgoing = outbox.has_room, outbox.has_outgoing
        self.put_outgoing, self.keep_outgoing, self.drop_outgoing = (
            outbox.put_outgoing,
            outbox.keep_outgoing,
            outbox.drop_outgoing,
        )
        self.drop_outgoing_of, self.outgoing, self._rename = outbox.drop_outgoing_of, outbox.outgoing, outbox.rename
        self.all_outgoing, self.count_outgoing = outbox.all_outgoing, outbox.count_outgoing
        self.is_being_deleted = outbox.is_being_deleted
        self.due_outgoing, self.next_outgoing = outbox.due_outgoing, outbox.next_outgoing
        self.begin_replay, self.end_replay = partial(connections.begin_replay, scope), connections.end_replay
        self.owner, self.is_owner_alive = connections.owner, connections.is_owner_alive
        self.begin_drive, self.end_drive = partial(connections.begin_drive, scope), connections.end_drive
        access = _SQL, scope, self._change, self._read
        for part in (
            Inputs(*access),
            Turns(*access),
            Messages(*access, self._snapshot),
            Asks(*access),
            Attachments(*access),
        ):
            vars(self).update({name: getattr(part, name) for name in vars(type(part)) if not name.startswith("_")})
        self._owner = None  # the thread that is between begin and commit or rollback
        self._rows, self._touched = {}, []
        self._last = self._number = self._counted = self._active = self._mark = None
        self._gained, self._asked = 0, False
        try:
            self.store_id = self._read(_SQL["store_id"])[0][0]
        except BaseException:
            self.close()
            raise

    # -- writer side ---------------------------------------------------------------------------------------------------
    def begin(self):
        others = self._connections.begin()
        self._owner = get_ident()
        if others or len(self._rows) > KNOWN_ROWS:
            self._rows.clear()
        if others:
            self._forget_counts()

    def commit(self):
        try:
            if self._asked and not self._is_counted():
                self._change(_SQL["begin_counting"], (self._scope, self.active_count()))
            elif self._gained and self._is_counted():
                self._change(_SQL["gain_active"], (self._gained, self._scope))
            self._connections.commit(self._last)
        except errors.PlueError:
            self.rollback()
            raise
        self._counted = self._asked or self._counted
        self._gained, self._asked = 0, False
        self._touched.clear()
        self._owner = None

    def rollback(self):
        if self._owner is None:
            return
        self._forget(0)
        self._forget_counts()
        self._gained, self._asked, self._owner = 0, False, None
        self._connections.leave()

    def savepoint(self):
        self._change("SAVEPOINT part")
        self._mark = len(self._touched), self._gained

    def release(self):
        self._change("RELEASE part")

    def undo(self):
        if self._connections.failed:  # the whole transaction is gone: what follows must not run outside of one
            raise self._connections.failed
        self._change("ROLLBACK TO part")
        self.release()
        touched, self._gained = self._mark
        self._forget(touched)
        self._forget_counts()

    def load(self, session_id):
        row = self._rows.get(session_id) or self._find(session_id)
        return row and rows.session(row)

    def load_by_key(self, key):
        return self._load_by("id_of_key", key)

    def load_by_role(self, role):
        return self._load_by("id_of_role", role)

    def load_by_token(self, token):
        return self._load_by("id_of_token", token)

    def children(self, session_id):
        return [row[0] for row in self._change(_SQL["children"], (self._scope, session_id)).fetchall()]

    def active_count(self):
        if self._active is None and self._is_counted():
            self._active = self._change(_SQL["active_count"], (self._scope,)).fetchone()[0] + self._gained
        elif self._active is None:
            self._active = self._change(_SQL["count_active"], (self._scope,)).fetchone()[0]
            self._asked = True  # from the commit on they are counted, also if what was asked for is refused
        return self._active

    def next_number(self, now_ms):
        if self._number is None:
            self._number = self._change(_SQL["largest_number"]).fetchone()[0]
        return max(now_ms, self._number + 1)

    def insert(self, session):
        if rows.number_in(session.id) not in (None, session.number):  # another's, now or later: no index would tell
            raise failures.is_taken("id", session.id)
        new = rows.row(session)
        self._put(session, rows.insert(new, self._scope), new)
        if self._number is not None and session.number > self._number:
            self._number = session.number
        self._gain(_counts(new))
        if session.tags:
            self._put_tags(session.number, (), session.tags)

    def save(self, session):
        old = self._rows.get(session.id) or self._find(session.id)
        if old is None:
            raise errors.NotFound("the session does not exist, or was deleted", session=session.id)
        new = rows.row(session, old)
        change = rows.update(old, new)
        if change is None:
            return frozenset()
        statement, changed = change
        self._put(session, statement, new)
        if old[rows.STATUS] != new[rows.STATUS] or old[rows.IMPORTED] != new[rows.IMPORTED]:
            self._gain(_counts(new) - _counts(old))
        if old[rows.TAGS] != new[rows.TAGS]:
            self._put_tags(old[rows.NUMBER], loads(old[rows.TAGS]), session.tags)
        return changed

    def rename(self, old, new):
        self._rename(old, new)
        self._rows.pop(old, None)
        self._touched.append(new)  # should it be undone, what is read of it until then is forgotten

    def erase(self, session_id):
        row = self._rows.get(session_id) or self._find(session_id)
        if row is not None:
            self._put_tags(row[rows.NUMBER], loads(row[rows.TAGS]), ())
            self._change(_SQL["erase_session"], (row[rows.NUMBER],))
            for name in _ERASED:
                self._change(_SQL[name], (row[rows.NUMBER],))
            self._change(_SQL["retire_number"], (row[rows.NUMBER],))
            self._gain(-_counts(row))
            self._rows.pop(session_id, None)
        self.drop_share(session_id)
        last = self.last_log_id()
        if self._change(_SQL["erase_log"], (session_id, self._scope)).rowcount:
            self._change(_SQL["remember_erased"], (last,))

    def share(self, session_id):
        found = self._seen(_SQL["share"], (self._scope, session_id))
        return Share(*found[0]) if found else None

    def id_of_alias(self, alias):
        number = rows.number_in(alias)
        found = [] if number is None else self._seen(_SQL["id_of_alias"], (number, self._scope))
        return found[0][0] if found and alias == f"session_{number}" else None

    def _seen(self, sql, values):
        """Return rows as this thread sees them: inside a transaction of its own, with what that has changed."""
        return self._change(sql, values).fetchall() if self._owner == get_ident() else self._read(sql, values)

    def put_share(self, share):
        self._change(_SQL["put_share"], (*share.VALUES(share), self._scope))

    def drop_share(self, session_id):
        self._change(_SQL["drop_share"], (self._scope, session_id))

    def last_log_id(self):
        if self._last is None:
            self._last = self._change(_SQL["log_state"], (self._scope,)).fetchone()[1]
        return self._last

    def append(self, *rows):
        scope, values = self._scope, LogRow.VALUES
        self._connections.write_all(_APPEND, [(*values(row), scope) for row in rows])
        self._connections.unmeasured += sum([len(row.tail) for row in rows])
        self._last = rows[-1].id

    def trim(self, limit, older_than_ms, sessions, now_ms=None):
        removed = []
        for session_id in sessions:
            removed += self._change(_SQL["trim_session"], (session_id, self._scope, limit)).fetchall()
        oldest, newest = self._change(_SQL["first_times"], (FIRST_ROWS,)).fetchone()
        if oldest is not None and (now_ms is None or oldest < older_than_ms or newest > now_ms):
            beyond = 2 * now_ms - older_than_ms if now_ms is not None else FAR
            removed += self._change(_SQL["trim_old"], (older_than_ms, TRIM_ROWS, beyond)).fetchall()
        for scope, log_id in {scope: log_id for log_id, scope in sorted(removed)}.items():  # the largest of each
            self._change(_SQL["raise_floor"], (scope, log_id))

    # -- reader side ---------------------------------------------------------------------------------------------------
    def info(self, session_id):
        return self._first(_SQL["info"], session_id, rows.number_in(session_id))

    def read(self, session_id):
        found = self._first(_FIND, session_id, rows.number_in(session_id))
        return found and rows.session(found)

    def read_children(self, session_id):
        return [row[0] for row in self._read(_SQL["children"], (self._scope, session_id))]

    def id_of_key(self, key):
        found = self._first(_SQL["id_of_key"], key)
        return found and found[0]

    def _first(self, sql, *values):
        """Return the first row of a query, None if there is none."""
        found = self._read(sql, (self._scope, *values))
        return found[0] if found else None

    def ids(self):
        return self._read(_SQL["ids"], (self._scope,))

    def infos(self):
        try:
            return self._read(_SQL["list"], (self._scope,), bytes)[0][0] or b""
        except errors.LimitExceeded:
            raise errors.LimitExceeded(
                "the list has more than the 1,000,000,000 bytes that SQLite puts together",
                "Read pages, with plue_session_query().",
            ) from None

    def infos_apart(self):
        def parts(read):
            found, begun = [], (-1, -1)
            while begun[0] != FAR:
                end = (read(_SQL["list_mark"], (self._scope, *begun, PART - 1)) or [(FAR, FAR)])[0]
                found += read(_SQL["list_part"], (self._scope, *begun, *end))[0]
                begun = end
            return found

        return apart(list(filter(None, self._snapshot(parts))))

    def page(self, query):
        found = self._read(*_PAGES.page(query, self._scope))
        more = len(found) > query.limit
        if more:
            found.pop()
        return [row[2] for row in found], found[-1][:2] if more else None

    def count(self, query):
        return self._read(*_PAGES.count(query, self._scope))[0][0]

    def events_after(self, log_id, limit, size=None, session_id=None):
        left = FAR if size is None else size

        def room(row):
            nonlocal left
            left -= len(row[4])
            return left > 0

        whose = () if session_id is None else (session_id,)
        sql = _SQL["session_events_after" if whose else "events_after"]
        return [LogRow(*row) for row in self._read(sql, (log_id, self._scope, *whose, limit), room=room)]

    def observe(self, session_id, now, limit, small):
        return self._snapshot(partial(states.observe, _SQL, self._scope, session_id, now, limit, small))

    def observe_all(self):
        def look(read):
            infos = read(_SQL["infos"], (self._scope,))
            return read(_SQL["log_state"], (self._scope,))[0][1], [info.decode() for (info,) in infos]

        return self._snapshot(look)

    def window(self, log_id, session_id, limit):
        number = None if session_id is None else rows.number_in(session_id)

        def look(read):
            floor, last = read(_SQL["log_state"], (self._scope,))[0]
            if session_id is not None:
                found = read(_SQL["session_window"], (self._scope, session_id, number, log_id, limit + 1))[0]
                return Window(floor, last, *found)
            after = log_id, self._scope
            count = read(_SQL["events_to"], (*after, limit + 1))[0][0]
            if count > limit:  # of all sessions together: it is looked at closely
                count = read(_SQL["most_events"], after)[0][0]
            since = read(_SQL["first_time"], after)
            return Window(floor, last, count, since[0][0] if since else None, None, None, None)

        return self._snapshot(look)

    def log_state(self):
        return self._read(_SQL["log_state"], (self._scope,))[0]

    def check(self):
        try:
            problems = [text for (text,) in self._read("PRAGMA integrity_check") if text != "ok"]
            for name in ("stray_tags", "stray_shares", "stray_rows", "stray_parts", "stray_inputs", "miscounted"):
                problems += [text for (text,) in self._read(_SQL[name])]
            for whose, *texts in self._read(_SQL["texts"]):
                problems += [f"{whose}: not JSON: {text[:40]}" for text in texts if not _is_json(text)]
        except errors.Integrity as error:
            return [error.cause]
        return problems

    def total(self):
        """Return how many sessions of all scopes the file holds: for the doctor."""
        return self._read(_SQL["total"])[0][0]

    # -- inside --------------------------------------------------------------------------------------------------------
    def _put(self, session, statement, row):
        """Write a row and keep it in mind, to be forgotten if that is undone; say what of the session is taken, if
        so."""
        try:
            self._change(*statement)
        except errors.AlreadyExists as error:
            cause = error.__cause__
            raise (failures.taken(cause, session) if isinstance(cause, IntegrityError) else error) from cause
        self._connections.unmeasured += COPIES * len(row[rows.INFO])
        self._rows[session.id] = row
        self._touched.append(session.id)

    def _load_by(self, query, value):
        found = self._change(_SQL[query], (self._scope, value)).fetchone()
        return found and self.load(found[0])

    def _find(self, session_id):
        """Read the session's row, and keep it in mind."""
        row = self._change(_FIND, (self._scope, session_id, rows.number_in(session_id))).fetchone()
        if row is not None:
            self._rows[session_id] = row
        return row

    def _forget(self, mark):
        """Forget the rows that were changed since `_touched` had the length `mark`."""
        for session_id in self._touched[mark:]:
            self._rows.pop(session_id, None)
        del self._touched[mark:]

    def _forget_counts(self):
        self._last = self._number = self._counted = self._active = None

    def _is_counted(self):
        """Return whether the scope's active sessions are counted: only if somebody has asked how many there are."""
        if self._counted is None:
            self._counted = self._change(_SQL["active_count"], (self._scope,)).fetchone() is not None
        return self._counted

    def _gain(self, count):
        """Note that there are so many more active sessions; the table, if it counts them, is told once, before the
        commit."""
        self._gained += count
        if self._active is not None:
            self._active += count

    def _put_tags(self, number, old, new):
        for tag in set(old).difference(new):
            self._change(_SQL["drop_tag"], (tag, number))
        for tag in set(new).difference(old):
            self._change(_SQL["add_tag"], (tag, number))


def _counts(row):
    """Return whether the session of this row is one of those that `active_count` counts."""
    return row[rows.STATUS] in ACTIVE and row[rows.IMPORTED] is None


def _is_json(text):
    try:
        loads(text)
    except (ValueError, StopIteration):
        return False
    return True
