"""What the system tells of the processes of agents."""

import os


def runs(pid):
    """Return whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except (OSError, TypeError):
        return False
    return True


def guard(pid):
    """Return a name of an agent's guard, which lives for as long as any process of the agent's, also when their host
    has died; None if that cannot be told."""
    found = _stat(pid)
    return found and _name(found[1])  # its parent


def lives(name):
    """Return whether a guard lives; None: there is none."""
    return name is not None and _name(name.partition(":")[0]) == name


def memory(pid):
    """Return how much memory a process has, if that can be told."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return {"memoryBytes": int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")}
    except (OSError, ValueError, IndexError):
        return {}


def _name(pid):
    """Return what tells a process from later ones of its id: that, and when it began; None if it does not run."""
    found = _stat(pid)
    return f"{pid}:{found[19]}" if found and found[0] not in "ZX" else None


def _stat(pid):
    """Return what is known of a process, from its state on, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()  # the name before it may hold anything
    except OSError:
        return None
