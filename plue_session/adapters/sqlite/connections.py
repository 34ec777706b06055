"""The connections of one open store: one that writes, a pool of readers, and an orderly end whoever is inside."""

from _thread import allocate_lock
import os
from sqlite3 import Error

from plue_session import errors
from plue_session.adapters.sqlite import failures, files

#: The WAL's length in bytes from which on a checkpoint is due. It keeps that length when it begins anew: to overwrite is
#: half as slow as to make a file longer, for each commit.
LONG_WAL = 16 << 20
#: Commits between two looks at the WAL's length, at least and at most.
LOOK_OFTEN, LOOK_SELDOM = 64, 4096
#: Reading connections kept open while nobody reads: with the pages that they have read, and beyond those without.
WARM_READERS, COOL_READERS = 2, 6

# No foreign_keys: the store's statements keep the tables together, and `check` looks for strays.
_PRAGMAS = ("foreign_keys = off", "temp_store = memory", "cell_size_check = on", "trusted_schema = off")
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class Connections:
    """Everything that is open on the store in `data_dir`.

    The writer is one connection, used between `enter` and `leave`. A reader takes a connection from the pool for each
    read: threads that come from C may be new ones to Python at each call, so nothing is kept per thread.
    """

    def __init__(self, data_dir):
        data_dir = os.path.abspath(data_dir)
        self.path = os.path.join(data_dir, files.DATABASE)
        self._wal = self.path + "-wal"
        self._gate = allocate_lock()  # guards what follows; _warm and _cool as they grow, a pop is atomic
        self._closed = False
        self._writing = False
        self._commits, self._look_after = 0, LOOK_OFTEN
        self.unlooked = 0  # characters that the writer has written since the last look at the WAL's length, about
        self._unfinished = False  # a checkpoint beside the writer has left it the last frames
        self._open = 0
        self._writer = self._cursor = None
        self._warm, self._cool = [], []
        files.make_folder(data_dir)
        self._locks = files.Locks(data_dir)
        try:
            files.prepare(self.path, self._locks)
            # The WAL is copied back by `checkpoint`, off the writer's path, not by whoever happens to commit.
            self._writer = self._connect("synchronous = full", "wal_autocheckpoint = 0", f"journal_size_limit = {LONG_WAL}",
                                         "cache_size = -8192")
            self._cursor = self._writer.cursor()  # one for all statements: what one returns is read before the next
            self._execute = self._cursor.execute
        except BaseException:
            self.close()
            raise

    def lock_fds(self):
        """Return the descriptors of the lock files; none once closed."""
        locks = self._locks
        return list(locks.fds) if locks else []

    # -- the writer ----------------------------------------------------------------------------------------------
    def enter(self):
        """Wait for this process's turn to write; `CLOSED` also when it was closed while waiting."""
        with self._gate:
            if self._closed:
                raise self._gone()
            self._writing = True
        try:
            self._locks.take_turn()
        except OSError as error:
            self.leave()
            raise failures.system(error, self.path, "lock") from error
        if self._closed:
            self.leave()
            raise self._gone()

    def leave(self):
        """End the turn, with what was not committed, and close for good if that was asked for meanwhile."""
        try:
            if self._writer.in_transaction:
                self._execute("ROLLBACK")
        except Error:
            pass  # the transaction has ended all the same, SQLite only says that it did not end well
        finally:
            self._locks.end_turn()
            with self._gate:
                self._writing = False
            if self._closed:
                self._retire()

    def in_transaction(self):
        """Return whether the writer's transaction is still there: SQLite ends it by itself when the disk is full."""
        return self._writer.in_transaction

    def total_changes(self):
        """Return how many rows the writer's connection has changed in its life."""
        return self._writer.total_changes

    def write(self, sql, values=()):
        """Run a statement on the writer's connection and return its cursor."""
        try:
            return self._execute(sql, values)
        except failures.RAISED as error:
            raise failures.translate(error, self.path) from error

    # -- readers -------------------------------------------------------------------------------------------------
    def read(self, sql, values=(), text=str, room=None):
        """Run a query on what is committed and return its rows; `text=bytes` leaves text as UTF-8. With `room`, up to the first row
        after which there is no `room(row)`, that one included."""
        reader = self._reader()
        try:
            reader.text_factory = text
            cursor = reader.execute(sql, values)
            return cursor.fetchall() if room is None else _up_to(cursor, room)
        except failures.RAISED as error:
            raise failures.translate(error, self.path) from error
        finally:
            self._leave_reader(reader)
            if self._closed:
                self._retire()

    def _reader(self):
        for idle in (self._warm, self._cool):
            try:
                return idle.pop()
            except IndexError:  # that was empty, or another thread was faster
                continue
        return self._connect("query_only = on", "cache_size = -8192")

    def _leave_reader(self, reader):
        """Keep a connection that is not used any more, or close it. After many have read at a time, most are not needed soon."""
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

    # -- housekeeping --------------------------------------------------------------------------------------------
    def committed(self, log_id):
        """Count a commit, tell other processes of its newest log row, and end a checkpoint that was made beside us.

        The commit is made: what fails here is no failure of it.
        """
        self._commits += 1
        try:
            self._locks.ring(log_id)
            if self._unfinished:  # now nobody writes, and little is left
                self._unfinished = False
                self.write(_CHECKPOINT).fetchall()  # a row that is not read would keep the files open when all is closed
        except (OSError, errors.PlueError):  # a disk that is full, or fails: the next change says so, and the next checkpoint does it all
            self._commits += LOOK_SELDOM

    def wal_is_long(self):
        """Return whether a `checkpoint` is due. Cheap."""
        if self._commits < self._look_after and self.unlooked < LONG_WAL:
            return False
        self.unlooked = 0
        try:
            long = os.stat(self._wal).st_size >= LONG_WAL
        except FileNotFoundError:
            long = False
        if not long:
            self._commits = 0
        return long

    def checkpoint(self):
        """Copy the WAL into the database, beside readers and writers.

        The file keeps its length when the log in it begins anew, so that tells nothing from then on: how many frames
        there were for so many commits tells after how many the next one is due.
        """
        commits, self._commits = self._commits, 0
        connection = self._connect("wal_autocheckpoint = 0")
        try:
            _, length, _ = connection.execute(_CHECKPOINT).fetchone()
            size, = connection.execute("PRAGMA page_size").fetchone()  # a store of before has larger ones
            fitting = commits * LONG_WAL // (max(length, 1) * size)
            self._look_after = min(max(fitting, LOOK_OFTEN), LOOK_SELDOM)
            # Only a WAL that is copied to its end at the moment of the next commit is begun anew. Whoever writes meanwhile
            # prevents that, so the writer copies the little that is left itself, between two commits.
            self._unfinished = True
        except Error as error:
            raise failures.translate(error, self.path) from error
        finally:
            self._disconnect(connection)

    def close(self):
        """Close what is not in use; whoever is inside closes the rest on the way out. Twice is harmless."""
        with self._gate:
            self._closed = True
        self._retire()

    def _retire(self):
        for idle in (self._warm, self._cool):
            while idle:
                try:
                    reader = idle.pop()
                except IndexError:  # another thread was faster
                    break
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
        except failures.RAISED as error:
            self._disconnect(connection)
            raise failures.translate(error, self.path) from error
        return connection

    def _disconnect(self, connection):
        if connection is not None:
            connection.close()
        with self._gate:
            self._open -= 1
        if self._closed:
            self._settle()

    def _gone(self):
        return errors.Closed(f"the store {self.path} is closed", "Open it again.")


def _up_to(cursor, room):
    found = []
    for row in cursor:
        found.append(row)
        if not room(row):
            break
    cursor.close()  # a statement that is not at its end would keep the log from beginning anew
    return found
