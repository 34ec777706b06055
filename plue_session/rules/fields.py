"""Read values out of parsed JSON, or say which key is wrong. Messages name the key, never the value: it may be a
secret."""

from plue_session.errors import InvalidParam
from plue_session.rules.jsontext import parse, quote

#: The largest integer that every JSON reader keeps exact.
MAX_INTEGER = (1 << 53) - 1

_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a fraction",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def printable(name):
    """Return a caller's name as it may stand in a message: itself, or quoted and cut when long or unprintable."""
    return name if name.isprintable() and len(name) <= 80 else quote(name[:80])


def parse_object(json, what, known):
    """Parse `json` (None: empty) into a dict that has none but the `known` keys; `what` names it in errors."""
    return {} if json is None else members(parse(json, what), what, known)


def members(value, what, known, prefix=""):
    """Check that `value` is an object with none but the `known` keys (None: any), and return it.

    `prefix` ("retry.") is the way to a nested object and stands before its keys in errors.
    """
    if type(value) is not dict:
        raise mismatch(value, what, "an object")
    for name in value:
        if known is not None and name not in known:
            place = "" if prefix else f" in {what}"
            raise InvalidParam(f"unknown key {printable(prefix + name)}{place}", f"Known keys: {', '.join(known)}.")
    return value


def mismatch(value, key, expected):
    """Return the error for a `value` of another type than the `expected` one ("a string")."""
    return InvalidParam(f"{key} must be {expected}, not {_KINDS[type(value)]}", "Correct it, or leave the key out.")


def text(value, key, least=0, most=None):
    """Check for a string of `least` to `most` characters."""
    if type(value) is not str:
        raise mismatch(value, key, "a string")
    if len(value) < least:
        raise InvalidParam(f"{key} cannot be empty", "Pass at least one character, or leave the key out.")
    if most is not None and len(value) > most:
        raise InvalidParam(f"{key} has {len(value)} characters", f"It may have at most {most}.")
    return value


def integer(value, key, least=0, most=MAX_INTEGER):
    """Check for an integer (true, false and 1.0 are none) between `least` and `most`."""
    if type(value) is not int:
        raise mismatch(value, key, "an integer")
    if not least <= value <= most:
        raise InvalidParam(f"{key} is out of range", f"It is an integer from {least} to {most}.")
    return value


def flag(value, key):
    """Check for true or false."""
    if type(value) is not bool:
        raise mismatch(value, key, "a boolean")
    return value


def checked(check):
    """Return what checks for a string that passes `check(text, key)`."""
    return lambda value, key: check(text(value, key), key)


def snake(key):
    """Return a key as a record names it: `createdAfter` is `created_after`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key)


def choice(value, key, choices):
    """Check for one of a few strings."""
    if text(value, key) not in choices:
        raise InvalidParam(f"{key} cannot be {quote(value[:80])}", f"It is one of {', '.join(choices)}.")
    return value


def model(value, key):
    """Check for an object that names a model, by provider and id."""
    names = "providerId", "modelId"
    pair = members(value, key, names, f"{key}.")
    for name in names:
        if name not in pair:
            raise InvalidParam(f"{key}.{name} is missing", f"A {key} has both providerId and modelId.")
        text(pair[name], f"{key}.{name}", 1)
    return pair


def texts(value, key, least=0, most=None):
    """Check for an array of strings and return it without repetitions, in order."""
    if type(value) is not list:
        raise mismatch(value, key, "an array of strings")
    return list(dict.fromkeys(text(item, f"{key}[{place}]", least, most) for place, item in enumerate(value)))
