"""The rows of a server's events: how soon and how fast they reach a reader, and what is done with them on the way.

The server is a stub that says what OpenCode says on /global/event: each change twice, plain and numbered, a chunk for
each. It tells when it is told to.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

from opencode import LIBCURL, needs_curl, quantile, times
from report import both, median, rate, span

from plue_session.adapters.opencode.survey import Survey
from plue_session.rules import sse
from tests.opencode.stub import Stub, reply

#: Where `make .venv/.bench` puts what is measured against.
PEERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".venv", "bench")
SESSIONS, PROJECT, CREATED = 100, "70b82a3e3a70bb6c6de41a62adfe400f3c7e1d55", 1_795_965_689_255
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def session(number, title, folder, updated=CREATED):
    """Return a session as OpenCode 1.18.33 writes it."""
    return {
        "id": f"ses_{number:026}",
        "slug": "quiet-stub",
        "projectID": PROJECT,
        "directory": folder,
        "path": "",
        "title": title,
        "version": "1.18.33",
        "cost": 0,
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}},
        "metadata": {"a": 1},
        "time": {"created": CREATED, "updated": updated},
    }


def event(payload, **more):
    return b"data: " + compact({**more, "payload": payload}) + b"\n\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Teller:
    """The stub. `say(data)` says something to all who listen, and returns when it began: monotonic ns."""

    def __init__(self, folder):
        self.folder, self._made, self._numbers = folder, 0, [0] * SESSIONS
        self._listeners, self._ended = [], threading.Event()

    def answer(self, method, target):
        if target.startswith("/global/event"):
            return self._listen
        if target.startswith("/sync/history"):
            return reply(400, {"name": "BadRequest"}) if self._made == 0 else reply(200, [])
        if target.startswith("/session?"):
            return reply(200, [session(number, "before", self.folder) for number in range(SESSIONS)])
        return reply(200, [] if target.startswith("/experimental") else {})

    def _listen(self, connection):
        connection.sendall(HEAD + chunk(event({"id": "evt_0", "type": "server.connected", "properties": {}})))
        self._listeners.append(connection)
        self._ended.wait()

    def await_listeners(self, count):
        until = time.monotonic() + 30
        while len(self._listeners) < count:
            if time.monotonic() > until:
                raise SystemExit("the library does not listen")
            time.sleep(0.01)

    def end(self):
        self._ended.set()

    def change(self, title=None):
        """Return what is said of the next change: in turn each session gets another title."""
        number, self._made = self._made % SESSIONS, self._made + 1
        self._numbers[number] += 1
        name, info = f"evt_{self._made:026}", session(number, "", self.folder, CREATED + self._made)
        info["title"] = title or f"title {self._made}"
        data, where = {"sessionID": info["id"], "info": info}, {"directory": self.folder, "project": PROJECT}
        numbered = {"id": name, "type": "session.updated.1", "seq": self._numbers[number], "aggregateID": info["id"]}
        plain = event({"id": name, "type": "session.updated", "properties": data}, **where)
        told = event({"type": "sync", "syncEvent": {**numbered, "data": data}, "id": name}, **where)
        return chunk(plain) + chunk(told)

    def say(self, data):
        began = time.monotonic_ns()
        self._listeners.reverse()  # who is told first: each in turn
        for connection in self._listeners:
            connection.sendall(data)
        return began


class Program:
    """A process of events.c that answers a line with numbers."""

    def __init__(self, bench, *arguments):
        command = [bench.programs["events"], *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=bench.environment(), **pipes)
        self.ready = self._process.stdout.readline().strip()

    def tell(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def numbers(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("benchmarks/events.c failed")
        return [float(number) for number in line.split()]

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)


@contextlib.contextmanager
def following(bench, name, reader):
    """Yield the stub and a process of the library's that follows it, and reads its events through an "observer" or the
    default "queue"."""
    folder = bench.place(name)
    teller = Teller(folder)
    with contextlib.ExitStack() as ends, Stub(teller.answer) as stub:
        ends.callback(teller.end)
        teller.url = stub.url
        backend = {"kind": "opencode", "url": stub.url, "directory": folder}
        config = {"dataDir": os.path.join(folder, "store"), "backend": backend, "syncIntervalMs": 600_000}
        ours = Program(bench, reader, json.dumps(config))
        ends.callback(ours.close)
        teller.await_listeners(1)
        ours.tell(f"read {SESSIONS}")  # from here on the number of each is known
        teller.say(b"".join(teller.change() for _ in range(SESSIONS)))
        ours.numbers()
        yield teller, ours


@needs_curl("a server's event until observer_next returns")
def events_seen(bench):
    """How soon one event is there."""
    took, read, count = [], [], bench.size["events_alone"]
    with following(bench, "seen-alone", "observer") as (teller, ours):
        curl = Program(bench, "curl", LIBCURL, teller.url, "none")
        teller.await_listeners(2)
        for number in range(count):
            for each in (ours, curl):
                each.tell("read 1")
            time.sleep(0.003 + number % 7 / 1000)
            teller.say(teller.change(f"at {time.monotonic_ns()}"))
            took += ours.numbers()[1:]
            read += curl.numbers()[1:]
        curl.close()
    later = median(took) - median(read)
    bench.row(
        "a server's event until observer_next returns",
        "a C program reads it with libcurl",
        f"{times(took)}, p99 {quantile(took, 0.99) / 1000:.3g} ms",
        f"{times(read)}, p99 {quantile(read, 0.99) / 1000:.3g} ms",
        median(took) / median(read),
        f"p50 {later / 1000:.2f} ms later",
        "p50 ≤ 2 ms later",
        later <= 2000,
        "between the two: decoded, merged, and a commit on the disk",
    )


def events_throughput(bench):
    """How fast a burst of them is there."""
    for reader, name in (("queue", "read"), ("observer", "observed")):
        _throughput(bench, reader, f"burst of changes of a server until the last is {name}")


def _throughput(bench, reader, row):
    changes, appended, found = bench.size["burst_changes"], [], []
    with following(bench, f"throughput-{reader}", reader) as (teller, ours):
        sqlite = Program(bench, "append", bench.place("append"))
        if sqlite.ready != "ready":
            bench.row(row, "SQLite", "not measured", "no SQLite", None)
            return
        for _ in range(bench.size["event_rounds"]):
            sqlite.tell(f"append {3 * changes}")
            appended.append(3 * changes / sqlite.numbers()[0] * 1e9)
            data = b"".join(teller.change() for _ in range(changes))
            ours.tell(f"read {changes}")
            began = teller.say(data)
            found.append(changes / (ours.numbers()[0] - began) * 1e9)
        sqlite.close()
    ratios = both(found, appended)
    bench.row(
        row,
        "SQLite alone: append 300 B, 512 in a commit",
        rate(median(found)),
        rate(median(appended)),
        median(ratios),
        span(ratios),
        "≥ 0.5",
        median(ratios) >= 0.5,
        f"{changes:,} changes of {SESSIONS} sessions, each told twice, 620 and 640 bytes",
    )


def httpx_sse():
    """Return the module; it is no dependency of the library's."""
    if PEERS not in sys.path:
        sys.path.append(PEERS)
    try:
        import httpx
        import httpx_sse
    except ImportError:
        raise SystemExit("httpx-sse is missing: make .venv/.bench") from None
    return httpx, httpx_sse


def events_parser(bench):
    """The parser alone."""
    httpx, peer = httpx_sse()
    title = "x" * 130
    chunks = [
        event({"id": f"evt_{number:026}", "type": "session.updated", "properties": {"title": title}}, directory="/d/e")
        for number in range(bench.size["parsed"])
    ]

    class Stream(httpx.SyncByteStream):
        def __iter__(self):
            return iter(chunks)

    def ours():
        feed, count = sse.Parser().feed, 0
        for each in chunks:
            count += len(feed(each))
        return count

    def theirs():
        response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())
        return sum(1 for _ in peer.EventSource(response).iter_sse())

    rates = {}
    for _ in range(bench.size["event_rounds"]):
        for each in (ours, theirs):
            began = time.perf_counter()
            if each() != len(chunks):
                raise SystemExit("an event was lost")
            rates.setdefault(each, []).append(len(chunks) / (time.perf_counter() - began))
    ratios = both(rates[ours], rates[theirs])
    bench.row(
        "the SSE parser alone, an event in each chunk",
        "httpx-sse: EventSource over the same chunks in memory",
        rate(median(rates[ours])),
        rate(median(rates[theirs])),
        median(ratios),
        span(ratios),
        "≥ 6",
        median(ratios) >= 6,
        f"events of {len(chunks[0])} bytes",
    )


def events_list(bench):
    """What a list of all sessions costs of which few have changed."""
    count, rounds = bench.size["listed_sessions"], bench.size["event_rounds"]
    bodies = [
        compact([session(each, f"title {turn if each % 1000 == 0 else 0}", "/home/user") for each in range(count)])
        for turn in range(rounds + 1)
    ]
    found, known, ours, theirs = Survey(bodies[0]), {each["id"]: each for each in json.loads(bodies[0])}, [], []
    for body in bodies[1:]:
        began = time.perf_counter()
        found = Survey(body, found)
        ours.append((time.perf_counter() - began) * 1e6)
        began = time.perf_counter()
        listed = {each["id"]: each for each in json.loads(body)}
        changed = [each for session_id, each in listed.items() if known.get(session_id) != each]
        theirs.append((time.perf_counter() - began) * 1e6)
        known = listed
        if len(changed) != len(found.changed):
            raise SystemExit("a change was missed")
    ratios = both(theirs, ours)
    bench.row(
        f"what has changed in a list of {count:,} sessions",
        "decode all, compare each with what it was",
        times(ours),
        times(theirs),
        median(ratios),
        span(ratios),
        "≥ 2.5 times as fast",
        median(ratios) >= 2.5,
        f"{len(bodies[0]) / 1e6:.1f} MB, {len(changed)} sessions have changed; the ratio is the peer's time by ours",
    )


PARTS = (events_seen, events_throughput, events_parser, events_list)
FULL = {
    "events_alone": 300,
    "burst_changes": 8000,
    "event_rounds": 9,
    "parsed": 50_000,
    "listed_sessions": 10_000,
}
QUICK = {
    "events_alone": 5,
    "burst_changes": 500,
    "event_rounds": 1,
    "parsed": 500,
    "listed_sessions": 10_000,
}
