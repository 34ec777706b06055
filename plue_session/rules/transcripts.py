"""Transcripts: what callers ask for of them, how messages look, and which of two states of one is the further. Pure.

What was said is learned twice: from events, which come in order, and from answers to questions, which may be older than
what is known. Both are merged by the same rules: what has ended stays ended, a tool goes forward, and a text that grows
does not shrink, for the server keeps it only at its end (O-049). Between two states that have come equally far the
newer one counts, if it is known to be newer.
"""

from plue_session.errors import BadCursor
from plue_session.model import Message, Part
from plue_session.rules import fields
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.rules.outcomes import error_of

#: Messages of a page, at most and by default.
MAX_LIMIT = 100
#: Bytes of its parts that a message has in an event.
SMALL = 65_536

_VERSION = "m1"
_TOOL = {"pending": 0, "running": 1, "completed": 2, "error": 2}
TOKENS = "input", "output", "reasoning", "cacheRead", "cacheWrite"


def parse_query(json):
    """Parse a `query_json` of `messages`; returns `(limit, cursor text or None, whether parts are wanted)`."""
    given = fields.parse_object(json, "the query", ("limit", "cursor", "parts"))
    limit, cursor = given.get("limit", MAX_LIMIT), given.get("cursor")
    fields.integer(limit, "limit", 1, MAX_LIMIT)
    if "cursor" in given:
        fields.text(cursor, "cursor", 1)
    return limit, cursor, fields.flag(given.get("parts", True), "parts")


# -- cursors -----------------------------------------------------------------------------------------------------------
def render_cursor(message):
    """Write where the page before this message, the oldest of one, ends."""
    return f"{_VERSION}.{message.number:x}.{message.created:x}.{message.id}"


def parse_cursor(text, number):
    """Return the `(created, id)` of a cursor of the session with this number; `BAD_CURSOR`: it is none."""
    version, _, rest = text.partition(".")
    session, _, place = rest.partition(".")
    created, _, id = place.partition(".")
    try:
        found = Message(number=int(session, 16), id=id, created=int(created, 16))
        intact = version == _VERSION and found.created >= 0 and bool(id) and render_cursor(found) == text
    except ValueError:
        intact = False
    if not intact:
        raise BadCursor("the cursor is malformed", "Pass nextCursor exactly as it was received.")
    if found.number != number:
        raise BadCursor("the cursor belongs to another session", "Pass one that this session's messages came with.")
    return found.created, found.id


# -- how they look -----------------------------------------------------------------------------------------------------
def render(message, parts=None):
    """Write a message as JSON; without `parts` it has none."""
    text = f'{{"id":{quote(message.id)},"role":{quote(message.role)}'
    if message.turn_id is not None:
        text += f',"turnId":{quote(message.turn_id)}'
    if parts is not None:
        text += f',"parts":[{",".join([part.body for part in parts])}]'
    text += f',"time":{{"created":{message.created}'
    text += "}" if message.completed is None else f',"completed":{message.completed}}}'
    if message.model is not None:
        text += f',"model":{message.model}'
    if message.error is not None:
        text += f',"error":{message.error}'
    return text + "}"


def render_small(message, parts):
    """Write a message as an event has it: with its parts if they are small."""
    size = sum([len(part.body) if part.body.isascii() else len(part.body.encode()) for part in parts])
    return render(message, parts if size <= SMALL else None)


def render_part(message, part):
    """Write what an event says of a part that is finished."""
    turn = "" if message.turn_id is None else f',"turnId":{quote(message.turn_id)}'
    return f'{{"messageId":{quote(message.id)}{turn},"part":{part.body}}}'


# -- which is further --------------------------------------------------------------------------------------------------
def message_of(number, said, turn_id):
    """Return the record of a message as the server has it."""
    return Message(
        number=number,
        id=said.id,
        role=said.role,
        turn_id=turn_id,
        created=said.created,
        completed=said.completed,
        model=said.model and dumps({"providerId": said.model[0], "modelId": said.model[1]}),
        error=said.failure and dumps(error_of(said.failure)),
        usage=None if said.tokens is None else dumps(_usage(said)),
    )


def has_ended(message):
    """Return whether nothing more comes for a message: a user's is there at once."""
    return message.role == "user" or message.completed is not None or message.error is not None


def merged(known, said, is_newer):
    """Return what is to be stored of a message of which `known` is; None: that stays."""
    if said.turn_id != known.turn_id and not is_newer:
        said.turn_id = known.turn_id
    if has_ended(known) != has_ended(said):
        is_newer = has_ended(said)
    return said if is_newer and said.VALUES(said) != known.VALUES(known) else None


def is_shown(before, after):
    """Return whether two states of a message look different, but for their parts."""
    return render(before) != render(after)


def part_merged(number, known, said, is_newer, has_ended=False):
    """Return what is to be stored of a part of which `known` is, or nothing (None); None: that stays. With its message
    each part has ended."""
    finished = said.finished or has_ended
    new = Part(number, said.message_id, said.id, finished, dumps(said.body))
    if known is None:
        return new
    if known.finished and not (finished and is_newer):
        return None
    if not said.finished:
        reach, before = _reach(said.body), _reach(loads(known.body))
        if before > reach or before == reach and not is_newer:
            new.body = known.body
    return new if (new.body, bool(new.finished)) != (known.body, bool(known.finished)) else None


def _reach(body):
    """Return how far a part that is not finished has come."""
    return _TOOL[body["tool"]["state"]] if "tool" in body else len(body.get("text", ""))


# -- usage -------------------------------------------------------------------------------------------------------------
def _usage(said):
    return {"tokens": dict(zip(TOKENS, said.tokens, strict=True)), "cost": said.cost or 0}


def usage_added(sums, more, less=None):
    """Return the sums (JSON, or None for nothing) with what one message has used more, and what it had less; both JSON
    or None."""
    found: dict = loads(sums) if sums else {"tokens": dict.fromkeys(TOKENS, 0), "cost": 0}
    for text, sign in ((more, 1), (less, -1)):
        if text is not None:
            used = loads(text)
            for name in TOKENS:
                found["tokens"][name] += sign * used["tokens"][name]
            found["cost"] = round(found["cost"] + sign * used["cost"], 12) or 0
    return dumps(found)


def render_usage(rows):
    """Write the usage of a session: `rows` are `(model, sums)`, both JSON."""
    total = None
    for _, sums in rows:
        total = usage_added(total, sums)
    models = ",".join([f"{model[:-1]},{sums[1:]}" for model, sums in rows])
    return f'{usage_added(total, None)[:-1]},"models":[{models}]}}'
