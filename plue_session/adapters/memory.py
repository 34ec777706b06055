"""A store in memory, for tests and for sessions that nobody wants kept. It is SQLite's, on two databases without a
file: one as the writer sees it, one as it is committed."""

from plue_session import errors
from plue_session.adapters.promise import Promise
from plue_session.adapters.sqlite import failures, files
from plue_session.adapters.sqlite.reading import fetch
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.primitives import allocate_lock


class MemoryStore(SqliteStore):
    """A `ports.Store` for the sessions of one `scope`, gone with the process."""

    name, flushes = "memory", False

    def __init__(self, scope):
        super().__init__("in memory", scope, _Databases)


class _Databases:
    """The two, as `Connections` are those of a file. A commit repeats on the second what the writer has done with the
    first, so a reader waits for nothing longer than that."""

    failed = None
    unmeasured = 0  # there is no log to be measured

    def __init__(self, path):
        self.path = path
        self._promise = Promise()
        self.promise, self.keep = self._promise.make, self._promise.keep
        self._lock = allocate_lock()  # guards the committed side, and what follows
        self._writing = self._closed = False
        self._writer, self._committed = files.connect(":memory:", "memory"), files.connect(":memory:", "memory")
        files.apply(self._writer, 0)
        self._writer.backup(self._committed)
        self._done = []  # the statements of the transaction

    def begin(self):
        with self._lock:
            self._check()
            self._writing, self.failed = True, None
        self._writer.execute("BEGIN")
        return False

    def is_locked(self):
        return False

    def commit(self, log_id):
        if self.failed:
            raise self.failed
        try:
            with self._lock, self._committed:  # which rolls back what fails
                self._committed.execute("BEGIN")
                for sql, values in self._done:
                    fetch(self._committed, sql, values)
        except failures.RAISED as error:
            raise failures.translate(error, self.path) from error
        self._writer.execute("COMMIT")
        self.leave()

    def leave(self):
        self._writer.rollback()
        self._done.clear()
        with self._lock:
            self._writing = False
            if self._closed:
                self._close()

    def written(self):
        return -1 if self.failed else self._writer.total_changes

    def write(self, sql, values=()):
        try:
            cursor = self._writer.execute(sql, values)
        except failures.RAISED as error:
            found = failures.translate(error, self.path)
            if not self._writer.in_transaction:
                self.failed = found
            raise found from error
        if not sql.startswith("SELECT"):
            self._done.append((sql, values))
        return cursor

    def write_all(self, sql, rows):
        for values in rows:
            self.write(sql, values)

    def read(self, sql, values=(), text=str, room=None):
        self._promise.wait()
        with self._lock:
            self._check()
            self._committed.text_factory = text
            return fetch(self._committed, sql, values, room)

    def snapshot(self, use):
        self._promise.wait()
        with self._lock:
            self._check()
            self._committed.text_factory = bytes
            return use(lambda sql, values: fetch(self._committed, sql, values))

    def wal_is_long(self):
        return False

    def checkpoint(self):
        with self._lock:
            self._check()

    def lock_fds(self):
        return []

    def begin_replay(self, scope):
        return True

    def end_replay(self):
        return None

    begin_drive, end_drive = begin_replay, end_replay

    def owner(self):
        return 1

    def is_owner_alive(self, owner):
        return True

    def close(self):
        with self._lock:
            self._closed = True
            if not self._writing:
                self._close()

    def _close(self):
        self._writer.close()
        self._committed.close()

    def _check(self):
        if self._closed:
            raise errors.Closed("the store is closed", "Open a new one.")
