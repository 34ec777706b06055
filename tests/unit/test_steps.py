"""Operations in bulk, as text: what is read, and what is refused alone or as a whole."""

import json

import pytest

from plue_session.errors import InvalidParam, JsonParse, LimitExceeded, NotFound
from plue_session.rules import steps
from plue_session.rules.steps import MOST, Op


def shout(text, name):
    if text == "bad":
        raise NotFound(f"{name} is bad", "")
    return text and text.upper()


OPS = {
    "make": Op("make", []),
    "say": Op("say", [("session", shout, 1), ("title", shout, 1), ("query_json", shout, 0)]),
    "stop": Op("stop", [("session", shout, 1)], is_urgent=True),
    "wait": Op("wait", [("session", shout, 1), ("timeout_ms", steps.milliseconds, True)], limit=1),
}


def read(*operations):
    return steps.read(json.dumps(operations), OPS)


@pytest.mark.requirement("P-174")
def test_arguments_come_by_name_in_the_order_of_the_function():
    made, said, stopped = read(
        {"op": "make"},
        {"title": "t", "query_json": {"a": [1, "ü"]}, "session": "s", "op": "say", "tag": "x", "timeoutMs": 1500},
        {"op": "stop", "session": "s", "tag": None, "timeoutMs": None},
    )
    assert (made.op, made.texts, made.session, made.tag, made.timeout) == (OPS["make"], [], None, None, None)
    assert (said.texts, said.session, said.tag, said.timeout) == (["s", "t", '{"a":[1,"ü"]}'], "s", "x", 1.5)
    assert said.arguments() == ["S", "T", '{"A":[1,"Ü"]}'] and not stopped.error and stopped.op.is_urgent
    assert steps.first_tag([made, said, stopped]) == "x" and steps.first_tag([made]) is None


def test_how_long_to_wait_is_a_number():
    least, most = read(*({"op": "wait", "session": "s", "timeout_ms": each} for each in (0, (1 << 31) - 1)))
    assert (least.arguments(), most.arguments()) == (["S", 0], ["S", (1 << 31) - 1])
    for wrong in (-1, 1 << 31, 1.5, "100", True, []):
        (step,) = read({"op": "wait", "session": "s", "timeout_ms": wrong})
        with pytest.raises(InvalidParam, match="timeout_ms"):
            step.arguments()
    (missing,) = read({"op": "wait", "session": "s"})
    assert "wait lacks timeout_ms" in str(missing.error)


def test_json_may_also_be_text_and_what_is_null_is_left_out():
    (text,), (none,), (array,) = (
        read({"op": "say", "session": "s", "title": "", "query_json": each}) for each in ('{"a":1}', None, [{"a": 1}])
    )
    assert text.texts[2] == '{"a":1}' and none.texts[2] is None and none.arguments() == ["S", "", None]
    assert array.texts[2] == '[{"a":1}]'


@pytest.mark.parametrize(
    "operation, said",
    [
        (7, "must be an object, not a number"),
        (None, "must be an object, not null"),
        ([], "must be an object, not an array"),
        ({}, "op must be a string"),
        ({"op": 7}, "op must be a string"),
        ({"op": "shout"}, 'op cannot be "shout"'),
        ({"op": "x" * 1000}, "op cannot be"),
        ({"op": "make", "title": "t"}, "unknown key title in make"),
        ({"op": "stop"}, "Invalid parameters: stop lacks session"),
        ({"op": "say", "session": "s", "title": None}, "Invalid parameters: say lacks title"),
        ({"op": "say", "session": "s", "title": 7}, "title must be a string"),
        ({"op": "say", "session": "s", "title": {}}, "title must be a string"),
        ({"op": "say", "session": "s", "title": "t", "query_json": 7}, "query_json must be a string"),
        ({"op": "say", "session": "s", "title": "a\0b"}, "title holds a NUL"),
        ({"op": "make", "tag": 7}, "tag must be a string"),
        ({"op": "make", "tag": "x" * 201}, "tag has 201 characters"),
        ({"op": "make", "timeoutMs": 0}, "timeoutMs is out of range"),
        ({"op": "make", "timeoutMs": 1 << 31}, "timeoutMs is out of range"),
        ({"op": "make", "timeoutMs": 1.5}, "timeoutMs must be an integer"),
        ({"op": "make", "timeoutMs": True}, "timeoutMs must be an integer"),
    ],
)
def test_an_operation_that_is_wrong_is_refused_alone_and_by_its_place(operation, said):
    before, wrong, after = read({"op": "make"}, operation, {"op": "make"})
    assert not before.error and not after.error and wrong.op is None
    assert isinstance(wrong.error, InvalidParam)
    assert wrong.error.cause.startswith("operation 1: ") and said in wrong.error.cause


def test_the_tag_is_known_of_an_operation_that_is_refused():
    (step,) = read({"op": "nothing", "tag": "mine"})
    assert step.error and step.tag == "mine"


@pytest.mark.parametrize(
    "text, error",
    [
        ("", JsonParse),
        ("[", JsonParse),
        ("[]]", JsonParse),
        ("[" * 129 + "]" * 129, JsonParse),
        ("{}", InvalidParam),
        ("7", InvalidParam),
        ('["\\ud800"]', InvalidParam),
        (json.dumps([{"op": "make"}] * (MOST + 1)), LimitExceeded),
    ],
)
def test_what_is_no_array_of_operations_is_refused_as_a_whole(text, error):
    with pytest.raises(error, match="operations_json"):
        steps.read(text, OPS)
    assert len(steps.read(json.dumps([{"op": "make"}] * MOST), OPS)) == MOST and steps.read("[]", OPS) == []


@pytest.mark.parametrize(
    "text, urgent",
    [
        (' [ {"session":"s", "op": "stop"} , {', True),
        ('[{"op":"stop"}]', True),
        ('[{"op":"make"},{"op":"stop"}]', False),
        ('[{"op":"sto', False),
        ('[{"op":{"op":"stop"}}]', False),
        ("[" * 5000, False),
        ("", False),
        ("[", False),
        ('{"op":"stop"}', False),
        ("7", False),
    ],
)
def test_what_is_urgent_is_known_by_how_the_text_begins(text, urgent):
    assert steps.is_urgent(text, OPS) is urgent


def test_what_the_function_refuses_is_refused_as_there():
    (step,) = read({"op": "say", "session": "s", "title": "bad"})
    with pytest.raises(NotFound, match="title is bad"):
        step.arguments()
