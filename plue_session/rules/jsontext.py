"""JSON at the edge: parsed once, with exact errors, and written once."""

from _json import encode_basestring as quote
from _json import make_encoder, make_scanner

from plue_session.errors import InvalidParam, JsonParse

# `_json` is the C half of the standard library's json. Its Python half compiles six regular expressions when it is
# imported: 15 ms, a quarter of the time from dlopen to the first session.

MAX_DEPTH = 128
_BLANK = " \t\n\r"


def _no_default(value):
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode = make_encoder(None, _no_default, quote, None, ":", ",", False, False, False)


def dumps(value):
    """Write compact JSON text; characters beyond ASCII stay as they are."""
    return "".join(_encode(value, 0))


def _float(text):
    # A finite number in text may overflow to infinity when read; written back it would no longer be JSON.
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidParam(f"the number {text[:40]} is too large", "Use a number that fits a double.")
    return value


def _constant(text):
    raise JsonParse(f"{text} is not JSON", "JSON has no NaN and no Infinity.")


class _Reading:
    """How the scanner reads: as json.JSONDecoder would."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = staticmethod(_float), int, staticmethod(_constant)


_scan = make_scanner(_Reading())  # type: ignore[arg-type]


def loads(text):
    """Read JSON that we have written ourselves."""
    return _scan(text, 0)[0]


def clean(value):
    """Return text, or a JSON value, that UTF-8 can hold: a lone surrogate becomes its escape, as six characters."""
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if type(value) is dict:
        return {clean(name): clean(part) for name, part in value.items()}
    if type(value) is list:
        return [clean(part) for part in value]
    return value


def first_of(text):
    """Return the first element of an array, of whose text this is the beginning; None: that is not in it."""
    text = text.lstrip(_BLANK)
    if not text.startswith("["):
        return None
    text = text[1:].lstrip(_BLANK)
    try:
        return _scan(text, 0)[0]
    except Exception:  # what is wrong with it is found when all is read
        return None


def _character(text, position):
    return f"character {position}"


def line_and_column(text, position):
    """Say where in a file a character is."""
    above = text.count("\n", 0, position)
    return f"line {above + 1}, column {position - text.rfind(chr(10), 0, position)}"


def parse(text, what, place=_character):
    """Parse `text`; `what` names it in errors, and `place(text, position)` where in it something is wrong.

    `JSON_PARSE` when it is not JSON or nested deeper than MAX_DEPTH; `INVALID_PARAM` when it holds a lone surrogate,
    which no UTF-8 text can, or a number that is too large.
    """
    # Most texts have too few brackets to nest deeply; empty pairs, of which a text may hold millions, add one level at
    # most.
    if text.count("[") + text.count("{") - text.count("[]") - text.count("{}") >= MAX_DEPTH and _is_deep(text):
        raise JsonParse(f"{what} is nested deeper than {MAX_DEPTH}", "Flatten it.")
    remedy = "Send one JSON value in UTF-8."
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        try:
            value, end = _scan(text, start)
        except (
            SystemError
        ):  # before 3.12 the scanner finds no exception to raise unless the module that has it is there
            import json.decoder  # noqa: F401

            value, end = _scan(text, start)
    except StopIteration as error:
        raise JsonParse(f"{what} is not JSON: Expecting value at {place(text, error.value)}", remedy) from None
    except ValueError as error:  # json.JSONDecodeError has msg and pos; that of a number of too many digits has not
        if not hasattr(error, "pos"):
            raise InvalidParam(
                f"{what} holds a number of too many digits", "Use a number that fits a double, or a string."
            ) from None
        raise JsonParse(f"{what} is not JSON: {error.msg} at {place(text, error.pos)}", remedy) from None  # type: ignore[attr-defined]
    except RecursionError:
        raise JsonParse(f"{what} is nested deeper than {MAX_DEPTH}", "Flatten it.") from None
    if text[end:].strip(_BLANK):
        raise JsonParse(f"{what} is not JSON: something follows the value at {place(text, end)}", remedy)
    if "\\u" in text:
        try:
            dumps(value).encode()
        except UnicodeEncodeError:
            raise InvalidParam(
                f"{what} holds a lone surrogate escape",
                "Escape characters beyond U+FFFF as a pair, or send them as UTF-8.",
            ) from None
    return value


def _is_deep(text):
    """Return whether the brackets outside of strings nest deeper than MAX_DEPTH."""
    outside, depth = text.replace("\\\\", "").replace('\\"', "").split('"')[::2], 0
    for char in "".join(outside):
        depth += (char in "[{") - (char in "]}")
        if depth > MAX_DEPTH:
            return True
    return False
