"""What turns ask for and show: permissions, questions, plans, changes of files; and what an input may name."""

import re
from collections import namedtuple

from plue_session.adapters.opencode import shapes
from plue_session.errors import ProviderInit, Server
from plue_session.rules import ids

PERMISSION, QUESTION = "permission", "question"
#: Ids of requests that can stand in a path: odd ones get 400, or another route.
_ID = re.compile(rf"(per|que)_[0-9A-Za-z_]{{1,{ids.MAX_ID - 4}}}")
#: Where a permission says what it is about, in one line, and characters of that.
_ABOUT, LINE = ("title", "command", "filepath", "url"), 1000
_STATES = ("pending", "in_progress", "completed", "cancelled")
_CHANGES = ("added", "deleted", "modified")


class Asked(namedtuple("Asked", "id kind session_id message_id body")):
    """A permission or a question that a turn waits for. `message_id` is the model's message that asks, or None; `body`
    what callers get of it."""

    __slots__ = ()


class Replied(namedtuple("Replied", "id kind given")):
    """How one was answered: "once", "always" or "reject"; for a question a list of lists, or None: rejected."""

    __slots__ = ()


def is_request(request_id, kind):
    """Return whether this is the id of a permission or a question, one that can stand in a path."""
    return type(request_id) is str and _ID.fullmatch(request_id) is not None and request_id[:3] == kind[:3]


def permission(data):
    """Map a permission that is asked for."""
    found = {"action": _text(data, "permission") or _text(data, "type") or "unknown"}
    places = data, shapes.inner(data, "metadata")
    about = next((text for name in _ABOUT for place in places if (text := _text(place, name))), None)
    if about:
        found["title"] = about if len(about) <= LINE else about[: LINE - 1] + "…"
    patterns = data.get("patterns")
    if type(patterns) is list:
        found["patterns"] = [shapes.clean(each) for each in patterns if type(each) is str]
    return _asked(PERMISSION, data, found)


def question(data):
    """Map questions that are asked."""
    questions = shapes.expect(list, data.get("questions"), "a question")
    return _asked(QUESTION, data, {"questions": [_one_question(each) for each in questions]})


def _one_question(data):
    options = shapes.expect(dict, data, "a question").get("options")
    return {
        "header": _text(data, "header") or "",
        "question": _text(data, "question") or "",
        "options": [
            {"label": _text(each, "label") or "", "description": _text(each, "description") or ""}
            for each in (options if type(options) is list else ())
            if type(each) is dict
        ],
        "multiple": data.get("multiple") is True,
        "custom": data.get("custom") is not False,  # what is not said is allowed: so says the tool's description
    }


def _asked(kind, data, body):
    if not is_request(data.get("id"), kind):
        raise shapes.malformed(f"a {kind}", "its id is not one")
    if not shapes.nameable(data.get("sessionID")):
        raise shapes.malformed(f"a {kind}", "it names no session")
    tool = shapes.inner(data, "tool")
    message_id, call_id = _text(tool, "messageID"), _text(tool, "callID")
    if message_id and call_id:
        body["tool"] = {"messageId": message_id, "callId": call_id}
    return Asked(data["id"], kind, data["sessionID"], message_id, body)


def replied(kind, data):
    """Map the answer to a permission, or to a question (without one it is rejected)."""
    if not is_request(data.get("requestID"), kind):
        raise shapes.malformed(f"an answer to a {kind}", "its id is not one")
    if kind == PERMISSION:
        given = data.get("reply")
        if given not in ("once", "always", "reject"):
            raise shapes.malformed("an answer to a permission", "it is none that is known")
        return Replied(data["requestID"], kind, given)
    answers = data.get("answers")
    if type(answers) is not list:
        return Replied(data["requestID"], kind, None)
    return Replied(
        data["requestID"],
        kind,
        [[shapes.clean(each) for each in labels if type(each) is str] for labels in answers if type(labels) is list],
    )


def todos(data):
    """Map an agent's plan."""
    return [
        {
            "content": _text(each, "content") or "",
            "status": each["status"] if each.get("status") in _STATES else "pending",
            "priority": _text(each, "priority") or "medium",
        }
        for each in shapes.expect(list, data, "a plan")
        if type(each) is dict
    ]


def files(data):
    """Map what a turn changed in files."""
    return [
        {
            "file": _text(each, "file") or "",
            "status": each["status"] if each.get("status") in _CHANGES else "modified",
            "additions": _count(each, "additions"),
            "deletions": _count(each, "deletions"),
            "patch": _text(each, "patch") or "",
        }
        for each in shapes.expect(list, data, "a list of changes")
        if type(each) is dict
    ]


def models(data):
    """Map the models of the configured providers."""
    found = []
    for provider in shapes.expect(list, shapes.expect(dict, data, "a list").get("providers"), "a list of providers"):
        provider_id = _text(provider, "id")
        for model_id, model in shapes.inner(provider, "models").items() if provider_id else ():
            model_id = shapes.clean(model_id)
            one = {"providerId": provider_id, "modelId": model_id, "name": _text(model, "name") or model_id}
            context = _count(shapes.inner(model, "limit"), "context")
            found.append({**one, "contextLimit": context} if context else one)
    return found


def agents(data):
    """Map the agents that a prompt may name: not those that only other agents call, nor hidden ones."""
    return [
        _described(each)
        for each in shapes.expect(list, data, "a list of agents")
        if type(each) is dict
        and _text(each, "name")
        and each.get("mode") in ("primary", "all")
        and not each.get("hidden")
    ]


def commands(data):
    """Map the commands."""
    return [
        _described(each)
        for each in shapes.expect(list, data, "a list of commands")
        if type(each) is dict and _text(each, "name")
    ]


def _described(data):
    return {"name": _text(data, "name"), "description": _text(data, "description") or ""}


def _text(data, name):
    value = data.get(name) if type(data) is dict else None
    return shapes.clean(value) if type(value) is str else None


def _count(data, name):
    value = data.get(name) if type(data) is dict else None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 53 else 0


class Asking:
    """The calls, through one client. Thread-safe."""

    def __init__(self, client):
        self._client = client

    def pending(self, call, directory=None):
        """Return what turns of one directory wait for, permissions before questions, as `Asked`; what cannot be read is
        left out.

        OpenCode: GET /permission, GET /question.
        """
        found = []
        for path, read in (("/permission", permission), ("/question", question)):
            listed = self._client._call("GET", path, directory, call)
            for each in shapes.expect(list, listed, f"a list of what turns ask ({path})"):
                try:
                    found.append(read(shapes.expect(dict, each, "what a turn asks")))
                except Server:  # as for events: what it would have told is not for us
                    continue
        return found

    def reply_permission(self, request_id, reply, call, directory=None):
        """Answer a permission. It counts only after this has returned; `NOT_FOUND`: nobody waits for it (O-052).

        OpenCode: POST /permission/{id}/reply.
        """
        self._answer(PERMISSION, request_id, "reply", {"reply": reply}, call, directory)

    def reply_question(self, request_id, answers, call, directory=None):
        """Answer a question with a list of texts for each part of it, or (None) reject it; as for a permission.

        OpenCode: POST /question/{id}/reply, POST /question/{id}/reject.
        """
        if answers is None:
            self._answer(QUESTION, request_id, "reject", None, call, directory)
        else:
            self._answer(QUESTION, request_id, "reply", {"answers": answers}, call, directory)

    def _answer(self, kind, request_id, how, body, call, directory):
        if not is_request(request_id, kind):
            raise shapes.malformed(f"a {kind}", "its id is not one")
        path = f"/{kind}/{request_id}/{how}"
        self._client._call("POST", path, directory, call, body=body, resend=False, empty=True)

    def todos(self, session_id, call, directory=None):
        """Return the agent's plan. OpenCode: GET /session/{id}/todo."""
        return todos(self._client._about("GET", session_id, "/todo", directory, call))

    def diff(self, session_id, message_id, call, directory=None):
        """Return what the turn of a user's message changed in files; nothing for an unknown one.

        Without a message the server answers nothing (measured). OpenCode: GET /session/{id}/diff.
        """
        query = {"messageID": ids.message_id(message_id)}
        return files(self._client._about("GET", session_id, "/diff", directory, call, query=query))

    def choices(self, call, directory=None):
        """Return `{"models","agents","commands","default"}`: what a prompt may name, and the model that the server
        takes by itself, or None.

        Never the list of all providers that there are (O-077).
        OpenCode: GET /config/providers, GET /config, GET /agent, GET /command.
        """
        ask = self._client._call
        found = {
            "models": models(ask("GET", "/config/providers", directory, call)),
            "agents": agents(ask("GET", "/agent", directory, call)),
            "commands": commands(ask("GET", "/command", directory, call)),
            "default": None,
        }
        try:
            provider_id, model_id = self._client.default_model(call)
            found["default"] = {"providerId": provider_id, "modelId": model_id}
        except ProviderInit:  # it has no model at all
            pass
        return found
