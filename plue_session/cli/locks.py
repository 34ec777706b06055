"""Who holds a lock file: from /proc, without touching the file."""

import os


def holders(path):
    """Return "process 12 (name)" of each other process that holds a lock on the file at `path`; [] also without
    /proc."""
    try:
        inode = os.stat(path).st_ino
        with open("/proc/locks", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return []
    # "1: FLOCK  ADVISORY  READ 4711 fe:01:1048577 0 EOF"; waiting ones have "->" in second place
    numbers = {int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode)}
    others = sorted(number for number in numbers - {os.getpid()} if number > 0)  # 0: beyond our view of processes
    return [f"process {number} ({_name(number)})" for number in others if _has_open(number, path)]


def _name(number):
    try:
        with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "gone"


def _has_open(number, path):
    """Tell whether the process has this very file open: the same inode number exists on other disks too."""
    folder = f"/proc/{number}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return True  # another user's: not to be seen, so not to be ruled out
    for name in names:
        try:
            if os.path.samefile(os.path.join(folder, name), path):
                return True
        except OSError:
            continue  # closed meanwhile
    return False
