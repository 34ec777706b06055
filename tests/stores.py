"""Helpers of the tests of the SQLite store: an open one, sessions to put into it, and other processes."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from plue_session.adapters.sqlite import files
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import LogRow, Session

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "data")


@pytest.fixture
def opened(folder):
    """Return a function that opens the folder's store; all are closed in the end."""
    stores = []

    def open_store(scope="embedded"):
        stores.append(SqliteStore(folder, scope))
        return stores[-1]

    yield open_store
    for each in stores:
        each.close()


class Tapped:
    """A connection to a store. A test may have `answer(sql, values)` carry out statements instead."""

    def __init__(self, connection, others=()):
        self._connection, self._others, self.answer = connection, others, connection.execute

    def close(self):
        if self in self._others:
            self._others.remove(self)
        self._connection.close()

    def execute(self, sql, values=()):
        return self.answer(sql, values)

    def executemany(self, sql, rows):
        for values in rows:
            self.answer(sql, values)

    def cursor(self):
        return self

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.fixture
def connected(monkeypatch):
    """The open connections of the stores that are opened from now on, as a list."""
    made, connect = [], files.connect

    def tapped(*given, **more):
        made.append(Tapped(connect(*given, **more), made))
        return made[-1]

    monkeypatch.setattr(files, "connect", tapped)
    return made


def execute(store, sql, values=()):
    """Return the rows that a statement gives on a connection of its own."""
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()


def session(number, **fields):
    return Session(
        number=number,
        id=f"session_{number}",
        **{"created": number, "updated": number, "version": "1", "info": "{}", **fields},
    )


def add(store, number=None, **fields):
    """Commit one session and its event, and return its number."""
    store.begin()
    number = store.next_number(number or 1000)
    store.insert(session(number, **fields))
    store.append(LogRow(store.last_log_id() + 1, f"session_{number}", 0, 0, ",}"))
    store.commit()
    return number


def change(store, number, **fields):
    store.begin()
    found = store.load(f"session_{number}")
    for name, value in fields.items():
        setattr(found, name, value)
    store.save(found)
    store.commit()


def python(code, *arguments, **options):
    """Start another process that runs `code` with the repository on its path."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )


class Forked:
    """A child of this process that runs `work(say)`; what it says can be read line by line. Cheaper than `python`."""

    def __init__(self, work):
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.close(read_end)
                work(lambda text: os.write(write_end, f"{text}\n".encode()))
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)
        self.lines = os.fdopen(read_end)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        """Return what it said since the last line read, and its exit status (negative: the signal)."""
        rest = self.lines.read().split("\n")[:-1]
        self.lines.close()
        return rest, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def contents(folder):
    """Return the bytes of the files that hold data, by name."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("sessions.db") and not name.endswith("-shm"):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return {name: data for name, data in found.items() if data or name == "sessions.db"}


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
