"""The rows of what a UI thread may call: the instant functions, while a list of thousands of sessions is synced."""

import http.client
import json
import os
import subprocess
from urllib.parse import quote

GOAL_US = 50


def _fill(port, directory, count):
    """Create sessions on the stub; return the id of one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(count):
        connection.request("POST", f"/session?directory={quote(directory, safe='')}", b"{}")
        made = json.loads(connection.getresponse().read())
    connection.close()
    return made["id"]


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
        peer, *found = bench.run("ui", json.dumps(config), session, bench.size["ui_calls"])
    finally:
        stub.stdin.close()
        stub.wait(10)
    for each in found:
        ours, theirs = each["us"], peer["us"]
        bench.row(
            f"{each['name']}, a call each 1 ms, {count:,} sessions syncing",
            "malloc, memcpy, free of an info, in the same turns",
            f"p50 {ours['p50']:.2f} µs, p99 {ours['p99']:.2f} µs",
            f"p50 {theirs['p50']:.2f} µs, p99 {theirs['p99']:.2f} µs",
            ours["p50"] / theirs["p50"],
            f"max {ours['max']:.1f} / {theirs['max']:.1f} µs",
            f"p99 < {GOAL_US} µs",
            ours["p99"] < GOAL_US,
            f"{each['syncs_per_s']} comparisons and {each['lists_per_s']} lists a second beside it",
        )


PARTS = (ui_safety,)
FULL = {"synced": 5000, "ui_calls": 1000}
QUICK = {"synced": 50, "ui_calls": 20}
