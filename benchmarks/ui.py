"""The rows of what a UI thread may call: the instant functions, while a list of thousands of sessions is synced, and
while turns stream and Python computes besides."""

import http.client
import json
import os
import subprocess
from urllib.parse import quote

from opencode import fill_many, needs_curl, program, server
from report import shown

GOAL_US = 50
#: What ui.c calls, in its order; the last two only while turns stream.
CALLS = (
    "peek_info",
    "peek_id",
    "get_id",
    "event_poll",
    "observer_next(0)",
    "observer_cursor",
    "observer_fd",
    "json_int",
    "destroy",
    "submit",
    "cancel_turns",
)
SYNCING = "{}, a call each 1 ms, {} sessions syncing"
BUSIEST = "{}, {} sessions syncing, a turn streaming, Python at full load"


def _fill(port, directory, count):
    """Create sessions on the stub; return the id of one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(count):
        connection.request("POST", f"/session?directory={quote(directory, safe='')}", b"{}")
        made = json.loads(connection.getresponse().read())
    connection.close()
    return made["id"]


def _rows(bench, name, count, lines, note):
    """Add a row for each function that ui.c has called, against the peer's calls."""
    peer, *found = lines
    for each in found:
        ours, theirs = each["us"], peer["us"]
        bench.row(
            name.format(each["name"], f"{count:,}"),
            "malloc, memcpy, free of an info, in the same turns",
            f"p50 {ours['p50']:.2f} µs, p99 {ours['p99']:.2f} µs",
            f"p50 {theirs['p50']:.2f} µs, p99 {theirs['p99']:.2f} µs",
            ours["p50"] / theirs["p50"],
            f"max {ours['max']:.1f} / {theirs['max']:.1f} µs",
            f"p99 < {GOAL_US} µs",
            ours["p99"] < GOAL_US,
            note,
        )


def ui_safety(bench):
    """Every instant function, a call each 1 ms, while the library compares and lists without a pause."""
    folder, count = os.path.abspath(bench.place("ui")), bench.size["synced"]
    stub = subprocess.Popen([bench.programs["stub"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = int(stub.stdout.readline())
        session = _fill(port, folder, count)
        config = {
            "dataDir": bench.place("ui-store"),
            "backend": {"kind": "opencode", "url": f"http://127.0.0.1:{port}", "directory": folder},
        }
        load, *lines = bench.run("ui", json.dumps(config), session, bench.size["ui_calls"])
    finally:
        stub.stdin.close()
        stub.wait(10)
    seconds = load["seconds"]
    note = f"{shown(load['syncs'] / seconds)} comparisons and {shown(load['lists'] / seconds)} lists a second beside it"
    _rows(bench, SYNCING, count, lines, note)


@needs_curl(*(BUSIEST.format(name, "{}") for name in CALLS))
def ui_while_turns_stream(bench):
    """The same functions on the busiest day: a real server's turn at full speed, its list synced again and again, turns
    that are cancelled, and a thread of the host's in Python."""
    real, count = server(bench), bench.size["many"]
    with program(bench, real.url, real.many, real.other, start=False, backend=real.backend(real.many)) as process:
        fill_many(bench, process)
    config = {"dataDir": bench.place("ui-turns-store"), "backend": real.backend(real.many)}
    load, *lines = bench.run("ui", json.dumps(config), "turns", bench.size["ui_calls"], bench.size["ui_words"])
    seconds = load["seconds"]
    note = (
        f"a second beside it: {shown(load['syncs'] / seconds)} comparisons, {shown(load['bytes'] / seconds / 1000)} KB "
        f"of answers, {shown(load['cancelled'] / seconds)} turns cancelled, {shown(load['computed'])} s of Python"
    )
    _rows(bench, BUSIEST, count, lines, note)


PARTS = (ui_safety,)
REMOTE = (ui_while_turns_stream,)
FULL = {"synced": 5000, "ui_calls": 1000, "ui_words": 20_000}
QUICK = {"synced": 50, "ui_calls": 20, "ui_words": 200}
