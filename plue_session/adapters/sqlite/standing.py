"""Whether what is open still is what the names name. What is written into a file that has lost its name is gone with
the process.

Asking costs a commit nothing that can be measured: the folder is asked, which no commit writes. A file that a commit
writes is asked for its times (any stat does that) only when the folder has changed: the kernel gives it new ones with
the next write, which then is one more to wait for.
"""

import errno
import os
import stat
import time

#: Nanoseconds within which two changes of a folder may leave it with one time: a tick of the kernel's, or what coarse
#: file systems count in.
TICK, COARSE = 20_000_000, 3_000_000_000
_COARSE_UNIT = 10_000_000


class Files:
    """Those of the files `names` that are in a folder now: the first is, the others need not be there."""

    def __init__(self, folder, names):
        self._folder = folder
        first, *others = (os.path.join(folder, name) for name in names)
        self._known = {path: _identity(os.stat(path)) for path in (first, *filter(os.path.exists, others))}
        # how the folder was when all was well, unless that was so lately that it would look the same after a change
        self._settled = None

    def missing(self):
        """Return the path of one that was removed or replaced, or None. Who is not let in to look is told of
        nothing."""
        try:
            begun = time.clock_gettime(time.CLOCK_REALTIME) * 1e9
            folder = os.stat(self._folder)
            state = folder.st_ctime_ns, folder.st_ino, folder.st_dev  # another one after each change of what is in it
            if state == self._settled:
                return None
            for path, known in self._known.items():
                if _identity(os.stat(path)) != known:
                    return path
        except OSError as error:
            return (error.filename or self._folder) if error.errno in (errno.ENOENT, errno.ENOTDIR) else None
        margin = TICK if folder.st_ctime_ns % _COARSE_UNIT else COARSE
        self._settled = state if abs(begun - folder.st_ctime_ns) > margin else None
        return None


def _identity(status):
    return status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode)
