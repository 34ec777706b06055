"""Translate what SQLite and the system report into the library's errors, in one place."""

import os
import sqlite3

from plue_session import errors

NEW_STORE = "Keep a copy of it; `plue-session doctor --new-store` moves it aside and begins a new store."
_SPACE = "Check the disk's free space, quota and permissions, then try again."

#: What Python's sqlite3 raises: the last when a message of SQLite's quotes what is damaged.
RAISED = (sqlite3.Error, MemoryError, UnicodeDecodeError)

# Primary result codes, https://www.sqlite.org/rescode.html
_DAMAGED = (11, 26)  # CORRUPT, NOTADB
_LOCKED = (5, 6)  # BUSY, LOCKED

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
    "malformed": 11, "not a database": 26, "locked": 5, "readonly": 8, "disk I/O": 10, "is full": 13,
    "unable to open": 14,
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
        return errors.Busy(f"another program keeps the store {path} locked", "Close what has it open, then try again.")
    if number == 1 and "decode" in str(error):  # this one is of Python's sqlite3
        return damaged(path, "a text in it is not UTF-8")
    if number == 1 and any(part in str(error) for part in _LACKING):  # our SQL is constant: the tables are not those that we made
        return errors.Integrity(f"the store {path} lacks what it must have ({error}); nothing was overwritten", NEW_STORE)
    if number == 1:
        return errors.Unknown(f"the store {path} was used wrongly: {error}", "Please report this.")
    return errors.StoreIo(f"the store {path} cannot be read or written: {error}{_reason(path, number)}", _SPACE)


def damaged(path, why):
    """Return the error for a store that holds what cannot be."""
    return errors.Integrity(f"the store {path} is damaged ({why}); nothing was overwritten", NEW_STORE)


def taken(error, session):
    """Return ALREADY_EXISTS for a `sqlite3.IntegrityError` met when `session` was stored: says what of it is taken."""
    text = str(error)  # "UNIQUE constraint failed: session.scope, session.key"
    for field in _TAKEN:
        if text.endswith("session." + field):
            return is_taken(field, getattr(session, field))
    return translate(error, "")


def is_taken(field, value):
    """Return ALREADY_EXISTS for a session whose `field` would have a value that another one has."""
    return errors.AlreadyExists(f"the {field} {value!r} is taken", _TAKEN[field], details={"field": field, "value": value})


def system(error, path, doing):
    """Return `StoreIo` for an `OSError` met while `doing` (a verb phrase) something to `path`."""
    return errors.StoreIo(f"cannot {doing} {path}: {error.strerror or error}", _SPACE)


def _reason(path, number):
    """Return the system's reason why a file cannot be opened, which SQLite does not tell; "" when unknown.

    Opens the folder, not the file: closing any descriptor of a database drops all locks SQLite holds on it. A database
    takes three descriptors, so their lack may show at the third only.
    """
    if number != 14:  # CANTOPEN
        return ""
    opened, reason = [], ""
    try:
        while len(opened) < 3:
            opened.append(os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        reason = f" ({error.strerror})"
    for fd in opened:
        os.close(fd)
    return reason
