"""Stores to measure on: filled through the library's own services, and the statements that it runs for one change."""

import json
import os
import random
import sqlite3
from functools import partial

from plue_session.model import Message, Part
from plue_session.rules import parameters
from plue_session.runtime import Runtime

#: Sessions that are made in one commit while a store is filled.
GROUP = 1000
#: 2025-11-20: when the sessions of a filled store begin.
EPOCH = 1_763_640_000_000
VERBS = ("Fix", "Add", "Review", "Explain", "Port")


class Nobody:
    """A publisher that nobody listens to."""

    def __getattr__(self, name):
        return lambda *values: None

    def known_ids(self):
        return []


def opened(folder):
    """Return a running library on the store in `folder`, without the C side."""
    return Runtime(json.dumps({"dataDir": folder}), lambda name: None, Nobody())


def fill(folder, count):
    """Make a store with `count` sessions of about 300 bytes each, half of which were changed since."""
    runtime = opened(folder)
    time = [EPOCH]
    runtime.writer.clock = lambda: time[0]

    def make(transaction, number):
        time[0] += 1 + number % 7 * 1000
        title = f"{VERBS[number % 5]} the {number * 7919 % count}th finding"
        options = {
            "title": title,
            "tags": ["benchmark", f"team-{number % 13}"],
            "metadata": {"ticket": number, "branch": f"work/{number}"},
        }
        given = parameters.options(json.dumps(options), "options")
        session = runtime.sessions.create_with(given).preview(transaction)
        if number % 2:
            runtime.sessions.update_title(session.id, session.title + ", again").preview(transaction)

    _in_groups(runtime, make, range(count))
    runtime.close()


def shuffle(folder):
    """Change every session of a store, in no order: a list by time of change would go to and fro from now on."""
    runtime = opened(folder)
    sessions = json.loads(b"[%b]" % runtime.sessions.list())
    random.Random(1).shuffle(sessions)

    def rename(transaction, session):
        runtime.sessions.update_title(session["id"], session["title"] + "!").preview(transaction)

    _in_groups(runtime, rename, sessions)
    runtime.close()


def _in_groups(runtime, work, of):
    """Do some work for each of many, a thousand in a commit."""
    for first in range(0, len(of), GROUP):
        changes = [partial(work_on, work, each) for each in of[first : first + GROUP]]
        for outcome in runtime.writer.run_all(changes):
            if isinstance(outcome, Exception):
                raise outcome


def work_on(work, each, transaction):
    return work(transaction, each)


def fill_keyed(folder, keys):
    """Make a store with one session per key and return their numbers."""
    runtime = opened(folder)
    numbers = [runtime.writer.run(runtime.sessions.get_or_create(key).preview).number for key in keys]
    runtime.close()
    return numbers


def fill_said(folder, key, counts):
    """Make a store with a session for each count, of so many messages with a part of 300 bytes each; their keys are
    `key` and the count."""
    runtime = opened(folder)
    body = json.dumps({"id": "prt", "type": "text", "text": "word " * 56}, separators=(",", ":"))
    for count in counts:
        number = runtime.writer.run(runtime.sessions.get_or_create(f"{key}{count}").preview).number

        def say(transaction, at, number=number):
            message = Message(number, f"msg_{at:08d}", "assistant" if at % 2 else "user", None, EPOCH + at)
            transaction.store.keep_message(message)
            transaction.store.keep_part(Part(number, message.id, f"prt_{at:08d}", True, body))

        _in_groups(runtime, say, range(count))
    runtime.close()


class Recording(sqlite3.Cursor):
    """A cursor that writes down what it is asked to do."""

    def execute(self, sql, values=()):
        if Recorder.tape is not None:
            Recorder.tape.append((sql, tuple(values)))
        return super().execute(sql, values)

    def executemany(self, sql, rows):
        for values in rows:
            self.execute(sql, values)


class Recorder(sqlite3.Connection):
    """A connection with such cursors."""

    tape = None

    def cursor(self, factory=Recording):
        return super().cursor(factory)


def record(folder, path):
    """Write the statements of one create and one update_title to `path`, in the form that replay.h reads.

    Returns the number of a session that can be updated. What differs from call to call is known by its value, which is
    therefore made to be like no other: session numbers are times, and the log is a thousand events long.
    """
    original = sqlite3.connect
    sqlite3.connect = lambda *values, **options: original(*values, factory=Recorder, **options)
    try:
        runtime = opened(folder)
        runtime.writer.run_all([runtime.sessions.create().preview for _ in range(GROUP)])

        def change(action):
            place = runtime.store.log_state()[1] + 1
            Recorder.tape = tape = []
            runtime.writer.run(action(place).preview)
            Recorder.tape = None
            return tape, place

        taped = {}
        create, place = change(lambda place: runtime.sessions.create())
        session = json.loads(
            runtime.sessions.query(parameters.query('{"sort":"created","order":"desc","limit":1}', "query"))
        )["sessions"][0]
        number = int(session["id"].partition("_")[2])
        taped["create"] = create, {number: "a", place: "b", session["time"]["created"]: "c"}
        once = runtime.sessions.update_title(session["id"], "once, so that the writer has the row in mind")
        runtime.writer.run(once.preview)
        update, place = change(lambda place: runtime.sessions.update_title(session["id"], f"renamed {place}"))
        session = json.loads(
            runtime.sessions.query(parameters.query('{"sort":"created","order":"desc","limit":1}', "query"))
        )["sessions"][0]
        taped["update_title"] = update, {number: "a", place: "b", session["time"]["updated"]: "c"}
        runtime.close()
    finally:
        sqlite3.connect = original
        Recorder.tape = None
    with open(path, "w", encoding="utf-8") as file:
        for name, (tape, variables) in taped.items():
            if not any("COMMIT" in sql for sql, _ in tape):
                raise RuntimeError(f"the store committed {name} in a way that cannot be recorded: {tape}")
            print("op", name, file=file)
            for sql, values in tape:
                print("S", " ".join(line for line in sql.splitlines() if not line.startswith("--")), file=file)
                for value in values:
                    print(_written(value, variables), file=file)
    return number


def _written(value, variables):
    if value is None:
        return "N"
    if isinstance(value, int):
        return f"V {variables[value]}" if value in variables else f"I {value}"
    for known, letter in variables.items():
        value = value.replace(str(known), chr(ord(letter) - ord("a") + 1))
    return "T " + value.replace("\n", "\4")


def size(folder):
    """Return the bytes of the database in `folder`."""
    return os.stat(os.path.join(folder, "sessions.db")).st_size
