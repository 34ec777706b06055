"""Files and folders for the owner alone, whatever the umask takes away. The umask is the host's, and the process's: it
is left alone."""

import os
import stat


def make_folder(path):
    """Create a folder (0700). `FileExistsError` when there is something of that name."""
    os.mkdir(path, 0o700)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o700 != 0o700:
        os.chmod(path, 0o700)


def enter(path):
    """Let the owner into a folder of theirs that can be read and written but not entered: a run under a umask of 0177
    once left such."""
    if os.stat(path).st_mode & 0o700 == 0o600:
        _recover(path, 0o700)


def open_file(path, flags):
    """Open a file and return its descriptor; it is made (0600) if it is not there."""
    flags |= os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        return make_file(path, flags)
    except FileExistsError:  # another process was faster, or it is a link to where nothing is yet
        return os.open(path, flags | os.O_CREAT, 0o600)


def open_own_file(path, flags):
    """The same for one of our own: what a run under a umask once left without its owner's rights gets them."""
    try:
        return open_file(path, flags)
    except PermissionError:
        if not _recover(path, 0o600):
            raise
        return open_file(path, flags)


def make_file(path, flags):
    """Create a file (0600) and return its descriptor. `FileExistsError` when there is something of that name."""
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_mode & 0o600 != 0o600:
            os.fchmod(fd, 0o600)
    except OSError:
        os.close(fd)
        raise
    return fd


def sync(path):
    """Have what is in a file, or in a folder, written to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _recover(path, rights):
    """Give the owner, if that is us, these rights; returns whether that changed anything."""
    try:
        about = os.lstat(path)
    except FileNotFoundError:  # it was to be made
        return False
    if stat.S_ISLNK(about.st_mode) or about.st_mode & rights == rights or about.st_uid != os.geteuid():
        return False
    os.chmod(path, stat.S_IMODE(about.st_mode) | rights)
    return True
