"""JSON at the edge: parsed once, with exact errors, and written once."""

import json
from json.encoder import c_make_encoder, encode_basestring as quote  # noqa: F401  (quote is part of this module)

from plue_session.errors import InvalidParam, JsonParse

MAX_DEPTH = 128

dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
# A finite number in text may overflow to infinity when read; written back it would no longer be JSON.
assert c_make_encoder, "the C accelerator of json is part of every supported Python"


def _float(text):
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidParam(f"the number {text[:40]} is too large", "Use a number that fits a double.")
    return value


def _constant(text):
    raise JsonParse(f"{text} is not JSON", "JSON has no NaN and no Infinity.")


_decode = json.JSONDecoder(parse_float=_float, parse_constant=_constant).decode


def parse(text, what):
    """Parse `text`; `what` names it in errors. `JSON_PARSE` when it is not JSON or nested deeper than MAX_DEPTH;
    `INVALID_PARAM` when it holds a lone surrogate, which no UTF-8 text can."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise JsonParse(f"{what} is nested deeper than {MAX_DEPTH}", "Flatten it.")
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise JsonParse(f"{what} is not JSON: {error.msg} at character {error.pos}", "Send one JSON value in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise JsonParse(f"{what} cannot be read: {error}", "Send one JSON value in UTF-8.") from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InvalidParam(f"{what} holds a lone surrogate escape", "Escape characters beyond U+FFFF as a pair, or send them as UTF-8.") from None
    return value


def _depth(text):
    deepest = depth = 0
    inside = escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest
