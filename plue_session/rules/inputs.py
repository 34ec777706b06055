"""Inputs: what callers want said, and how they name what waits."""

from plue_session.errors import InvalidParam
from plue_session.rules import fields, ids
from plue_session.rules.jsontext import dumps, parse

#: Targets that one call may name.
MAX_TARGETS = 1000
BOUNDARIES = ("afterWork", "beforeCompletion")
#: What says what is to be said; one of them.
_SAYS = ("text", "parts", "command")


class Given:
    """An input as it was given: `content` (JSON, its keys sorted), `says` (the same as a dict), `ingress` (JSON), the
    `source_key` that its id makes, or None, and `turn_id`, which its turn is to have, or None."""

    __slots__ = ("content", "says", "ingress", "source_key", "turn_id")

    def __init__(self, says, ingress, source_key, turn_id):
        self.says, self.ingress, self.source_key, self.turn_id = says, ingress, source_key, turn_id
        self.content = dumps(says)


def parse_input(json):
    """Parse an `input_json` into a `Given`. What says nothing is refused: a server would run the model on it
    (O-042)."""
    given = fields.parse_object(json, "the input", _KEYS)
    for key, value in given.items():
        _KEYS[key](value, key)
    said = [key for key in _SAYS if key in given]
    if len(said) != 1:
        what = "nothing to say" if not said else f"both {said[0]} and {said[1]}"
        raise InvalidParam(f"the input has {what}", "Pass one of text, parts and command.")
    if "arguments" in given and said != ["command"]:
        raise InvalidParam("arguments belong to a command", "Pass command, too, or leave arguments out.")
    says = {key: _sorted(given[key]) for key in sorted(given) if key not in ("id", "ingress", "turnId")}
    source_key = f"host:{given['id']}" if "id" in given else None
    return Given(says, dumps(_sorted(given.get("ingress", "nextTurn"))), source_key, given.get("turnId"))


def parse_targets(json):
    """Parse the targets of `cancel_inputs`; returns [("inputId" or "sourceKey", text), …]."""
    targets = parse(json, "the targets")
    if type(targets) is not list or len(targets) > MAX_TARGETS:
        raise InvalidParam(f"the targets are not an array of at most {MAX_TARGETS}", 'Pass [{"inputId":"…"}].')
    return [_target(each, f"targets[{place}]") for place, each in enumerate(targets)]


def parse_target(json):
    """Parse the anchor of `cancel_inputs_from`."""
    return _target(parse(json, "the anchor"), "the anchor")


def seq_of(input_id):
    """Return the `seq` in an input's id, or None if it is none of ours."""
    head, _, digits = input_id.partition("_")
    is_ours = head == "input" and digits.isascii() and digits.isdecimal() and len(digits) < 19 and digits[0] != "0"
    return int(digits) if is_ours else None


# -- values ------------------------------------------------------------------------------------------------------------
def _sorted(value):
    """Return a JSON value with the members of its objects in order, so that the same content is the same text."""
    if type(value) is dict:
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if type(value) is list else value


def _target(value, key):
    pair = fields.members(value, key, ("inputId", "sourceKey"), f"{key}.")
    if len(pair) != 1:
        raise InvalidParam(f"{key} does not name one input", "Pass inputId or sourceKey.")
    ((name, text),) = pair.items()
    return name, fields.text(text, f"{key}.{name}", 1)


def _filled(value, key):
    return fields.text(value, key, 1)


def _command(value, key):
    name = fields.text(value, key, 1, 200)
    if name.startswith("/") or any(char.isspace() for char in name):
        raise InvalidParam(f"{key} is not a command's name", 'Pass it without slash and arguments: "init".')
    return name


def _model(value, key):
    pair = fields.members(value, key, ("providerId", "modelId"), f"{key}.")
    for name in ("providerId", "modelId"):
        if name not in pair:
            raise InvalidParam(f"{key}.{name} is missing", f"A {key} has both providerId and modelId.")
        fields.text(pair[name], f"{key}.{name}", 1)
    return pair


def _ingress(value, key):
    if value == "nextTurn":
        return value
    inner = fields.members(value, key, ("activeTurn",), f"{key}.").get("activeTurn") if type(value) is dict else None
    if inner is None:
        raise InvalidParam(
            f"{key} is none", 'Pass "nextTurn", or {"activeTurn":{"turnId","boundary":"afterWork|beforeCompletion"}}.'
        )
    name = f"{key}.activeTurn"
    fields.members(inner, name, ("turnId", "boundary"), f"{name}.")
    _turn_id(inner.get("turnId"), f"{name}.turnId")
    fields.choice(inner.get("boundary"), f"{name}.boundary", BOUNDARIES)
    return value


def _turn_id(value, key):
    text = fields.text(value, key, 1, ids.MAX_ID)
    if not text.isascii() or not text.replace("_", "").replace("-", "").isalnum():
        raise InvalidParam(f"{key} is malformed", "Use ASCII letters, digits, _ and -.")
    return text


def _parts(value, key):
    if type(value) is not list or not value:
        raise fields.mismatch(value, key, "a non-empty array of parts")
    for place, part in enumerate(value):
        _part(part, f"{key}[{place}]")
    return value


def _part(part, key):
    fields.members(part, key, ("type", "text", "file"), f"{key}.")
    kind = fields.choice(part.get("type"), f"{key}.type", ("text", "file"))
    if part.keys() != {"type", kind}:
        raise InvalidParam(f"{key} has not just type and {kind}", f'Pass {{"type":"{kind}","{kind}":…}}.')
    if kind == "text":
        fields.text(part["text"], f"{key}.text")
        return
    name = f"{key}.file"
    file = fields.members(part["file"], name, ("path", "data", "url", "mimeType", "name"), f"{name}.")
    sources = [each for each in ("path", "data", "url") if each in file]
    if len(sources) != 1 or "mimeType" not in file:
        raise InvalidParam(f"{name} is incomplete", "It has mimeType and one of path, data and url.")
    for each, text in file.items():
        fields.text(text, f"{name}.{each}", 1)
    if sources == ["data"]:
        _base64(file["data"], f"{name}.data")
    if sources == ["path"] and not file["path"].startswith("/"):
        raise InvalidParam(f"{name}.path is not absolute", "Pass a path that begins with a slash.")


def _base64(text, key):
    """Check for base64 as RFC 4648 has it. Python's own readers take different things in different versions."""
    bare = text.rstrip("=")
    is_whole = len(text) % 4 == 0 and len(text) - len(bare) <= 2
    if not is_whole or not bare.isascii() or not bare.replace("+", "0").replace("/", "0").isalnum():
        raise InvalidParam(f"{key} is not base64", "Encode the bytes of the file as RFC 4648 says.")


_KEYS = {
    "text": _filled,
    "parts": _parts,
    "command": _command,
    "arguments": fields.text,
    "id": lambda value, key: fields.text(value, key, 1, 200),
    "turnId": _turn_id,
    "ingress": _ingress,
    "model": _model,
    "agent": _filled,
}
