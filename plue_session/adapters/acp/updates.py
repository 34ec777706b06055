"""What an agent tells of its work, as model/said.py has it. Pure.

A `raw` among the changes of a tool has those of ACP's own fields that came: each replaces what was there before.
"""

from plue_session.model.said import Finish, Metered, Named, Planned, Said, Shown, Tool
from plue_session.rules.jsontext import clean, dumps

#: What conversations consist of.
TOLD = Said, Shown, Tool, Planned
_STATES = {"pending": "pending", "in_progress": "running", "completed": "completed", "failed": "error"}
_TODO_STATES = ("pending", "in_progress", "completed", "cancelled")
#: Dollars that a conversation may be said to have cost.
MOST_COST = 1e9
_REASONS = ("end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled")
#: Half of a character that JSON escapes in two.
_HALVES = "\ud800", "\udbff"


class Halves:
    """Joins characters that an agent has cut between two pieces of the same text."""

    def __init__(self):
        self._kept, self._of = "", None

    def join(self, of, text):
        """Return more of the text `of` with the half that its last piece ended with; one at its end is kept."""
        text = (self._kept if of == self._of else "") + text
        self._kept, self._of = (text[-1:], of) if _HALVES[0] <= text[-1:] <= _HALVES[1] else ("", None)
        text = text[: len(text) - len(self._kept)]
        if text.isascii():
            return text
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read(update, halves):
    """Return what an update tells, a list: nothing, if it is of a kind that is not known. `ValueError`: it is not what
    it should be."""
    kind = _text(update, "sessionUpdate")
    if kind in _CHUNKS:
        return _chunk(update, halves)
    return _READERS[kind](clean(update)) if kind in _READERS else []


def tool(data):
    """Return the `Tool` of a tool call, or of what is new of one."""
    call_id = _text(data, "toolCallId")
    if not call_id:
        raise ValueError("a tool call without an id")
    changes, title, kind = {}, _text(data, "title"), _text(data, "kind")
    if name := _named(data.get("_meta")) or (kind if kind != "other" else None) or title:
        changes["name"] = name
    if title:
        changes["title"] = title
    if state := _STATES.get(_text(data, "status")):
        changes["state"] = state
    if data.get("rawInput") is not None:
        changes["input"] = data["rawInput"]
    output = _output(data.get("content"), data.get("rawOutput"))
    if output is not None:
        changes["output"] = output
    raw = {key: data[key] for key in ("title", "kind", "content", "locations") if data.get(key) is not None}
    if raw:
        changes["raw"] = raw
    return Tool(call_id, changes)


def finish(result):
    """Return the `Finish` of the answer to a prompt. `ValueError`: it is none."""
    if type(result) is not dict or not _text(result, "stopReason"):
        raise ValueError("an answer without a reason")
    reason = result["stopReason"]
    return Finish(reason if reason in _REASONS else "end_turn", _tokens(result))


def shown(content):
    """Return a `file`, as parts have it, of a content block; `ValueError` if it is none."""
    kind, mime = _text(content, "type"), _text(content, "mimeType") or "application/octet-stream"
    if kind in ("image", "audio") and _text(content, "data"):
        return {"data": content["data"], "mimeType": mime}
    if kind == "resource_link" and _text(content, "uri"):
        return {**_place(content["uri"]), "mimeType": mime, **_name(content)}
    if kind == "resource" and type(inside := content.get("resource")) is dict:
        mime = _text(inside, "mimeType") or "text/plain"
        if _text(inside, "blob"):
            return {"data": inside["blob"], "mimeType": mime}
        if type(inside.get("text")) is str:
            from binascii import b2a_base64

            return {"data": b2a_base64(inside["text"].encode(), newline=False).decode(), "mimeType": mime}
    raise ValueError(f"content of the type {kind}")


# -- by kind -----------------------------------------------------------------------------------------------------------
_CHUNKS = {"agent_message_chunk": "text", "agent_thought_chunk": "reasoning"}


def _chunk(update, halves):
    content, message_id = update.get("content"), _text(update, "messageId")
    if type(content) is not dict:
        raise ValueError("a chunk without content")
    if content.get("type") != "text":
        return [Shown(shown(clean(content)), message_id and clean(message_id))]
    if type(content.get("text")) is not str:
        raise ValueError("text without text")
    kind = _CHUNKS[update["sessionUpdate"]]
    text = halves.join((kind, message_id), content["text"])
    return [Said(kind, text, message_id and clean(message_id))] if text else []


def _tool(update):
    return [tool(update)]


def _plan(update):
    if type(update.get("entries")) is not list:
        raise ValueError("a plan without entries")
    return [
        Planned(
            [
                {
                    "content": _text(each, "content") or "",
                    "status": each["status"] if each.get("status") in _TODO_STATES else "pending",
                    "priority": _text(each, "priority") or "medium",
                }
                for each in update["entries"]
                if type(each) is dict
            ]
        )
    ]


def _usage(update):
    used, size, cost = _count(update.get("used")), _count(update.get("size")), update.get("cost")
    amount = cost.get("amount") if type(cost) is dict and cost.get("currency") == "USD" else None
    amount = float(amount) if type(amount) in (int, float) and 0 <= amount < MOST_COST else None
    if update.get("used") is not None and (used is None or size is None):
        raise ValueError("usage without numbers")
    if used is None and amount is None:  # an agent that does not know it yet says so (claude-agent-acp)
        return []
    return [Metered(used, size, amount)]


def _info(update):
    return [Named(update["title"])] if _text(update, "title") else []


_READERS = {
    "tool_call": _tool,
    "tool_call_update": _tool,
    "plan": _plan,
    "usage_update": _usage,
    "session_info_update": _info,
}


# -- pieces ------------------------------------------------------------------------------------------------------------
def _text(data, key):
    value = data.get(key)
    return value if type(value) is str and value else None


def _count(value):
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _named(meta):
    """Return the tool's own name, which agents tell in `_meta`, beneath a name of theirs or not."""
    if type(meta) is not dict:
        return None
    for place in (meta, *(each for each in meta.values() if type(each) is dict)):
        for key in ("toolName", "tool_name"):
            if name := _text(place, key):
                return name
    return None


def _output(content, raw):
    """Return what a tool has answered, as text, or None: nothing yet."""
    texts = []
    for each in content if type(content) is list else ():
        inside = each.get("content") if type(each) is dict and each.get("type") == "content" else None
        if type(inside) is dict and inside.get("type") == "text" and type(inside.get("text")) is str:
            texts.append(inside["text"])
    if texts:
        return "\n".join(texts)
    if type(raw) is dict and type(raw.get("output")) is str:
        return raw["output"]
    return raw if type(raw) is str or raw is None else dumps(raw)


def _place(uri):
    if uri.startswith("file:///"):
        from urllib.parse import unquote

        return {"path": unquote(uri[len("file://") :].partition("?")[0].partition("#")[0])}
    return {"url": uri}


def _name(content):
    return {"name": content["name"]} if _text(content, "name") else {}


def _tokens(result):
    """Return the tokens of a turn, where its answer tells them: in the protocol's `usage`, or as Gemini does."""
    usage = result.get("usage")
    if type(usage) is dict:
        names = "inputTokens", "outputTokens", "thoughtTokens", "cachedReadTokens", "cachedWriteTokens"
        return tuple(_count(usage.get(name)) or 0 for name in names)
    found = result
    for name in ("_meta", "quota", "token_count"):
        found = found.get(name)
        if type(found) is not dict:
            return None
    return _count(found.get("input_tokens")) or 0, _count(found.get("output_tokens")) or 0, 0, 0, 0
