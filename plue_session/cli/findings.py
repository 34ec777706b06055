"""What the doctor finds: one thing checked, how it is, and how to mend it."""

import importlib
import shlex
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing checked. `state` is "ok", "note" (worth knowing) or "problem", which has a remedy."""

    check: str
    state: str
    text: str
    remedy: str = ""


def problem(check, error):
    """Return what a `PlueError` says as a finding."""
    return Finding(check, "problem", error.cause, error.remedy)


def package(check, module, requirement):
    """Return whether a package can be imported, and its version."""
    try:
        return Finding(check, "ok", importlib.import_module(module).__version__)
    except ImportError as error:
        remedy = f"Run: {shlex.join([sys.executable, '-m', 'pip', 'install', requirement])}"
        return Finding(check, "problem", f"it cannot be imported: {error}", remedy)
