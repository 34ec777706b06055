"""Measure the library against peers and physical limits, and print one table.

    python benchmarks/run.py [--quick] [--dir FOLDER] [--only WORD]

Every row is a ratio of two things that were measured in turns (A B A B …) in the same minutes on the same machine: it
says the same on a fast machine and a slow one. Nothing here passes or fails by time. The C programs do the measuring;
this builds them, makes the stores, runs them in turns and does the sums.

A full run writes benchmarks/results.md; every run writes build/benchmarks/results.json.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent import futures

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [ROOT, HERE]

import agents  # noqa: E402
import embedded  # noqa: E402
import events  # noqa: E402
import gtk  # noqa: E402
import opencode  # noqa: E402
import ui  # noqa: E402
from embedded import LIBRARY  # noqa: E402
from report import machine, report, shown  # noqa: E402

PROGRAMS = os.path.join(ROOT, "build", "benchmarks")

REMOTE = (*opencode.PARTS, *events.PARTS, *ui.REMOTE, *gtk.PARTS)
LOCAL = (*embedded.PARTS, *ui.PARTS, *agents.PARTS)
PARTS = (*LOCAL, *REMOTE)
#: What --quick leaves of each part: enough to see that it runs.
FULL = {**embedded.FULL, **ui.FULL, **agents.FULL, **opencode.FULL, **events.FULL, **gtk.FULL}
QUICK = {**embedded.QUICK, **ui.QUICK, **agents.QUICK, **opencode.QUICK, **events.QUICK, **gtk.QUICK}


class Bench:
    """One run: where it works, how much it measures, and the rows so far."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.rows, self.facts = [], {}
        self.programs = {}
        self.shared, self.ends = {}, contextlib.ExitStack()  # what parts have in common, and how it ends

    def place(self, name):
        """Return a folder in which nothing is yet."""
        path = os.path.join(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    @staticmethod
    def environment():
        """The environment of what is measured: without what would configure or trace the library."""
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PLUE_", "OPENCODE_", "COVERAGE_", "PYTHON"))
        }

    def run(self, name, *arguments):
        """Run one of the C programs and return its lines as objects."""
        done = subprocess.run(
            [self.programs[name], *map(str, arguments)],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise SystemExit(f"benchmarks/{name}.c failed ({done.returncode})")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def row(self, what, peer, ours, theirs, ratio, spread="", goal="", met=None, note=""):
        """Add a row; `ours` and `theirs` are texts with units. `met` is None where no goal was set."""
        self.rows.append(
            {
                "row": what,
                "compared with": peer,
                "ours": ours,
                "peer": theirs,
                "ratio": ratio,
                "spread": spread,
                "goal": goal,
                "met": met,
                "note": note,
            }
        )
        print(f"  {what}: {ours} against {theirs}, ratio {shown(ratio)}", file=sys.stderr, flush=True)


# -- building ----------------------------------------------------------------------------------------------------------
def build():
    """Compile every C program beside this file and return name -> path."""
    if not os.path.exists(LIBRARY):
        raise SystemExit(f"{LIBRARY} is missing: build it first (make library)")
    os.makedirs(PROGRAMS, exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    found = {}
    for name in sorted(os.listdir(HERE)):
        if not name.endswith(".c"):
            continue
        name = name[:-2]
        # first.c opens its library itself: that is what it measures.
        # The stub and the speaker are none of the library's.
        libraries = (
            []
            if name in ("first", "stub", "speaker")
            else ["-L" + os.path.dirname(LIBRARY), "-Wl,-rpath," + os.path.dirname(LIBRARY), "-lplue_session"]
        )
        found[name] = os.path.join(PROGRAMS, name)
        subprocess.run(
            [
                compiler,
                "-std=gnu11",
                "-O2",
                "-Wall",
                "-Wextra",
                "-I" + os.path.join(ROOT, "plue_session", "include"),
                "-I" + sysconfig.get_path("include"),
                os.path.join(HERE, name + ".c"),
                "-o",
                found[name],
                *libraries,
                "-lpthread",
                "-ldl",
            ],
            check=True,
        )
    return found


def measure(bench, parts, only):
    """Run the parts that have `only` in their name."""
    with bench.ends:
        for part in parts:
            if only in part.__name__:
                part(bench)
    return bench


def main():
    parser = argparse.ArgumentParser(description="Measure the library against peers.")
    parser.add_argument("--quick", action="store_true", help="half a minute: does everything run?")
    parser.add_argument(
        "--dir", default=os.path.join(ROOT, "build"), help="where the stores are put: the disk that is measured"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="WORD",
        help="only parts with this in their name: " + ", ".join(part.__name__ for part in PARTS),
    )
    options = parser.parse_args()
    os.makedirs(options.dir, exist_ok=True)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
        bench = Bench(folder, QUICK if options.quick else FULL)
        bench.programs = build()
        if options.quick:  # no time is judged: the half that waits for a server runs beside the other
            beside = Bench(folder, QUICK)
            beside.programs = bench.programs
            with futures.ThreadPoolExecutor(1) as pool:
                done = pool.submit(measure, beside, REMOTE, options.only)
                measure(bench, LOCAL, options.only)
                bench.rows += done.result().rows
        else:
            measure(bench, PARTS, options.only)
        facts = machine(bench, before)
    text = report(bench, facts)
    print(text)
    with open(os.path.join(PROGRAMS, "results.json"), "w", encoding="utf-8") as file:
        json.dump({"facts": dict(facts), "rows": bench.rows}, file, indent=1, ensure_ascii=False)
    if not options.quick and not options.only:
        with open(os.path.join(HERE, "results.md"), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
