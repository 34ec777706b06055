"""Queries and the cursors of their pages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import BadCursor, InvalidParam, JsonParse
from plue_session.rules import queries


def parse(**keys):
    return queries.parse_query(json.dumps(keys))


@pytest.mark.requirement("A-016")
def test_the_default_is_everything_by_updated_ascending():
    for query in (queries.parse_query(None), parse()):
        assert (query.sort, query.descending, query.limit, query.after) == ("updated", False, 100, None)
        assert query.status is query.text is query.archived is None and query.tags == ()


@pytest.mark.requirement("A-015")
def test_every_filter_arrives():
    query = parse(
        status="active",
        relayState=["ACTIVE", "CLEANED", "ACTIVE"],
        residency="open",
        role="r",
        key="k",
        parentId="session_1",
        tags=["a", "b"],
        createdAfter=1,
        createdBefore=2,
        updatedAfter=3,
        updatedBefore=4,
        archived=False,
        text="GroSS",
        sort="title",
        order="desc",
        limit=7,
    )
    assert (query.status, query.relay_state, query.residency) == (("active",), ("ACTIVE", "CLEANED"), ("open",))
    assert (query.role, query.key, query.parent_id, query.tags) == ("r", "k", "session_1", ("a", "b"))
    assert (query.created_after, query.created_before, query.updated_after, query.updated_before) == (1, 2, 3, 4)
    assert (query.archived, query.text, query.sort, query.descending, query.limit) == (False, "gross", "title", True, 7)


def test_an_empty_text_is_in_everything():
    assert parse(text="").text is None


@pytest.mark.parametrize(
    "keys,message",
    [
        ({"stauts": "x"}, "unknown key stauts"),
        ({"status": "live"}, 'status cannot be "live"'),
        ({"status": ["active", "x"]}, r'status\[1\] cannot be "x"'),
        ({"status": []}, "status is an empty array"),
        ({"status": 1}, "status must be"),
        ({"relayState": "active"}, "relayState cannot be"),
        ({"residency": None}, "residency must be"),
        ({"role": ""}, "role cannot be empty"),
        ({"key": "ses_1"}, "begins like an id"),
        ({"key": 5}, "key must be"),
        ({"parentId": ""}, "parentId is empty"),
        ({"parentId": "x"}, "parentId x is malformed"),
        ({"tags": "a"}, "tags must be"),
        ({"tags": [str(number) for number in range(101)]}, "tags names 101 tags"),
        ({"createdAfter": -1}, "createdAfter is out of range"),
        ({"updatedBefore": True}, "updatedBefore must be an integer"),
        ({"archived": 1}, "archived must be"),
        ({"text": 1}, "text must be"),
        ({"sort": "size"}, 'sort cannot be "size"'),
        ({"order": "up"}, 'order cannot be "up"'),
        ({"limit": 0}, "limit is out of range"),
        ({"limit": 10_001}, "limit is out of range"),
        ({"limit": True}, "limit must be"),
        ({"cursor": None}, "cursor must be"),
    ],
)
def test_wrong_keys_and_values_are_named(keys, message):
    with pytest.raises(InvalidParam, match=message):
        parse(**keys)


def test_a_query_is_a_json_object():
    with pytest.raises(JsonParse):
        queries.parse_query("{")
    with pytest.raises(InvalidParam):
        queries.parse_query("[]")


# -- cursors -----------------------------------------------------------------------------------------------------------
NUMBERS = st.integers(0, (1 << 63) - 1)


@given(st.text(), NUMBERS, st.sampled_from(["asc", "desc"]))
def test_a_cursor_of_titles_round_trips(title, number, order):
    query = parse(sort="title", order=order)
    cursor = queries.render_cursor(query, (title, number))
    assert parse(sort="title", order=order, cursor=cursor).after == (title, number)


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1), NUMBERS, st.sampled_from(["updated", "created", "artifactCount"]))
def test_a_cursor_of_numbers_round_trips(value, number, sort):
    cursor = queries.render_cursor(parse(sort=sort), (value, number))
    assert parse(sort=sort, cursor=cursor, limit=3).after == (value, number)


@pytest.mark.parametrize(
    "other",
    [{"sort": "created"}, {"order": "desc"}, {"status": "active"}, {"text": "a"}, {"tags": ["a"]}, {"archived": False}],
)
def test_a_cursor_of_another_query_is_refused(other):
    cursor = queries.render_cursor(parse(), (5, 6))
    with pytest.raises(BadCursor, match="another query"):
        parse(**other, cursor=cursor)


def test_a_cursor_survives_the_same_query_in_other_words():
    cursor = queries.render_cursor(parse(status=["active"], sort="updated"), (5, 6))
    assert parse(status="active", order="asc", limit=1, cursor=cursor).after == (5, 6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: "",
        lambda c: "x",
        lambda c: c + "0x",
        lambda c: c[:-1] + "\u0665",
        lambda c: c.replace("q1", "q2"),
        lambda c: c + ".1",
        lambda c: c.rpartition(".")[0],
        lambda c: c + "9" * 30,
        lambda c: c + " ",
        lambda c: "." * 3,
        lambda c: c[:12] + "-1.5",
        lambda c: c[:12] + "f" * 17 + ".5",
        lambda c: c[:12] + "06.5",
        lambda c: c[:12] + "6.9" + "0" * 19,
    ],
)
def test_a_damaged_cursor_is_refused(damage):
    cursor = queries.render_cursor(parse(), (5, 6))
    with pytest.raises(BadCursor, match="malformed"):
        parse(cursor=damage(cursor))


@given(st.text(alphabet="q1.0abcdef-_=", max_size=30))
def test_no_text_breaks_the_parser(text):
    for sort in ("updated", "title"):
        try:
            parse(sort=sort, cursor=text)
        except BadCursor:
            pass
