"""JSON text: the C half of the standard library read and written exactly as its Python half would."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import InvalidParam, JsonParse
from plue_session.rules.jsontext import MAX_DEPTH, dumps, loads, parse, quote

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_what_json_writes_and_reads_back(value):
    text = dumps(value)
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert parse(text, "it") == value and loads(text) == value


@given(values, st.sampled_from(["", " ", "\n\t", "\r\n  "]))
def test_blanks_around_a_value_do_not_matter(value, blank):
    assert parse(blank + json.dumps(value) + blank, "it") == value


@given(st.text())
def test_a_quoted_text_is_a_json_string(text):
    assert json.loads(quote(text)) == text


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", "nul", "'a'", '{"a" 1}', '"\t"', "1 2", "[] x", "{}{}", "\ufeff{}", '{"a":1}}']
)
def test_what_is_not_json_is_refused_and_named(text):
    with pytest.raises(JsonParse, match="the patch is not JSON"):
        parse(text, "the patch")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}'])
def test_json_has_no_nan_and_no_infinity(text):
    with pytest.raises(JsonParse):
        parse(text, "it")


def test_a_number_beyond_a_double_is_refused_rather_than_made_infinite():
    with pytest.raises(InvalidParam, match="too large"):
        parse('{"a":1e999}', "it")


@pytest.mark.parametrize("opening, closing", ["[]", ('{"a":', "}")])
def test_nesting_is_allowed_to_the_limit_and_not_beyond(opening, closing):
    assert parse(opening * (MAX_DEPTH - 1) + "[]" + closing * (MAX_DEPTH - 1), "it") is not None
    with pytest.raises(JsonParse, match="deeper than 128"):
        parse(opening * MAX_DEPTH + "[]" + closing * MAX_DEPTH, "it")


def test_brackets_inside_strings_do_not_count_as_nesting():
    text = '["' + "[{" * 500 + '", "\\"[", "\\\\"]'
    assert parse(text, "it") == json.loads(text)


def test_a_hundred_thousand_brackets_are_an_error_and_not_a_crash():
    with pytest.raises(JsonParse):
        parse("[" * 100_000, "it")


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"a":"x\udc00"}', r'{"\ud83d":1}'])
@pytest.mark.requirement("X-009")
def test_a_lone_surrogate_is_refused_since_no_utf8_text_can_hold_it(text):
    with pytest.raises(InvalidParam, match="surrogate"):
        parse(text, "it")


def test_a_pair_of_surrogates_is_a_character():
    assert parse(r'"\ud83d\ude00"', "it") == "\U0001f600"


@pytest.mark.requirement("X-009")
@pytest.mark.parametrize("text", ['{"a":%s}' % ("9" * 5000), "[1e999]", "-" + "1" * 4301])
def test_a_number_that_no_program_reads_back_is_refused_and_told_as_that(text):
    with pytest.raises(InvalidParam, match="too large|too many digits") as caught:
        parse(text, "it")
    assert "fits a double" in caught.value.remedy and "sys." not in str(caught.value.cause)
