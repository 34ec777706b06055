"""What the event stream says, as typed changes. Pure: one JSON text in, one `Change` or None out.

OpenCode tells of what it logs twice: as a plain event, and right after that, under the same id, as a `sync` event with
its number in the session's sequence, which holds the same. `/event` has the plain ones alone, `/global/event` both,
and `/sync/history` repeats the numbered ones (measured on 1.18.33). Of the two, one is read: the numbered where there
are any. Text deltas, states, failures and permissions are not logged: they are plain events everywhere.
"""

import re
from functools import partial

from plue_session.adapters.opencode import asking, parts, shapes
from plue_session.errors import Server


class Change:
    """Something that happened on the server. `session_id` is None where it concerns none; `value` depends on `kind`:

    "connected"           None: the stream begins
    "heartbeat"           None: the server lives
    "disposed"            None: its state of the directory is gone (O-058)
    "created", "session"  a `RemoteSession` that is new, or has changed (`session.created` may come late: O-029)
    "deleted", "idle"     None
    "status"              `{"type":"idle"|"busy"|"retry","attempt"?,"message"?,"next"?}`
    "failed"              a `Failure`; session_id may be None
    "message"             a `RemoteMessage`
    "message.removed"     the message's id
    "part"                a `RemotePart`
    "part.delta"          a `RemoteDelta`
    "part.removed"        `(message id, part id)`
    "permission.asked", "question.asked"
                          an `asking.Asked`: a turn waits for that
    "permission.replied", "question.replied"
                          an `asking.Replied`: it was answered, or rejected
    "todo.updated"        the agent's plan, a list
    "other"               None: a number of the sequence whose event is of no known type, or cannot be read

    `seq` is its number in the session's sequence, or None; `directory` the one that it happened in, where the stream is
    of all directories.
    """

    __slots__ = ("kind", "session_id", "value", "seq", "directory")

    def __init__(self, kind, session_id=None, value=None, seq=None):
        self.kind, self.session_id, self.value, self.seq, self.directory = kind, session_id, value, seq, None


def read(data, numbered=False):
    """Return the `Change` that an event's data (bytes) tells, or None for one that is not for us.

    Takes the events of `/event` and of `/global/event`; `numbered`: of those that are told twice, the one with the
    number (O-061, O-078). Unknown types and fields are ignored (O-063), and so is a plain event that lacks what its
    type promises: polling sees what it would have told.
    """
    if numbered and _TOLD_TWICE.match(data):
        return None
    try:
        event = shapes.parse(data)
    except ValueError:
        return None
    directory = None
    if payload := shapes.inner(event, "payload"):
        event, directory = payload, event.get("directory")
    if type(event) is not dict or type(event.get("type")) is not str:
        return None
    if event["type"] == "sync":
        change = read_numbered(shapes.inner(event, "syncEvent"), "aggregateID") if numbered else None
    elif numbered and event["type"] in _LOGGED:
        return None
    else:
        change = _change(event["type"], event.get("properties"))
    if change is not None:
        change.directory = directory
    return change


def read_numbered(event, name):
    """Return the `Change` of a numbered event; `name` is that of the field with the session's id, which the stream and
    the history call differently. None for one without a number, or of something that is no session."""
    session_id, seq = event.get(name), event.get("seq")
    if not shapes.nameable(session_id) or type(seq) is not int or seq < 0:
        return None
    kind, _, version = str(event.get("type")).rpartition(".")
    change = _change(kind, event.get("data")) if version == "1" else None
    if change is None or change.session_id != session_id:
        change = Change("other", session_id)
    change.seq = seq
    return change


def _change(kind, properties):
    reader = _READERS.get(kind)
    if reader is None:
        return None
    try:
        return reader(properties if type(properties) is dict else {})
    except Server:
        return None


def _plain(kind):
    return lambda properties: Change(kind)


def _about(kind, session_id, value=None):
    """Return the change of a session; what names none tells nothing."""
    return Change(kind, session_id, value) if shapes.nameable(session_id) else None


def _of_session(kind, value=lambda properties: None):
    return lambda properties: _about(kind, properties.get("sessionID"), value(properties))


def _session(kind):
    def reader(properties):
        session = shapes.session(properties.get("info"))
        return Change(kind, session.id, session)

    return reader


def _deleted(properties):
    return _about("deleted", properties.get("sessionID") or shapes.inner(properties, "info").get("id"))


def _message(properties):
    message = shapes.message(properties.get("info"))
    return _about("message", message.session_id, message)


def _failed(properties):
    session_id = properties.get("sessionID")
    known = session_id if shapes.nameable(session_id) else None
    return Change("failed", known, shapes.failure(properties.get("error")))


def _part(properties):
    part = parts.part(properties.get("part"))
    return _about("part", part.session_id, part)


def _removed(*names):
    """Return what reads which message, or which part of it, was removed."""

    def reader(properties):
        found = tuple(shapes.clean(properties.get(name)) for name in names)
        if not all(type(each) is str for each in found):
            raise shapes.malformed("a removal", "it does not say of what")
        return found if len(names) > 1 else found[0]

    return reader


def _asked(kind, read):
    def reader(properties):
        asked = read(properties)
        return Change(kind, asked.session_id, asked)

    return reader


def _status(properties):
    status = properties.get("status")
    if type(status) is not dict or status.get("type") not in ("idle", "busy", "retry"):
        raise shapes.malformed("a status", "its type is none that is known")
    return shapes.clean(status)


_READERS = {
    "server.connected": _plain("connected"),
    "server.heartbeat": _plain("heartbeat"),
    "server.instance.disposed": _plain("disposed"),
    "session.created": _session("created"),
    "session.updated": _session("session"),
    "session.deleted": _deleted,
    "session.status": _of_session("status", _status),
    "session.idle": _of_session("idle"),
    "session.error": _failed,
    "message.updated": _message,
    "message.removed": _of_session("message.removed", _removed("messageID")),
    "message.part.updated": _part,
    "message.part.delta": _of_session("part.delta", parts.delta),
    "message.part.removed": _of_session("part.removed", _removed("messageID", "partID")),
    "permission.asked": _asked("permission.asked", asking.permission),
    "permission.replied": _of_session("permission.replied", partial(asking.replied, asking.PERMISSION)),
    "question.asked": _asked("question.asked", asking.question),
    "question.replied": _of_session("question.replied", partial(asking.replied, asking.QUESTION)),
    "question.rejected": _of_session("question.replied", partial(asking.replied, asking.QUESTION)),
    "todo.updated": _of_session("todo.updated", lambda properties: asking.todos(properties.get("todos"))),
}

#: What the server logs, and numbers.
_LOGGED = frozenset(
    (
        "session.created",
        "session.updated",
        "session.deleted",
        "message.updated",
        "message.removed",
        "message.part.updated",
        "message.part.removed",
    )
)
#: How a plain event begins that is logged, as the server writes it: what is told twice is half of what it sends, and
#: need not be parsed.
_TOLD_TWICE = re.compile(
    rb'\{(?:"directory":"[^"\\]*",)?(?:"project":"[^"\\]*",)?"payload":\{"id":"[^"\\]*","type":"(?:%b)"'
    % "|".join(map(re.escape, sorted(_LOGGED))).encode()
)
