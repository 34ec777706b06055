"""The pure parts of the Agent Client Protocol's adapter: what texts, ways to log in, offers and updates mean."""

import os

import pytest

from plue_session import errors
from plue_session.adapters.acp import failures, login, updates
from plue_session.adapters.acp.offers import Offers
from plue_session.adapters.acp.permissions import Permissions
from plue_session.adapters.acp.prompt import blocks
from plue_session.adapters.acp.rpc import BAD_PARAMS, INTERNAL, LATER, Refused, Rpc
from plue_session.model.said import Asked, Finish, Metered, Said, Tool
from plue_session.rules.jsontext import dumps, loads


@pytest.mark.requirement("O-073")
@pytest.mark.parametrize(
    "code, text, details, kind",
    [
        (-32000, "Authentication required", None, errors.ProviderAuth),
        (-32000, "Gemini API key is missing or not configured.", None, errors.ProviderAuth),
        (-32603, "Internal error", {"details": "Query closed before response received"}, errors.ProviderAuth),
        (-32603, "Internal error", {"details": "Invalid API key"}, errors.ProviderAuth),
        (-32603, "Please run /login", None, errors.ProviderAuth),
        (-32002, "Resource not found: ses_1", {"uri": "ses_1"}, errors.NotFound),
        (-32603, "Internal error", {"details": "Session not found: ses_1"}, errors.NotFound),
        (-32603, "session ses_1 was not found", None, errors.NotFound),
        (-32603, "Internal error: No previous sessions found for this project.", None, errors.NotFound),
        (-32603, "Internal error", {"details": "Invalid value for config option model: none"}, errors.ProviderInit),
        (-32602, "Invalid params", {"error": "unknown session: ses_1"}, errors.NotFound),
        (-32602, "Invalid params", "model gpt-0 is not supported", errors.ProviderInit),
        (-32603, "Internal error", {"details": "ProviderModelNotFoundError: model not found"}, errors.ProviderInit),
        (-32603, "rate limit reached", None, errors.Busy),
        (-32603, "context window exceeded", None, errors.LimitExceeded),
        (-32601, '"Method not found": session/fork', None, errors.Unsupported),
        (-32603, "Internal error", None, errors.Server),
        (None, None, None, errors.Server),
        ("-32000", 5, [1], errors.Server),
    ],
)
def test_an_agents_texts_become_codes(code, text, details, kind):
    error = failures.failure({"code": code, "message": text, "data": details}, "answer", "the agent a", [])
    assert type(error) is kind and error.remedy
    assert error.cause.startswith("the agent a does not answer: ") and len(error.cause) > 30


def test_the_ways_to_log_in_are_in_the_remedy():
    ways = login.methods({"authMethods": [{"id": "a", "name": "By A"}, {"name": "no id"}, 5, {"id": "b"}]})
    error = failures.failure({"code": -32000}, "answer", "the agent a", ways)
    assert error.remedy.endswith("It offers: a (By A); b ().") or error.remedy.endswith("It offers: a (By A); b.")


@pytest.mark.parametrize(
    "method, environment, is_ready",
    [
        ({"id": "gemini-api-key", "name": "Gemini API key"}, {"GEMINI_API_KEY": "x"}, True),
        ({"id": "gemini-api-key", "name": "Gemini API key"}, {"GEMINI_API_KEY": ""}, False),
        ({"id": "gemini-api-key", "name": "Gemini API key"}, {}, False),
        ({"id": "openai", "name": "Use OPENAI_API_KEY"}, {"OPENAI_API_KEY": "x"}, True),
        ({"id": "key", "name": "A key", "description": "Set the `ANY_TOKEN` variable"}, {"ANY_TOKEN": "x"}, True),
        ({"id": "oauth-personal", "name": "Log in with Google"}, {"GEMINI_API_KEY": "x"}, False),
        ({"id": "home", "name": "HOME"}, {"HOME": "/"}, False),
        ({"id": "e", "type": "env_var", "vars": [{"name": "A"}, {"name": "B", "optional": True}]}, {"A": "x"}, True),
        ({"id": "e", "type": "env_var", "vars": [{"name": "A"}, {"name": "B"}]}, {"A": "x"}, False),
        ({"id": "e", "type": "env_var", "vars": []}, {}, False),
        ({"id": "e", "type": "env_var", "vars": [5]}, {}, False),
        ({"id": "a-key", "type": "terminal"}, {"A_KEY": "x"}, False),
    ],
)
def test_which_ways_to_log_in_need_no_user(method, environment, is_ready):
    assert login.without_user([method], environment) == ([method["id"]] if is_ready else [])


def chunk(text, **more):
    return {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}, **more}


def test_half_a_character_waits_for_the_other():
    halves = updates.Halves()
    assert updates.read(chunk("a\ud83d"), halves) == [Said("text", "a", None)]
    assert updates.read(chunk("\ude00b"), halves) == [Said("text", "😀b", None)]
    assert updates.read(chunk("\ud83d"), halves) == []
    other = {**chunk("\ude00"), "sessionUpdate": "agent_thought_chunk"}
    assert updates.read(other, halves) == [Said("reasoning", "\ufffd", None)]


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"sessionUpdate": 5},
        {"sessionUpdate": "weather_update"},
        {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "mine"}},
        {"sessionUpdate": "session_info_update", "title": None},
        {"sessionUpdate": "usage_update", "used": None, "size": 200000},
        chunk(""),
    ],
)
def test_what_is_not_known_tells_nothing(update):
    assert updates.read(update, updates.Halves()) == []


def test_a_cost_is_told_without_what_is_used():
    update = {"sessionUpdate": "usage_update", "used": None, "size": 200000, "cost": {"amount": 1, "currency": "USD"}}
    assert updates.read(update, updates.Halves()) == [Metered(None, 200000, 1.0)]


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text"}},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "hologram"}},
        {"sessionUpdate": "tool_call", "title": "no id"},
        {"sessionUpdate": "plan", "entries": 5},
        {"sessionUpdate": "usage_update", "used": "many", "size": 5},
    ],
)
def test_what_is_not_what_it_should_be_is_told_apart(update):
    with pytest.raises(ValueError):
        updates.read(update, updates.Halves())


def test_a_tool_is_called_as_the_agent_calls_it():
    def name(**data):
        return updates.tool({"toolCallId": "c", **data}).changes.get("name")

    assert name(title="Read a", kind="read", _meta={"vendor": {"toolName": "Read"}}) == "Read"
    assert name(title="Read a", kind="read", _meta={"tool_name": "read_file"}) == "read_file"
    assert name(title="Read a", kind="read", _meta={"vendor": 5}) == "read"
    assert name(title="Read a", kind="other") == "Read a"
    assert name(status="completed") is None


def test_what_a_tool_answers_is_its_text_else_what_it_gave():
    def output(**data):
        return updates.tool({"toolCallId": "c", **data}).changes.get("output")

    text = {"type": "content", "content": {"type": "text", "text": "said"}}
    diff = {"type": "diff", "path": "/a", "oldText": None, "newText": "b"}
    assert output(content=[text, diff, text], rawOutput={"output": "raw"}) == "said\nsaid"
    assert output(content=[diff], rawOutput={"output": "raw"}) == "raw"
    assert output(rawOutput=["a", 1]) == '["a",1]' and output(rawOutput="raw") == "raw"
    assert output(content=[diff]) is None and output() is None
    assert updates.tool({"toolCallId": "c", "content": [diff]}) == Tool("c", {"raw": {"content": [diff]}})


@pytest.mark.parametrize("result", [None, [], {}, {"stopReason": 5}])
def test_an_answer_without_a_reason_is_none(result):
    with pytest.raises(ValueError):
        updates.finish(result)


def test_a_reason_that_is_not_known_is_an_end():
    assert updates.finish({"stopReason": "bored", "usage": {"inputTokens": -1}}) == Finish("end_turn", (0, 0, 0, 0, 0))


def test_offers_take_what_is_well_formed():
    offers = Offers("a")
    for data in (None, [], {"models": 5, "modes": {"availableModes": [{}, 5]}, "configOptions": [5, {}]}):
        offers.begin(data)
    offers.command([{"name": "a"}, {"description": "no name"}, 5])
    offer = offers.offer()
    assert (offer.models, offer.modes, offer.model, offer.mode) == ([], [], None, None)
    assert offer.commands == [{"name": "a", "description": ""}]


def test_requests_are_answered_once_and_after_the_end_none_is_taken():
    said, answers, noise = [], [], []
    rpc = Rpc(said.append, {}, {}, lambda text, size: noise.append(text))
    ticket = rpc.ask("a", {}, lambda *answer: answers.append(answer))
    other = rpc.ask("b", {}, lambda *answer: answers.append(answer))
    rpc.feed(b'{"jsonrpc":"2.0","id":%d,"result":1}' % ticket)
    rpc.feed(b'{"jsonrpc":"2.0","id":%d,"result":2}' % ticket)
    rpc.feed(b'{"jsonrpc":"2.0","id":"%d","result":2}' % other)
    assert answers == [(ticket, 1, None)] and len(noise) == 2
    gone = errors.Server("gone")
    rpc.end(gone)
    rpc.end(gone)
    assert answers[1:] == [(other, None, gone)]
    with pytest.raises(errors.Server):
        rpc.ask("c", {}, None)


def test_nobody_is_asked_outside_of_a_turn():
    said = []
    rpc = Rpc(said.append, {}, {}, lambda text, size: None)
    permissions = Permissions(rpc)
    params = {
        "sessionId": "s",
        "toolCall": {"toolCallId": "c", "title": "a\nb", "locations": [{"path": "/a"}, 5]},
        "options": [{"optionId": "y", "kind": "allow_once"}, {"optionId": "z", "kind": "perhaps"}, 5],
    }
    cancelled = {"outcome": {"outcome": "cancelled"}}
    assert permissions.ask(params, 1, "s") == (cancelled, [])
    permissions.begin()
    assert permissions.ask(params, 1, "other") == (cancelled, [])
    answer, (tool, asked) = permissions.ask(params, 0, "s")
    assert answer is LATER and tool.call_id == "c"
    assert asked == Asked(asked.request, "c", "a\nb", "a b", ["/a"], [("y", "allow_once")])
    for wrong in ({**params, "options": []}, {**params, "toolCall": 5}):
        with pytest.raises(Refused):
            permissions.ask(wrong, 1, "s")
    assert permissions.take_back("0") is None and permissions.take_back(False) is None
    assert permissions.end() == [asked.request] and permissions.end() == []
    assert [loads(line.decode())["id"] for line in said] == [0]
    permissions.answer(asked.request, "y")
    assert permissions.ask(params, 1, "s") == (cancelled, []) and len(said) == 1


@pytest.mark.parametrize(
    "line",
    [b"", b"   ", b"{", b"[" * 5000, b'{"a":' * 5000, b'{"id":NaN}', b'{"id":1e999}', b'{"id":' + b"9" * 5000 + b"}"],
)
def test_no_line_is_too_odd_to_be_passed_over(line):
    noise = []
    Rpc(None, {}, {}, lambda text, size: noise.append(text)).feed(line)
    assert len(noise) == bool(line.strip())


def test_what_is_nested_too_deep_is_answered_all_the_same():
    sent, heard = [], []
    rpc = Rpc(sent.append, {"ask": lambda params, id: params}, {"tell": heard.append}, lambda text, size: None)
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    rpc.feed(b'{"jsonrpc":"2.0","id":"x","method":"ask","params":' + deep + b"}")
    (answer,) = map(loads, map(bytes.decode, sent))
    assert answer["id"] == "x" and answer["error"]["code"] == BAD_PARAMS
    rpc.ask("session/prompt", {}, lambda *answer: heard.append(answer))
    rpc.feed(b'{"jsonrpc":"2.0","id":1,"result":' + deep + b"}")
    ((ticket, result, error),) = heard
    assert (ticket, result, error["code"]) == (1, None, INTERNAL)
    rpc.feed(b'{"jsonrpc":"2.0","method":"tell","params":' + deep + b"}")
    rpc.feed(b'{"id":"y","method":"ask","params":' + b"[" * 100_000)
    assert len(heard) == 1 and len(sent) == 2


@pytest.mark.parametrize("mime", ["image/png", "text/plain"])
def test_what_goes_by_path_is_a_file_and_nothing_that_one_waits_for(tmp_path, mime):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(errors.InvalidParam, match="no regular file"):
            blocks([{"type": "file", "file": {"path": str(path), "mimeType": mime}}], {"image": True}, "it")


# -- values of the wrong type ------------------------------------------------------------------------------------------
#: What an agent may say, with every field that is read.
UPDATES = [
    {
        "sessionUpdate": "agent_message_chunk",
        "messageId": "m",
        "content": {"type": "text", "text": "a", "annotations": {}},
    },
    {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "aGE=", "mimeType": "image/png"}},
    {
        "sessionUpdate": "agent_thought_chunk",
        "content": {"type": "resource", "resource": {"uri": "file:///x", "mimeType": "text/plain", "text": "a"}},
    },
    {"sessionUpdate": "agent_message_chunk", "content": {"type": "resource", "resource": {"uri": "x", "blob": "aGE="}}},
    {
        "sessionUpdate": "agent_message_chunk",
        "content": {"type": "resource_link", "uri": "file:///a%20b?c#d", "name": "n", "mimeType": "text/plain"},
    },
    {
        "sessionUpdate": "tool_call",
        "toolCallId": "c",
        "title": "t",
        "kind": "edit",
        "status": "pending",
        "rawInput": {"a": [1]},
        "rawOutput": {"output": "o"},
        "content": [{"type": "content", "content": {"type": "text", "text": "x"}}, {"type": "diff", "path": "/x"}],
        "locations": [{"path": "/x", "line": 1}],
        "_meta": {"claudeCode": {"toolName": "Bash"}},
    },
    {"sessionUpdate": "tool_call_update", "toolCallId": "c", "status": "completed", "rawOutput": "o"},
    {"sessionUpdate": "plan", "entries": [{"content": "a", "status": "pending", "priority": "high"}]},
    {"sessionUpdate": "usage_update", "used": 1, "size": 2, "cost": {"amount": 0.5, "currency": "USD"}},
    {"sessionUpdate": "session_info_update", "title": "t"},
]
SELECT = {
    "id": "model",
    "type": "select",
    "category": "model",
    "currentValue": "a",
    "options": [{"value": "a", "name": "A", "description": "d"}, {"group": "g", "options": [{"value": "b"}]}],
}
BEGUN = {
    "models": {"currentModelId": "a", "availableModels": [{"modelId": "a", "name": "A", "description": "d"}]},
    "modes": {"currentModeId": "b", "availableModes": [{"id": "b", "name": "B"}]},
    "configOptions": [SELECT],
}
COMMANDS = [{"name": "a", "description": "b", "input": {"hint": "c"}}]
GREETING = {
    "authMethods": [
        {"id": "a", "type": "env_var", "vars": [{"name": "A_KEY", "optional": False}]},
        {"id": "b", "name": "B", "description": "Use B_KEY", "type": None},
    ]
}
FINISHED = {
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 2, "thoughtTokens": 3},
    "_meta": {"quota": {"token_count": {"input_tokens": 1, "output_tokens": 2}}},
}
LEAVE = {
    "sessionId": "s",
    "toolCall": {"toolCallId": "c", "title": "t", "kind": "edit", "locations": [{"path": "/x"}], "status": "pending"},
    "options": [{"optionId": "o", "kind": "allow_once", "name": "n"}],
}
ODD = [None, True, -1, 1.5, 10**400, float("1e308"), "", "x" * 50, "\ud83d", [], ["a"], [[]], {}, {"a": {}}, [{}, 5]]


def spoilt(value):
    """Return the value with each of its parts, and itself, replaced by each of ODD."""
    yield from ODD
    if type(value) is dict:
        for key in value:
            for each in spoilt(value[key]):
                yield {**value, key: each}
    elif type(value) is list:
        for place, inner in enumerate(value):
            for each in spoilt(inner):
                yield [*value[:place], each, *value[place + 1 :]]


class Mute:
    def reply(self, id, result):
        pass


def readers():
    def take_leave(params):
        permissions = Permissions(Mute())
        permissions.begin()
        return permissions.ask(params, 1, "s")[1]

    def begun(data):
        offers = Offers("a")
        offers.begin(data)
        return offers.offer()

    def commanded(data):
        offers = Offers("a")
        offers.command(data)
        return offers.offer()

    for update in UPDATES:
        yield update, lambda value: updates.read(value, updates.Halves())
    yield BEGUN, begun
    yield COMMANDS, commanded
    yield GREETING, lambda value: login.without_user(login.methods(value), {"A_KEY": "1", "B_KEY": "1"})
    yield FINISHED, updates.finish
    yield LEAVE, take_leave
    yield (
        {"code": -32000, "message": "m", "data": {"details": "d", "error": "e"}},
        lambda value: failures.failure(value, "answer", "the agent a", login.methods(GREETING)),
    )


def test_a_value_of_any_type_is_read_or_refused_and_nothing_else():
    """clawbench: an agent that prints what it should not harms no session; what is read can be stored and shown."""
    read = 0
    for sample, reader in readers():
        reader(sample)
        for value in spoilt(sample):
            if type(value) is not dict and type(sample) is dict:
                continue  # a caller has seen to that
            try:
                found = reader(value)
            except (ValueError, Refused):
                continue
            read += 1
            if not isinstance(found, errors.PlueError):
                dumps(found)
    assert read > 1000
