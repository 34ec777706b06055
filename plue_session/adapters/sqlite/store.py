"""The default store: one SQLite file per data folder. See ports.Store for what each method promises."""

import os
import threading
from json import loads
from sqlite3 import Error

from plue_session import errors
from plue_session.adapters.sqlite import failures, files, pages, queries
from plue_session.adapters.sqlite.files import hold_exclusively, move_aside  # noqa: F401  (for the doctor)
from plue_session.model import LogRow, Session, Share
from plue_session.rules.jsontext import dumps

#: The WAL's length in bytes from which on `maintain` has something to do, and to which it is cut afterwards.
LONG_WAL, SHORT_WAL = 16 << 20, 4 << 20
#: Commits between two looks at the WAL's length (a power of two).
LOOK_EVERY = 64
#: Rows that `trim` looks at for their age, each time.
TRIM_ROWS = 1000
#: Reading connections kept open while nobody reads.
IDLE_READERS = 8

_SQL = queries.parse(queries.read("queries.sql"))
(_BEGIN, _COMMIT, _ROLLBACK, _SAVEPOINT, _RELEASE, _UNDO, _FIND, _FIND_KEY, _FIND_ROLE, _INSERT, _SAVE, _SAVE_COMMON,
 _APPEND) = (_SQL[name] for name in ("begin", "commit", "rollback", "savepoint", "release", "undo", "find", "find_key",
                                     "find_role", "insert", "save", "save_common", "append"))
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
_new = Session.__new__


class SqliteStore:
    """A `ports.Store` in `data_dir`/sessions.db for the sessions of one `scope`; the event log spans all scopes.

    The writer has one connection. Readers take one from a pool for each read: threads that come from C may be new ones
    to Python at each call, so nothing is kept per thread.
    """

    name = "sqlite"

    def __init__(self, data_dir, scope):
        self._scope = scope
        data_dir = os.path.abspath(data_dir)
        self.path = os.path.join(data_dir, files.DATABASE)
        self._wal = self.path + "-wal"
        self._gate = threading.Lock()  # guards the four that follow
        self._closed = False
        self._writing = False
        self._connections = 0
        self._idle = []
        self._owner = None  # the thread that is between begin and commit or rollback
        self._failed = None  # why SQLite ended the transaction by itself
        self._commits = 0
        self._loaded = {}
        self._last = self._number = self._mark = None
        files.make_folder(data_dir)
        self._locks = files.Locks(data_dir)
        self._writer = None
        try:
            files.prepare(self.path, self._locks)
            self._writer = self._connect("synchronous = full", "wal_autocheckpoint = 0", f"journal_size_limit = {SHORT_WAL}")
            self._execute = self._writer.execute
            self.store_id = self._write(_SQL["store_id"]).fetchone()[0]
        except BaseException:
            self.close()
            raise

    def lock_fds(self):
        """Return the descriptors of the lock files, which a forked child must close; empty once closed."""
        locks = self._locks
        return [locks.turn_fd, locks.hold_fd] if locks else []

    # -- writer side ---------------------------------------------------------------------------------------------
    def begin(self):
        with self._gate:
            if self._closed:
                raise self._gone()
            self._writing = True
        try:
            self._locks.take_turn()
            if self._closed:  # while we waited
                raise self._gone()
            self._execute(_BEGIN)
        except Error as error:
            self._leave()
            raise failures.translate(error, self.path) from error
        except (errors.PlueError, OSError):
            self._leave()
            raise
        self._owner = threading.get_ident()
        self._last = self._number = self._failed = None

    def commit(self):
        try:
            if self._failed:
                raise self._failed
            self._write(_COMMIT)
        except errors.PlueError:
            self.rollback()
            raise
        self._commits += 1
        self._leave()

    def rollback(self):
        if not self._writing:
            return
        try:
            if self._writer.in_transaction:
                self._execute(_ROLLBACK)
        finally:
            self._leave()

    def savepoint(self):
        self._write(_SAVEPOINT)
        self._mark = self._last, self._number

    def release(self):
        self._write(_RELEASE)

    def undo(self):
        if self._failed:  # the whole transaction is gone: what follows must not run outside of one
            raise self._failed
        self._write(_UNDO)
        self._write(_RELEASE)
        self._last, self._number = self._mark
        self._loaded.clear()

    def find(self, session_id):
        return self._session(self._write(_FIND, (self._scope, session_id)).fetchone())

    def find_key(self, key):
        return self._session(self._write(_FIND_KEY, (self._scope, key)).fetchone())

    def find_role(self, role):
        return self._session(self._write(_FIND_ROLE, (self._scope, role)).fetchone())

    def children(self, session_id):
        return [row[0] for row in self._write(_SQL["children"], (self._scope, session_id)).fetchall()]

    def next_number(self, now_ms):
        if self._number is None:
            row = self._write(_SQL["largest_number"]).fetchone()
            self._number = row[0] if row else 0
        return max(now_ms, self._number + 1)

    def insert(self, session):
        s = session
        title = s.title.casefold()
        tags = dumps(s.tags) if s.tags else "[]"
        values = (
            s.number, s.id, s.key, s.parent_id, s.title, s.description, tags, s.metadata, s.created, s.updated,
            s.archived, s.ended, s.version, s.status, s.aborted, s.backend, s.directory, s.provider_id, s.model_id,
            s.role, s.relay_state, s.relay_messages, s.relay_active, s.residency, s.message_count, s.artifact_count,
            s.share_url, s.share_expires, s.rev, s.info, self._scope, title, _search(title, s.description))
        try:
            self._execute(_INSERT, values)
        except Error as error:
            raise self._failure(failures.taken(error, s, self.path)) from error
        if self._number is not None and s.number > self._number:
            self._number = s.number
        if s.tags:
            self._put_tags(s.number, (), s.tags)

    def save(self, session):
        s = session
        title = s.title.casefold()
        tags = dumps(s.tags) if s.tags else "[]"
        before = self._loaded.get(s.id)
        indexed = (s.number, s.key, s.parent_id, s.title, s.created, s.status, s.role, s.relay_state, s.artifact_count)
        if before is None:
            row = self._write(_SQL["number_and_tags"], (self._scope, s.id)).fetchone()
            if row is None:
                raise errors.NotFound("the session does not exist, or was deleted", session=s.id)
            before = None, row[1]
        try:
            if before[0] == indexed:
                self._execute(_SAVE_COMMON, (
                    s.description, tags, s.metadata, s.updated, s.archived, s.ended, s.version, s.aborted, s.backend,
                    s.directory, s.provider_id, s.model_id, s.relay_messages, s.relay_active, s.residency,
                    s.message_count, s.share_url, s.share_expires, s.rev, s.info, _search(title, s.description),
                    s.number))
            else:
                self._execute(_SAVE, (
                    s.key, s.parent_id, s.title, s.description, tags, s.metadata, s.created, s.updated, s.archived,
                    s.ended, s.version, s.status, s.aborted, s.backend, s.directory, s.provider_id, s.model_id,
                    s.role, s.relay_state, s.relay_messages, s.relay_active, s.residency, s.message_count,
                    s.artifact_count, s.share_url, s.share_expires, s.rev, s.info, title,
                    _search(title, s.description), self._scope, s.id))
        except Error as error:
            raise self._failure(failures.taken(error, s, self.path)) from error
        if before[1] != tags:
            self._put_tags(s.number, loads(before[1]), s.tags)
        self._loaded[s.id] = indexed, tags

    def erase(self, session_id):
        row = self._write(_SQL["number_and_tags"], (self._scope, session_id)).fetchone()
        if row is not None:
            self._put_tags(row[0], loads(row[1]), ())
            self._write(_SQL["erase_session"], (row[0],))
        self._write(_SQL["drop_share"], (self._scope, session_id))
        last = self.last_log_id()
        if self._write(_SQL["erase_log"], (session_id, self._scope)).rowcount:
            self._write(_SQL["remember_erased"], (last,))
        self._loaded.pop(session_id, None)

    def share(self, session_id):
        sql, values = _SQL["share"], (self._scope, session_id)
        if self._owner == threading.get_ident():
            rows = self._write(sql, values).fetchall()
        else:
            rows = self._read(sql, values)
        return Share(*rows[0]) if rows else None

    def put_share(self, share):
        self._write(_SQL["put_share"], (share.session_id, share.share_id, share.url, share.created, share.expires, self._scope))

    def drop_share(self, session_id):
        self._write(_SQL["drop_share"], (self._scope, session_id))

    def last_log_id(self):
        if self._last is None:
            self._last = self._write(_SQL["log_state"]).fetchone()[1]
        return self._last

    def append(self, row):
        self._write(_APPEND, (row.id, row.session_id, row.kind, row.time, row.tail, self._scope))
        self._last = row.id

    def trim(self, limit, older_than_ms, sessions):
        removed = []
        for session_id in sessions:
            removed += self._write(_SQL["trim_session"], (session_id, self._scope, limit)).fetchall()
        removed += self._write(_SQL["trim_old"], (older_than_ms, TRIM_ROWS)).fetchall()
        if removed:
            self._write(_SQL["raise_floor"], max(removed))

    # -- reader side ---------------------------------------------------------------------------------------------
    def info(self, session_id):
        rows = self._read(_SQL["info"], (self._scope, session_id))
        return rows[0] if rows else None

    def id_of_key(self, key):
        rows = self._read(_SQL["id_of_key"], (self._scope, key))
        return rows[0][0] if rows else None

    def list_text(self):
        return "[" + ",".join([info for info, in self._read(_SQL["list"], (self._scope,))]) + "]"

    def page(self, query):
        rows = self._read(*pages.page(query, self._scope))
        more = len(rows) > query.limit
        if more:
            rows.pop()
        return [row[2] for row in rows], rows[-1][:2] if more else None

    def count(self, query):
        return self._read(*pages.count(query, self._scope))[0][0]

    def events_after(self, log_id, limit):
        return [LogRow(*row) for row in self._read(_SQL["events_after"], (log_id, self._scope, limit))]

    def log_state(self):
        return self._read(_SQL["log_state"])[0]

    def check(self):
        try:
            problems = [text for text, in self._read("PRAGMA integrity_check") if text != "ok"]
            problems += [f"tags without session {number}" for number, in self._read(_SQL["stray_tags"])]
            problems += [f"share without session {session_id}" for session_id, in self._read(_SQL["stray_shares"])]
            for session_id, *texts in self._read(_SQL["texts"]):
                problems += [f"session {session_id}: not JSON: {text[:40]}" for text in texts if not _is_json(text)]
        except errors.Integrity as error:
            return [error.cause]
        return problems

    def wants_maintenance(self):
        """Return whether `maintain` is due. Cheap: call it after each commit."""
        if self._commits & (LOOK_EVERY - 1):
            return False
        try:
            return os.stat(self._wal).st_size >= LONG_WAL
        except FileNotFoundError:
            return False

    def maintain(self):
        connection = self._connect("wal_autocheckpoint = 0")
        try:
            _, length, done = connection.execute(_CHECKPOINT).fetchone()
            if done < length:
                # Others wrote meanwhile. Only a log that was copied to its end is begun anew: hold the writers back.
                with files.Turn(self.path):
                    connection.execute(_CHECKPOINT)
        except Error as error:
            raise failures.translate(error, self.path) from error
        finally:
            self._disconnect(connection)

    def close(self):
        with self._gate:
            self._closed = True
            writer = None if self._writing else self._take_writer()
        if writer:
            self._disconnect(writer)
        self._drain()
        self._settle()

    # -- connections ---------------------------------------------------------------------------------------------
    def _write(self, sql, values=()):
        try:
            return self._execute(sql, values)
        except (Error, MemoryError) as error:
            raise self._failure(failures.translate(error, self.path)) from error

    def _failure(self, failure):
        """Note whether the failure has ended the transaction, and return it."""
        if self._owner is not None and not self._writer.in_transaction:
            self._failed = failure
        return failure

    def _read(self, sql, values=()):
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._connect("query_only = on")
        try:
            return reader.execute(sql, values).fetchall()
        except (Error, MemoryError) as error:
            raise failures.translate(error, self.path) from error
        finally:
            if len(self._idle) < IDLE_READERS:
                self._idle.append(reader)
            else:
                self._disconnect(reader)
            if self._closed:
                self._drain()
                self._settle()

    def _connect(self, *pragmas):
        with self._gate:
            if self._closed:
                raise self._gone()
            self._connections += 1
        connection = None
        try:
            connection = files.connect(self.path)
            for pragma in ("foreign_keys = off", "temp_store = memory", "cell_size_check = on", "trusted_schema = off", *pragmas):
                connection.execute("PRAGMA " + pragma)
        except (Error, MemoryError) as error:
            self._disconnect(connection)
            raise failures.translate(error, self.path) from error
        return connection

    def _disconnect(self, connection):
        if connection is not None:
            connection.close()
        with self._gate:
            self._connections -= 1
        if self._closed:
            self._settle()

    def _drain(self):
        while self._idle:
            try:
                reader = self._idle.pop()
            except IndexError:  # another thread drains as well
                return
            self._disconnect(reader)

    def _take_writer(self):
        writer, self._writer = self._writer, None
        return writer

    def _settle(self):
        """Give the store free once it is closed and nobody is inside any more.

        Not before: closing the last connection deletes sessions.db-wal by name, which must not be a new store's.
        """
        with self._gate:
            if not self._closed or self._connections or self._writing:
                return
            locks, self._locks = self._locks, None
        if locks:
            locks.close()

    def _leave(self):
        """End the writer's turn, and close for good if that was asked for meanwhile."""
        self._owner = None
        self._loaded.clear()
        self._locks.end_turn()
        with self._gate:
            self._writing = False
            writer = self._take_writer() if self._closed else None
        if writer:
            self._disconnect(writer)
            self._settle()

    def _gone(self):
        return errors.Closed(f"the store {self.path} is closed", "Open it again.")

    def _session(self, row):
        """Make a Session of a row of `find`, and note what `save` may leave alone."""
        if row is None:
            return None
        s = _new(Session)
        (s.number, s.id, s.key, s.parent_id, s.title, s.description, tags, s.metadata, s.created, s.updated, s.archived,
         s.ended, s.version, s.status, aborted, s.backend, s.directory, s.provider_id, s.model_id, s.role, s.relay_state,
         s.relay_messages, s.relay_active, s.residency, s.message_count, s.artifact_count, s.share_url, s.share_expires,
         s.rev, s.info) = row
        s.tags = [] if tags == "[]" else loads(tags)
        s.aborted = aborted == 1
        self._loaded[s.id] = (s.number, s.key, s.parent_id, s.title, s.created, s.status, s.role, s.relay_state,
                              s.artifact_count), tags
        return s

    def _put_tags(self, number, old, new):
        for tag in set(old).difference(new):
            self._write(_SQL["drop_tag"], (tag, number))
        for tag in set(new).difference(old):
            self._write(_SQL["add_tag"], (tag, number))


def _search(title, description):
    return f"{title}\n{description.casefold()}" if description else title + "\n"


def _is_json(text):
    try:
        loads(text)
    except ValueError:
        return False
    return True
