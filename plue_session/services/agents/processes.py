"""What the system tells of the processes of agents."""

import os


def runs(pid):
    """Return whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except (OSError, TypeError):
        return False
    return True


def lives(group):
    """Return whether a process group has a member that runs."""
    try:
        os.killpg(group, 0)
    except (OSError, TypeError):
        return False
    return True


def memory(pid):
    """Return how much memory a process has, if that can be told."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return {"memoryBytes": int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")}
    except (OSError, ValueError, IndexError):
        return {}
