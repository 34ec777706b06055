"""What the doctor finds: one thing looked at, how it is, and how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `state` is "ok", "note" (worth knowing) or "problem", which has a remedy."""

    check: str
    state: str
    text: str
    remedy: str = ""


def problem(check, error):
    """Return what a `PlueError` says as a finding."""
    return Finding(check, "problem", error.cause, error.remedy)
