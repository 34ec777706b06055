"""What helps against what the system refuses, by its error number."""

import errno
import os

SHORTER = "Set dataDir to a folder with a shorter path."
NOT_HERE = "Set dataDir to a folder in a place where this user may create one."
ELSEWHERE = "Set dataDir to a folder on a local disk, or have what restricts this process allow it."
_OTHERWISE = "Check the disk, its free space, quota and permissions, then try again."
_NOT_HERE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)
_BY_NUMBER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space."),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Close some files, or raise the limit (ulimit -n)."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Make the data directory readable and writable for this user."),
    **dict.fromkeys((errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENODEV), ELSEWHERE),
    errno.EROFS: "Mount the file system to be written to, or set dataDir to a folder elsewhere.",
    errno.ENAMETOOLONG: SHORTER,
    errno.EFBIG: "Raise the limit of a file's size (ulimit -f).",
    errno.ENOMEM: "Free some memory, then try again.",
    errno.ENOENT: "Put it back if you have it, then stop the library and start it again.",
}


def new_store(data_dir):
    """Say how to begin anew with a store that is damaged."""
    return f"Keep a copy of it; `{doctor(data_dir, ' --new-store')}` moves it aside and begins a new store."


def doctor(data_dir, option=""):
    """Return the command that looks at the store in a folder."""
    from shlex import quote  # seldom needed, and a start has no time for it

    return f"plue-session doctor{option} --data-dir {quote(data_dir)}"


def chmod(rights, *paths):
    """Say how this user gets files of one owner to have these rights."""
    from shlex import join

    if os.statvfs(paths[0]).f_flag & os.ST_RDONLY:
        return _BY_NUMBER[errno.EROFS]
    owner = os.stat(paths[0]).st_uid
    if os.geteuid() in (owner, 0):
        return f"Run: {join(['chmod', rights, *paths])}"
    return f"Have its owner, user {owner}, see to that, or set dataDir to a folder of yours."


def folder(error):
    """Return what to do about an `OSError` of a folder that cannot be made."""
    return NOT_HERE if error.errno in _NOT_HERE else remedy(error)


def remedy(error):
    """Return what to do about an `OSError`."""
    return _BY_NUMBER.get(error.errno, _OTHERWISE)
