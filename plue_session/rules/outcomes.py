"""How a turn ended: its outcome, and what the model's provider said if it failed. Pure.

Failures come with the name that OpenCode has for them, a text, and the provider's HTTP status where there is one.
"""

from plue_session import errors

FINISHED, STOPPED = "finished", "stopped"
#: Reasons that a turn stopped for, of those that a server's turns have.
CANCELLED, INCOMPLETE, TOOL_ERROR = "cancelled", "incomplete", "tool_error"
PROVIDER_ERROR, SUBMITTED_ERROR = "provider_error", "submitted_error"

ABORTED = "MessageAbortedError"
OUTPUT_LENGTH = "MessageOutputLengthError"
#: Characters of a provider's text that an error repeats.
MOST = 2000

_CONTEXT = (
    r"context.{0,20}(length|window|limit|size|overflow)|(prompt|input) (is )?too (long|large)|too many (input )?tokens"
)
_MODEL = r"ProviderModelNotFound|ModelNotFound|model not found|ProviderInit|no such model"
_REMEDIES = {
    errors.ProviderAuth: "Log in to the provider, or correct its key, where OpenCode runs: opencode auth login.",
    errors.ProviderInit: "Name one of the models that plue_session_choices() lists.",
    errors.Busy: "Wait, then send the input again, or name another model.",
    errors.LimitExceeded: 'Send the command "compact", then the input again, or begin a new session.',
    errors.Aborted: "Send the input again if it is still wanted.",
    errors.Server: "Send the input again; should it go on, look into OpenCode's log and the provider's status page.",
}
_LENGTH = "Ask for it in smaller pieces, or raise the model's output limit."
_NAMED = {
    "ProviderAuthError": errors.ProviderAuth,
    "ProviderInitError": errors.ProviderInit,
    "ProviderModelNotFoundError": errors.ProviderInit,
    "ContextOverflowError": errors.LimitExceeded,
    OUTPUT_LENGTH: errors.LimitExceeded,
    ABORTED: errors.Aborted,
}
_STATUSES = {401: errors.ProviderAuth, 403: errors.ProviderAuth, 413: errors.LimitExceeded, 429: errors.Busy}
#: What a provider answers that has too much to do.
_OVERLOADED = (503, 529)


def error_of(failure):
    """Return a failure as `{"code","message","status"?,"remedy"}`; `code` is one of the library's errors."""
    kind = _NAMED.get(failure.name) or _STATUSES.get(failure.status)
    if kind is None:
        if failure.status in _OVERLOADED:
            kind = errors.Busy
        elif failure.status in (None, 400) and _says(_CONTEXT, failure.text):
            kind = errors.LimitExceeded
        elif failure.status in (None, 404) and _says(_MODEL, failure.text):
            kind = errors.ProviderInit
        else:
            kind = errors.Server
    remedy = _LENGTH if failure.name == OUTPUT_LENGTH else _REMEDIES[kind]
    return _error(kind, failure.text[:MOST] or failure.name, failure.status, remedy)


def _says(pattern, text):
    import re  # 3 ms that a start without a failed turn need not take

    return re.search(pattern, text, re.IGNORECASE)


def outcome_of(messages, failure=None):
    """Return `(outcome, reason, error)` of a turn that is over; reason and error are None where there is none.

    `messages` are the model's of this turn, in order, as the server has them; `failure` is what was heard of the
    session besides, if anything. A message without an end was cut off: the server died, for it runs no more (O-048).
    """
    if not messages:
        if failure is None:
            return STOPPED, INCOMPLETE, None
        if failure.name == ABORTED:
            return STOPPED, CANCELLED, None
        return STOPPED, SUBMITTED_ERROR, error_of(failure)
    last = messages[-1]
    failure = last.failure or (None if last.ended else failure)
    if failure is not None:
        if failure.name == ABORTED:
            return STOPPED, CANCELLED, None
        return STOPPED, INCOMPLETE if failure.name == OUTPUT_LENGTH else PROVIDER_ERROR, error_of(failure)
    if not last.ended or last.finish == "length":
        return STOPPED, INCOMPLETE, None
    if last.finish == "tool-calls":  # nothing followed: what the tool had asked for was refused
        return STOPPED, TOOL_ERROR, None
    if last.finish in _BROKEN:
        return STOPPED, PROVIDER_ERROR, broken(last.finish)
    return FINISHED, None, None


#: Ends of an answer that are none.
_BROKEN = {
    "unknown": "the model's stream broke off before its end",
    "error": "the model's stream ended with an error",
    "content-filter": "the provider's content filter stopped the answer",
}


def broken(finish="unknown"):
    """Return the error of an answer that ended so (O-047)."""
    return _error(errors.Server, _BROKEN[finish], None, _REMEDIES[errors.Server])


def cut_off(reason):
    """Return the error of a message that has no end of its own, in a turn that stopped for this reason."""
    if reason == CANCELLED:
        return _error(errors.Aborted, "the turn was aborted", None, _REMEDIES[errors.Aborted])
    return _error(errors.Server, "the answer was cut off: its server ended", None, _REMEDIES[errors.Aborted])


def _error(kind, message, status, remedy):
    found = {"code": kind.name, "message": message}
    if status is not None:
        found["status"] = status
    return {**found, "remedy": remedy}
