"""A conversation of an agent that loses step is taken up anew, and what is asked meanwhile waits."""

from plue_session.adapters.acp.offers import Offers
from plue_session.adapters.acp.renewal import Gate, renew
from plue_session.adapters.acp.rpc import Rpc

WHERE = {"sessionId": "s", "cwd": "/w", "mcpServers": []}
MODES = {"currentModeId": "default", "availableModes": [{"id": "default"}, {"id": "plan"}]}


def renewed(refused=()):
    """Renew a conversation whose mode is "plan"; return what was asked, and what it ended with."""
    offers, asked, ended = Offers("agent"), [], []
    offers.begin({"modes": {**MODES, "currentModeId": "plan"}})

    def ask(method, params, answered):
        asked.append((method, params))
        answered(1, {"modes": MODES}, {"code": -32603, "message": "no"} if method in refused else None)

    renew(ask, offers, WHERE, ended.append)
    return asked, ended, offers.offer()


def test_it_is_closed_and_resumed_in_the_mode_that_it_had():
    asked, ended, offer = renewed()
    assert asked == [
        ("session/close", {"sessionId": "s"}),
        ("session/resume", WHERE),
        ("session/set_mode", {"modeId": "plan"}),
    ]
    assert ended == [None] and offer.mode == "plan"


def test_what_it_says_to_the_close_does_not_matter():
    assert renewed({"session/close"})[1] == [None]


def test_a_mode_that_it_does_not_take_again_is_not_said_to_be_chosen():
    _, ended, offer = renewed({"session/set_mode"})
    assert ended == [None] and offer.mode == "default"


def test_one_that_is_not_resumed_fails():
    asked, ended, _ = renewed({"session/resume"})
    assert ended == [{"code": -32603, "message": "no"}] and len(asked) == 2


def test_what_waits_at_the_gate_goes_in_order_or_is_answered_here():
    sent, answers = [], []
    rpc = Rpc(sent.append, {}, {}, None)
    gate = Gate(rpc)
    gate.shut()
    assert gate.is_shut
    tickets = [gate.ask(method, {}, lambda *answer: answers.append(answer)) for method in ("choose", "prompt")]
    assert sent == []
    gate.open(lambda method: "cancelled" if method == "prompt" else None)
    assert len(sent) == 1 and b'"method":"choose"' in sent[0]
    assert answers == [(tickets[1], "cancelled", None)]
    assert not gate.is_shut


def test_the_end_of_the_line_answers_what_waits_once():
    answers = []
    rpc = Rpc(lambda line: None, {}, {}, None)
    gate = Gate(rpc)
    gate.shut()
    ticket = gate.ask("prompt", {}, lambda *answer: answers.append(answer))
    rpc.end("gone")
    gate.open(lambda method: "cancelled")
    assert answers == [(ticket, None, "gone")]
