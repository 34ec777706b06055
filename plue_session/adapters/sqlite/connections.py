"""The connections of one open store: one that writes, a pool of readers, and an orderly end whoever is inside."""

import os
from sqlite3 import Error
from time import monotonic

from plue_session import errors
from plue_session.adapters.promise import Promise
from plue_session.adapters.sqlite import failures, files
from plue_session.adapters.sqlite.owners import Owners
from plue_session.adapters.sqlite.reading import at_one_moment, fetch
from plue_session.adapters.sqlite.replay_lock import DRIVER, ReplayLock
from plue_session.adapters.sqlite.standing import Files
from plue_session.primitives import allocate_lock

#: The WAL's length in bytes from which on a checkpoint is due. It keeps that length when it begins anew: a commit that
#: overwrites takes half as long as one that makes the file longer.
LONG_WAL = 16 << 20
#: Commits after which the WAL is measured, at least and at most.
MEASURE_OFTEN, MEASURE_SELDOM = 64, 4096
#: Seconds within which the store's names are not checked again before a change. They are before it is acknowledged.
CHECK_EVERY = 0.002
#: Reading connections kept open while nobody reads: with the pages that they have read, and beyond those without.
WARM_READERS, COOL_READERS = 2, 6
#: KiB of pages that each of those remembers. A list reads a store through: of one that is larger it finds none again.
READER_CACHE = 2048

# No foreign_keys: the store's statements keep the tables together, and `check` looks for strays.
_PRAGMAS = ("foreign_keys = off", "temp_store = memory", "cell_size_check = on", "trusted_schema = off")
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
_VERSION = "PRAGMA user_version"
_DATA_VERSION = "PRAGMA data_version"  # another one after each commit of another connection's

#: Connections whose descriptors a host has taken, with the path of their store: to close one would close, and write to,
#: what is the host's.
_abandoned: list[tuple] = []


class Connections:
    """Everything that is open on the store in `data_dir`.

    The writer is one connection, used from `begin` to `commit` or `leave`. A reader takes one from the pool for each
    read: threads that come from C may be new ones to Python at each call, so nothing is kept per thread.

    When the store's files are no longer those that were opened, nothing more is written or read: what was written would
    be lost, and what was read is not what the store holds.
    """

    def __init__(self, data_dir):
        data_dir = os.path.abspath(data_dir)
        self.path = os.path.join(data_dir, files.DATABASE)
        self._gate = allocate_lock()  # guards what follows; _warm and _cool as they grow, a pop is atomic
        self._closed = False
        self._writing = False
        self._commits, self._measure_after = 0, MEASURE_OFTEN
        self.unmeasured = 0  # about how many characters were written since the WAL's length was looked at
        self._unfinished = False  # a checkpoint beside the writer has left it the last frames
        self._open = 0
        self._writer = self._cursor = self._files = None
        self._check_at = 0.0
        self._lost, self._taken = None, False  # why all must fail from now on; whether our descriptors are a host's
        self._data_version = None
        self._promise = Promise()
        self.promise, self.keep = self._promise.make, self._promise.keep
        self.failed = None  # why SQLite has ended the transaction by itself
        self._warm, self._cool = [], []
        files.make_folder(data_dir)
        if os.path.realpath(self.path) in [path for path, _ in _abandoned]:
            raise errors.StoreIo(
                f"the store {self.path} was left behind when this process closed its descriptors",
                "Restart the program.",
            )
        replays = ReplayLock(data_dir)
        self.begin_replay, self.end_replay = replays.take, replays.leave
        drives = ReplayLock(data_dir, DRIVER)
        self.begin_drive, self.end_drive = drives.take, drives.leave
        owners = Owners(data_dir)
        self.owner, self.is_owner_alive, self._disown = owners.owner, owners.is_alive, owners.close
        self._locks = files.Locks(data_dir)
        try:
            with failures.translated(self.path, "open"):
                files.prepare(self.path, self._locks)
                self._writer, self._files = self._open_writer(data_dir)
                self._cursor = self._writer.cursor()  # one for all statements: what one returns is read before the next
                self._execute, self._execute_many = self._cursor.execute, self._cursor.executemany
        except BaseException:
            self.close()
            raise

    def _open_writer(self, data_dir):
        """Return the connection that writes, and the files that it is on."""
        while True:
            before = Files(data_dir, [files.DATABASE])
            # The WAL is copied back by `checkpoint`, off the writer's path, not by whoever happens to commit.
            writer = self._connect(
                "synchronous = full", "wal_autocheckpoint = 0", f"journal_size_limit = {LONG_WAL}", "cache_size = -4096"
            )
            try:
                writer.execute(_VERSION).fetchall()  # SQLite opens the WAL with the first read
            except failures.RAISED:
                self._disconnect(writer)
                raise
            if not before.missing():
                return writer, Files(data_dir, files.NAMES)
            # It was replaced meanwhile; or it was on an overlay, and is another file from its first writer on.
            self._disconnect(writer)

    def lock_fds(self):
        """Return the descriptors of the lock files; none once closed."""
        return locks.fds if (locks := self._locks) else []

    def verify(self, committed=False):
        """Raise `IO` unless what is open is what the store's names name: else what was just `committed`, or is read, is
        none of the store's."""
        if not self._lost and self._files:
            self._check_at = monotonic() + CHECK_EVERY
            gone = self._files.missing()
            if gone:
                if self._closed and not self._writing:  # SQLite has removed the WAL with the last connection
                    raise self._gone()
                self._lost = failures.gone, gone
                if committed:
                    raise failures.gone(gone, "the change may be in what was removed")
        if self._lost:
            self._refuse_lost()

    def _refuse_lost(self):
        if self._lost:
            make, *what = self._lost  # an error of its own for each: it will say whose call it was
            raise make(*what)

    # -- the writer ----------------------------------------------------------------------------------------------------
    def begin(self):
        """Wait for the write lock and begin a transaction; returns whether others may have written since the last one.
        `CLOSED` also when the store was closed meanwhile, `UNSUPPORTED` when a newer library has changed it."""
        with self._gate:
            if self._closed:
                raise self._gone()
            self._writing, self.failed = True, None
        try:
            if self._lost:
                self._refuse_lost()
            self._locks.lock_writing()
            if monotonic() > self._check_at:
                self.verify()
            if self._closed:
                raise self._gone()
            self._execute("BEGIN IMMEDIATE")
            (version,) = self._execute(_DATA_VERSION).fetchone()
            others = version != self._data_version
            if others:
                self._know_version(*self._execute(_VERSION).fetchone())
                self._refuse_lost()
                self._data_version = version
            return others
        except OSError as error:
            self._check_descriptors()
            self.leave()
            self._refuse_lost()
            raise failures.system(error, self.path, "lock") from error
        except failures.RAISED as error:
            found = self._translate(error)
            self.leave()
            raise found from error
        except errors.PlueError:
            self.leave()
            raise

    def is_locked(self):
        """Return whether `begin` would wait for another process."""
        return self._locks is not None and self._locks.is_locked()

    def commit(self, log_id):
        """Commit, tell other processes of the newest log row, if there is one, and let them write. After a failure the
        caller must `leave`."""
        if self.failed:
            raise self.failed
        try:
            self._execute("COMMIT")
        except failures.RAISED as error:
            raise self._translate(error) from error
        self.verify(committed=True)
        if log_id is not None:
            self._commits += 1
            try:
                self._locks.ring(log_id)
                if self._unfinished:  # now nobody writes, and little of a checkpoint is left
                    self._unfinished = False
                    # A row that is not read would keep the files open when all is closed.
                    self.write(_CHECKPOINT).fetchall()
            except (OSError, errors.PlueError):  # a disk that is full, or fails: the next change says so
                self._commits += MEASURE_SELDOM  # the next checkpoint does it all
        self.leave()

    def leave(self):
        """Roll back what is not committed, release the write lock, and close all if `close` was called meanwhile."""
        try:
            if self._writer.in_transaction:
                self._execute("ROLLBACK")
        except Error:
            pass  # the transaction has ended all the same, SQLite only says that it did not end well
        try:
            self._locks.unlock_writing()
        except OSError:  # the descriptor was closed by somebody, and the lock has ended with it
            self._check_descriptors()
        finally:
            with self._gate:
                self._writing = False
            if self._closed:
                self._retire()

    def written(self):
        """Return a number that changes with each row that is written, and with the loss of the transaction."""
        return -1 if self.failed else self._writer.total_changes

    def write(self, sql, values=()):
        """Run a statement on the writer's connection and return its cursor."""
        try:
            return self._execute(sql, values)
        except failures.RAISED as error:
            raise self._failure(error) from error

    def write_all(self, sql, rows):
        """Run a statement that returns nothing, with the values of each row."""
        try:
            self._execute_many(sql, rows)
        except failures.RAISED as error:
            raise self._failure(error) from error

    def _failure(self, error):
        """Return the library's error for what a statement of the writer's has raised."""
        found = self._translate(error)
        if not self._writer.in_transaction:  # SQLite has ended it by itself: the disk is full, or fails
            self.failed = found
        return found

    # -- readers -------------------------------------------------------------------------------------------------------
    def read(self, sql, values=(), text=str, room=None):
        """Run a query on what is committed and return its rows; `text=bytes` leaves text as UTF-8. With `room`, up to
        the first row after which there is no `room(row)`, that one included."""
        return self._use(text, fetch, sql, values, room)

    def snapshot(self, use):
        """Return `use(read)`; `read(sql, values)` tells, text as UTF-8, what was committed at one moment."""
        return self._use(bytes, at_one_moment, use)

    def _use(self, text, use, *given):
        self._promise.wait()
        self._check_descriptors()
        self.verify()
        reader = self._take_idle() or self._connect("query_only = on", f"cache_size = -{READER_CACHE}")
        try:
            reader.text_factory = text
            return use(reader, *given)
        except failures.RAISED as error:
            raise self._translate(error) from error
        finally:
            self._leave_reader(reader)
            if self._closed:
                self._retire()

    def _take_idle(self):
        """Take a reader that is kept open, or None."""
        for idle in (self._warm, self._cool):
            try:
                return idle.pop()
            except IndexError:  # that was empty, or another thread was faster
                continue
        return None

    def _leave_reader(self, reader):
        """Keep a connection that is not used any more, or close it. After many have read at a time, most are not needed
        soon."""
        with self._gate:
            if len(self._warm) < WARM_READERS:
                self._warm.append(reader)
                return
        try:
            reader.execute("PRAGMA shrink_memory")
        except failures.RAISED:  # it reads all the same
            pass
        with self._gate:
            if len(self._cool) < COOL_READERS:
                self._cool.append(reader)
                return
        self._disconnect(reader)

    # -- housekeeping --------------------------------------------------------------------------------------------------
    def wal_is_long(self):
        """Return whether a `checkpoint` is due. Cheap."""
        if self._commits < self._measure_after and self.unmeasured < LONG_WAL:
            return False
        self.unmeasured = 0
        try:
            long = os.stat(self.path + "-wal").st_size >= LONG_WAL
        except FileNotFoundError:
            long = False
        except OSError:  # we are not let in to look
            long = True
        if not long:
            self._commits = 0
        return long

    def checkpoint(self):
        """Copy the WAL into the database, beside readers and writers.

        The file keeps its length when the log in it begins anew, so that tells nothing from then on: how many frames
        there were for so many commits tells after how many the next one is due.
        """
        commits, self._commits = self._commits, 0
        try:
            connection = self._connect("wal_autocheckpoint = 0")
        except errors.PlueError:
            self._unfinished = True  # the writer, which is connected, does it all
            raise
        try:
            _, length, _ = connection.execute(_CHECKPOINT).fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()  # a store of before has larger ones
            fitting = commits * LONG_WAL // (max(length, 1) * size)
            self._measure_after = min(max(fitting, MEASURE_OFTEN), MEASURE_SELDOM)
            # Only a WAL that is copied to its end at the moment of the next commit is begun anew. Whoever writes
            # meanwhile prevents that, so the writer copies the little that is left itself, between two commits.
            self._unfinished = True
        except Error as error:
            raise failures.translate(error, self.path) from error
        finally:
            self._disconnect(connection)

    def close(self):
        """Close what is not in use; whoever is inside closes the rest on the way out. Twice is harmless."""
        with self._gate:
            self._closed = True
        self.end_replay()
        self.end_drive()
        self._disown()
        self._check_descriptors()
        self._retire()

    def _retire(self):
        while reader := self._take_idle():
            self._disconnect(reader)
        with self._gate:
            writer = None
            if not self._writing:
                writer, self._writer = self._writer, None
        if writer:
            if self._cursor is not None:
                self._cursor.close()
            self._disconnect(writer)
        self._settle()

    def _settle(self):
        """Give the store free when nobody is inside any more.

        Not before: closing the last connection deletes sessions.db-wal by name, which must not be a new store's.
        """
        with self._gate:
            if self._open or self._writing:
                return
            locks, self._locks = self._locks, None
        if locks:
            locks.close()

    def _connect(self, *pragmas):
        with self._gate:
            if self._closed:
                raise self._gone()
            self._open += 1
        connection = None
        try:
            connection = files.connect(self.path)
            for pragma in _PRAGMAS + pragmas:
                connection.execute("PRAGMA " + pragma)
            self.verify()  # a name that was given to another file meanwhile has led to that
        except failures.RAISED as error:
            self._disconnect(connection)
            raise self._translate(error) from error
        except errors.PlueError:
            self._disconnect(connection)
            raise
        return connection

    def _disconnect(self, connection):
        if connection is not None and self._taken:
            _abandoned.append((os.path.realpath(self.path), connection))
        elif connection is not None:
            connection.close()
        with self._gate:
            self._open -= 1
        if self._closed:
            self._settle()

    def _check_descriptors(self):
        """Find out whether a host has closed our descriptors, and SQLite's with them: what has their numbers now is the
        host's."""
        locks = self._locks
        if locks and not self._taken and not locks.are_ours():
            self._taken, self._lost = True, (failures.taken_over, self.path)

    def _translate(self, error):
        """Return the library's error for what SQLite says, unless the matter is that this is not the store any more
        that was opened."""
        self._check_descriptors()
        try:
            self.verify()
            found = failures.translate(error, self.path)
            if isinstance(found, errors.Integrity):
                self._know_version(files.version_of(self.path))
            self._refuse_lost()
        except errors.PlueError as better:
            return better
        return found

    def _know_version(self, version):
        if version > len(files.MIGRATIONS):
            self._lost = failures.newer, self.path, version, len(files.MIGRATIONS)

    def _gone(self):
        return errors.Closed(f"the store {self.path} is closed", "Open it again.")
