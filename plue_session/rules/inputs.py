"""Inputs: what callers want said, and how they name what waits."""

from plue_session.errors import InvalidParam, LimitExceeded
from plue_session.rules import fields, ids
from plue_session.rules.jsontext import dumps, loads, parse, quote

#: Targets that one call may name.
MAX_TARGETS = 1000
NEXT_TURN = "nextTurn"
BOUNDARIES = ("afterWork", "beforeCompletion")
#: Characters that an input may have as JSON: files go by their path.
MAX_INPUT = 16 << 20
#: What says what is to be said; one of them.
_SAYS = ("text", "parts", "command")


class Given:
    """An input as it was given: `content` (JSON, its keys sorted), `says` (the same as a dict), `ingress` (JSON), the
    `source_key` that its id makes, or None, and `turn_id`, which its turn is to have, or None. One that is `alone`
    shares its turn with no other."""

    __slots__ = ("content", "says", "ingress", "source_key", "turn_id", "alone")

    def __init__(self, says, ingress, source_key, turn_id):
        self.says, self.ingress, self.source_key, self.turn_id = says, ingress, source_key, turn_id
        self.alone = "command" in says or turn_id is not None
        self.content = dumps(says)
        if len(self.content) > MAX_INPUT:
            raise LimitExceeded(
                f"the input has {len(self.content):,} characters as JSON, at most {MAX_INPUT:,} are taken",
                "Name files by path, or say it in several inputs.",
            )


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
    return Given(says, dumps(_sorted(given.get("ingress", NEXT_TURN))), source_key, given.get("turnId"))


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
    return _numbered(input_id, "input")


def seq_of_turn(turn_id):
    """Return the `seq` of the input after which a turn is named, or None if it is named otherwise."""
    return _numbered(turn_id, "turn")


def turn_meant(ingress):
    """Return the turn that an input is for, by its ingress (JSON), or None: for the next one."""
    return None if ingress == _NEXT else loads(ingress)["activeTurn"]["turnId"]


def together(rows, most):
    """Return those of the inputs that make one turn, the first of them: up to `most` that name the same model and
    agent, as long as none is to be alone (L-098), and all together are not too long."""
    taken, size = [], 0
    for row in rows:
        size += len(row.content)
        if taken and (row.alone or size > MAX_INPUT or _choice(row) != _choice(taken[0])):
            break
        taken.append(row)
        if row.alone or len(taken) == most:
            break
    return taken


def turn_id_of(row):
    """Return the id that the turn has which begins with this input."""
    return row.wanted or f"turn_{row.seq}"


# -- as callers see them -----------------------------------------------------------------------------------------------
def render(row, session_id):
    """Return an input's record as JSON."""
    source = "" if row.source_key is None else f',"sourceKey":{quote(row.source_key)}'
    return (
        f'{{"inputId":"{row.name}","sessionId":{quote(session_id)},"enqueueSeq":{row.seq}{source},'
        f'"ingress":{row.ingress},"state":"{row.state}","enqueuedAt":{row.enqueued},"input":{row.content}}}'
    )


def queue_json(rows, session_id):
    """Return inputs as a JSON array."""
    return f"[{','.join([render(row, session_id) for row in rows])}]"


def render_outcome(outcome, target, row=None, session_id=None, claim=None):
    """Return as JSON what has become of a target, `(key, text)`; `row` is its input, if there is one, `claim` what that
    is under."""
    if row is None:
        return f'{{"outcome":"{outcome}",{quote(target[0])}:{quote(target[1])}}}'
    more = f',"turnId":{quote(row.turn_id)}' if row.turn_id is not None and outcome == "already_claimed" else ""
    if claim is not None:
        more += f',"claim":{{"claimId":"claim_{claim.id}","owner":{quote(claim.owner)},"expiresAt":{claim.expires}}}'
    return f'{{"outcome":"{outcome}","inputId":"{row.name}"{more},"input":{render(row, session_id)}}}'


_NEXT = dumps(NEXT_TURN)


def _numbered(id, kind):
    head, _, digits = id.partition("_")
    is_ours = head == kind and digits.isascii() and digits.isdecimal() and len(digits) < 19 and digits[0] != "0"
    return int(digits) if is_ours else None


def _choice(row):
    """Return the model and agent that an input names."""
    if '"model"' not in row.content and '"agent"' not in row.content:  # and most name none
        return None, None
    says = loads(row.content)
    return says.get("model"), says.get("agent")


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


def _ingress(value, key):
    if value == NEXT_TURN:
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
    if not any(part.get("text", True) for part in value):  # a server leaves out what is empty, but not what is blank
        raise InvalidParam(f"{key} say nothing", "Pass a text of at least one character, or a file.")
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
    "model": fields.model,
    "agent": _filled,
}
