"""What the server's messages and status prove of a turn."""

from types import SimpleNamespace

import pytest

from plue_session.adapters.opencode.parts import RemotePart
from plue_session.adapters.opencode.shapes import Failure, RemoteMessage
from plue_session.rules.turn_proof import judge, running
from plue_session.services.turns.following import Follower


def asked(id, source="text"):
    message = RemoteMessage(id, "ses_1", "user", None, 1, None, None, True)
    body = {"type": "text" if source == "text" else "other"}
    return message, [RemotePart(f"prt_{id}", "ses_1", id, source, body, True)]


def said(id, parent, finish="stop"):
    ended = finish is not None
    message = RemoteMessage(id, "ses_1", "assistant", parent, 1, 2 if ended else None, None, ended, finish=finish)
    return message, []


OPEN = None
#: (the page, whether the server is busy, what is proven of the prompt "a")
CASES = {
    "it does not have it": ([asked("z"), said("1", "z")], False, "absent"),
    "it has it": ([said("1", "z"), asked("a")], True, "unbegun"),
    "the answer is open": ([asked("a"), said("1", "a", OPEN)], True, "running"),
    "a tool's answer is to follow": ([asked("a"), said("1", "a", "tool-calls")], True, "running"),
    "the prompt is out of sight": ([said("1", "a", "tool-calls"), said("2", "a", OPEN)], True, "running"),
    "it has ended": ([asked("a"), said("1", "a")], False, "over"),
    "it ended, and another one runs": ([asked("a"), said("1", "a"), asked("b"), said("2", "b", OPEN)], True, "over"),
    "it died": ([asked("a"), said("1", "a", OPEN)], False, "cut"),
    "one answers several": ([asked("a"), asked("b"), said("1", "b", OPEN)], True, "running"),
    "one has answered several": ([asked("a"), asked("b"), said("1", "b")], False, "over"),
    "a later turn, after one answered several": (
        [asked("a"), asked("b"), said("1", "b"), asked("c"), said("2", "c", OPEN)],
        True,
        "over",
    ),
    "it goes in circles": ([asked("a"), *(said(str(n), "a", "unknown") for n in range(3))], True, "circling"),
    "in its fourth circle": (
        [asked("a"), *(said(str(n), "a", "unknown") for n in range(3)), said("3", "a", OPEN)],
        True,
        "circling",
    ),
    "it stumbled once": ([asked("a"), said("1", "a", "unknown"), said("2", "a", OPEN)], True, "running"),
    "the context is shortened": (
        [asked("a"), said("1", "a", "length"), asked("b", "compaction"), said("2", "b", OPEN)],
        True,
        "running",
    ),
}


@pytest.mark.requirement("O-033", "O-039", "O-047", "O-048")
@pytest.mark.parametrize("page, is_busy, state", CASES.values(), ids=CASES)
def test_a_proof_is_what_the_newest_messages_say_together_with_the_status(page, is_busy, state):
    assert judge(page, "a", is_busy).state == state


def test_a_turn_without_a_prompt_is_not_there():
    assert judge([asked("b"), said("1", None)], None, True).state == "absent"


def test_what_runs_is_the_prompt_of_the_open_answer():
    assert running([asked("a"), said("1", "a", OPEN), asked("b")]) == "a"
    assert running([asked("a"), said("1", "a")]) is None and running([asked("a")]) is None


@pytest.mark.requirement("O-047")
@pytest.mark.parametrize("last", [Failure("MessageAbortedError", "Aborted", None), None])
@pytest.mark.parametrize(
    "circles, cancelled, reason", [(3, None, "provider_error"), (3, 1, "cancelled"), (2, None, None)]
)
def test_a_circle_is_told_as_one_also_when_the_answer_to_its_abort_was_not_heard(last, circles, cancelled, reason):
    message, parts = said("9", "a", OPEN)
    aborted = message._replace(ended=last is not None, failure=last)
    page = [asked("a"), *(said(str(n), "a", "unknown") for n in range(circles)), (aborted, parts)]
    turn, watch = SimpleNamespace(cancelled=cancelled), SimpleNamespace(failure=None, retry=None)
    expected = reason or ("cancelled" if last else "incomplete")
    assert Follower._outcome(turn, watch, judge(page, "a", False))[1] == expected
