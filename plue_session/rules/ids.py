"""Ids and keys that come from outside. They are checked here before they meet a path, a URL or a query."""

from plue_session.errors import InvalidParam
from plue_session.rules.fields import printable

MAX_ID = 100
MAX_KEY = 200
MAX_ROLE = 200

_DIGITS = frozenset("0123456789")
_ALNUM = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BODIES = {"session_": _DIGITS, "ses_": _ALNUM}
_PREFIXES = tuple(_BODIES)
_CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160))}


def is_id(name):
    """Return whether `name` is meant as an id: what begins like one is one, well-formed or not."""
    return name.startswith(_PREFIXES)


def is_given_here(name):
    """Return whether an id is one of our own; with a server: of a session that it is yet to be told of."""
    return name.startswith("session_")


def session_id(name, what="the session id"):
    """Return `name` if it is `session_<digits>` or `ses_<letters and digits>`, of at most 100 characters.

    `INVALID_PARAM` otherwise; `what` names it in the message ("parentId").
    """
    if len(name) <= MAX_ID:
        for prefix, alphabet in _BODIES.items():
            if name.startswith(prefix) and len(name) > len(prefix) and alphabet.issuperset(name[len(prefix) :]):
                return name
    if not name:
        raise InvalidParam(f"{what} is empty", "Pass an id as the library gave it.")
    raise InvalidParam(
        f"{what} {printable(name)} is malformed",
        f"Ids look like session_1767225600000 or ses_7fK2, of at most {MAX_ID} characters.",
    )


def is_message_id(name):
    """Return whether `name` can be a message's id."""
    return name.startswith("msg") and name.isascii() and name.replace("_", "").isalnum() and len(name) <= MAX_ID


def message_id(name):
    """Return `name` if it is `msg…` of letters, digits and `_`, of at most 100 characters; `INVALID_PARAM`
    otherwise."""
    if not is_message_id(name):
        raise InvalidParam("the message's id is malformed", "Pass an id as the library gave it.")
    return name


def key(name, what="the key"):
    """Return `name` if it can be a caller's own name for a session: 1 to 200 characters, no `/`, `\\` or control
    character, neither `.` nor `..`, and not beginning like an id. `INVALID_PARAM` otherwise."""
    _plain(name, what, MAX_KEY)
    if is_id(name):
        raise InvalidParam(
            f"{what} {printable(name)} begins like an id",
            f"Choose one that begins with neither {' nor '.join(_PREFIXES)}.",
        )
    if "/" in name or "\\" in name or name in (".", ".."):
        raise InvalidParam(
            f"{what} {printable(name)} looks like a path", 'Use no "/" and no "\\", and neither "." nor "..".'
        )
    return name


def role(name, what="role"):
    """Return `name` if it can be an agent's name: 1 to 200 characters without control characters."""
    return _plain(name, what, MAX_ROLE)


def _plain(name, what, most):
    if not name:
        raise InvalidParam(f"{what} cannot be empty", f"Pass 1 to {most} characters.")
    if len(name) > most:
        raise InvalidParam(f"{what} has {len(name)} characters", f"It may have at most {most}.")
    if not _CONTROL.isdisjoint(name):
        raise InvalidParam(f"{what} {printable(name)} holds a control character", "Remove it.")
    return name
