"""Say of each requirement which tests prove it.

    python scripts/requirements.py [--missing]

Reads docs/requirements.md and what the last `make test` recorded in build/proven.json, and in proven-after.json of what
is judged when all has run; without a record it asks pytest which tests claim what, and says so. Exit 1 when a claim
names no requirement, or a test that claims one did not pass.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "docs", "requirements.md")
RECORD, AFTER = (os.path.join(ROOT, "build", name) for name in ("proven.json", "proven-after.json"))
ROW = re.compile(r"\|([A-Z]-\d{3}|T-\d{2})\|(?:(must|should)\|)?")


def read_requirements(text):
    """Return `{id: "must" or "should"}` in the document's order. A row without the word is a must, as its part says."""
    found = {}
    for line in text.splitlines():
        row = ROW.match(line)
        if row:
            if row[1] in found:
                raise ValueError(f"{row[1]} is there twice")
            found[row[1]] = row[2] or "must"
    return found


def judge(requirements, record):
    """Return `(lines, problems)`: one line per requirement and a total; what is wrong with the claims themselves."""
    claims, outcomes = record["claims"], record["outcomes"]
    lines, proven = [], {"must": 0, "should": 0}
    problems = [
        f"{name} is claimed by {claims[name][0]} but is not in docs/requirements.md"
        for name in sorted(set(claims) - set(requirements))
    ]
    for name, weight in requirements.items():
        tests = claims.get(name, [])
        bad = [test for test in tests if record["ran"] and outcomes.get(test) != "passed"]
        if bad:
            lines.append(f"{name} {weight} FAILED: {len(bad)} of {len(tests)} tests did not pass, first {bad[0]}")
            problems.append(f"{name} is claimed by {bad[0]}, which did not pass")
        elif tests:
            proven[weight] += 1
            lines.append(f"{name} {weight} PROVEN by {len(tests)} test{'s' if len(tests) > 1 else ''}")
        else:
            lines.append(f"{name} {weight} … MISSING")
    total = {weight: sum(1 for each in requirements.values() if each == weight) for weight in proven}
    lines.append(
        f"{proven['must']} of {total['must']} musts and {proven['should']} of {total['should']} shoulds are proven"
        + ("." if record["ran"] else ", if the tests that claim them pass: they have not been run.")
    )
    return lines, problems


def read_record():
    """Return what the last run recorded, or None; without the tests that come after it if they did not run."""
    found = _load(RECORD)
    after = found and _load(AFTER)
    if after:
        for name, tests in after["claims"].items():
            found["claims"].setdefault(name, []).extend(tests)
        found["outcomes"].update(after["outcomes"])
    return found


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def collect():
    """Ask pytest which tests claim what, without running any."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "claims.json")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
            cwd=ROOT,
            env={**os.environ, "PLUE_PROVEN": path, "PLUE_AFTER": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"The tests cannot be collected:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def main(arguments):
    with open(DOCUMENT, encoding="utf-8") as file:
        requirements = read_requirements(file.read())
    record = read_record() or collect()
    lines, problems = judge(requirements, record)
    for line in lines[:-1]:
        if "--missing" not in arguments or not re.search("PROVEN", line):
            print(line)
    print(lines[-1])
    for problem in problems:
        print("error: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
