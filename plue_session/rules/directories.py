"""One name for one directory (T-08). The one rule that asks the disk: what is canonical only the file system knows."""

import os

from plue_session.errors import InvalidParam

_REMEDY = "Pass the absolute path of an existing directory."


def canonical(path, what="directory"):
    """Return the canonical name of an existing directory: absolute, without `.`, `..`, symlinks or a trailing slash.

    `INVALID_PARAM` when `path` is relative (the working directory is the host's and may change), does not exist, is
    not a directory, or has a canonical name that is not UTF-8. `what` names it in the message.
    """
    if not os.path.isabs(path):
        raise InvalidParam(f"{what} is not an absolute path", _REMEDY)
    try:
        real = os.path.realpath(path, strict=True)
        real.encode()
        os.scandir(real).close()  # not isdir(): it would hide why the directory cannot be used
    except OSError as error:
        raise InvalidParam(f"{what} {path} cannot be used: {error.strerror}", _REMEDY) from None
    except ValueError:  # a NUL in the path, or a name that is not UTF-8
        raise InvalidParam(f"{what} is not a path in UTF-8 without NUL", _REMEDY) from None
    return real


def for_query(path):
    """Return the name as it is put into a query, before that is encoded: the server decodes what it gets twice
    (measured), so that "%41" in a name would become "A"."""
    if "%" not in path:
        return path
    from urllib.parse import unquote

    return path if unquote(path) == path else path.replace("%", "%25")
