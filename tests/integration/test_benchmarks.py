"""The benchmarks run and their table is whole. What they measure is not judged here: the machines are shared."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

ROWS = [
    f"get_info, {threads}, {load}"
    for load in ("idle", "Python at full load")
    for threads in (
        "1 thread",
        "4 threads, own sessions",
        "16 threads, own sessions",
        "4 threads, one session",
        "16 threads, one session",
        "a call each 1 ms",
    )
]
ROWS += [
    "dlopen to first session, a new store",
    "dlopen to first session, a store that exists",
    "resident memory after the first session",
    "network modules imported or mapped by then",
]
for operation in ("create", "update_title"):
    ROWS += (
        [f"{operation}, 1 caller"] * 2
        + [f"{operation}, 64 callers"] * 2
        + [f"time of {operation}, 64 callers at a stretch"]
    )
ROWS += ["enqueue, 1 caller"] * 2
ROWS += ["batch of 100 creates", "submit of a create, idle", "submit of a create, Python at full load"]
for order in ("", ", changed in no order"):
    ROWS += [f"list of 10,000 sessions{order}"] * 2 + [f"plue_json_each over the list of 10,000 sessions{order}"]
ROWS += [
    f"4 processes on one store, {what}"
    for what in ("commits together", "commits together", "worst wait", "least / most commits")
]
ROWS += ["memory per live session with its handle, 12,000", "memory per further handle to one session, 12,000"]
ROWS += [
    f"query of 100 by {sort}, {page}, of 12,000"
    for sort in ("updated", "created", "title", "artifactCount")
    for page in ("first page", "page 6")
]
ROWS += [
    "memory that stays per thread when all is freed, 20 threads",
    "longest get_id of 50,000 that nobody frees",
    "addresses taken by 5 long lists, each freed",
]
ROWS += [
    "messages of 100, first page, of 300",
    "messages of 100, page 2, of 300",
    "update_title until another process's peek_info shows it",
    "idle process, switches and processor time per second",
    "8 subscriptions that are behind until each has 1,500 events",
    "an observer's replay of 1,000 events",
    "100 observers of one session, memory of each, and a change until each has handed it out",
    "a change in another process until an observer that waits has it",
]
INSTANT = [
    "peek_info",
    "peek_id",
    "get_id",
    "event_poll",
    "observer_next(0)",
    "observer_cursor",
    "observer_fd",
    "json_int",
    "destroy",
]
ROWS += [f"{call}, a call each 1 ms, 50 sessions syncing" for call in INSTANT]
ROWS += [
    "a piece of an answer from an agent's line to the observer",
    "an agent's attachment, the process's first",
    "an agent's attachment",
    "memory of an attached agent's that is ours, of 2",
]
CALLS = ["get_info of an expired snapshot", "list", "update_title", "create", "delete", "create with a parent"]
DURABLE = ("update_title", "create", "delete")
ROWS += [f"{call}, OpenCode{kind}" for call in CALLS for kind in ("", ", durable") if not kind or call in DURABLE] + [
    "overhead over HTTP itself"
]
ROWS += [f"{call}, stub" for call in CALLS] + ["get_info, stub, connection kept"]
ROWS += ["burst of 40 events of a server, until the last is shown"]
ROWS += [f"a rename by another client until {what}" for what in ("it is told here", "peek_info shows it")] + [
    "the first piece of an answer until observer_next has it",
    "abort of a turn that streams",
]
ROWS += [
    "plue_init until 50 sessions are here",
    "first list of 50, right after plue_init",
    "later list of 50, nothing changed",
    "later list of 50, one changed",
    "resident memory with 50 sessions of a server",
    "plue_init that spawns a server",
]
ROWS += [
    "a server's event until observer_next returns",
    "burst of changes of a server until the last is read",
    "burst of changes of a server until the last is observed",
    "the SSE parser alone, an event in each chunk",
    "what has changed in a list of 10,000 sessions",
    *(
        f"{call}, 50 sessions syncing, a turn streaming, Python at full load"
        for call in (*INSTANT, "submit", "cancel_turns")
    ),
    "plue_* on a GTK window's main thread while turns stream, 50 sessions syncing",
    "frames of that window missed because of a call",
]


def test_a_quick_run_prints_every_row(tmp_path):
    # Coverage would trace what is measured, and the run itself is the test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PLUE_", "COVERAGE_"))}
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, "benchmarks", "run.py"), "--quick", "--dir", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    table = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in done.stdout.splitlines()
        if line.startswith("| ")
    ]
    assert table[0] == ["row", "compared with", "ours", "peer", "ratio", "spread", "goal", "met"]
    assert [line[0] for line in table[1:]] == ROWS
    assert all(line[2] and line[3] for line in table[1:])
    assert os.listdir(tmp_path) == []
