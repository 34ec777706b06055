"""What a session shows while changes of it wait."""

import json

import pytest

from plue_session.model import Outgoing, Session
from plue_session.rules import info, outbox


def session(**fields):
    plain = {"number": 5, "id": "ses_a", "created": 1, "updated": 1, "version": "1", "backend": "opencode"}
    return Session(**{**plain, **fields})


def row(patch=None, op="update", at=9, base=None, **fields):
    asked = {"patch": patch, "at": at, "own": {}} if patch is not None else {}
    return Outgoing(
        id=1, session_id="ses_a", op=op, since=1, arguments=json.dumps(asked), base=json.dumps(base or {}), **fields
    )


def shown(record):
    return json.loads(info.render(record))


@pytest.mark.requirement("P-170")
def test_what_waits_covers_what_the_server_has_and_is_taken_off_without_a_trace():
    record = session(title="T", metadata='{"a":1}')
    before = record.VALUES(record)
    outbox.cover(record, [row({"title": "A"}), row({"title": "B", "archived": True})])
    assert (record.title, record.archived, record.metadata) == ("B", 9, '{"a":1}')
    assert shown(record)["sync"] == {"state": "pending", "pending": 2}
    assert outbox.beneath(record) == {"title": "T", "metadata": '{"a":1}', "archived": None}
    outbox.uncover(record)
    outbox.cover(record, [])
    assert record.VALUES(record) == before and shown(record)["sync"] == {"state": "synced", "pending": 0}


@pytest.mark.requirement("P-170")
def test_one_change_more_shows_as_if_all_were_put_on_anew():
    withdrawn = row(op="unshare")
    withdrawn.arguments = json.dumps({"away": False})
    rows = [row({"title": "A"}), row({"metadata": "{}"}, state="conflict"), row({"title": "B", "archived": True})]
    rows += [row({"archived": False}), withdrawn, row({"title": "C"}, op="create")]
    anew, more = session(title="T", metadata='{"a":1}'), session(title="T", metadata='{"a":1}')
    for count, each in enumerate(rows, 1):
        outbox.uncover(anew)
        outbox.cover(anew, rows[:count])
        if each.state == "conflict":
            more = anew.copy()
        else:
            outbox.add(more, each)
        assert more.VALUES(more) == anew.VALUES(anew)


def test_a_conflict_shows_and_is_none_of_those_that_wait():
    record = session()
    outbox.cover(record, [row({"title": "A"}, state="conflict"), row({"title": "B"})])
    assert shown(record)["sync"] == {"state": "conflict", "pending": 1} and outbox.is_waiting(record)
    outbox.cover(record, [row({"title": "A"}, state="conflict")])
    assert not outbox.is_waiting(record)


@pytest.mark.parametrize("away", [False, True])
def test_a_share_that_is_being_withdrawn_shows_only_if_the_server_was_away(away):
    record = session()
    withdrawn = row(op="unshare")
    withdrawn.arguments = json.dumps({"away": away})
    outbox.cover(record, [withdrawn])
    assert (record.outbox is not None) == away


@pytest.mark.requirement("P-172")
@pytest.mark.parametrize(
    "patch, base, theirs, found",
    [
        ({"title": "A"}, {"title": "T"}, {"title": "T"}, []),
        ({"title": "A"}, {"title": "T"}, {"title": "X"}, [("title", "A", "X")]),
        ({"title": "A"}, {"title": "T"}, {"title": "A"}, []),  # they want what we want
        ({"archived": True}, {"archived": None}, {"archived": 3}, []),
        ({"archived": False}, {"archived": None}, {"archived": 3}, [("archived", False, True)]),
        ({"metadata": '{"b":1}'}, {"metadata": "{}"}, {"metadata": '{"c":1}'}, [("metadata", {"b": 1}, {"c": 1})]),
        ({"metadata": '{"b":1}'}, {"metadata": '{"x":1,"y":2}'}, {"metadata": '{"y":2,"x":1}'}, []),
    ],
)
def test_a_conflict_is_a_field_of_ours_that_has_another_value_than_it_had(patch, base, theirs, found):
    asked = {"patch": patch, "at": 9, "own": {}}
    assert outbox.differences(asked, base, session(**theirs)) == found


@pytest.mark.requirement("P-120")
def test_a_base_that_does_not_hold_is_told_field_by_field():
    asked = {"patch": {"title": "A", "base": {"title": "T", "archived": False}}, "at": 9, "own": {}}
    assert outbox.broken(asked, session(title="T")) == []
    assert outbox.broken(asked, session(title="X", archived=3)) == [("title", "A", "X"), ("archived", False, True)]


def test_what_is_ours_alone_is_taken_back_unless_it_was_changed_since():
    asked = {"patch": {"addTags": ["b"], "description": "new"}, "own": {"tags": ["a", "b"], "description": "new"}}
    base = {"tags": ["a"], "description": "old"}
    record = session(tags=["a", "b"], description="changed since")
    outbox.take_back(record, base, asked)
    assert (record.tags, record.description) == (["a"], "changed since")


@pytest.mark.requirement("P-177")
def test_an_alias_is_told_by_the_info_and_by_nothing_that_looks_like_one():
    named = session(aliased=True)
    assert shown(named)["aliases"] == ["session_5"]
    assert info.alias("ses_a", info.render(named)) == "session_5"
    assert info.alias("ses_a", info.render(session(title='","aliases":["session_6"'))) is None
