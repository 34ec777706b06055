"""What an agent says besides text: plans, tools, usage, names; and what it may be told to be."""

import json

import pytest

from tests.agents.conftest import eventually, text_of


def tools(turn):
    return [part["tool"] for message in turn["messages"] for part in message["parts"] if part["type"] == "tool"]


@pytest.mark.requirement("O-076")
def test_a_plan_is_the_sessions_todos_and_replaced_whole(attached):
    session = attached()
    session.observe_now()
    session.turn("[plan=2]")
    plans = [each["data"]["todos"] for each in session.events("turn.finished") if each["type"] == "todo.updated"]
    assert [[each["status"] for each in plan] for plan in plans][-1] == ["completed", "pending"]
    assert json.loads(session.todos()) == plans[-1]
    assert json.loads(session.observation())["todos"] == plans[-1]


def test_a_tool_call_is_a_part_with_what_came_of_it(attached):
    session = attached()
    session.observe_now()
    done = session.turn("[say=first][tool=bash][done][say=last]")
    (tool,) = tools(done)
    assert tool["state"] == "completed" and tool["input"] == {"command": "bash"} and tool["output"]
    kinds = [part["type"] for part in done["messages"][1]["parts"]]
    assert kinds == ["text", "tool", "text"]
    raw = done["messages"][1]["parts"][1]["raw"]
    assert raw["kind"] == "execute" and raw["locations"] and raw["title"] == "Run bash"
    activity = [each["data"] for each in session.events("turn.finished") if each["type"] == "turn.activity"]
    assert [each["kind"] for each in activity] == ["step", "tool"] and activity[1]["text"] == tool["name"]


def test_tools_that_are_open_at_the_end_end_with_it(attached):
    """hermes-agent#114395."""
    done = attached().turn("[tool=a][open][tool=b][fail]")
    assert done["outcome"] == "finished" and [tool["state"] for tool in tools(done)] == ["error", "error"]


def test_an_update_of_an_unseen_call_makes_one(attached):
    """agent-shell#455."""
    (tool,) = tools(attached().turn("[unseen]"))
    assert (tool["callId"], tool["state"]) == ("unseen", "completed")


def test_message_ids_part_messages_and_an_empty_chunk_makes_none(attached):
    done = attached().turn("[empty][message=a][say=one][message=b][say=two][message=a][say=three]")
    assert [text_of(message) for message in done["messages"][1:]] == ["onethree", "two"]


def test_an_image_is_a_file(attached):
    done = attached().turn("[say=see:][image][link]")
    parts = done["messages"][1]["parts"]
    assert [part["type"] for part in parts] == ["text", "file", "file"]
    assert parts[1]["file"] == {"data": "aGk=", "mimeType": "image/png"} and parts[2]["file"]["path"] == "/a.txt"


@pytest.mark.parametrize("kind, tokens", [("claude", (10, 5, 3, 2)), ("gemini", (10, 5, 0, 0))])
def test_usage_is_the_messages_and_the_context_meter_is_none(attached, kind, tokens):
    """hermes-agent#70204."""
    session = attached()
    session.turn(f"[say=x][usage=900/1000][cost=0.25/950/1000][tokens={kind}]")
    session.turn(f"[say=y][cost=0.75/990/1000][tokens={kind}]")
    usage = json.loads(session.usage())
    names = "input", "output", "cacheRead", "cacheWrite"
    assert tuple(usage["tokens"][name] for name in names) == tuple(2 * each for each in tokens)
    assert usage["cost"] == 0.75 and usage["models"][0]["providerId"] == "fake-agent"


def test_what_a_conversation_costs_is_counted_once_also_when_it_is_restored(attached, tmp_path):
    """An agent tells what its conversation has cost so far; another conversation has cost something else."""
    (tmp_path / "memory").mkdir()
    memory = f"memory={tmp_path / 'memory'}"
    session = attached(memory)
    for restore, cost, sum in ((False, 0.75, 1.0), (True, 1.0, 1.25), (True, 1.5, 1.75)):
        if restore is False:
            session.turn("[say=x][cost=0.25/9/10]")
        session.turn("[exit=1]")
        session.attach(memory, restore=restore)
        session.turn(f"[say=x][cost={cost}/9/10]")
        assert json.loads(session.usage())["cost"] == sum, (restore, cost)


def test_it_may_name_a_session_that_nobody_has_named(attached):
    session = attached()
    session.turn("[title=Parsers]")
    assert eventually(lambda: session.info()["title"] == "Parsers")
    session.update_title("Mine")
    session.turn("[title=Other]")
    session.turn("[say=x]")
    assert session.info()["title"] == "Mine"


def test_what_comes_after_the_end_is_told_as_a_message_without_a_turn(attached):
    """opencode#18672."""
    session = attached()
    session.observe_now()
    session.turn("[say=x][after=0.2]")
    session.events("turn.finished")
    events = session.events("message.updated")
    assert any("delta" in each["data"] for each in events)
    last = session.said()[-1]
    assert text_of(last) == "after" and "turnId" not in last and "completed" in last["time"]
    assert text_of(session.turn("[say=y]")["messages"][1]) == "y"


@pytest.mark.parametrize("words", [("models", "modes"), ("options",)])
def test_model_and_mode_are_chosen_before_the_prompt(attached, words, tmp_path):
    """t3code#9242."""
    session = attached(*words, "commands", f"trace={tmp_path / 'trace'}")
    choices = json.loads(session.choices())
    assert [each["modelId"] for each in choices["models"]] == ["fake/small", "fake/large"]
    assert [each["name"] for each in choices["agents"]] == ["ask", "code"]
    assert [each["name"] for each in choices["commands"]] == ["plan", "review"]
    assert choices["default"] == {"providerId": "fake-agent", "modelId": "fake/small"}
    model = {"providerId": "fake-agent", "modelId": "fake/large"}
    done = session.turn("[say=x]", model=model, agent="code")
    assert done["messages"][1]["model"] == model
    assert json.loads(session.choices())["default"] == model
    heard = [json.loads(line).get("in", {}).get("method") for line in (tmp_path / "trace").read_text().splitlines()]
    methods = [each for each in heard if each]
    assert methods.index("session/prompt") == len(methods) - 1 == 4
    refused = session.turn("[say=x]", model={"providerId": "fake-agent", "modelId": "fake/none"})
    assert refused["error"]["code"] == "PROVIDER_INIT" and refused["reason"] == "submitted_error"


def test_the_sessions_model_is_each_turns(attached):
    session, names = attached("models"), {"providerId": "fake-agent"}
    session.initialize("fake-agent", "fake/large")
    assert json.loads(session.choices())["default"] == {**names, "modelId": "fake/large"}
    for given, model in ({}, "large"), ({"model": {**names, "modelId": "fake/small"}}, "small"), ({}, "large"):
        assert session.turn("[say=x]", **given)["messages"][1]["model"] == {**names, "modelId": f"fake/{model}"}
    other = attached("models")
    other.initialize("elsewhere", "fake/large")  # what its host binds it to is no model of this agent's
    assert other.turn("[say=x]")["messages"][1]["model"] == {**names, "modelId": "fake/small"}


def test_what_was_chosen_is_chosen_again_of_an_agent_that_is_started_anew(attached, tmp_path):
    (tmp_path / "memory").mkdir()
    words = "models", "modes", f"memory={tmp_path / 'memory'}"
    session, model = attached(*words), {"providerId": "fake-agent", "modelId": "fake/large"}
    session.turn("[say=x]", model=model, agent="code")
    session.turn("[exit=1]")
    session.attach(*words, f"trace={tmp_path / 'trace'}")
    assert session.turn("[say=y]")["messages"][1]["model"] == model
    assert "session/set_mode" in (tmp_path / "trace").read_text()


def test_a_command_is_what_its_user_would_type(attached):
    session = attached()
    done = json.loads(session.run_turn('{"command":"plan","arguments":"[prompt]"}', 30_000))
    assert json.loads(text_of(done["messages"][1])) == [{"type": "text", "text": "/plan [prompt]"}]


def test_inputs_that_wait_are_one_turn_and_keep_their_parts(attached, tmp_path):
    session = attached("image", "caps=image")
    (tmp_path / "a.txt").write_text("file")
    session.enqueue_text("[sleep=0.3][say=x]")
    file = {"type": "file", "file": {"path": str(tmp_path / "a.txt"), "mimeType": "text/plain"}}
    session.enqueue(json.dumps({"parts": [{"type": "text", "text": "[prompt]"}, file]}))
    session.enqueue_text("second")
    assert eventually(lambda: len(session.said()) == 4 and "completed" in session.said()[3]["time"])
    user, answer = session.said()[2:]
    assert [part.get("text") or part["file"] for part in user["parts"]] == ["[prompt]", file["file"], "second"]
    assert len(json.loads(text_of(answer))) == 3


def test_a_file_that_cannot_be_read_is_an_invalid_input(attached):
    session = attached("caps=embedded,image")
    file = {"type": "file", "file": {"path": "/nowhere/a.png", "mimeType": "image/png"}}
    done = json.loads(session.run_turn(json.dumps({"parts": [file]}), 30_000))
    assert (done["outcome"], done["reason"]) == ("stopped", "invalid_input")
    assert done["error"]["code"] == "INVALID_PARAM" and "/nowhere/a.png" in done["error"]["message"]
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_a_picture_for_an_agent_that_takes_none_is_refused_not_dropped(attached):
    """codecompanion.nvim#2860."""
    session = attached()
    file = {"type": "file", "file": {"data": "aGk=", "mimeType": "image/png"}}
    done = json.loads(session.run_turn(json.dumps({"parts": [file]}), 30_000))
    assert (done["reason"], done["error"]["code"]) == ("invalid_input", "UNSUPPORTED")
