"""A burst of a server's events, taken in by the library in this process: how many commits, and how long it takes.

    burst.py FOLDER EVENTS ROUNDS

The server is a stub that tells of a rename of another session with each event, all at once. Prints a line of JSON for
each round: {"events_ms", "commits", "flushes_ms"}. The peer is what one flush for each event takes: append as many
bytes as a commit has and fdatasync, as often as there are events.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.prototypes import load, take
from tests.opencode.stub import Stub, reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Bytes that a commit of one change appends to the WAL: some pages of 2 KiB.
COMMIT = 16_384


def event(kind, **properties):
    data = b"data: " + json.dumps({"type": kind, "properties": properties}).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def session(number, title, folder, updated):
    return {
        "id": f"ses_{number}",
        "title": title,
        "version": "1",
        "directory": folder,
        "time": {"created": 1000, "updated": updated},
    }


def count_commits():
    """Return a list that gets an item with each commit of the library's."""
    commit, commits = SqliteStore.commit, []

    def counted(store):
        commits.append(True)
        commit(store)

    SqliteStore.commit = counted
    return commits


def flush_each(path, count):
    """Return how long `count` appends take, each flushed, in ms."""
    data = b"x" * COMMIT
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began = time.monotonic()
    for _ in range(count):
        os.write(file, data)
        os.fdatasync(file)
    took = time.monotonic() - began
    os.close(file)
    return took * 1000


def main(folder, events, rounds):
    commits, plue, go, told = count_commits(), load(), threading.Semaphore(0), []
    listed = [session(number, "before", folder, 1000) for number in range(events)]

    def stream(connection):
        connection.sendall(HEAD + (event("server.connected")))
        for step in range(rounds):
            go.acquire()
            new = [session(number, f"round {step}", folder, 2000 + step) for number in range(events)]
            connection.sendall(b"".join((event("session.updated", sessionID=each["id"], info=each)) for each in new))
        go.acquire()

    def answer(method, target):
        if target.startswith("/event"):
            return stream
        return reply(200, listed if target.startswith("/session?") else {})

    config = {"dataDir": f"{folder}/store", "backend": {"kind": "opencode", "url": "", "directory": folder}}
    with Stub(answer) as stub:
        config["backend"]["url"] = stub.url
        if plue.plue_init(json.dumps(config).encode()) or plue.plue_session_sync(20_000):
            raise SystemExit(plue.plue_get_last_error().decode())
        last = plue.plue_session_open(b"ses_%d" % (events - 1))
        for step in range(rounds):
            title, began, before = f'"title":"round {step}"', time.monotonic(), len(commits)
            go.release()
            while title not in take(plue, plue.plue_session_peek_info(last)):
                if time.monotonic() - began > 20:
                    raise SystemExit("the events do not come")
                time.sleep(0.0005)
            told.append({"events_ms": (time.monotonic() - began) * 1000, "commits": len(commits) - before})
            told[-1]["flushes_ms"] = flush_each(f"{folder}/flushed", events)
        go.release()
        plue.plue_shutdown()
    for line in told:
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
