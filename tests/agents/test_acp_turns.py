"""Turns of an agent of the Agent Client Protocol: what is told, asked, cancelled and answered."""

import json
import threading

import pytest

from plue_session import errors
from plue_session.model.said import (
    Answered,
    Asked,
    Finish,
    Metered,
    Named,
    Noise,
    Offer,
    Planned,
    Said,
    Shown,
    Tool,
    Withdrawn,
)

FOUR = [(kind.replace("_", "-"), kind) for kind in ("allow_once", "allow_always", "reject_once", "reject_always")]


def test_a_turn_is_told_piece_by_piece_and_answered_once(agents):
    agent = agents()
    agent.begin()
    assert agent.turn("[think=2][words=3]").value == Finish("end_turn", None)
    kinds = [(said.kind, said.text) for said in agent.heard.of(Said)]
    assert kinds == [("reasoning", f"thought{n} ") for n in range(2)] + [("text", f"word{n} ") for n in range(3)]
    assert [type(said) for said in agent.heard.all] == [Said] * 5 + [Answered]


def test_what_is_sent_is_what_the_protocol_has(agents):
    agent = agents("caps=load,image,embedded")
    agent.begin()
    (agent.worktree / "a b.txt").write_text("text")
    parts = [
        {"type": "text", "text": "[prompt]"},
        {"type": "file", "file": {"path": str(agent.worktree / "a b.txt"), "mimeType": "text/plain"}},
        {"type": "file", "file": {"data": "aGk=", "mimeType": "image/png"}},
        {"type": "file", "file": {"data": "aGk=", "mimeType": "text/plain", "name": "note"}},
        {"type": "file", "file": {"url": "https://example.org/a", "mimeType": "text/html"}},
    ]
    agent.answer(agent.agent.prompt(parts))
    said = json.loads(agent.heard.text())
    assert [each["type"] for each in said] == ["text", "resource_link", "image", "resource", "resource_link"]
    assert said[1]["uri"].endswith("/a%20b.txt") and said[1]["name"] == "a b.txt"
    assert said[3]["resource"] == {"uri": "attachment:note", "mimeType": "text/plain", "text": "hi"}
    new = agent.said("in", "session/new")[0]["params"]
    assert new == {"cwd": str(agent.worktree), "mcpServers": []}


@pytest.mark.parametrize("mime, text", [("image/png", "takes no pictures"), ("text/plain", "takes no files without")])
def test_what_an_agent_does_not_take_is_refused_and_nothing_is_sent(agents, mime, text):
    agent = agents()
    agent.begin()
    parts = [{"type": "text", "text": "see"}, {"type": "file", "file": {"data": "aGk=", "mimeType": mime}}]
    with pytest.raises(errors.Unsupported, match=text):
        agent.agent.prompt(parts)
    with pytest.raises(errors.InvalidParam, match="cannot be read"):
        agent.agent.prompt([{"type": "file", "file": {"path": "/nowhere/a", "mimeType": "text/plain"}}])
    assert agent.turn("[say=fine]").error is None
    assert len(agent.said("in", "session/prompt")) == 1


def test_tools_plans_usage_and_titles_are_told(agents):
    agent = agents()
    agent.begin()
    text = "[tool=ls][done][unseen][plan=2][usage=5/100][cost=0.5/6/100][title=A title][image][link]"
    assert agent.turn(text + "[strange][tokens=claude]").value == Finish("end_turn", (10, 5, 0, 3, 2))
    first, second, third, unseen = agent.heard.of(Tool)
    assert first.changes["name"] == "execute" and first.changes["state"] == "pending"
    assert first.changes["input"] == {"command": "ls"} and first.changes["raw"]["locations"]
    assert (second.call_id, second.changes) == (first.call_id, {"state": "running"})
    assert (third.changes["state"], third.changes["output"]) == ("completed", "output")
    assert unseen == Tool("unseen", {**unseen.changes, "name": "read", "title": "Unseen", "state": "completed"})
    plans = [[each["status"] for each in plan.todos] for plan in agent.heard.of(Planned)]
    assert plans == [["in_progress", "pending"], ["completed", "pending"]]
    assert agent.heard.of(Metered) == [Metered(5, 100, None), Metered(6, 100, 0.5)]
    assert agent.heard.of(Named) == [Named("A title")]
    picture, link = agent.heard.of(Shown)
    assert picture.file == {"data": "aGk=", "mimeType": "image/png"} and link.file["path"] == "/a.txt"


def test_tokens_come_from_where_an_agent_tells_them(agents):
    agent = agents()
    agent.begin()
    assert agent.turn("[tokens=gemini]").value.tokens == (10, 5, 0, 0, 0)
    assert agent.turn("[stop=max_tokens]").value == Finish("max_tokens", None)
    assert agent.turn("[stop=refusal]").value.reason == "refusal"


def test_message_ids_part_messages(agents):
    agent = agents()
    agent.begin()
    agent.turn("[empty][message=m1][say=one][say=two][message=m2][say=three]")
    said = [(each.text, each.message_id) for each in agent.heard.of(Said)]
    assert said == [("one", "m1"), ("two", "m1"), ("three", "m2")]


@pytest.mark.parametrize("ids", ["", "[ids=strings]", "[ids=zero]"])
def test_leave_is_asked_and_given(agents, ids):
    """Ids are echoed with their type, also 0 again in each turn."""
    agent = agents()
    agent.begin()
    for number, (option, answers) in enumerate((("allow-once", ["allow-once"]), (None, ["cancelled"]))):
        since = len(agent.heard.all)
        ticket = agent.say(f"{ids}[tool=rm][ask][done]")
        asked = agent.heard.wait(Asked, since)
        assert (asked.action, asked.title, asked.options) == ("execute", "Run it", FOUR)
        agent.agent.answer(asked.request, option)
        agent.agent.answer(asked.request, "allow-always")  # harmless: it has its answer
        assert agent.answer(ticket).error is None
        last = agent.said("out", "session/update")[-1]["params"]["update"]
        assert last["rawOutput"]["answers"] == answers and last["toolCallId"] == asked.call_id
        assert len([each for each in agent.said("in") if "method" not in each]) == number + 1


def test_two_questions_of_one_call_have_an_answer_each(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[tool=rm][ask=2][done]")
    agent.heard.wait(lambda said: len(agent.heard.of(Asked)) == 2)
    first, second = agent.heard.of(Asked)
    assert first.call_id == second.call_id and first.request != second.request
    agent.agent.answer(second.request, "allow-always")
    agent.agent.answer(first.request, "allow-once")
    agent.answer(ticket)
    given = agent.said("out", "session/update")[-1]["params"]["update"]["rawOutput"]["answers"]
    assert sorted(given) == ["allow-always", "allow-once"]


@pytest.mark.requirement("O-071")
def test_chunks_after_a_cancel_belong_to_the_cancelled_turn(agents):
    agent = agents()
    agent.begin()
    agent.agent.cancel()  # nothing is under way: nothing is sent
    ticket = agent.say("[words=1][wait][late=3]")
    agent.heard.wait(Said)
    agent.agent.cancel()
    agent.agent.cancel()
    assert agent.answer(ticket).value == Finish("cancelled", None)
    assert agent.heard.text() == "word0 late0 late1 late2 "
    assert len(agent.said("in", "session/cancel")) == 1
    agent.agent.cancel()  # an old one cannot hit the next turn
    assert agent.turn("[words=1]").value.reason == "end_turn"
    assert len(agent.said("in", "session/cancel")) == 1


@pytest.mark.parametrize("text", ["The operation was aborted", "Request cancelled"])
def test_an_agent_that_fails_when_it_is_cancelled_was_cancelled(agents, text):
    agent = agents()
    agent.begin()
    ticket = agent.say(f"[deaf][words=1][sleep=0.3][error=-32603:{text}]")
    agent.heard.wait(Said)
    agent.agent.cancel()
    assert agent.answer(ticket).value == Finish("cancelled", None)
    assert agent.turn(f"[error=-32603:{text}]").error.name == "SERVER"


def test_a_cancel_answers_what_is_asked_once(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[tool=rm][ask=2][late=1]")
    agent.heard.wait(lambda said: len(agent.heard.of(Asked)) == 2)
    agent.agent.cancel()
    for asked in agent.heard.of(Asked):
        agent.agent.answer(asked.request, "allow-once")
    assert agent.answer(ticket).value.reason == "cancelled"
    answers = [each["result"]["outcome"] for each in agent.said("in") if "result" in each]
    assert answers == [{"outcome": "cancelled"}] * 2


def test_what_is_asked_ends_with_its_turn_or_when_it_is_taken_back(agents):
    agent = agents()
    agent.begin()
    agent.turn("[tool=rm][leave]")
    kinds = [type(said) for said in agent.heard.all]
    assert kinds.index(Withdrawn) < kinds.index(Answered)
    since = len(agent.heard.all)
    ticket = agent.say("[tool=rm][leave][retract][words=1][wait]")
    asked = agent.heard.wait(Asked, since)
    assert agent.heard.wait(Withdrawn, since).request == asked.request
    agent.heard.wait(Said, since)
    agent.agent.answer(asked.request, "allow-once")
    agent.agent.cancel()
    agent.answer(ticket)
    outcomes = [each for each in agent.said("in") if each.get("id") == "left"]
    assert outcomes[0]["result"] == {"outcome": {"outcome": "cancelled"}} and outcomes[1]["error"]["code"] == -32800
    assert len(outcomes) == 2


def test_one_prompt_at_a_time(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[words=1][wait]")
    agent.heard.wait(Said)
    with pytest.raises(errors.Busy):
        agent.say("[words=1]")
    agent.agent.cancel()
    agent.answer(ticket)
    assert agent.turn("[words=1]").value.reason == "end_turn"


def test_an_agent_that_never_ends_a_turn_is_ended_and_the_turn_with_it(agents):
    agent = agents()
    agent.begin()
    ticket = agent.say("[words=1][deaf][stall]")
    agent.heard.wait(Said)
    agent.agent.cancel()
    agent.agent.close()
    assert agent.answer(ticket).error.name == "CLOSED"


def test_what_comes_between_turns_is_told(agents):
    agent = agents("early", "commands")
    agent.begin()
    assert agent.heard.wait(Said).text == "early"
    agent.turn("[say=in the turn][after=0.05]")
    agent.heard.wait(lambda said: isinstance(said, Said) and said.text == "after")
    kinds = [type(said) for said in agent.heard.all]
    assert kinds[-2:] == [Answered, Said]


def test_other_conversations_are_not_mixed_in(agents):
    agent = agents()
    agent.begin()
    agent.turn("[other][child][say= mine]")
    assert agent.heard.text() == "cancelled mine" and not agent.heard.of(Asked)


def test_what_is_not_offered_is_refused_without_an_effect(agents):
    agent = agents(judged=False)
    agent.begin()
    target = agent.worktree / "a.txt"
    agent.turn(f"[write={target}:text][read=/etc/passwd][terminal][request=x/y][request=elicitation/create]")
    assert agent.heard.text() == "-32601" * 5 and not target.exists()


def test_what_is_no_message_is_passed_over_and_told(agents):
    agent = agents("banner", judged=False)
    agent.begin()
    assert [said.text for said in agent.heard.of(Noise)] == ["Welcome to the fake agent", "42", '{"level":"info"}']
    since = len(agent.heard.all)
    assert agent.turn("[garbage][invalid][twice][strange]").value.reason == "end_turn"
    agent.turn("[words=1]")
    noise = [said.text for said in agent.heard.all[since:] if isinstance(said, Noise)]
    assert "Loading..." in noise and "null" in noise and all(len(text) <= 200 for text in noise)
    assert len(noise) == 7 + 3 + 1  # lines, updates that are none, a second answer
    assert agent.heard.text() == "-32602word0 "


def test_characters_are_whole_however_they_come(agents):
    agent = agents(judged=False)
    agent.begin()
    agent.turn("[split][binary]")
    assert agent.heard.text() == "é€😀<�>"


def test_long_lines_are_read_and_too_long_ones_end_the_agent_by_name(agents, monkeypatch):
    agent = agents()
    agent.begin()
    assert agent.turn("[size=20000000]").error is None
    assert len(agent.heard.text()) == 20_000_000
    monkeypatch.setattr("plue_session.adapters.acp.pipe.LINE", 1 << 20)
    answer = agent.turn("[size=3000000]")
    assert answer.error.name == "SERVER" and "a line of more than 1 MiB" in answer.error.cause


def test_a_full_ear_stops_the_reading_and_loses_nothing(agents):
    agent = agents(room=10)
    agent.begin()
    ticket = agent.say("[flood=20000]")
    agent.heard.wait(lambda said: len(agent.heard.all) == 10)
    threading.Event().wait(0.3)
    assert len(agent.heard.all) == 10
    while not agent.heard.of(Answered):
        agent.heard.room = 3000
        before = len(agent.heard.all)
        agent.agent.go_on()
        agent.heard.wait(lambda said, least=before + 3000: len(agent.heard.all) >= least or isinstance(said, Answered))
    assert agent.answer(ticket).error is None and len(agent.heard.of(Said)) == 20000
    agent.heard.room = None


def test_it_is_told_things_while_it_floods_and_does_not_read(agents):
    """Writing, reading and stderr wait for none of the others."""
    agent = agents("models", judged=False)
    agent.begin()
    ticket = agent.say("[unread][stderr=" + "x" * 200_000 + "][words=1][sleep=0.2][flood=20000]")
    agent.heard.wait(Said)
    for _ in range(3):
        agent.agent.choose("model", "y" * 1_000_000)
    assert agent.answer(ticket).error is None
    assert len(agent.heard.of(Said)) == 20001


def test_what_waits_for_an_agent_that_does_not_read_is_bounded(agents, monkeypatch):
    monkeypatch.setattr("plue_session.adapters.acp.pipe.QUEUED", 1 << 20)
    agent = agents("models", judged=False)
    agent.begin()
    ticket = agent.say("[unread][words=1][tool=rm][leave][stall]")
    asked = agent.heard.wait(Asked)
    with pytest.raises(errors.QueueFull, match="does not read"):
        for _ in range(100):
            agent.agent.choose("model", "y" * 100_000)
    assert not agent.heard.of(Answered)
    monkeypatch.setattr("plue_session.adapters.acp.pipe.QUEUED", 1)
    agent.agent.answer(asked.request, "allow-once")  # cannot be withheld: the agent is ended
    assert agent.answer(ticket).error.name == "QUEUE_FULL"


@pytest.mark.parametrize("how", ["models", "options"])
def test_models_and_modes_are_chosen_by_the_agents_answer(agents, how):
    agent = agents("modes", how)
    agent.begin()
    offer = agent.agent.offer()
    assert (offer.model, offer.mode) == ("fake/small", "ask")
    assert offer.models[1] == {"providerId": "fake-agent", "modelId": "fake/large", "name": "Large"}
    assert offer.modes == [{"name": "ask", "description": "Ask"}, {"name": "code", "description": "Code"}]
    for kind, id in (("model", "fake/large"), ("mode", "code")):
        assert agent.answer(agent.agent.choose(kind, id)).error is None
    offer = agent.agent.offer()
    assert (offer.model, offer.mode) == ("fake/large", "code") and agent.heard.of(Offer)[-1] == offer
    wrong = agent.answer(agent.agent.choose("model", "fake/none"))
    assert wrong.error.name == "PROVIDER_INIT" and "fake/none" in wrong.error.cause
    assert agent.agent.offer() == offer
    agent.turn("[mode=ask][commands=a,b]")
    offer = agent.agent.offer()
    assert offer.mode == "ask" and [each["name"] for each in offer.commands] == ["a", "b"]
    assert agent.heard.of(Offer)[-1] == offer


def test_what_is_not_offered_cannot_be_chosen(agents):
    agent = agents("caps=none")
    agent.begin()
    with pytest.raises(errors.Unsupported, match="no choice of a model"):
        agent.agent.choose("model", "any")
    assert agent.agent.offer() == Offer([], [], [], None, None)


@pytest.mark.requirement("O-073")
@pytest.mark.parametrize(
    "error, code",
    [
        ("-32000:Authentication required", "PROVIDER_AUTH"),
        ("-32603:Model fake/none not found", "PROVIDER_INIT"),
        ("-32603:Session not found", "NOT_FOUND"),
        ("-32603:429 Too Many Requests", "BUSY"),
        ("-32603:the prompt is too long", "LIMIT_EXCEEDED"),
        ("-32603:something broke", "SERVER"),
    ],
)
def test_errors_become_codes_and_the_agent_goes_on(agents, error, code):
    agent = agents("methods")
    agent.begin()
    answer = agent.turn(f"[words=1][error={error}]")
    assert answer.value is None and answer.error.name == code
    assert error.partition(":")[2] in answer.error.cause
    assert agent.turn("[words=1]").error is None


def test_an_agent_names_itself_or_has_its_commands_name(agents):
    named, nameless = agents("name=parrot"), agents("nameless")
    for agent in (named, nameless):
        agent.begin()
    assert named.agent.name == "parrot" and nameless.agent.name.startswith("python")
