"""The parts of messages, as callers get them. Pure.

OpenCode has a dozen types of parts. What was said (text, reasoning), what a tool was called with and has answered, and
files have a form of ours. All others, and text that the server itself has put in for the model, are passed on as they
are, of the type "other".
"""

from collections import namedtuple

from plue_session.adapters.opencode import shapes
from plue_session.adapters.opencode.shapes import clean, expect, inner, malformed
from plue_session.errors import Server

#: How far a tool has come.
_STATES = {"pending": 0, "running": 1, "completed": 2, "error": 2}
_WHAT = "a part of a message"


class RemotePart(namedtuple("RemotePart", "id session_id message_id source body finished")):
    """A part of a message. `source` is OpenCode's type of it ("step-start"), `body` the part as callers get it, a dict;
    `finished`: by itself nothing more comes."""

    __slots__ = ()


class RemoteDelta(namedtuple("RemoteDelta", "message_id part_id field text")):
    """More text of a part; `field` is OpenCode's name of what grows, "text" for all that streams. The server cuts text
    anywhere: it may begin or end with half a character (rules/transcripts.py joins them)."""

    __slots__ = ()


def part(data):
    """Map a part; `SERVER` when it lacks an id, or could not be written again."""
    expect(dict, data, _WHAT)
    for name in ("id", "sessionID", "messageID", "type"):
        if type(data.get(name)) is not str or not data[name]:
            raise malformed(_WHAT, f"it has no {name}")
    if shapes.is_deep(data):
        raise malformed(_WHAT, "it is nested too deep")
    data = clean(data)
    source = data["type"]
    read = _READERS.get(source) if not data.get("synthetic") else None
    rest, finished = read(data) if read else (None, True)
    body = {"id": data["id"], "type": source if rest else "other", **(rest or {"raw": data})}
    return RemotePart(data["id"], data["sessionID"], data["messageID"], source, body, finished)


def parts(data):
    """Map the parts of a message, but for those that cannot be used."""
    found = []
    for each in data if type(data) is list else ():
        try:
            found.append(part(each))
        except Server:
            continue
    return found


def messages(data):
    """Map a page of messages to `[(RemoteMessage, [RemotePart, …]), …]`."""
    page = [expect(dict, each, "a message") for each in expect(list, data, "a list of messages")]
    return [(shapes.message(each.get("info")), parts(each.get("parts"))) for each in page]


def delta(data):
    """Map what a part has grown by."""
    values = [data.get(name) for name in ("messageID", "partID", "field", "delta")]
    if not all(type(value) is str for value in values):
        raise malformed("a piece of text", "it does not say of what")
    message_id, part_id, field = map(clean, values[:3])
    return RemoteDelta(message_id, part_id, field, values[3])


# -- by type -----------------------------------------------------------------------------------------------------------
def _said(data):
    """What has no times was there at once."""
    times, text = data.get("time"), data.get("text")
    finished = type(times) is not dict or times.get("end") is not None
    return ({"text": text}, finished) if type(text) is str else (None, True)


def _tool(data):
    state, name, call_id = inner(data, "state"), data.get("tool"), data.get("callID")
    status = state.get("status")
    if type(status) is not str or status not in _STATES or type(name) is not str:
        return None, True
    tool = {
        "callId": call_id if type(call_id) is str else "",
        "name": name,
        "state": status,
        "input": state.get("input", {}),
    }
    output = state.get("output" if status == "completed" else "error")
    if _STATES[status] == 2 and type(output) is str:
        tool["output"] = output
    found = {"tool": tool}
    if state.get("attachments"):
        found["raw"] = {"attachments": state["attachments"]}
    return found, _STATES[status] == 2


def _file(data):
    """A file comes back as an input named it: its bytes, a path, or an address."""
    url, kind, name = data.get("url"), data.get("mime"), data.get("filename")
    if type(url) is not str or type(kind) is not str:
        return None, True
    head, comma, rest = url[:300].partition(",")
    if head.startswith("data:") and head.endswith(";base64") and comma:
        file = {"data": url[len(head) + 1 :]}
    elif url.startswith("file:///"):
        from urllib.parse import unquote

        file = {"path": unquote(url[len("file://") :].partition("?")[0])}
    else:
        file = {"url": url}
    file["mimeType"] = kind
    if type(name) is str and name:
        file["name"] = name
    return {"file": file}, True


_READERS = {"text": _said, "reasoning": _said, "tool": _tool, "file": _file}
