"""What an agent answers instead of a result, as the library's errors. Pure.

The protocol has few codes, and agents put most failures into -32603 "Internal error": their texts tell (O-073).
"""

import re

from plue_session import errors
from plue_session.adapters.acp import rpc

#: "Log in."
LOGIN = -32000
#: What texts tell, where the code does not: the first that fits. The text about a query is what an agent without an
#: account says that learns that only when it begins (facts: claude-agent-acp).
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (
            r"authenticat|not logged in|log ?in (again|first|required)|please (run /)?log ?in|unauthori[sz]ed|\b401\b"
            r"|api.?key (is |was )?(missing|not|invalid|required)|(invalid|missing|no|incorrect) .{0,12}api.?key"
            r"|query closed before response",
            errors.ProviderAuth,
        ),
        (
            r"(session|conversation|thread|rollout)\b.{0,60}\bnot found"
            r"|no (previous )?(conversation|rollout|session)s? found"
            r"|(unknown|no such|invalid) (session|conversation|thread)"
            r"|restore the conversation \S+: internal error: opencode service failure",
            errors.NotFound,
        ),
        (
            r"model.{0,80}(not found|not supported|not available|unknown|does not exist|invalid)"
            r"|(unknown|no such|invalid|unsupported) model|invalid value for .{0,30}\bmodel\b",
            errors.ProviderInit,
        ),
        (r"rate.?limit|overloaded|too many requests|quota|\b429\b|\b529\b", errors.Busy),
        (r"context.{0,20}(length|window|full|exceed)|(prompt|input) is too long|too many tokens", errors.LimitExceeded),
    )
)
_CODES = {
    LOGIN: errors.ProviderAuth,
    rpc.NOT_FOUND: errors.NotFound,
    rpc.NO_METHOD: errors.Unsupported,
    rpc.CANCELLED: errors.Aborted,
}
_CANCEL = re.compile(r"cancel|abort|interrupt", re.IGNORECASE)


def text_of(error):
    """Return what an error says, with what its data add, in one line."""
    message, data = error.get("message"), error.get("data")
    said = [message if type(message) is str else ""]
    if type(data) is dict:
        said += [data[name] for name in ("details", "message", "error", "reason") if type(data.get(name)) is str]
    elif type(data) is str:
        said.append(data)
    return " ".join(": ".join(dict.fromkeys(each for each in said if each)).split())[:2000]


def is_cancelled(error):
    """Return whether an error is how an agent says that it was cancelled."""
    return error.get("code") == rpc.CANCELLED or _CANCEL.search(text_of(error)) is not None


def failure(error, doing, agent, methods):
    """Return the `PlueError` for an agent's error (a dict). `doing` is what was asked ("begin a conversation"), `agent`
    its name, `methods` the ways to log in that it has named."""
    text, code = text_of(error), error.get("code")
    kind = _CODES.get(code) if type(code) is int else None
    whole = f"{doing}: {text}"
    kind = kind or next((kind for pattern, kind in _TEXTS if pattern.search(whole)), errors.Server)
    return kind(
        f"{agent} does not {doing}: {text or 'no reason given'}",
        _remedy(kind, methods),
        details={"code": code if type(code) is int else None, "message": text},
    )


def _remedy(kind, methods):
    if kind is errors.ProviderAuth:
        ways = "; ".join([_way(each) for each in methods])
        remedy = "Log in to it in a terminal, or put its key into the agent's env; then attach it again."
        return f"{remedy} It offers: {ways}." if ways else remedy
    return {
        errors.NotFound: 'Attach it with "restore":false to begin a new conversation.',
        errors.ProviderInit: "Name one of the models that plue_session_choices() lists.",
        errors.Busy: "Try again later.",
        errors.LimitExceeded: "Begin a new conversation, or shorten this one.",
        errors.Unsupported: "Use another agent, or do without.",
        errors.Aborted: "Ask again.",
    }.get(kind, "Correct what it says, or try again.")


def _way(method):
    name, about = (method.get(key) if type(method.get(key)) is str else "" for key in ("name", "description"))
    return " ".join(f"{method['id']} ({name}{': ' if name and about else ''}{about})".split())
