"""The store's files: who may touch them, how they come to be, and how they are looked at before anything is written.

    sessions.db     the store; SQLite keeps sessions.db-wal and sessions.db-shm beside it
    sessions.lock   LOCK_EX from before BEGIN until after COMMIT; it holds the id of the newest log row (8 bytes,
                    little-endian), written after each commit: who watches the file hears of it
    store.lock      LOCK_SH as long as the store is open; who moves it aside takes LOCK_EX

A new store is built under another name and renamed when complete, so a creation that is cut short leaves nothing that
could be taken for a store. No raw descriptor of an existing sessions.db is ever opened: closing it would drop the
locks that SQLite holds on the file anywhere in this process.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import time

from plue_session import errors
from plue_session.adapters import private, remedies
from plue_session.adapters.descriptor import Descriptor
from plue_session.adapters.sql import queries
from plue_session.adapters.sqlite import failures
from plue_session.primitives import sleep

#: Where our SQL is.
FOLDER = os.path.dirname(__file__)
DATABASE, WRITE_LOCK, HOLD = "sessions.db", "sessions.lock", "store.lock"
#: How the names of a database's files end.
_ENDS = "", "-wal", "-shm", "-journal"
#: What must stay in place while the store is open; without the lock file nobody would hear of a commit.
NAMES = DATABASE, DATABASE + "-wal", DATABASE + "-shm", WRITE_LOCK
#: "Plue": marks a database as ours, see `PRAGMA application_id`
APPLICATION_ID = 0x506C7565
#: One file per schema version, in order. Append only.
MIGRATIONS = (
    "0001_sessions.sql",
    "0002_remote.sql",
    "0003_fewer_pages.sql",
    "0004_leaner_index.sql",
    "0005_names.sql",
    "0006_operations.sql",
    "0007_sequences.sql",
    "0008_outbox.sql",
    "0009_revisions.sql",
    "0010_turns.sql",
    "0011_agents.sql",
)
#: The tables and indexes of a store of the newest version.
SCHEMA = frozenset(
    "session session_id session_key session_role session_updated session_created session_title session_artifacts "
    "session_parent session_token session_tag counted share log log_session meta "
    "operation operation_name operation_due outbox outbox_session "
    "input input_source input_active input_wanted claim claim_session turn turn_id turn_message turn_open "
    "message message_order message_turn part usage transcript ask ask_open attachment".split()
)
#: Up to this size (bytes) a store is checked in full when it is opened.
FULL_CHECK = 16 << 20
#: Seconds to wait for a lock that somebody holds for longer than is sane.
PATIENCE = 5.0
#: Bytes of a page of a new store. Half of SQLite's usual one: each commit writes some ten pages, few of them full.
PAGE_SIZE = 2048


class Locks:
    """The lock files of an open store: one is held (shared) until `close`, the other is the write lock."""

    def __init__(self, data_dir):
        self._files, self._taken = [], False
        try:
            for name in (WRITE_LOCK, HOLD):
                self._files.append(Descriptor(_open_lock(data_dir, name)))
            self._writing, self._hold = self._files
            _hold(self._hold.fd, os.path.join(data_dir, HOLD))
        except BaseException:
            self.close()
            raise

    @property
    def fds(self):
        """The descriptors."""
        return [each.fd for each in self._files]

    def are_ours(self):
        """Return whether the descriptors are still those of our files."""
        return self._writing.is_ours() and self._hold.is_ours()

    def lock_writing(self, how=0):
        """Wait until no other process writes (`how`: `LOCK_NB`, fail instead). The kernel queues the waiters: none
        starves. `OSError` if it refuses."""
        if not self._writing.is_ours():
            raise OSError(errno.EBADF, failures.TAKEN)
        fcntl.flock(self._writing.fd, fcntl.LOCK_EX | how)
        self._taken = True

    def is_locked(self):
        """Return whether another process writes now."""
        try:
            self.lock_writing(fcntl.LOCK_NB)
        except OSError as error:
            return error.errno == errno.EWOULDBLOCK  # `lock_writing` will meet any other
        self.unlock_writing()
        return False

    def lock_writing_soon(self, path):
        """Take the write lock, or fail with `BUSY` when somebody keeps it for longer than is sane: no start waits for
        ever."""
        _patiently(
            lambda: fcntl.flock(self._writing.fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
            os.path.join(os.path.dirname(path), WRITE_LOCK),
            "another process writes to the store and does not end",
        )
        self._taken = True

    def ring(self, log_id):
        """Tell those who watch the lock file that there is a new log row. Not the WAL: that changes before the commit
        is there to be read."""
        os.pwrite(self._writing.fd, log_id.to_bytes(8, "little"), 0)

    def unlock_writing(self):
        """Let the next process write. Harmless without the lock."""
        if self._taken:
            self._taken = False
            fcntl.flock(self._writing.fd, fcntl.LOCK_UN)

    def close(self):
        """Close the files, which releases them."""
        while self._files:
            self._files.pop().close()


def hold_exclusively(data_dir):
    """Return what keeps everybody from opening the store in `data_dir` until it is closed; `IN_USE` when anybody has it
    open."""
    held = Descriptor(_open_lock(data_dir, HOLD))
    try:
        fcntl.flock(held.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        if not isinstance(error, BlockingIOError):
            raise failures.system(error, os.path.join(data_dir, HOLD), "lock") from error
        raise errors.InUse(
            f"the store in {data_dir} is open", "End every process that uses it, then try again."
        ) from None
    return held


def move_aside(data_dir):
    """Rename the store's files and return the database's new path. `IN_USE` when anybody has it open, `NOT_FOUND` when
    there is none."""
    data_dir = os.path.realpath(data_dir)
    path = os.path.join(data_dir, DATABASE)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target, attempt = f"{path}.corrupt-{stamp}", 1
    with contextlib.closing(hold_exclusively(data_dir)), failures.translated(path, "move aside"):
        # The database first: if only that move happens, what is left is refused instead of taken for a whole store.
        names = _parts(path)
        if not names:
            raise errors.NotFound(f"there is no store in {data_dir}", "Nothing needs to be done.")
        while _parts(target):
            attempt += 1
            target = f"{path}.corrupt-{stamp}-{attempt}"
        for name in names:
            os.rename(path + name, target + name)
        private.sync(data_dir)
    return target


def _parts(path):
    """Return how the names of the database's files end that are there."""
    return [end for end in _ENDS if os.path.lexists(path + end)]


def make_folder(path):
    """Create a folder, and those above it that are missing, for the owner alone (0700)."""
    with failures.translated(path, "create the folder"):
        if os.path.isdir(path):
            private.enter(path)
            return
        above = os.path.dirname(path)
        make_folder(above)
        try:
            private.make_folder(path)
            private.sync(above)
        except FileExistsError:
            if not os.path.isdir(path):
                raise errors.StoreIo(f"{path} is no folder, nor a link to one", "Set dataDir to a folder.") from None
            private.enter(path)


def prepare(path, locks):
    """Create the store, bring an older one up to date, or find it sound. Changes nothing before it knows that."""
    try:
        if not is_new(path) and inspect(path) == len(MIGRATIONS):
            return
    except errors.Unsupported:
        raise
    except errors.PlueError:
        pass  # perhaps someone is at it just now: judged again below, with the write lock
    locks.lock_writing_soon(path)
    try:
        if is_new(path):
            _create(path)
        elif (version := inspect(path)) < len(MIGRATIONS):
            migrate(path, version)
    finally:
        locks.unlock_writing()


def is_new(path):
    """Return whether there is no store at `path` yet, so that a start makes one: no database, or an empty one.
    `INTEGRITY` when only the rest of a store is there, `IO` when a part of it is no file."""
    sizes = {end: _size(path + end) for end in reversed(_ENDS)}  # the database last: others may just make it
    if sizes[""]:
        return False
    for end in ("-wal", "-journal"):
        if sizes[end]:
            raise failures.broken(
                path, f"{path} is missing or empty, yet {path}{end} is there", "Put the file back if you have it. "
            )
    return True


def connect(path, mode="rw"):
    """Open an existing database. It waits up to PATIENCE, polling with back-off, while others lock it.

    No mmap: with it, a file truncated by someone or a bad disk kills the host with SIGBUS instead of failing a call.
    """
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{quoted}?mode={mode}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def inspect(path):
    """Return the schema version of the store at `path` without writing to it; `INTEGRITY` when it is no sound store."""
    with failures.translated(path), contextlib.closing(connect(path, "ro")) as connection:
        connection.execute("PRAGMA cell_size_check = on")
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        if mark != APPLICATION_ID:
            raise failures.broken(path, f"{path} is not a store of this library (application id {mark:#x})")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise failures.newer(path, version, len(MIGRATIONS))
        if version < 1:
            raise failures.broken(path, f"the store {path} has schema version {version}, which none has")
        if version == len(MIGRATIONS):
            lacking = SCHEMA.difference(name for (name,) in connection.execute("SELECT name FROM sqlite_schema"))
            if lacking:
                raise failures.lacking(path, ", ".join(sorted(lacking)))
        if _size(path) <= FULL_CHECK:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise failures.damaged(path, verdict)
        else:  # both ends of the largest table, and the tables' definitions
            connection.execute("SELECT min(id), max(id) FROM log").fetchone()
            connection.execute("SELECT min(number), max(number) FROM session").fetchone()
        return version


def version_of(path):
    """Return the schema version of the store at `path`, whatever else is in it; 0 when that cannot be read."""
    with contextlib.suppress(*failures.RAISED), contextlib.closing(connect(path, "ro")) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    return 0


def _create(path):
    unfinished = path + ".new"
    with failures.translated(path, "create"):
        for end in _parts(unfinished):
            os.unlink(unfinished + end)
        os.close(private.make_file(unfinished, os.O_RDWR))
        with contextlib.closing(connect(unfinished)) as connection:
            # Nobody else sees this file before it is complete, so it is synced once, at the end.
            for pragma in (
                f"page_size = {PAGE_SIZE}",
                "journal_mode = memory",
                "synchronous = off",
                f"application_id = {APPLICATION_ID}",
            ):
                connection.execute("PRAGMA " + pragma)
            apply(connection, 0)
            connection.execute("PRAGMA journal_mode = wal")
        private.sync(unfinished)
        os.rename(unfinished, path)
        private.sync(os.path.dirname(path))


def migrate(path, version):
    with failures.translated(path), contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA synchronous = full")
        apply(connection, version)


def apply(connection, version):
    """Run the migrations after `version`, all or none."""
    scripts = "\n".join(queries.read(FOLDER, "migrations/" + name) for name in MIGRATIONS[version:])
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{scripts}\nPRAGMA user_version = {len(MIGRATIONS)};\nCOMMIT;")
    except sqlite3.Error:
        connection.rollback()
        raise


def _open_lock(data_dir, name):
    path = os.path.join(data_dir, name)
    with failures.translated(path, "open"):
        return private.open_own_file(path, os.O_RDWR)


def _hold(fd, path):
    _patiently(
        lambda: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB), path, "the store is being repaired or moved aside"
    )


def _patiently(lock, path, why):
    """Call `lock` until it succeeds, with back-off, for PATIENCE seconds."""
    pause, deadline = 0.002, time.monotonic() + PATIENCE
    while True:
        try:
            lock()
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise errors.Busy(
                    f"{path} is locked: {why}",
                    f"Try again when that is done; `{remedies.doctor(os.path.dirname(path))}` says who holds it.",
                ) from None
        except OSError as error:
            raise failures.system(error, path, "lock") from error
        sleep(pause)
        pause = min(pause * 2, 0.1)


def _size(path):
    """Return a file's size, 0 when it is not there. `IO` for what is none: to open a FIFO waits for ever, and where a
    link leads may only not be mounted."""
    try:
        about = os.stat(path)
        if stat.S_ISREG(about.st_mode):
            return about.st_size
    except FileNotFoundError:
        if not os.path.islink(path):
            return 0
    except OSError as error:
        raise failures.system(error, path, "look at") from error
    raise errors.StoreIo(f"{path} is no file, nor a link to one", "Move it away, or set dataDir to another folder.")
