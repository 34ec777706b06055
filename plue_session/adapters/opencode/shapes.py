"""What the server answers, as records of ours: sessions, messages, and every shape of failure.

Pure. JSON is parsed once, here. Text from the server may hold anything (O-026): NUL and megabytes pass, a lone
surrogate, which no UTF-8 text can hold, becomes the six characters of its escape.
"""

import json
import math
import re
from collections import namedtuple

from plue_session import errors
from plue_session.rules import ids
from plue_session.rules.jsontext import MAX_DEPTH, clean
from plue_session.rules.patches import RESERVED

#: Where a create's token lies in the session's metadata on the server (P-176).
TOKEN = RESERVED
#: The server's ids that rules/ids.py lets pass.
_ID = re.compile(rf"ses_[0-9A-Za-z]{{1,{ids.MAX_ID - 4}}}")
_FORK = re.compile(r" \(fork #\d+\)\Z")
#: The types of values in which nothing is nested.
_FLAT = frozenset((str, int, float, bool, type(None)))
#: Characters of the server's text that an error repeats.
EXCERPT = 500


class RemoteSession(
    namedtuple(
        "RemoteSession",
        "id title parent_id directory version created updated archived share_url metadata token",
    )
):
    """A session as the server has it. Times in ms. Only its values tell whether it has changed: a rename does not raise
    `updated` (O-024)."""

    __slots__ = ()

    @property
    def is_fork(self):
        """Whether its title is one that the server gives to forks, which have their source's metadata, `token` included
        (O-054)."""
        return _FORK.search(self.title) is not None


class RemoteMessage(
    namedtuple(
        "RemoteMessage",
        "id session_id role parent_id created completed failure ended model tokens cost finish agent",
        defaults=(None, None, None, None, None),
    )
):
    """A message without its parts. `failure` is a `Failure` or None; `ended`: nothing more comes for an assistant's.
    `model` is `(provider id, model id)`; `tokens` are `(input, output, reasoning, cache read, cache write)`; `finish`
    is how an answer ended: "stop", "tool-calls" (another one follows), "length", "content-filter", "unknown", …; all
    None where it does not say."""

    __slots__ = ()


class Failure(namedtuple("Failure", "name text status")):
    """Why a turn failed: OpenCode's name for it ("MessageAbortedError"), its text, the model's HTTP status or None."""

    __slots__ = ()


# -- values ------------------------------------------------------------------------------------------------------------
def _number(text):
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _constant(text):
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(parse_float=_number, parse_constant=_constant)
#: The decoder's scanner: `(text, place)` to `(value, end)`; `StopIteration` when there is no value.
scan = _decoder.scan_once  # type: ignore[attr-defined]


def parse(data):
    """Parse JSON bytes of the server; `ValueError` says what is wrong. Lone surrogates stay, for `clean`."""
    text = data[:].decode("utf-8", "replace")
    try:
        if text[:1] == "{":  # nothing before it, and most often nothing behind it either
            value, end = scan(text, 0)
            if end == len(text):
                return value
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def is_deep(value):
    """Return whether a JSON value is nested deeper than we could write it."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for each in level
            if type(each) in (dict, list)
            for part in (each.values() if type(each) is dict else each)
        ]
        if not level:
            return False
    return True


def expect(kind, value, what):
    """Return a `dict` or a `list` of the server's if it is one; `what` names it in the error."""
    if type(value) is not kind:
        raise malformed(what, f"it is not an {'object' if kind is dict else 'array'}")
    return value


def inner(data, name):
    """Return the object that an object has under a name; an empty one where there is none."""
    found = data.get(name) if type(data) is dict else None
    return found if type(found) is dict else {}


def _text(value):
    return clean(value) if type(value) is str else None


def _time(times, name, what=None):
    value = times.get(name)
    if value is None and not what:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and 0 <= value < 1 << 53:
        return value
    if what:
        raise malformed(what, f"time.{name} is not a time")
    return None


def malformed(what, why):
    """Return the error for an answer that lacks what it must have; `what` names it ("a session")."""
    return errors.Server(
        f"the server sent {what} that cannot be used: {why}",
        "See that backend.url is an OpenCode server of a version that the library knows.",
    )


def session(data):
    """Map a session of the server; `SERVER` when it lacks an id that we can name, or its times."""
    what = "a session"
    times = expect(dict, expect(dict, data, what).get("time"), what)
    session_id, parent_id = data.get("id"), data.get("parentID")
    if not nameable(session_id):
        raise malformed(what, "its id is not one")
    metadata = inner(data, "metadata")
    if not _FLAT.issuperset(map(type, metadata.values())) and is_deep(metadata):
        raise malformed(what, f"its metadata is nested deeper than {MAX_DEPTH}")
    metadata = clean(metadata)
    token = metadata.pop(TOKEN, None)
    title = _text(data.get("title"))
    return RemoteSession(  # in the order of its fields: by name it takes twice as long, for each event
        session_id,
        "Untitled" if title is None else title,
        parent_id if nameable(parent_id) else None,
        _text(data.get("directory")),
        _text(data.get("version")),
        _time(times, "created", what),
        _time(times, "updated", what),
        _time(times, "archived") or None,  # 0 is how the server stores "not archived" (O-019)
        _text(inner(data, "share").get("url")) or None,  # a server that is not to share has "" (O-055)
        metadata,
        token if type(token) is str else None,
    )


#: The titles that the server gives a session that got none, and replaces by one of its own making during the first turn
#: (O-028).
_AUTOMATIC = re.compile(r"(New|Child) session - \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def is_automatic(title):
    """Return whether the server may replace this title by itself (O-027)."""
    return bool(_AUTOMATIC.fullmatch(title))


def nameable(session_id):
    """Return whether this is an id that can stand in a path: odd ones get 500 or a web page, an empty one the list
    (O-015)."""
    return type(session_id) is str and _ID.fullmatch(session_id) is not None


def is_permission(request_id):
    """Return whether this is the id of a permission request that can stand in a path."""
    return (
        type(request_id) is str
        and request_id.startswith("per_")
        and len(request_id) <= ids.MAX_ID
        and request_id[4:].isalnum()
        and request_id.isascii()
    )


def message(info):
    """Map a message's `info`."""
    what = "a message"
    times = expect(dict, expect(dict, info, what).get("time"), what)
    for name in ("id", "sessionID", "role"):
        if type(info.get(name)) is not str or info[name].split() != [info[name]]:  # cursors end an id at a space
            raise malformed(what, f"it has no {name}")
    completed, failed = _time(times, "completed"), info.get("error")
    return RemoteMessage(
        id=clean(info["id"]),
        session_id=clean(info["sessionID"]),
        role=clean(info["role"]),
        parent_id=_text(info.get("parentID")),
        created=_time(times, "created", what),
        completed=completed,
        failure=failure(failed) if failed else None,
        ended=completed is not None or bool(failed),
        model=_model(info),
        tokens=_tokens(info.get("tokens")),
        cost=_amount(info.get("cost")),
        finish=_text(info.get("finish")),
        agent=_text(info.get("agent")),
    )


def _model(info):
    """Return the model of a message, which assistants' and users' tell in different places."""
    where = info["model"] if type(info.get("model")) is dict else info
    found = _text(where.get("providerID")), _text(where.get("modelID"))
    return found if all(found) else None


def _tokens(data):
    if type(data) is not dict:
        return None
    cache = inner(data, "cache")
    given = data.get("input"), data.get("output"), data.get("reasoning"), cache.get("read"), cache.get("write")
    return tuple(int(_amount(each) or 0) for each in given)


def _amount(value):
    return value if type(value) in (int, float) and 0 <= value < 1 << 53 else None


def failure(data):
    """Map the error object of a turn, `{"name","data":{"message","statusCode"?}}`."""
    more = inner(data, "data")
    status = more.get("statusCode")
    return Failure(
        type(data) is dict and _text(data.get("name")) or "UnknownError",
        _text(more.get("message")) or "",
        status if type(status) is int else None,
    )


# -- failures ----------------------------------------------------------------------------------------------------------
_REMEDIES = {
    errors.AccessDenied: "Check backend.username and backend.password.",
    errors.NotFound: "List the sessions to see what there is.",
    errors.Busy: "Wait for the running turn or abort it, then try again.",
    errors.InvalidParam: "Correct the parameter that the server names.",
    errors.LimitExceeded: "Send less in one call.",
    errors.Server: "Look into the server's log; see that backend.url is an OpenCode server.",
    errors.Connection: "See that the server behind it runs, then try again.",
}
#: What something on the way answers when it does not let a request through, and when the server behind it is down, or
#: takes too long:
#: gateways, and tunnels, which have numbers of their own.
_HELD_UP, _GATEWAY = (407, 408, 421, 425, 429, 511), (502, 503, 504, *range(520, 531), 598, 599)
_WALL = (
    "See whether something between here and the server (a tunnel, a proxy, a login page) lets requests through, "
    "then try again."
)
_CODES = {
    400: errors.InvalidParam,
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.NotFound,
    409: errors.Busy,
    413: errors.LimitExceeded,
    422: errors.InvalidParam,
}


def refusal(call, status, content_type, body, headers):
    """Return the error for an answer that is not 2xx. `call` is "PATCH /session/ses_…"; `headers` by name in lower
    case.

    The server has five shapes of failure, empty bodies and web pages (O-013): its status and text are in the message
    and, for machines, in the details `{"status","server","error"?,"ref"?}` (P-185). What a gateway or a tunnel says of
    a server that is away, or of what it does not let through, is `CONNECTION`; `sent`: it may have passed the request
    on.
    """
    details = {"status": status}
    text = name = None
    page = "html" in content_type or body.lstrip()[:1] == b"<"
    if body.strip():
        text = "a web page" if page else clean(body[: 4 * EXCERPT].decode("utf-8", "replace"))
        try:
            data = parse(body)
        except ValueError:
            data = None
        if type(data) is dict:
            more = inner(data, "data")
            name = _text(data.get("name")) or _text(data.get("_tag"))
            text = _text(more.get("message")) or _text(data.get("message")) or name or text
            reference = _text(more.get("ref")) or _text(data.get("ref"))
            if reference:
                details["ref"] = reference
    if name:
        details["error"] = name[:EXCERPT]
    details["server"] = text = (text or "")[:EXCERPT]
    kind = _CODES.get(status, errors.Server)
    # Something on the way has no route to the server, or does not understand who asks: that says nothing of a session
    # (P-117), nor of what is asked for, which a queued change is taken back for.
    if not name and (kind is errors.NotFound or page and kind is errors.InvalidParam):
        kind = errors.Server
    if not name and (status in _GATEWAY or status in _HELD_UP or page and _is_of_a_wall(status, headers)):
        kind, details["sent"] = errors.Connection, status in _GATEWAY
    said = f": {_line(text)}" if text else " without a word"
    cause = f"the server answered {status} to {call}{said}"
    if kind is errors.Connection and details["sent"] and not call.startswith("GET "):
        cause += "; whether it took effect is not known yet"
    if kind is errors.AccessDenied:
        cause = f"the server refuses the username and password ({status} to {call})"
    remedy = _REMEDIES[kind]
    if kind is errors.Connection and not details["sent"]:
        pause = headers.get("retry-after", "")
        remedy = f"It asks to wait {pause} s before the next try." if pause.isdecimal() and len(pause) < 7 else _WALL
    if 300 <= status < 400:
        remedy = "Redirects are not followed: set backend.url to where the server is."
    return kind(cause, remedy, details=details)


def _is_of_a_wall(status, headers):
    """Return whether a web page of this status is not the server's: it has none for who has no password, and asks for
    that (O-009)."""
    return status == 403 or status == 401 and "www-authenticate" not in headers


def not_json(call, status, content_type):
    """Return the error for a 2xx answer that is not JSON: the web page of a route that does not exist (O-012)."""
    return errors.Server(
        f"the server answered {status} to {call} with {_line(content_type) or 'something'}, not JSON",
        "See that backend.url is an OpenCode server of a version that the library knows.",
        details={"status": status, "server": content_type[:EXCERPT]},
    )


def _line(text):
    """Return text that stays on one line of a message."""
    return "".join(char if char.isprintable() else " " for char in text).strip()
