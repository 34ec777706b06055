"""The rows of a backend that is an OpenCode server: each call against libcurl, which sends the same requests to the
same server.

The server is a real one, with a model of our own, offline and away from the user's files, as in the tests. It is
started once per run.
"""

import base64
import contextlib
import ctypes
import functools
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

from plue_session.adapters.opencode.process import ENVIRONMENT
from tests.opencode.fake_llm import FakeModel
from tests.opencode.fixtures import install, isolate

HERE = os.path.dirname(os.path.abspath(__file__))
LIBCURL = "libcurl.so.4"
_numbers = itertools.count()
PASSWORD = "benchmark"
#: What a call is called in opencode.c, in the table, and its goal: the ratio to libcurl.
CALLS = (
    ("get", "get_info of an expired snapshot", 1.5),
    ("list", "list", 1.25),
    ("update", "update_title", 1.25),
    ("create", "create", 1.25),
    ("delete", "delete", 1.25),
    ("child", "create with a parent", None),
)
#: Those that are durable before they return: also compared with a libcurl program that records what it was answered.
RECORDED = ("update", "create", "delete")
REQUESTS = {
    "get": "GET",
    "list": "GET",
    "update": "PATCH",
    "create": "POST",
    "delete": "GET status, DELETE",
    "child": "GET, POST",
}


def median(values):
    return statistics.median(values)


def quantile(values, part):
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


def shown(microseconds):
    """Write a time with its unit."""
    return f"{microseconds / 1000:.3g} ms" if microseconds >= 1000 else f"{microseconds:.3g} µs"


def times(values):
    return f"p50 {shown(median(values))}, p95 {shown(quantile(values, 0.95))}"


def span(ratios):
    if len(ratios) < 4:
        return f"{min(ratios):.2f}–{max(ratios):.2f}"
    quarters = statistics.quantiles(ratios, n=4)
    return f"{quarters[0]:.2f}–{quarters[2]:.2f}"


def needs_curl(*rows):
    """Have a part say in each of its rows that there is no libcurl, if so."""

    def with_curl(part):
        @functools.wraps(part)
        def measured(bench):
            try:
                ctypes.CDLL(LIBCURL)
            except OSError:
                for row in rows:
                    bench.row(
                        row.format(f"{bench.size['many']:,}"), "libcurl", "not measured", f"{LIBCURL} is missing", None
                    )
            else:
                part(bench)

        return measured

    return with_curl


class Server:
    """A real server. `took` is how long it needed to listen, in ms; `model` the one it asks; `one`, `other`, `many` and
    `none` are directories."""

    def __init__(self, root, model):
        self.root, self.model = Path(root).absolute(), model
        self.root.mkdir()
        self.environment = {
            **isolate(self.root, model),
            **ENVIRONMENT,
            "OPENCODE_SERVER_PASSWORD": PASSWORD,
            "PATH": os.environ["PATH"],
        }
        self.one, self.other, self.many, self.none = (
            self._directory(name) for name in ("one", "other", "many", "none")
        )
        command = [install(), "serve", "--hostname", "127.0.0.1", "--port", "0"]
        began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=self.one,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        line = next((line for line in self.process.stdout if " listening on " in line), None)
        self.took = (time.monotonic() - began) * 1000
        if line is None:
            raise SystemExit("OpenCode does not start")
        self.url = line.split()[-1]
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        for _ in self.process.stdout:
            pass

    def _directory(self, name):
        """Make a directory with a repository of its own: sessions belong to one."""
        path = self.root / name
        path.mkdir()
        git = ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
        subprocess.run([*git, "init", "-q"], cwd=path, check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", f"First of {name}"], cwd=path, check=True)
        return str(path.resolve())

    def backend(self, directory):
        return {"kind": "opencode", "url": self.url, "directory": directory, "password": PASSWORD}

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def server(bench):
    """Return the run's server, started by the first part that needs it."""
    if "opencode" not in bench.shared:
        model = bench.ends.enter_context(FakeModel())
        bench.ends.callback(model.shutdown)
        made = Server(os.path.join(bench.folder, "opencode"), model)
        bench.ends.callback(made.close)
        bench.shared["opencode"] = made
    return bench.shared["opencode"]


class Program:
    """A process of opencode.c that answers commands."""

    def __init__(self, bench, url, directory, other, config):
        authorization = "Basic " + base64.b64encode(f"opencode:{PASSWORD}".encode()).decode()
        self.process = subprocess.Popen(
            [
                bench.programs["opencode"],
                LIBCURL,
                url,
                authorization,
                quote(directory, safe=""),
                quote(other, safe=""),
                json.dumps(config),
            ],
            env=bench.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _line(self):
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("benchmarks/opencode.c failed")
        return answer.strip()

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._line()

    def ask(self, command):
        return [float(number) for number in self.say(command).split()]

    def more(self):
        return [float(number) for number in self._line().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


@contextlib.contextmanager
def program(bench, url, directory, other, start=True, **config):
    """Run opencode.c with a store of its own; `start` False: the library is not started yet."""
    made = Program(
        bench, url, directory, other, {"dataDir": bench.place(f"library-{next(_numbers)}"), "cacheTtlMs": 0, **config}
    )
    try:
        if start:
            made.ask("start")
        yield made
    finally:
        made.close()


def in_turns(process, what, rounds, calls, sides=("ours", "peer")):
    """Measure both sides block by block, A B B A; return the times of each and the ratios of the rounds' medians."""
    found, ratios = {side: [] for side in sides}, []
    for side in sides:
        process.ask(f"{side} {what} 2")
    for number in range(rounds):
        medians = {}
        for side in sides if number % 2 else reversed(sides):
            process.ask("settle 0.03")  # what the block before has left to be done
            block = process.ask(f"{side} {what} {calls}")
            found[side] += block
            medians[side] = median(block)
        ratios.append(medians[sides[0]] / medians[sides[1]])
    return (*(found[side] for side in sides), ratios)


# -- rows --------------------------------------------------------------------------------------------------------------
@needs_curl(
    *(f"{name}, OpenCode" for _, name, _ in CALLS),
    *(f"{name}, OpenCode, durable" for what, name, _ in CALLS if what in RECORDED),
    "overhead over HTTP itself",
)
def opencode_calls(bench):
    """9. Each call with a real server."""
    real = server(bench)
    overheads = {}
    with program(bench, real.url, real.one, real.other, backend=real.backend(real.one)) as process:
        process.ask(f"fill {bench.size['listed']}")
        process.ask("follow")
        for what, _, _ in CALLS:  # the server's JIT compiler is done with a route after some hundreds of requests
            process.ask(f"peer {what} {bench.size['warm']}")
        process.ask("record " + os.path.join(bench.place("record"), "log"))
        for what, name, goal in CALLS:
            sides = ("ours", "peer", "kept") if what in RECORDED else ("ours", "peer")
            ours, peer, *kept, ratios = in_turns(
                process, what, bench.size["remote_rounds"], bench.size["remote_calls"], sides
            )
            overheads[name] = median(ours) - median(peer)
            ratio = median(ours) / median(
                peer
            )  # of the rounds' ratios each one depends on where its calls fell in the server's slots
            bench.row(
                f"{name}, OpenCode",
                f"libcurl: {REQUESTS[what]}",
                times(ours),
                times(peer),
                ratio,
                span(ratios),
                f"≤ {goal}" if goal else "",
                ratio <= goal if goal else None,
            )
            for each in kept:
                bench.row(
                    f"{name}, OpenCode, durable",
                    f"libcurl: {REQUESTS[what]}; append, fdatasync",
                    times(ours),
                    times(each),
                    median(ours) / median(each),
                )
    name, most = max(overheads.items(), key=lambda item: item[1])
    bench.row(
        "overhead over HTTP itself",
        "libcurl: the same requests",
        shown(most),
        "0 ms",
        None,
        "",
        "< 10 ms",
        most < 10_000,
        f"the most of all calls: {name}",
    )


@needs_curl(*(f"{name}, stub" for _, name, _ in CALLS), "get_info, stub, connection kept")
def opencode_stub(bench):
    """10. The same with a server that takes no time: what is left is ours."""
    folder, found = os.path.abspath(bench.place("stub")), {}
    for name in ("one", "other"):
        os.mkdir(os.path.join(folder, name))
    one, other = os.path.join(folder, "one"), os.path.join(folder, "other")
    for mode in ("keep", "close"):
        stub = subprocess.Popen(
            [bench.programs["stub"], mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        url = f"http://127.0.0.1:{stub.stdout.readline().strip()}"
        with program(bench, url, one, other, backend={"kind": "opencode", "url": url, "directory": one}) as process:
            process.ask(f"fill {bench.size['listed']}")
            process.ask("follow")
            process.ask("settle 0.3")
            for what, name, _ in CALLS if mode == "keep" else CALLS[:1]:
                ours, peer, ratios = in_turns(process, what, bench.size["remote_rounds"], bench.size["stub_calls"])
                found[mode, what] = ours
                if mode == "keep":
                    bench.row(
                        f"{name}, stub",
                        f"libcurl: {REQUESTS[what]}",
                        times(ours),
                        times(peer),
                        median(ratios),
                        span(ratios),
                        note=f"{shown(median(ours) - median(peer))} of the library's own per call",
                    )
        stub.stdin.close()
        stub.wait(10)
    kept, anew = median(found["keep", "get"]), median(found["close", "get"])
    bench.row(
        "get_info, stub, connection kept",
        "the same, a connection for each request",
        shown(kept),
        shown(anew),
        kept / anew,
        "",
        "gain > 50 %",
        anew / kept > 1.5,
        f"{(anew / kept - 1) * 100:.0f} % more calls per second",
    )


@needs_curl("a rename by another client until it is told here", "a rename by another client until peek_info shows it")
def opencode_seen(bench):
    """11. How soon another client's change is seen here."""
    real = server(bench)
    with program(bench, real.url, real.one, real.other, backend=real.backend(real.one)) as process:
        wire, callback, peek = process.ask(f"renames {bench.size['renames']}"), process.more(), process.more()
    for what, ours in (("it is told here", callback), ("peek_info shows it", peek)):
        late = [max(each, 0) for each in ours]
        whole = [a + b for a, b in zip(wire, late, strict=True)]
        bench.row(
            f"a rename by another client until {what}",
            "a C program reads its event",
            f"p50 {shown(median(whole))}, p99 {shown(quantile(whole, 0.99))}",
            f"p50 {shown(median(wire))}, p99 {shown(quantile(wire, 0.99))}",
            median([a / b for a, b in zip(whole, wire, strict=True)]),
            f"after the event: p50 {shown(median(late))}, p99 {shown(quantile(late, 0.99))}",
            "p99 < 100 ms",
            quantile(late, 0.99) < 100_000,
        )


@needs_curl("the first piece of an answer until observer_next has it")
def opencode_deltas(bench):
    """11. How soon the model's first words are here."""
    real = server(bench)
    with program(bench, real.url, real.one, real.other, backend=real.backend(real.one)) as process:
        wire, ours = process.ask(f"deltas {bench.size['answers']}"), process.more()
    late = [max(each, 0) for each in ours]
    bench.row(
        "the first piece of an answer until observer_next has it",
        "a C program reads its event",
        f"p50 {shown(median(late))} after it, p95 {shown(quantile(late, 0.95))}",
        f"p50 {shown(median(wire))} after the input, p95 {shown(quantile(wire, 0.95))}",
        median([(a + b) / b for a, b in zip(late, wire, strict=True)]),
        f"after the event: p50 {shown(median(late))}, p95 {shown(quantile(late, 0.95))}",
        "p50 ≤ 2 ms after the event",
        median(late) <= 2_000,
    )


@needs_curl("abort of a turn that streams")
def opencode_turns(bench):
    """12. How long an abort takes that returns after the turn's end."""
    real = server(bench)
    found = {"ours": [], "peer": []}
    with program(bench, real.url, real.one, real.other, backend=real.backend(real.one)) as process:
        for number in range(-1, 2 * bench.size["turns"]):  # the first turn of a server's life takes seconds
            session = process.say(f"turn {number}")
            while real.model.started.get(timeout=60) != f"turn {number} [wait]":
                pass
            process.ask("settle 0.1")
            side = ("ours", "peer")[number % 2]
            (took,) = process.ask(f"abort {side} {session}")
            if number >= 0:
                found[side].append(took * 1000)
            process.ask("settle 0.1")
    ratios = [a / b for a, b in zip(found["ours"], found["peer"], strict=True)]
    bench.row(
        "abort of a turn that streams",
        "libcurl: POST abort, then GET its message each 2 ms",
        times(found["ours"]),
        times(found["peer"]),
        median(ratios),
        span(ratios),
        "≤ 2 s",
        max(found["ours"]) <= 2_000_000,
    )


def fill_many(bench, process):
    """Have the server's directory `many` hold as many sessions as are to be measured with, once in a run."""
    if "many" not in bench.shared:
        process.ask(f"fill {bench.size['many']}")
        bench.shared["many"] = True


MANY = (
    "plue_init until {} sessions are here",
    "first list of {}, right after plue_init",
    "later list of {}, nothing changed",
    "later list of {}, one changed",
    "resident memory with {} sessions of a server",
)


@needs_curl(*MANY)
def opencode_many(bench):
    """13. Many sessions on the server."""
    real, count = server(bench), bench.size["many"]
    lists, name = {"peer": [], "converged": [], "first": [], "same": [], "changed": []}, f"{count:,}"
    for number in range(bench.size["many_rounds"]):
        with program(bench, real.url, real.many, real.other, start=False, backend=real.backend(real.many)) as process:
            if number == 0:
                fill_many(bench, process)
            lists["peer"] += process.ask("peer list 1")
            process.ask("start")
            lists["converged"] += process.ask(f"converge {count}")
        with program(bench, real.url, real.many, real.other, backend=real.backend(real.many)) as process:
            lists["first"] += process.ask("ours list 1")
            process.ask(f"converge {count}")
            process.ask("settle 0.5")
            for _ in range(bench.size["many_lists"]):
                lists["peer"] += process.ask("peer list 1")
                lists["same"] += process.ask("ours list 1")
                process.ask("touch")
                lists["changed"] += process.ask("ours list 1")
                process.ask("settle 0.05")
            (memory,) = process.ask("resident")
    peer = lists["peer"]
    lists["converged"] = [each * 1000 for each in lists["converged"]]
    for row, what in zip(MANY, ("converged", "first", "same", "changed"), strict=False):
        ratios = [each / median(peer) for each in lists[what]]
        bench.row(
            row.format(name),
            "libcurl: GET of the same list",
            times(lists[what]),
            times(peer),
            median(ratios),
            span(ratios),
        )
    with program(bench, real.url, real.none, real.other, backend=real.backend(real.none)) as process:
        process.ask("ours list 3")
        process.ask("settle 0.5")
        (least,) = process.ask("resident")
    bench.row(
        MANY[-1].format(name),
        "the same, and the server has none",
        f"{memory / 1e6:.1f} MB",
        f"{least / 1e6:.1f} MB",
        memory / least,
        "",
        "≤ 40 MB more",
        memory - least <= 40e6,
        f"{(memory - least) / 1e6:.1f} MB more",
    )


@needs_curl("plue_init that spawns a server")
def opencode_spawn(bench):
    """14. A server of our own."""
    real = server(bench)
    ours, bare = [], [real.took]
    for number in range(bench.size["spawns"]):
        root = Path(bench.place(f"spawned-{number}")).absolute()
        environment = {**isolate(root, real.model), "PATH": os.environ["PATH"]}
        backend = {"kind": "opencode", "spawn": {"command": [install()], "directory": real.one, "env": environment}}
        with program(bench, "-", real.one, real.other, start=False, backend=backend) as process:
            ours += process.ask("start")
        if number + 1 < bench.size["spawns"]:
            again = Server(os.path.join(bench.folder, f"bare-{number}"), real.model)
            bare.append(again.took)
            again.close()
    bench.row(
        "plue_init that spawns a server",
        "the bare server until it says that it listens",
        f"{median(ours):.0f} ms",
        f"{median(bare):.0f} ms",
        median(ours) / median(bare),
        f"{min(ours):.0f}–{max(ours):.0f} / {min(bare):.0f}–{max(bare):.0f} ms",
    )


def opencode_burst(bench):
    """Events that come together share commits."""
    events = bench.size["burst_events"]
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, "burst.py"), bench.place("burst"), str(events), str(bench.size["bursts"])],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    ours, peer = [each["events_ms"] for each in rounds], [each["flushes_ms"] for each in rounds]
    commits = max(each["commits"] for each in rounds)
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    bench.row(
        f"burst of {events} events of a server, until the last is shown",
        "append and fdatasync for each",
        f"{median(ours):.1f} ms, {commits} commits",
        f"{median(peer):.1f} ms",
        median(ratios),
        span(ratios),
        "≤ 20 commits",
        commits <= 20,
    )


PARTS = (
    opencode_calls,
    opencode_stub,
    opencode_burst,
    opencode_seen,
    opencode_deltas,
    opencode_turns,
    opencode_many,
    opencode_spawn,
)
FULL = {
    "listed": 100,
    "warm": 150,
    "remote_rounds": 20,
    "remote_calls": 25,
    "stub_calls": 100,
    "burst_events": 400,
    "bursts": 9,
    "renames": 150,
    "answers": 40,
    "turns": 15,
    "many": 5000,
    "many_rounds": 3,
    "many_lists": 5,
    "spawns": 4,
}
QUICK = {
    "listed": 10,
    "warm": 1,
    "remote_rounds": 1,
    "remote_calls": 3,
    "stub_calls": 10,
    "burst_events": 40,
    "bursts": 2,
    "renames": 3,
    "answers": 2,
    "turns": 1,
    "many": 50,
    "many_rounds": 1,
    "many_lists": 1,
    "spawns": 1,
}
