"""Reading values of parsed JSON."""

import pytest

from plue_session.errors import InvalidParam, JsonParse
from plue_session.rules import fields


def refuse(message, check, *arguments, **options):
    with pytest.raises(InvalidParam, match=message):
        check(*arguments, **options)


def test_null_stands_for_an_empty_object():
    assert fields.parse_object(None, "the query", ("a",)) == {}


@pytest.mark.parametrize("text", ["", "{", "nope", "[" * 129 + "]" * 129, '{"a":NaN}'])
def test_text_that_is_not_json_is_a_parse_error(text):
    with pytest.raises(JsonParse):
        fields.parse_object(text, "the query", ("a",))


@pytest.mark.parametrize(
    "text,kind",
    [
        ("[]", "an array"),
        ("1", "a number"),
        ("1.5", "a fraction"),
        ('"x"', "a string"),
        ("true", "a boolean"),
        ("null", "null"),
    ],
)
def test_what_is_not_an_object_is_refused_by_kind(text, kind):
    refuse(f"the query must be an object, not {kind}", fields.parse_object, text, "the query", ("a",))


def test_an_unknown_key_is_named_with_its_path():
    refuse("unknown key b in the query", fields.members, {"b": 1}, "the query", ("a",))
    refuse("unknown key retry.attemps", fields.members, {"attemps": 1}, "retry", ("attempts",), "retry.")
    refuse(r'unknown key "\\n"', fields.members, {"\n": 1}, "the query", ("a",))
    assert fields.members({"anything": 1}, "env", None) == {"anything": 1}


def test_booleans_and_fractions_are_no_integers():
    refuse("limit must be an integer, not a boolean", fields.integer, True, "limit")
    refuse("limit must be an integer, not a fraction", fields.integer, 1.0, "limit")
    refuse("limit is out of range", fields.integer, -1, "limit")
    refuse("limit is out of range", fields.integer, 1 << 53, "limit")
    assert fields.integer((1 << 53) - 1, "limit") == (1 << 53) - 1


def test_texts_have_a_length():
    refuse("title must be a string, not null", fields.text, None, "title")
    refuse("name cannot be empty", fields.text, "", "name", 1)
    refuse("name has 3 characters", fields.text, "abc", "name", 1, 2)
    assert fields.text("", "title") == ""


def test_flags_and_choices():
    refuse("archived must be a boolean, not a number", fields.flag, 1, "archived")
    refuse("sort must be a string, not a number", fields.choice, 1, "sort", ("a", "b"))
    refuse('sort cannot be "c"', fields.choice, "c", "sort", ("a", "b"))
    assert fields.flag(False, "archived") is False and fields.choice("a", "sort", ("a", "b")) == "a"


def test_a_list_of_texts_is_a_set_in_order():
    refuse("tags must be an array of strings, not an object", fields.texts, {}, "tags")
    refuse(r"tags\[1\] must be a string", fields.texts, ["a", 1], "tags")
    assert fields.texts(["b", "a", "b"], "tags") == ["b", "a"]
