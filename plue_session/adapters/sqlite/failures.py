"""Translate what SQLite and the system report into the library's errors, in one place."""

import contextlib
import errno
import fcntl
import os
import sqlite3

from plue_session import errors
from plue_session.adapters import private, remedies

#: Why a descriptor that a host has closed cannot be used.
TAKEN = "its descriptor was closed, or is another file's now"

#: What Python's sqlite3 raises: the last when a message of SQLite's quotes what is damaged.
RAISED = (sqlite3.Error, MemoryError, UnicodeDecodeError)

# Primary result codes, https://www.sqlite.org/rescode.html
_DAMAGED = (11, 26)  # CORRUPT, NOTADB
_LOCKED = (5, 6)  # BUSY, LOCKED; also when the system has no locks to give
_FULL = 13

#: Bytes of a folder's path beyond which SQLite, which takes 512 with what it appends (-journal), opens no store in it.
LONGEST = 512 - len("-journal") - len("/sessions.db.new")
#: Bytes that SQLite maps of its shared memory.
_SHARED = 32768
_NO_LOCKS = "the system refuses file locks (fcntl)"

_TAKEN = {
    "key": "Open the session that has it, or use another key.",
    "role": "End the relay that holds it, or use another role.",
    "id": "Open the session that has it.",
    "number": "Ask for the next number inside the transaction.",
}

#: What SQLite says of a statement when tables, columns or indexes are not those that it was written for.
_LACKING = ("no such", "has no column", "unsupported")

# Before Python 3.11 an exception has no code, only SQLite's English text for it.
_CODES = {
    "malformed": 11,
    "not a database": 26,
    "locked": 5,
    "readonly": 8,
    "disk I/O": 10,
    "is full": 13,
    "unable to open": 14,
    "permission denied": 3,
    "locking protocol": 15,
    "large file": 22,
}


def code(error):
    """Return the primary SQLite result code of a `sqlite3.Error`, or 1 (ERROR) when it has none."""
    number = getattr(error, "sqlite_errorcode", None)
    if number is not None:
        return number & 0xFF
    text = str(error)
    for part, number in _CODES.items():
        if part in text:
            return number
    return 1


def translate(error, path):
    """Return the library's error for one that is `RAISED` by the store at `path`."""
    if isinstance(error, UnicodeDecodeError):
        return damaged(path, "a text in it is not UTF-8")
    if isinstance(error, sqlite3.IntegrityError):
        return errors.AlreadyExists(f"the store holds such a record already ({error})", "Use another one.")
    if isinstance(error, sqlite3.DataError):
        return errors.LimitExceeded(f"the record is larger than SQLite stores ({error})", "Store less in it.")
    if isinstance(error, MemoryError):
        return errors.StoreIo(f"there is not enough memory to use the store {path}", "Free some, then try again.")
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        if "closed" in str(error):
            return errors.Closed(f"the store {path} was closed meanwhile", "Open it again.")
        return errors.Unknown(f"the store {path} was used wrongly: {error}", "Please report this.")
    number = code(error)
    if number in _DAMAGED:
        return damaged(path, error)
    if number in _LOCKED:
        refused, remedy = _try(path, _lock) or ("", "")
        if refused.startswith(_NO_LOCKS):
            return errors.StoreIo(f"the store {path} cannot be used: {refused}", remedy)
        return errors.Busy(f"another program keeps the store {path} locked", "Close what has it open, then try again.")
    if number == 1 and "decode" in str(error):  # this one is of Python's sqlite3
        return damaged(path, "a text in it is not UTF-8")
    if number == 1 and any(
        part in str(error) for part in _LACKING
    ):  # our SQL is constant: the tables are not those that we made
        return lacking(path, error)
    if number == 1:
        return errors.Unknown(f"the store {path} was used wrongly: {error}", "Please report this.")
    reason, remedy = diagnose(path) or ("", remedies.remedy(OSError(errno.ENOSPC if number == _FULL else 0, "")))
    name = getattr(
        error, "sqlite_errorname", ""
    )  # what exactly of SQLite's input and output has failed; from Python 3.11 on
    what = reason or (f"{error}, {name}" if name.count("_") > 1 else str(error))
    return errors.StoreIo(f"the store {path} cannot be read or written: {what}", remedy)


@contextlib.contextmanager
def translated(path, doing="use"):
    """Translate what SQLite and the system report while `doing` something to the store at `path`."""
    try:
        yield
    except OSError as error:
        raise system(error, path, doing) from error
    except RAISED as error:
        raise translate(error, path) from error


def damaged(path, why):
    """Return the error for a store that holds what cannot be."""
    return broken(path, f"the store {path} is damaged ({why})")


def lacking(path, what):
    """Return the error for a store of which a part is not there."""
    return broken(path, f"the store {path} lacks what it must have ({what})")


def broken(path, cause, before=""):
    """Return `Integrity` for the store at `path`, with how to begin anew."""
    remedy = before + remedies.new_store(os.path.dirname(path))
    return errors.Integrity(f"{cause}; nothing was overwritten", remedy)


def taken(error, session):
    """Return ALREADY_EXISTS for a `sqlite3.IntegrityError` met when `session` was stored: says what of it is taken."""
    text = str(error)  # "UNIQUE constraint failed: session.scope, session.key"
    for field in _TAKEN:
        if text.endswith("session." + field):
            return is_taken(field, getattr(session, field))
    return translate(error, "")


def is_taken(field, value):
    """Return ALREADY_EXISTS for a session whose `field` would have a value that another one has."""
    return errors.AlreadyExists(
        f"the {field} {value!r} is taken", _TAKEN[field], details={"field": field, "value": value}
    )


def gone(path, more="nothing was changed"):
    """Return `StoreIo` for a store of which the file at `path` is not the one any more that was opened."""
    return errors.StoreIo(
        f"{path} was removed or replaced while the store was open: {more}, and nothing is written to it or read from "
        "it any more",
        "Put it back if you have it, then stop the library and start it again; look whether the change is there before "
        "it is made again.",
    )


def taken_over(path):
    """Return `StoreIo` for a store whose descriptors the host has closed."""
    return errors.StoreIo(
        f"the store {path} cannot be used: {TAKEN}",
        "Restart the program, and have it close no descriptors but its own.",
    )


def newer(path, version, known):
    """Return `UNSUPPORTED` for a store that a newer library has written."""
    return errors.Unsupported(
        f"the store {path} has schema version {version}, this library knows versions up to {known}",
        "Update the library: a newer one has written this store.",
    )


def system(error, path, doing):
    """Return `StoreIo` for an `OSError` met while `doing` (a verb phrase) something to `path`."""
    if doing == "lock" and error.errno not in (errno.ENOENT, errno.EBADF):
        return errors.StoreIo(
            f"cannot lock {path}: {_strerror(error)}; the store needs file locks (flock)", remedies.ELSEWHERE
        )
    remedy = remedies.folder(error) if doing == "create the folder" else remedies.remedy(error)
    return errors.StoreIo(f"cannot {doing} {path}: {_strerror(error)}", remedy)


def _strerror(error):
    return error.strerror or str(error)


# -- what SQLite does not tell -----------------------------------------------------------------------------------------
# It is found out by doing what a store needs with a file of our own beside it. Not with the store's: closing any
# descriptor of a database drops all locks that SQLite holds on it.
def diagnose(path):
    """Return what the system refuses to the store at `path`, and what helps, or None when it refuses nothing."""
    folder = os.path.dirname(path)
    length = len(os.fsencode(os.path.realpath(folder)))
    if length > LONGEST:
        return (
            f"the path of its folder has {length} bytes, SQLite opens none in a folder of more than {LONGEST}",
            remedies.SHORTER,
        )
    there = [path + end for end in ("", "-wal", "-shm") if os.path.exists(path + end)]
    if refused := [each for each in there if not os.access(each, os.R_OK | os.W_OK)]:
        return f"{refused[0]} is not readable and writable for this user", remedies.chmod("u+rw", *refused)
    return _try(path, _room, _lock, _map)


def _try(path, *needs):
    probe = f"{path}.probe-{os.getpid()}-{os.urandom(4).hex()}"
    opened = []
    try:
        opened.append(private.make_file(probe, os.O_RDWR))
        os.unlink(probe)
        while len(opened) < 3:  # a database takes three descriptors, so their lack may show at the third only
            opened.append(os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC))
        for need in needs:
            found = need(opened[0])
            if found:
                return found
    except OSError as error:
        return _strerror(error), remedies.remedy(error)
    finally:
        for fd in opened:
            os.close(fd)
    return None


def _room(fd):
    written = 0
    while written < _SHARED:  # where there is less room, only the next write says why
        written += os.pwrite(fd, bytes(_SHARED - written), written)


def _lock(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return f"{_NO_LOCKS}: {_strerror(error)}", remedies.ELSEWHERE
    return None


def _map(fd):
    import mmap  # seldom needed, and a start has no time for it

    try:
        mmap.mmap(fd, _SHARED).close()
    except OSError as error:
        return (
            f"the system refuses to have files of it mapped into memory (mmap): {_strerror(error)}",
            remedies.ELSEWHERE,
        )
    return None
