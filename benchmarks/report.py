"""The table of a run, as Markdown, and how its numbers are written."""

import contextlib
import datetime
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def median(values):
    return statistics.median(values)


def shown(number):
    """Write a number with as many digits as it deserves."""
    if number is None:
        return "–"
    if isinstance(number, str):
        return number
    magnitude = abs(number)
    return (
        f"{number:,.0f}"
        if magnitude >= 100
        else f"{number:.1f}"
        if magnitude >= 10
        else f"{number:.2f}"
        if magnitude >= 0.1
        else f"{number:.3f}"
    )


def rate(number):
    return f"{shown(number / 1e6)} M/s" if number >= 1e6 else f"{shown(number)}/s"


def span(values):
    """The middle half of the rounds' ratios: one slow second of the disk is not in it."""
    values = sorted(values)
    if len(values) < 4:
        return f"{shown(values[0])}–{shown(values[-1])}"
    quarters = statistics.quantiles(values, n=4)
    return f"{shown(quarters[0])}–{shown(quarters[2])}"


def both(one, other):
    return [a / b for a, b in zip(one, other, strict=True)]


def machine(bench, before):
    """Return what the run was measured on, as (name, text)."""
    probe = sorted(bench.facts.get("probe", []))
    facts = [
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        (
            "commit",
            _output("git", "-C", ROOT, "rev-parse", "--short", "HEAD")
            + (" and changes since" if _output("git", "-C", ROOT, "status", "--porcelain", "plue_session") else ""),
        ),
        (
            "machine",
            f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}, "
            f"load {before[0]:.1f} before, {os.getloadavg()[0]:.1f} after",
        ),
        ("Python, SQLite", f"{platform.python_version()}, {sqlite3.sqlite_version}"),
        (
            "disk",
            f"{_output('df', '--output=source,fstype', bench.folder).splitlines()[-1]}" if shutil.which("df") else "?",
        ),
    ]
    if probe:
        facts.append(
            ("append(300 B) + fdatasync", f"{rate(median(probe))}, slices from {rate(probe[0])} to {rate(probe[-1])}")
        )
    if "get_info" in bench.facts:
        facts.append(("get_info", bench.facts["get_info"]))
    return facts


def _output(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def _processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


HEADS = ("row", "compared with", "ours", "peer", "ratio", "spread", "goal", "met")


def table(rows):
    """Return the rows as a Markdown table whose columns stand under each other in a terminal too."""
    lines = [HEADS] + [
        tuple(
            {True: "yes", False: "**no**", None: ""}[row[head]]
            if head == "met"
            else shown(row[head])
            if head == "ratio"
            else row[head]
            for head in HEADS
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def report(bench, facts):
    """Return the run as Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in facts)
    notes = "\n".join(f"- {row['row']}: {row['note']}" for row in bench.rows if row["note"])
    return f"""# Measured

`make bench` wrote this. Each row was measured in turns with its peer; `ratio` is the median of the rounds, `spread` the
middle half of them. Times and memory are ours divided by the peer's; get_info's ratio is time per call too. Commits are
rates, ours divided by the peer's.

{facts}

{table(bench.rows)}

{notes}
"""
