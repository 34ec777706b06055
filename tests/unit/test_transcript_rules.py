"""Which of two states of a message or a part is the further, how they look, and how a turn ended."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.opencode import parts, shapes
from plue_session.model import Part
from plue_session.rules import outcomes, transcripts

INFO = {
    "id": "msg_2",
    "sessionID": "ses_a",
    "role": "assistant",
    "parentID": "msg_1",
    "time": {"created": 2},
    "providerID": "fake",
    "modelID": "m",
    "cost": 0.25,
    "tokens": {"input": 1, "output": 2, "reasoning": 3, "cache": {"read": 4, "write": 5}},
}


def said(**more):
    return shapes.message({**INFO, **more})


def record(**more):
    return transcripts.message_of(7, said(**more), "turn_1")


def part(text="", **more):
    return parts.part({"id": "prt_1", "sessionID": "ses_a", "messageID": "msg_2", "type": "text", "text": text, **more})


def known(text, finished):
    return Part(7, "msg_2", "prt_1", finished, json.dumps({"id": "prt_1", "type": "text", "text": text}))


OPEN, ENDED = {"time": {"start": 1}}, {"time": {"start": 1, "end": 2}}


# -- messages ----------------------------------------------------------------------------------------------------------
def test_a_message_is_shown_as_the_header_says():
    body = '{"id":"prt_1","type":"text","text":"a"}'
    shown = json.loads(
        transcripts.render(record(time={"created": 2, "completed": 9}), [Part(7, "msg_2", "prt_1", True, body)])
    )
    assert shown == {
        "id": "msg_2",
        "role": "assistant",
        "turnId": "turn_1",
        "parts": [json.loads(body)],
        "time": {"created": 2, "completed": 9},
        "model": {"providerId": "fake", "modelId": "m"},
    }
    assert "parts" not in json.loads(transcripts.render(record()))


def test_an_event_has_the_parts_only_if_they_are_small():
    small, large = known("a" * 1000, True), known("ä" * 40_000, True)
    assert "parts" in json.loads(transcripts.render_small(record(), [small]))
    assert "parts" not in json.loads(transcripts.render_small(record(), [large]))


def test_a_message_that_has_ended_stays_ended():
    ended, failed = record(time={"created": 2, "completed": 9}), record(error={"name": "MessageAbortedError"})
    for further in (ended, failed):
        assert transcripts.merged(further, record(), True) is None
        assert transcripts.merged(record(), further, False) is further
    assert json.loads(failed.error)["code"] == "ABORTED"


def test_of_two_that_have_come_equally_far_the_newer_counts():
    assert transcripts.merged(record(), record(cost=1), False) is None
    assert transcripts.merged(record(), record(cost=1), True).usage != record().usage
    assert transcripts.merged(record(), record(), True) is None
    assert not transcripts.is_shown(record(), record(cost=1))


# -- parts -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-049")
def test_text_heard_live_is_not_replaced_by_a_shorter_one_until_the_part_has_ended():
    heard = known("one two", False)
    for is_newer in (True, False):
        assert transcripts.part_merged(7, heard, part("", **OPEN), is_newer) is None
        assert json.loads(transcripts.part_merged(7, heard, part("one", **ENDED), is_newer).body)["text"] == "one"
    cut_off = transcripts.part_merged(7, heard, part("", **OPEN), True, has_ended=True)
    assert cut_off.finished and json.loads(cut_off.body)["text"] == "one two"
    assert (
        json.loads(transcripts.part_merged(7, heard, part("one two three", **OPEN), False).body)["text"]
        == "one two three"
    )


def test_a_part_that_is_finished_is_changed_by_what_is_newer_and_finished_alone():
    finished = known("one", True)
    assert transcripts.part_merged(7, finished, part("one two", **OPEN), True) is None
    assert transcripts.part_merged(7, finished, part("two", **ENDED), False) is None
    assert json.loads(transcripts.part_merged(7, finished, part("two", **ENDED), True).body)["text"] == "two"
    same = Part(7, "msg_2", "prt_1", 1, transcripts.part_merged(7, None, part("one", **ENDED), True).body)
    assert transcripts.part_merged(7, same, part("one", **ENDED), True) is None


def test_a_tool_goes_forward():
    def tool(status, **more):
        state = {"status": status, "input": more}
        return parts.part(
            {
                "id": "p",
                "sessionID": "ses_a",
                "messageID": "m",
                "type": "tool",
                "tool": "t",
                "callID": "c",
                "state": state,
            }
        )

    running = transcripts.part_merged(7, None, tool("running", a=1), True)
    assert transcripts.part_merged(7, running, tool("pending"), True) is None
    assert transcripts.part_merged(7, running, tool("running", a=2), False) is None
    assert "2" in transcripts.part_merged(7, running, tool("running", a=2), True).body
    assert transcripts.part_merged(7, running, tool("completed", a=2), False).finished


# -- usage and pages ---------------------------------------------------------------------------------------------------
def test_usage_is_summed_by_model_and_in_all():
    one = transcripts.usage_added(None, record().usage)
    two = transcripts.usage_added(transcripts.usage_added(one, record(cost=0.5).usage), record().usage, -1)
    rows = [('{"providerId":"fake","modelId":"m"}', two), ('{"providerId":"fake","modelId":"n"}', one)]
    shown = json.loads(transcripts.render_usage(rows))
    tokens = {"input": 1, "output": 2, "reasoning": 3, "cacheRead": 4, "cacheWrite": 5}
    assert shown["models"] == [
        {"providerId": "fake", "modelId": "m", "tokens": tokens, "cost": 0.5},
        {"providerId": "fake", "modelId": "n", "tokens": tokens, "cost": 0.25},
    ]
    assert shown["cost"] == 0.75 and shown["tokens"]["cacheWrite"] == 10
    nothing = dict.fromkeys(tokens, 0)
    assert json.loads(transcripts.render_usage([])) == {"tokens": nothing, "cost": 0, "models": []}


def test_a_cursor_leads_to_what_is_before_a_message_of_its_session():
    text = transcripts.render_cursor(record())
    assert transcripts.parse_cursor(text, 7) == (2, "msg_2")
    too_late = f"m1.7.{1 << 63:x}.msg_2"  # no integer of SQLite's
    odd = "", "m2" + text[2:], text.upper(), "m1.7.2.", "m1.7.-2.a", too_late
    for bad, number in ((text, 8), *((each, 7) for each in odd)):
        with pytest.raises(errors.BadCursor):
            transcripts.parse_cursor(bad, number)


# -- outcomes ----------------------------------------------------------------------------------------------------------
ENDING = {"time": {"created": 2, "completed": 9}}


def failed(name, text="", status=None):
    data = {"message": text} if status is None else {"message": text, "statusCode": status}
    return {"name": name, "data": data}


@pytest.mark.requirement("L-074", "O-044", "O-045", "O-047", "O-048")
def test_a_turn_ends_as_its_last_message_does():
    for more, expected in (
        ({**ENDING, "finish": "stop"}, ("finished", None)),
        ({**ENDING, "finish": "length"}, ("stopped", "incomplete")),
        ({**ENDING, "finish": "tool-calls"}, ("stopped", "tool_error")),
        ({**ENDING, "finish": "unknown"}, ("stopped", "provider_error")),
        ({}, ("stopped", "incomplete")),
        ({"error": failed("MessageAbortedError")}, ("stopped", "cancelled")),
        ({"error": failed("MessageOutputLengthError")}, ("stopped", "incomplete")),
        ({"error": failed("APIError", "no", 500)}, ("stopped", "provider_error")),
    ):
        assert outcomes.outcome_of([said(**ENDING, finish="tool-calls"), said(**more)])[:2] == expected


@pytest.mark.requirement("O-041")
def test_a_turn_without_an_answer_ends_as_the_session_was_heard_to_fail():
    assert outcomes.outcome_of([]) == ("stopped", "incomplete", None)
    assert outcomes.outcome_of([], shapes.Failure("MessageAbortedError", "", None)) == ("stopped", "cancelled", None)
    outcome, reason, error = outcomes.outcome_of([], shapes.Failure("UnknownError", "ProviderModelNotFoundError", None))
    assert (outcome, reason, error["code"]) == ("stopped", "submitted_error", "PROVIDER_INIT")


@pytest.mark.parametrize(
    "name, text, status, code",
    [
        ("ProviderAuthError", "no key", None, "PROVIDER_AUTH"),
        ("APIError", "no", 401, "PROVIDER_AUTH"),
        ("APIError", "no", 403, "PROVIDER_AUTH"),
        ("APIError", "slow down", 429, "BUSY"),
        ("APIError", "overloaded", 529, "BUSY"),
        ("ContextOverflowError", "full", None, "LIMIT_EXCEEDED"),
        ("APIError", "prompt is too long: 9 tokens", 400, "LIMIT_EXCEEDED"),
        ("APIError", "bad", 400, "SERVER"),
        ("UnknownError", "", None, "SERVER"),
    ],
)
def test_what_a_provider_says_is_an_error_with_a_remedy(name, text, status, code):
    error = outcomes.error_of(shapes.Failure(name, text, status))
    assert error["code"] == code and error["message"] == (text or name) and error["remedy"]
    assert error.get("status") == status
    assert ("compact" in error["remedy"]) == (code == "LIMIT_EXCEEDED")
