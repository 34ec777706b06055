"""What an agent asks leave for, until each has its answer: one, whoever is first."""

import threading

from plue_session.adapters.acp import updates
from plue_session.adapters.acp.rpc import BAD_PARAMS, CANCELLED, LATER, Refused
from plue_session.model.said import Asked

#: Characters of a line that is shown.
LINE = 1000
_WITHDRAWN = {"outcome": {"outcome": "cancelled"}}
_KINDS = ("allow_once", "allow_always", "reject_once", "reject_always")


class Permissions:
    """Those of one conversation. Thread-safe. `rpc` takes the answers. Outside of a turn, and once that is cancelled,
    nobody is there to be asked: then the answer is "cancelled"."""

    def __init__(self, rpc):
        self._rpc, self._lock = rpc, threading.Lock()
        self._open, self._last, self._is_turn = {}, 0, False

    def begin(self):
        """A turn begins."""
        with self._lock:
            self._is_turn = True

    def end(self):
        """The turn ends, or is cancelled: withdraw what is open, and return what that was."""
        with self._lock:
            self._is_turn = False
            taken, self._open = self._open, {}
        for id in taken.values():
            self._rpc.reply(id, _WITHDRAWN)
        return list(taken)

    def ask(self, params, id, conversation):
        """Return the answer to a request, and what is to be heard of it."""
        if params.get("sessionId") != conversation:
            return _WITHDRAWN, []
        call, options = params.get("toolCall"), _options(params.get("options"))
        try:
            tool = updates.tool(call if type(call) is dict else {})
        except ValueError:
            raise Refused(BAD_PARAMS, "the tool call has no id") from None
        if not options:
            raise Refused(BAD_PARAMS, "no option that is known")
        with self._lock:
            if not self._is_turn:
                return _WITHDRAWN, []
            self._last += 1
            request = self._last
            self._open[request] = id
        kind, places = call.get("kind"), call.get("locations")
        action = (kind if type(kind) is str else None) or tool.changes.get("name") or "unknown"
        paths = [each.get("path") for each in (places if type(places) is list else ()) if type(each) is dict]
        patterns = [each for each in paths if type(each) is str]
        asked = Asked(request, tool.call_id, action, line(tool.changes.get("title") or ""), patterns, options)
        return LATER, [tool, asked] if tool.changes else [asked]

    def answer(self, request, option):
        """Answer with one of the options, or (None) withdraw it. Harmless once it has its answer."""
        with self._lock:
            if request not in self._open:
                return
            id = self._open.pop(request)
        self._rpc.reply(id, _WITHDRAWN if option is None else {"outcome": {"outcome": "selected", "optionId": option}})

    def take_back(self, id):
        """The agent takes a request of its back: return which one that was, or None."""
        with self._lock:
            request = next((key for key, each in self._open.items() if type(each) is type(id) and each == id), None)
            self._open.pop(request, None)
        if request is not None:
            self._rpc.refuse(id, CANCELLED, "cancelled")
        return request


def line(text):
    """Return text as a line of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= LINE else text[: LINE - 1] + "…"


def _options(options):
    """Return `(id, kind)` of the options that can be chosen."""
    return [
        (each["optionId"], each["kind"])
        for each in (options if type(options) is list else ())
        if type(each) is dict and type(each.get("optionId")) is str and each.get("kind") in _KINDS
    ]
