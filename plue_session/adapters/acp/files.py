"""Files that an agent has us read and write: those of its worktree, and no other.

A path is opened without touching the file (O_PATH), the system says what that is by now, and only then the same file is
opened again: no link, and nobody who changes links meanwhile, leads out of the worktree.
"""

import os
import stat

from plue_session.adapters.acp.rpc import BAD_PARAMS, INTERNAL, NOT_FOUND, Refused

#: Bytes of a file that is read or written.
MOST = 16 << 20


class Files:
    """Those of one worktree, a folder that exists."""

    def __init__(self, worktree):
        self._root = os.path.realpath(worktree)

    def read(self, path, line=None, limit=None):
        """Return the text of a file, or of so many of its lines from one on (the first is 1)."""
        fd = self._open(_absolute(path), os.O_RDONLY)
        with open(fd, "rb") as file:
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise Refused(INTERNAL, f"{path} has more than {MOST >> 20} MiB")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise Refused(INTERNAL, f"{path} is not UTF-8") from None
        first, most = _count(line, "line"), _count(limit, "limit")
        if first is None and most is None:
            return text
        first = max((first or 1) - 1, 0)
        lines = text.split("\n")  # no other character ends a line for an agent
        whole = [each + "\n" for each in lines[:-1]] + lines[-1:]
        return "".join(whole[first : None if most is None else first + most])

    def write(self, path, text):
        """Have a file hold this text. It may be new; its folder may not."""
        if type(text) is not str:
            raise Refused(BAD_PARAMS, "the content is no text")
        data = text.encode("utf-8", "replace")
        if len(data) > MOST:
            raise Refused(INTERNAL, f"the content has more than {MOST >> 20} MiB")
        path = _absolute(path)
        try:
            fd = self._open(path, os.O_WRONLY)
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
            fd = self._create(path)
        try:
            with open(fd, "wb") as file:
                file.truncate(0)
                file.write(data)
        except OSError as error:
            raise Refused(INTERNAL, f"{path} cannot be written: {error.strerror}") from None

    def _open(self, path, flags):
        """Open a file of the worktree, a regular one."""
        try:
            place = self._inside(path, os.open(path, os.O_PATH | os.O_CLOEXEC))
            try:
                if not stat.S_ISREG(os.fstat(place).st_mode):
                    raise Refused(BAD_PARAMS, f"{path} is no regular file")
                return os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC)
            finally:
                os.close(place)
        except OSError as error:
            raise _refused(path, error) from None

    def _create(self, path):
        try:
            folder = self._inside(path, os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(os.path.basename(path), flags, 0o666, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _refused(path, error) from None

    def _inside(self, path, place):
        """Return a descriptor if what it is of is in the worktree; else close it and refuse."""
        found = os.readlink(f"/proc/self/fd/{place}")
        if found == self._root or found.startswith(self._root.rstrip("/") + "/"):
            return place
        os.close(place)
        raise Refused(BAD_PARAMS, f"{path} is not in the worktree")


def _absolute(path):
    if type(path) is not str or not path.startswith("/") or "\0" in path:
        raise Refused(BAD_PARAMS, "the path is not absolute")
    return path


def _count(value, name):
    if value is not None and (type(value) is not int or value < 0):
        raise Refused(BAD_PARAMS, f"{name} is no number of lines")
    return value


def _refused(path, error):
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return Refused(NOT_FOUND if missing else INTERNAL, f"{path} cannot be used: {error.strerror}")
