"""Transcripts: what callers ask for of them, how messages look, and which of two states of one is the further. Pure.

What was said is learned twice: from events, which come in order, and from answers to questions, which may be older than
what is known. Both are merged by the same rules: what has ended stays ended, a tool goes forward, and a text that grows
does not shrink, for the server keeps it only at its end (O-049). Between two states that have come equally far the
newer one counts, if it is known to be newer.
"""

from plue_session.errors import BadCursor
from plue_session.model import Message, Part, Transcript
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


def place(message):
    """Return where a message stands among those of its session."""
    return message.created, message.id


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
        intact = version == _VERSION and 0 <= found.created < 1 << 53 and bool(id) and render_cursor(found) == text
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


def render_observed(observed):
    """Write what an observation says of a transcript: its messages, its usage, and the agent's plan."""
    pairs, more = observed.messages, observed.has_older
    more = more or not Extent(observed.transcript, observed.is_ours).is_complete
    after = f',"nextCursor":{quote(render_cursor(pairs[0][0]))}' if pairs and more else ""
    todos = observed.transcript and observed.transcript.todos or "[]"
    messages = ",".join([render(message, parts) for message, parts in pairs])
    return f'"messages":[{messages}]{after},"usage":{render_usage(observed.usage)},"todos":{todos}'


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
    each part has ended; one that has only begun is not worth a commit."""
    finished = said.finished or has_ended
    new = Part(number, said.message_id, said.id, finished, dumps(said.body))
    if known is None:
        return new if finished or _reach(said.body) else None
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


def joined(text):
    """Return `(text, half)` of pieces of text that were put together: what UTF-8 can hold, and the first half of a
    character, or "", that the next piece goes on from. Halves alone become their escapes, as everywhere."""
    try:
        text.encode()
    except UnicodeEncodeError:
        half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        whole = text[: len(text) - len(half)].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return whole.encode("utf-8", "backslashreplace").decode(), half
    return text, ""


def closed(body, heard=None):
    """Return a part (JSON) that nothing more comes of: with the text that was heard of it (the same, as a dict), should
    that be longer; a tool that has not answered has failed."""
    part = loads(body)
    if heard is not None and len(heard["text"]) > len(part.get("text", heard["text"])):
        part = heard
    if _TOOL.get(part.get("tool", {}).get("state"), 2) < 2:
        part["tool"]["state"] = "error"
    return dumps(part)


# -- how much is known -------------------------------------------------------------------------------------------------
class Extent:
    """How much of a session's transcript is in the store: from `since`, a place `(created, id)`, on nothing is missing
    (None: no such place is known). `is_complete`: nothing at all is. `is_behind`: something newer may be. `cursor` is
    the server's, for what comes before `since`; None: for the newest.

    `is_ours`: the session was made here, so all that was said was heard. `row` is the `Transcript` or None; its
    `before` is "" if something was missed, or `since` and `cursor` in one text.
    """

    __slots__ = ("row", "is_complete", "is_behind", "since", "cursor")

    def __init__(self, row, is_ours):
        self.row, self.since, self.cursor = row, None, None
        before = row.before if row is not None else None
        self.is_behind = before == ""
        self.is_complete = row is not None and bool(row.complete) or is_ours and before is None
        if before:
            place, _, self.cursor = before.partition(" ")
            created, _, id = place.partition(".")
            self.since = int(created, 16), id

    def read(self, number, before, oldest, cursor, newest):
        """Return the row once a page was read, the one before the cursor `before` (None: the newest), that begins with
        the place `oldest` (None: it is empty) and is followed by `cursor` (None: it was the last one); `newest` is that
        of the newest message known before. None: it stays as it is."""
        follows = not self.is_complete and before == self.cursor
        has_hole = before is None and cursor is not None and newest is not None and oldest > newest
        return self._row(number, oldest, cursor) if follows or has_hole else None

    def lost(self, number):
        """Return the row once something may have been missed; None: it stays as it is."""
        return self._row(number, None, "") if self.is_complete or self.since is not None else None

    def _row(self, number, oldest, cursor):
        row = self.row or Transcript(number=number)
        row.complete = cursor is None
        row.before = f"{oldest[0]:x}.{oldest[1]} {cursor}" if cursor and oldest else cursor and ""
        return row


# -- usage -------------------------------------------------------------------------------------------------------------
def _usage(said):
    return {"tokens": dict(zip(TOKENS, said.tokens, strict=True)), "cost": said.cost or 0}


def usage_added(sums, used, sign=1):
    """Return the sums (JSON, or None for nothing) with what one message has used (JSON), or (sign -1) without it."""
    found: dict = loads(sums) if sums else {"tokens": dict.fromkeys(TOKENS, 0), "cost": 0}
    given = loads(used)
    for name in TOKENS:
        found["tokens"][name] += sign * given["tokens"][name]
    found["cost"] = round(found["cost"] + sign * given["cost"], 12) or 0
    return dumps(found)


_NOTHING = dumps({"tokens": dict.fromkeys(TOKENS, 0), "cost": 0})


def render_usage(rows):
    """Write the usage of a session: `rows` are `(model, sums)`, both JSON."""
    total = _NOTHING
    for _, sums in rows:
        total = usage_added(total, sums)
    models = ",".join([f"{model[:-1]},{sums[1:]}" for model, sums in rows])
    return f'{total[:-1]},"models":[{models}]}}'


def render_turn(pairs):
    """Write the messages of a turn, `(message, parts)` each, and what they have used: two texts."""
    sums: dict = {}
    for message, _ in pairs:
        if message.usage is not None and message.model is not None:
            sums[message.model] = usage_added(sums.get(message.model), message.usage)
    return f"[{','.join([render(*pair) for pair in pairs])}]", render_usage(sorted(sums.items()))
