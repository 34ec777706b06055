"""The rows of the embedded backend: calls, starts, commits, lists, processes, stores of 100,000 sessions."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
import time

import stores
from report import both, median, rate, shown, span

LIBRARY = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "plue_session", "lib", "libplue_session.so"
)
SORTS = ("updated", "created", "title", "artifactCount")


def libpython():
    """Return the path of the Python library that ours is linked with."""
    for name in (sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LDLIBRARY")):
        path = os.path.join(sysconfig.get_config_var("LIBDIR") or "", name or "")
        if name and os.path.exists(path):
            return path
    return sysconfig.get_config_var("INSTSONAME")


def get_info(bench):
    """1. What is answered from C memory, against a C table with a mutex."""
    folder = bench.place("info")
    stores.fill(folder, 10_000)
    size = bench.size
    lines = bench.run("info", folder, size["rounds"], size["slice_ms"], size["calls"])
    text = next(line["bytes"] for line in lines if line["what"] == "bytes")
    lists = next(line["lists_per_s"] for line in lines if line["what"] == "load")
    bench.facts["get_info"] = (
        f"{text} bytes of info; under load 2 more threads list 10,000 sessions in a loop, {shown(lists)} lists/s"
    )
    for line in lines:
        load = "Python at full load" if line.get("load") == "load" else "idle"
        if line["what"] == "rate":
            threads = line["threads"]
            whose = "" if threads == 1 else ", one session" if line["hot"] else ", own sessions"
            ratios = both(line["peer"], line["ours"])
            goal = threads in (1, 4)
            bench.row(
                f"get_info, {threads} thread{'s' * (threads > 1)}{whose}, {load}",
                "C table with a mutex: lock, malloc, memcpy, free",
                rate(median(line["ours"])),
                rate(median(line["peer"])),
                median(ratios),
                span(ratios),
                "≤ 2 (1.3 wanted)" if goal else "",
                median(ratios) <= 2 if goal else None,
            )
        elif line["what"] == "latency":
            ours, peer = line["ours"], line["peer"]
            bench.row(
                f"get_info, a call each 1 ms, {load}",
                "the same of the C table",
                f"p50 {shown(ours['p50'])} µs, p99 {shown(ours['p99'])} µs",
                f"p50 {shown(peer['p50'])} µs, p99 {shown(peer['p99'])} µs",
                ours["p99"] / peer["p99"],
                f"max {shown(ours['max'])} / {shown(peer['max'])} µs",
                "p99 < 20 µs",
                ours["p99"] < 20,
            )


def first_session(bench):
    """2. dlopen to the first session, against the same Python that does nothing."""
    python = sys.executable
    ours, again, bare = [], [], []
    existing = bench.place("existing")
    bench.run("first", "ours", LIBRARY, existing)
    for _ in range(bench.size["starts"]):
        ours += bench.run("first", "ours", LIBRARY, bench.place("new"))
        bare += bench.run("first", "bare", libpython(), python)
        again += bench.run("first", "ours", LIBRARY, existing)
    base = median([one["ms"] for one in bare])
    for name, starts in (("a new store", ours), ("a store that exists", again)):
        milliseconds = [one["ms"] for one in starts]
        bench.row(
            f"dlopen to first session, {name}",
            "dlopen + Py_InitializeFromConfig, isolated",
            f"{shown(median(milliseconds))} ms",
            f"{shown(base)} ms",
            median(milliseconds) / base,
            f"{shown(min(milliseconds))}–{shown(max(milliseconds))} ms",
            "≤ 60 ms",
            median(milliseconds) <= 60,
            "dlopen {:.1f}, plue_init {:.1f}, create {:.1f} ms".format(
                *(median([one[part] for one in starts]) for part in ("dlopen_ms", "init_ms", "create_ms"))
            ),
        )
    memory, least = median([one["rss"] for one in ours]) / 1e6, median([one["rss"] for one in bare]) / 1e6
    bench.row(
        "resident memory after the first session",
        "the same of bare Python",
        f"{shown(memory)} MB",
        f"{shown(least)} MB",
        memory / least,
        "",
        "≤ 25 MB",
        memory <= 25,
        f"{shown(ours[0]['rss_before'] / 1e6)} MB before dlopen",
    )
    network = sorted({name for one in ours for name in one["network"]})
    bench.row(
        "network modules imported or mapped by then",
        "bare Python: none",
        ", ".join(network) or "none",
        "none",
        None,
        "",
        "none",
        not network,
        f"{ours[0]['modules']} modules imported in all",
    )


def writer(bench):
    """3. Durable changes, against append + fdatasync in the same folder and SQLite alone."""
    folder, size = bench.place("commits"), bench.size
    recorded, raw = os.path.join(folder, "recorded"), os.path.join(folder, "raw")
    number = stores.record(raw, recorded)
    for line in bench.run("commits", folder, recorded, number, size["commit_rounds"], size["commit_slice_ms"]):
        operation = line["operation"]
        probe = median(line.get("probe", [0]))
        if line["what"] == "alone":
            ratios = both(line["ours"], line["probe"])
            bench.facts.setdefault("probe", []).extend(line["probe"])
            times = "p50 {p50:.0f} µs, p99 {p99:.0f} µs"
            bench.row(
                f"{operation}, 1 caller",
                "C append(300 B) + fdatasync",
                f"{rate(median(line['ours']))}, {times.format(**line['ours_us'])}",
                f"{rate(probe)}, {times.format(**line['probe_us'])}",
                median(ratios),
                span(ratios),
                "≥ 0.5 (0.7 wanted)",
                median(ratios) >= 0.5,
            )
            if "titled" in line:
                ratios = both(line["ours"], line["titled"])
                bench.row(
                    f"{operation}, 1 caller",
                    "our update_title, 1 caller",
                    f"{rate(median(line['ours']))}",
                    f"{rate(median(line['titled']))}, {times.format(**line['titled_us'])}",
                    median(ratios),
                    span(ratios),
                    "≥ 0.7",
                    median(ratios) >= 0.7,
                )
                continue
            if "raw" not in line:
                bench.row(f"{operation}, 1 caller", "SQLite alone from C", "", "libsqlite3.so.0 is missing", None)
                continue
            ratios = both(line["ours"], line["raw"])
            bench.row(
                f"{operation}, 1 caller",
                "SQLite alone from C: the same statements",
                f"{rate(median(line['ours']))}",
                f"{rate(median(line['raw']))}, {times.format(**line['raw_us'])}",
                median(ratios),
                span(ratios),
                note=f"SQLite alone is at {shown(median(both(line['raw'], line['probe'])))} of the probe",
            )
        elif line["what"] == "together":
            ratios = both(line["many"], line["one"])
            bench.row(
                f"{operation}, 64 callers",
                "our 1 caller",
                rate(median(line["many"])),
                rate(median(line["one"])),
                median(ratios),
                span(ratios),
                "≥ 3 (5 wanted)",
                median(ratios) >= 3,
            )
            ratios = both(line["many"], line["probe"])
            bench.row(
                f"{operation}, 64 callers",
                "C append(300 B) + fdatasync, 1 caller",
                rate(median(line["many"])),
                rate(probe),
                median(ratios),
                span(ratios),
            )
            disk = line["probe_us"]
        else:
            times = line["many_us"]
            bench.row(
                f"time of {operation}, 64 callers at a stretch",
                "the probe, 1 caller, just before",
                milliseconds(times),
                milliseconds(disk),
                times["p99"] / disk["p99"],
                f"max {times['max'] / 1000:.0f} / {disk['max'] / 1000:.0f} ms",
                "p99 ≤ 20 ms",
                times["p99"] <= 20_000,
            )


def in_bulk(bench):
    """Many changes in one call against a call each, and a change that is not waited for against one that is."""
    for line in bench.run("bulk", bench.place("bulk"), bench.size["commit_rounds"]):
        ours, peer = line["ours"], line["peer"]
        if line["what"] == "batch":
            ratios = both(ours, peer)
            bench.row(
                "batch of 100 creates",
                "100 calls of create, 1 caller",
                f"{median(ours):.1f} ms",
                f"{median(peer):.1f} ms",
                median(ratios),
                span(ratios),
            )
        else:
            times = "p50 {p50:.1f} µs, p99 {p99:.1f} µs"
            bench.row(
                f"submit of a create, {'Python at full load' if line['load'] == 'load' else 'idle'}",
                "create, which waits",
                times.format(**ours),
                times.format(**peer),
                ours["p50"] / peer["p50"],
                f"max {shown(ours['max'])} / {shown(peer['max'])} µs",
                "p99 < 50 µs",
                ours["p99"] < 50,
            )


def milliseconds(times):
    return f"p50 {times['p50'] / 1000:.2f} ms, p99 {times['p99'] / 1000:.1f} ms"


class Reads:
    """A process of reads.c that answers commands."""

    def __init__(self, bench, folder):
        self.process = subprocess.Popen(
            [bench.programs["reads"], folder],
            env=bench.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("benchmarks/reads.c failed")
        return [float(number) for number in answer.split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


@contextlib.contextmanager
def reading(bench, *folders):
    processes = [Reads(bench, folder) for folder in folders]
    try:
        yield processes
    finally:
        for process in processes:
            process.close()


COLUMNS = (
    "id, title, created, updated, version, tags, metadata, status, aborted, backend, message_count, artifact_count"
)


def list_of_objects(connection):
    """List all sessions as a program would that keeps no ready-made text: rows, objects, one dump."""
    sessions = []
    for (
        identity,
        title,
        created,
        updated,
        version,
        tags,
        metadata,
        status,
        aborted,
        backend,
        messages,
        artifacts,
    ) in connection.execute(f"SELECT {COLUMNS} FROM session WHERE scope = 'embedded' ORDER BY updated, number"):
        sessions.append(
            {
                "id": identity,
                "title": title,
                "time": {"created": created, "updated": updated},
                "version": version,
                "tags": json.loads(tags),
                "metadata": json.loads(metadata),
                "status": status,
                "aborted": bool(aborted),
                "backend": backend,
                "messageCount": messages,
                "artifactCount": artifacts,
                "sync": {"state": "local", "pending": 0},
            }
        )
    return json.dumps(sessions, separators=(",", ":"))


def list_all(bench):
    """4. 10,000 sessions as one text: as they were made and changed, and after each was changed again in no order."""
    folder = bench.place("list")
    stores.fill(folder, 10_000)
    _list(bench, folder, "list of 10,000 sessions")
    stores.shuffle(folder)
    _list(bench, folder, "list of 10,000 sessions, changed in no order")


def _list(bench, folder, row):
    ours, copies, objects, visits, quotes = [], [], [], [], []
    connection = sqlite3.connect(os.path.join(folder, "sessions.db"))
    with reading(bench, folder) as (process,):
        for step in range(-2, bench.size["lists"]):
            took, length = process.ask("list")
            (copied,) = process.ask("copy")
            start = time.perf_counter()
            text = list_of_objects(connection)
            peer = (time.perf_counter() - start) * 1000
            if step >= 0:
                ours.append(took)
                copies.append(copied)
                objects.append(peer)
                visits += process.ask("each")
                quotes += process.ask("quotes")
    connection.close()
    if len(json.loads(text)) != 10_000:
        raise SystemExit("the list of objects is not what it should be")
    best, worst = min(ours), max(ours)
    bench.row(
        row,
        "Python: rows to objects, json.dumps",
        f"{shown(median(ours))} ms",
        f"{shown(median(objects))} ms",
        median(both(ours, objects)),
        span(both(ours, objects)),
        "≤ 10 ms",
        median(ours) <= 10,
        f"{length / 1e6:.1f} MB; {shown(best)}–{shown(worst)} ms",
    )
    bench.row(
        row,
        "malloc + memcpy of the bytes",
        f"{shown(median(ours))} ms",
        f"{shown(median(copies))} ms",
        median(both(ours, copies)),
        span(both(ours, copies)),
    )
    bench.row(
        f"plue_json_each over the {row}",
        "memchr from quote to quote",
        f"{shown(median(visits))} ms",
        f"{shown(median(quotes))} ms",
        median(both(visits, quotes)),
        span(both(visits, quotes)),
        "≤ 3",
        median(both(visits, quotes)) <= 3,
    )


def four_processes(bench):
    """5. Four processes on one store."""
    ours_at, plain_at = bench.place("ours"), bench.place("plain")
    recorded = os.path.join(bench.folder, "recorded")
    stores.record(bench.place("record"), recorded)
    keys = [f"p{number}" for number in range(4)]
    stores.fill_keyed(ours_at, keys)
    numbers = stores.fill_keyed(plain_at, keys)
    ours, plain, turns, seconds = [], [], [], bench.size["process_seconds"]
    for _ in range(bench.size["process_rounds"]):
        ours += bench.run("processes", "ours", ours_at, seconds)
        for kind, rounds in (("plain", plain), ("turns", turns)):
            rounds += bench.run("processes", kind, os.path.join(plain_at, "sessions.db"), recorded, seconds, *numbers)

    def rates(rounds):
        return [sum(one["commits"]) / one["seconds"] for one in rounds]

    def worst(rounds):
        return max(max(one["worst_ms"]) for one in rounds)

    def share(rounds):
        return [min(one["commits"]) / max(one["commits"]) for one in rounds]

    peer = "SQLite alone: WAL, FULL, busy_timeout"
    ratios = both(rates(ours), rates(plain))
    bench.row(
        "4 processes on one store, commits together",
        peer,
        rate(median(rates(ours))),
        rate(median(rates(plain))),
        median(ratios),
        span(ratios),
    )
    ratios = both(rates(ours), rates(turns))
    bench.row(
        "4 processes on one store, commits together",
        "the same behind a flock, as ours: fair",
        rate(median(rates(ours))),
        rate(median(rates(turns))),
        median(ratios),
        span(ratios),
        note=f"behind a flock SQLite alone waits {shown(worst(turns))} ms at worst, "
        f"least / most {shown(median(share(turns)))}",
    )
    ratios = both([max(one["worst_ms"]) for one in ours], [max(one["worst_ms"]) for one in plain])
    bench.row(
        "4 processes on one store, worst wait",
        peer,
        f"{shown(worst(ours))} ms",
        f"{shown(worst(plain))} ms",
        median(ratios),
        span(ratios),
    )
    least = median(share(ours)), median(share(plain))
    bench.row(
        "4 processes on one store, least / most commits",
        peer,
        shown(least[0]),
        shown(least[1]),
        least[0] / least[1] if least[1] else None,
        f"{shown(min(share(ours)))}–{shown(max(share(ours)))}",
    )


def memory(bench, folder):
    """6. What live handles and sessions take."""
    count = bench.size["sessions"]
    (ours,) = bench.run("memory", "ours", folder, count)
    (peer,) = bench.run("memory", "peer", count, ours["info"])
    bench.row(
        f"memory per live session with its handle, {count:,}",
        f"C table: mutex, {ours['info']} bytes of text, pointer",
        f"{shown(ours['session'])} B",
        f"{shown(peer['session'])} B",
        ours["session"] / peer["session"],
        note=f"the process has {shown(ours['now'] / 1e6)} MB, {shown(ours['started'] / 1e6)} MB after plue_init",
    )
    bench.row(
        f"memory per further handle to one session, {count:,}",
        "a pointer",
        f"{shown(ours['handle'])} B",
        "8 B",
        ours["handle"] / 8,
    )


def freed(bench):
    """6. What texts leave behind when they are freed, and how long one more takes beside very many."""
    size, place = bench.size, bench.place("freed")
    (alone,) = bench.run("memory", "threads", "peer", size["text_threads"])
    (ours,) = bench.run("memory", "threads", place, size["text_threads"])
    bench.row(
        f"memory that stays per thread when all is freed, {size['text_threads']} threads",
        "malloc, memcpy, free",
        f"{shown(ours['each'] / 1024)} KB",
        f"{shown(alone['each'] / 1024)} KB",
        ours["each"] / alone["each"] if alone["each"] > 0 else None,
        "",
        "≤ 64 KB",
        ours["each"] <= 64 * 1024,
        "16 texts at a time of each of 8 lengths, 30 B to 100 KB",
    )
    (alone,) = bench.run("memory", "texts", "peer", size["texts"])
    (ours,) = bench.run("memory", "texts", place, size["texts"])
    ours, peer = ours["us"], alone["us"]
    bench.row(
        f"longest get_id of {size['texts']:,} that nobody frees",
        "malloc, memcpy",
        f"{shown(ours['max'])} µs",
        f"{shown(peer['max'])} µs",
        ours["max"] / peer["max"],
        f"p50 {shown(ours['p50'])} / {shown(peer['p50'])} µs",
        "≤ 5 ms",
        ours["max"] <= 5000,
        "the processor's time, with the look at the clock",
    )
    (alone,) = bench.run("memory", "lists", "peer", size["long_lists"])
    (ours,) = bench.run("memory", "lists", place, size["long_lists"])
    length = ours["length"] / 1e6
    bench.row(
        f"addresses taken by {size['long_lists']} long lists, each freed",
        "malloc, memset, free",
        f"{shown(ours['more'] / 1e6)} MB",
        f"{shown(alone['more'] / 1e6)} MB",
        None,
        "",
        "less than one",
        ours["more"] < ours["length"],
        f"a list has {shown(length)} MB",
    )


def pages(bench, large):
    """7. One page, whatever the number of sessions."""
    count = bench.size["sessions"]
    small = bench.place("small")
    stores.fill(small, 1000)
    calls = bench.size["page_calls"]
    with reading(bench, small, large) as processes:
        for sort in SORTS:
            query = json.dumps({"sort": sort, "limit": 100})
            took = {}
            for process in processes:
                process.ask(f"page {calls} {query}")
                process.ask(f"walk 5 {query}")
            for _ in range(bench.size["page_rounds"]):
                for what in ("page", "next"):
                    for index, process in enumerate(processes):
                        took.setdefault((what, index), []).extend(process.ask(f"{what} {calls} {query}"))
            for what, name in (("page", "first page"), ("next", "page 6")):
                ratios = both(took[what, 1], took[what, 0])
                bench.row(
                    f"query of 100 by {sort}, {name}, of {count:,}",
                    "the same of 1,000",
                    f"{shown(median(took[what, 1]))} µs",
                    f"{shown(median(took[what, 0]))} µs",
                    median(ratios),
                    span(ratios),
                    "1 (≤ 1.3)",
                    median(ratios) <= 1.3,
                )


def said(bench):
    """7. A page of what was said, whatever the number of messages."""
    many, folder = bench.size["messages"], bench.place("said")
    pages = {"page": ("first page", 100), "next": ("page 2", 200)}  # and how few messages have such a page
    counts = (*(few for _, few in pages.values()), many)
    stores.fill_said(folder, "said", counts)
    calls, query = bench.size["page_calls"], '{"limit":100}'
    with reading(bench, folder, folder, folder) as processes:
        for process, count in zip(processes, counts, strict=True):
            process.ask(f"of said{count}")
        sides = {"page": (processes[0], processes[2]), "next": (processes[1], processes[2])}
        took = {(what, side): [] for what in pages for side in (0, 1)}
        for process in sides["next"]:
            process.ask(f"walk 1 {query}")
        for number in range(bench.size["page_rounds"]):
            for what in pages:
                for side in (0, 1) if number % 2 else (1, 0):
                    took[what, side] += sides[what][side].ask(f"{what} {calls} {query}")
    for what, (name, few) in pages.items():
        ratios = both(took[what, 1], took[what, 0])
        bench.row(
            f"messages of 100, {name}, of {many:,}",
            f"the same of {few}",
            f"{shown(median(took[what, 1]))} µs",
            f"{shown(median(took[what, 0]))} µs",
            median(ratios),
            span(ratios),
            "1 (≤ 1.25)",
            median(ratios) <= 1.25,
        )


def seen_elsewhere(bench):
    """8. How soon another process sees a change, and what idling costs."""
    (ours,) = bench.run("live", "seen", bench.place("seen"), bench.size["changes"])
    (bare,) = bench.run("live", "bare", bench.place("bare"), bench.size["changes"])
    lost, changes = ours["lost"], bench.size["changes"]
    ours, peer = ours["from_call_ms"], bare["from_call_ms"]
    bench.row(
        "update_title until another process's peek_info shows it",
        "append + fdatasync until inotify wakes another process",
        f"p50 {shown(ours['p50'])} ms, p99 {shown(ours['p99'])} ms",
        f"p50 {shown(peer['p50'])} ms, p99 {shown(peer['p99'])} ms",
        ours["p50"] / peer["p50"],
        f"max {shown(ours['max'])} / {shown(peer['max'])} ms",
        "p99 ≤ 50 ms",
        ours["p99"] <= 50,
        f"{lost} of {changes} changes were not seen within a second" if lost else "",
    )
    (idle,) = bench.run("live", "idle", bench.place("idle"), bench.size["idle_seconds"])
    bench.row(
        "idle process, switches and processor time per second",
        "a process that sleeps: none",
        f"{shown(idle['switches_per_s'])}, {idle['processor_ms_per_s']:.2f} ms",
        "0, 0 ms",
        None,
        "",
        "near 0 (≤ 1/s)",
        idle["switches_per_s"] <= 1,
    )


def refills(bench):
    """9. Readers that fell behind share one reading of the log."""
    readers, events = bench.size["refill_readers"], bench.size["refill_events"]
    (took,) = bench.run("refill", bench.place("refill"), readers, events, bench.size["refill_rounds"])
    ratios = [every / (readers * one) for every, one in zip(took["all"], took["one"], strict=True)]
    bench.row(
        f"{readers} subscriptions that are behind until each has {events:,} events",
        f"one of them, {readers} times",
        f"{shown(median(took['all']))} ms",
        f"{shown(readers * median(took['one']))} ms",
        median(ratios),
        span(ratios),
    )


def observers(bench):
    """10. Observers: an hour away, a thousand of them, and another process."""
    events, count = bench.size["observed_events"], bench.size["observers"]
    (took,) = bench.run("observe", bench.place("replay"), "replay", events, bench.size["observed_rounds"])
    ratios = [plain / ours for plain, ours in zip(took["plain"], took["ours"], strict=True)]
    bench.row(
        f"an observer's replay of {events:,} events",
        "plain SQLite in C reads and copies these rows",
        f"{shown(median(took['ours']))} ms",
        f"{shown(median(took['plain']))} ms",
        median(ratios),
        span(ratios),
        "≥ 0.25",
        median(ratios) >= 0.25,
    )
    (found,) = bench.run("observe", bench.place("many"), "many", count, bench.size["observed_rounds"])
    bench.row(
        f"{count:,} observers of one session, memory of each, and a change until each has handed it out",
        "–",
        f"{shown(found['bytes'] / 1024)} KiB, {shown(median(found['took']))} us",
        "–",
        None,
    )
    (woken,) = bench.run("observe", bench.place("woken"), "wake", bench.size["changes"])
    bench.row(
        "a change in another process until an observer that waits has it",
        "–",
        f"p50 {shown(woken['took']['p50'])} us, p99 {shown(woken['took']['p99'])} us",
        "–",
        None,
        "",
        "p50 ≤ 50 ms",
        woken["took"]["p50"] <= 50_000,
    )


def large_store(bench):
    """6 and 7, which share the one store that takes long to fill."""
    large = bench.place("large")
    stores.fill(large, bench.size["sessions"])
    memory(bench, large)
    pages(bench, large)


PARTS = (
    get_info,
    first_session,
    writer,
    in_bulk,
    list_all,
    four_processes,
    large_store,
    freed,
    said,
    seen_elsewhere,
    refills,
    observers,
)
FULL = {
    "messages": 10_000,
    "rounds": 9,
    "slice_ms": 40,
    "calls": 2500,
    "starts": 15,
    "commit_rounds": 30,
    "commit_slice_ms": 50,
    "lists": 25,
    "process_rounds": 4,
    "process_seconds": 2.0,
    "sessions": 100_000,
    "page_rounds": 15,
    "page_calls": 20,
    "changes": 150,
    "idle_seconds": 4,
    "refill_readers": 64,
    "refill_events": 3000,
    "refill_rounds": 9,
    "observers": 1000,
    "observed_events": 10_000,
    "observed_rounds": 9,
    "text_threads": 200,
    "texts": 2_000_000,
    "long_lists": 20,
}
QUICK = {
    "messages": 300,
    "rounds": 3,
    "slice_ms": 10,
    "calls": 100,
    "starts": 3,
    "commit_rounds": 3,
    "commit_slice_ms": 20,
    "lists": 3,
    "process_rounds": 1,
    "process_seconds": 0.4,
    "sessions": 12_000,
    "page_rounds": 3,
    "page_calls": 5,
    "changes": 10,
    "idle_seconds": 1,
    "refill_readers": 8,
    "refill_events": 1500,
    "refill_rounds": 2,
    "observers": 100,
    "observed_events": 1000,
    "observed_rounds": 3,
    "text_threads": 20,
    "texts": 50_000,
    "long_lists": 5,
}
