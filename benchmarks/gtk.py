"""The rows of a window: what the library takes of its main thread while turns stream and all sessions are synced."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

from embedded import LIBRARY
from opencode import PASSWORD, fill_many, program, server

from tests.gtk.window import Window, build, display

GOAL_US = 1000
#: A frame of 60 a second.
FRAME_US = 16_667
CALLS, FRAMES = (
    "plue_* on a GTK window's main thread while turns stream, {} sessions syncing",
    "frames of that window missed because of a call",
)


def window_of_turns(bench):
    """examples/gtk, as it is, in a display that nobody sees."""
    place = "{:,}".format(bench.size["many"])
    needs = shutil.which("Xvfb") and not subprocess.run(["pkg-config", "--exists", "gtk4"]).returncode
    if not needs:
        for name in (CALLS, FRAMES):
            bench.row(name.format(place), "a frame", "not measured", "Xvfb or GTK 4 is missing", None)
        return
    idle, busy = measure(bench, server(bench))
    bench.row(
        CALLS.format(place),
        "the time of a frame",
        f"p50 {busy['p50']:.2f} µs, p99.9 {busy['p999']:.1f} µs, of {busy['calls']:,}",
        f"{FRAME_US / 1000:.1f} ms",
        busy["p999"] / FRAME_US,
        f"max {busy['max']:.0f} µs ({busy['longest']})",
        f"p99.9 < {GOAL_US / 1000:.0f} ms",
        busy["p999"] < GOAL_US,
    )
    bench.row(
        FRAMES,
        "late frames of the same window, idle",
        f"{busy['late_by_calls']} of {busy['frames']:,} ({busy['late']} late)",
        f"{idle['late']} of {idle['frames']:,}",
        None,
        "",
        "none",
        busy["late_by_calls"] == 0,
    )


def measure(bench, real):
    """Return what the driver has measured while nothing happened, and while turns streamed."""
    lib = Path(LIBRARY).parent
    built = build(SimpleNamespace(include=lib.parent / "include", lib=lib), Path(bench.place("gtk")))
    with program(bench, real.url, real.many, real.other, start=False, backend=real.backend(real.many)) as process:
        fill_many(bench, process)
    config = {
        "dataDir": bench.place("gtk-store"),
        "backend": {**real.backend(real.many), "password": PASSWORD},
        "syncIntervalMs": 200,
    }
    file = os.path.join(bench.place("gtk-config"), "config.json")
    with open(file, "w", encoding="utf-8") as to:
        json.dump(config, to)
    with display() as screen:
        window = Window(*built, screen, {**bench.environment(), "PLUE_SESSION_CONFIG": file}, bench.folder)
        try:
            window.do("click New session")
            window.do("choose 1")
            window.do("measure")
            time.sleep(bench.size["gtk_seconds"])
            idle = window.ask("measured")
            window.do("measure")
            for number in range(bench.size["gtk_turns"]):
                text = f"[words={bench.size['gtk_words']}] {number}"
                window.do(f"type {text}")
                while real.model.ended.get(timeout=60)[0] != text:
                    pass
            return idle, window.ask("measured")
        finally:
            window.kill()


PARTS = (window_of_turns,)
FULL = {"gtk_seconds": 5, "gtk_turns": 20, "gtk_words": 1500}
QUICK = {"gtk_seconds": 0.5, "gtk_turns": 1, "gtk_words": 30}
