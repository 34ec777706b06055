"""Operations in bulk, as text: what each asks for.

The text is an array of objects. `op` names an operation, whose arguments stand beside it by the names of its function's
parameters; `tag` and `timeoutMs` are the caller's. An operation that is wrong is refused alone; only a text that is no
such array is refused as a whole.
"""

from plue_session.errors import InvalidParam, LimitExceeded, PlueError
from plue_session.rules import fields
from plue_session.rules.jsontext import dumps, first_of, parse

#: Operations that one text may have, characters of a tag, and the longest time of an operation, ms.
MOST, MAX_TAG, MAX_TIME = 1000, 200, (1 << 31) - 1


class Op:
    """One kind of operation: `parameters` are those of its function, `(name, check, is_required)` each. One that
    `is_urgent` ends what others do, and waits for none of them. `limit` is the place of the parameter that says for how
    many milliseconds it waits, or None: it does not."""

    __slots__ = ("name", "parameters", "is_urgent", "limit")

    def __init__(self, name, parameters, is_urgent=False, limit=None):
        self.name, self.parameters, self.is_urgent, self.limit = name, parameters, is_urgent, limit


class Step:
    """One operation: its `op` and the `texts` for its parameters, or the `error` that it is refused with; the caller's
    `tag`, and its `timeout` (seconds), if there are any; the `session` that it is about, or None."""

    __slots__ = ("op", "texts", "session", "tag", "timeout", "error")

    def __init__(self):
        self.op = self.session = self.tag = self.timeout = self.error = None
        self.texts = []

    def arguments(self):
        """Return the checked arguments; fails as the function itself does."""
        return [check(text, name) for (name, check, _), text in zip(self.op.parameters, self.texts, strict=True)]


def milliseconds(value, name):
    """Return how long an operation is to wait; unlike other arguments it is a number."""
    return fields.integer(value, name, 0, MAX_TIME)


def read(text, ops):
    """Return a `Step` for each operation of the text; `ops` has the `Op` of each name."""
    return [_step(each, place, ops) for place, each in enumerate(_array(text))]


def unread(text):
    """Return a `Step` for each operation of the text that is not to be done, whatever it is."""
    return [_unread(each) for each in _array(text)]


def _array(text):
    given = parse(text, "operations_json")
    if type(given) is not list:
        raise fields.mismatch(given, "operations_json", "an array of operations")
    if len(given) > MOST:
        raise LimitExceeded(f"operations_json has {len(given)} operations", f"Pass at most {MOST} at a time.")
    return given


def _unread(given):
    step, tag = Step(), given.get("tag") if type(given) is dict else None
    step.tag = tag if type(tag) is str and len(tag) <= MAX_TAG else None
    return step


def is_urgent(text, ops):
    """Return whether the first operation is urgent, by the beginning of the text that it is in."""
    first = first_of(text)
    op = first.get("op") if type(first) is dict else None
    return type(op) is str and op in ops and ops[op].is_urgent


def first_tag(steps):
    """Return the tag of the first operation that has one, or None."""
    return next((step.tag for step in steps if step.tag is not None), None)


def _step(given, place, ops):
    step = Step()
    try:
        _fill(step, given, ops)
    except PlueError as error:
        error.cause = f"operation {place}: {error.cause}"
        step.error = error
    return step


def _fill(step, given, ops):
    fields.members(given, "an operation", None)
    if given.get("tag") is not None:
        step.tag = fields.text(given["tag"], "tag", most=MAX_TAG)
    if given.get("timeoutMs") is not None:
        step.timeout = fields.integer(given["timeoutMs"], "timeoutMs", 1, MAX_TIME) / 1000
    op = ops.get(fields.choice(given.get("op"), "op", ops))
    names = [name for name, *_ in op.parameters]
    fields.members(given, op.name, ("op", *names, "tag", "timeoutMs"))
    step.texts = [
        _argument(given.get(name), name, op, is_required, place == op.limit)
        for place, (name, _, is_required) in enumerate(op.parameters)
    ]
    step.session = step.texts[names.index("session")] if "session" in names else None
    step.op = op


def _argument(value, name, op, is_required, is_number):
    """Return an argument as its check takes it. What is JSON there may be an object or an array here."""
    if value is None:
        if is_required:
            raise InvalidParam(f"Invalid parameters: {op.name} lacks {name}", "Add it.")
        return None
    if is_number:
        return value
    if type(value) in (dict, list) and name.endswith("_json"):
        return dumps(value)
    if "\0" in fields.text(value, name):
        raise InvalidParam(f"{name} holds a NUL character", "Remove it.")
    return value
