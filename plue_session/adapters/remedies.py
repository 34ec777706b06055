"""What helps against what the system refuses, by its error number."""

import errno

SHORTER = "Set dataDir to a folder with a shorter path."
ELSEWHERE = "Set dataDir to a folder on a local disk, or have what restricts this process allow it."
_OTHERWISE = "Check the disk, its free space, quota and permissions, then try again."
_BY_NUMBER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space."),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Close some files, or raise the limit (ulimit -n)."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Make the data directory readable and writable for this user."),
    **dict.fromkeys((errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENODEV), ELSEWHERE),
    errno.EROFS: "Mount the file system to be written to, or set dataDir to a folder elsewhere.",
    errno.ENAMETOOLONG: SHORTER,
    errno.ENOMEM: "Free some memory, then try again.",
    errno.ENOENT: "Put it back if you have it, then stop the library and start it again.",
}


def remedy(error):
    """Return what to do about an `OSError`."""
    return _BY_NUMBER.get(error.errno, _OTHERWISE)
