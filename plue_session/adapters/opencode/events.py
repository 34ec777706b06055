"""What the event stream says, as typed changes. Pure: one JSON text in, one `Change` or None out."""

from plue_session.adapters.opencode import shapes
from plue_session.errors import Server


class Change:
    """Something that happened on the server. `session_id` is None where it concerns none; `value` depends on `kind`:

    "connected", "heartbeat", "disposed"  None: the stream begins · the server lives · its state of the directory is
    gone (O-058) "created", "session"                  a `RemoteSession` that is new, or has changed (`session.created`
    may come late: O-029) "deleted", "idle"                     None "status"
    `{"type":"idle"|"busy"|"retry","attempt"?,"message"?,"next"?}` "failed"                              a `Failure`;
    session_id may be None "message"                             a `RemoteMessage` "message.removed"
    the message's id "part", "part.delta", "part.removed"  the server's properties, cleaned "permission.asked",
    "permission.replied"  the server's properties, cleaned
    """

    __slots__ = ("kind", "session_id", "value")

    def __init__(self, kind, session_id=None, value=None):
        self.kind, self.session_id, self.value = kind, session_id, value


def read(data):
    """Return the `Change` that an event's data (bytes) tells, or None for one that is not for us.

    Unknown types and fields are ignored (O-063), and so is an event that lacks what its type promises: polling sees
    what it would have told. Takes the events of `/event` and, unwrapped, of `/global/event`, whose `sync` duplicates
    are dropped (O-061).
    """
    try:
        event = shapes.parse(data)
    except ValueError:
        return None
    if type(event) is dict and type(event.get("payload")) is dict:
        event = event["payload"]
    if type(event) is not dict or type(event.get("type")) is not str:
        return None
    reader = _READERS.get(event["type"])
    properties = event.get("properties")
    if reader is None:
        return None
    try:
        return reader(properties if type(properties) is dict else {})
    except Server:
        return None


def _plain(kind):
    return lambda properties: Change(kind)


def _of_session(kind, value=None):
    """Return a reader for events that name their session; without one they tell nothing."""

    def reader(properties):
        session_id = properties.get("sessionID")
        if type(session_id) is not str or not shapes.nameable(session_id):
            return None
        return Change(kind, session_id, value(properties) if value else None)

    return reader


def _session(kind):
    def reader(properties):
        session = shapes.session(properties.get("info"))
        return Change(kind, session.id, session)

    return reader


def _deleted(properties):
    info = properties.get("info")
    session_id = properties.get("sessionID") or (info.get("id") if type(info) is dict else None)
    return Change("deleted", session_id) if type(session_id) is str and shapes.nameable(session_id) else None


def _message(properties):
    message = shapes.message(properties.get("info"))
    return Change("message", message.session_id, message) if shapes.nameable(message.session_id) else None


def _failed(properties):
    session_id = properties.get("sessionID")
    known = type(session_id) is str and shapes.nameable(session_id)
    return Change("failed", session_id if known else None, shapes.failure(properties.get("error")))


def _part(properties):
    part = properties.get("part")
    session_id = part.get("sessionID") if type(part) is dict else None
    return (
        Change("part", session_id, shapes.clean(properties))
        if type(session_id) is str and shapes.nameable(session_id)
        else None
    )


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
    "message.removed": _of_session("message.removed", lambda properties: properties.get("messageID")),
    "message.part.updated": _part,
    "message.part.delta": _of_session("part.delta", shapes.clean),
    "message.part.removed": _of_session("part.removed", shapes.clean),
    "permission.asked": _of_session("permission.asked", shapes.clean),
    "permission.replied": _of_session("permission.replied", shapes.clean),
}
