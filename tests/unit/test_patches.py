"""Patches of `update` and options of `create_with`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import Conflict, InvalidParam
from plue_session.model import Session
from plue_session.rules import patches

TAGS = st.lists(st.sampled_from("abcdef"), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def session(**fields):
    return Session(**{**dict(id="session_1", number=1, created=1, updated=1, version="0"), **fields})


def apply(target, patch, now=50):
    return patches.apply_patch(target, patches.parse_patch(json.dumps(patch)), now)


def test_a_patch_sets_what_it_names_and_nothing_else():
    target = session(description="d", tags=["a"])
    assert apply(target, {"title": "new"})
    assert (target.title, target.description, target.tags, target.metadata, target.archived) == (
        "new",
        "d",
        ["a"],
        "{}",
        None,
    )


def test_an_empty_patch_sets_nothing():
    assert not apply(session(), {}) and not patches.apply_patch(session(), patches.parse_patch(None), 1)


def test_setting_a_value_again_counts():
    assert apply(session(title="same"), {"title": "same"})


def test_an_empty_title_is_a_title():
    target = session()
    apply(target, {"title": ""})
    assert target.title == ""


def test_null_removes_the_description_and_is_refused_elsewhere():
    target = session(description="d")
    assert apply(target, {"description": None}) and target.description is None
    for key in ("title", "tags", "addTags", "removeTags", "metadata", "archived", "base"):
        with pytest.raises(InvalidParam, match=f"{key} must be"):
            apply(session(), {key: None})


@pytest.mark.requirement("A-005")
def test_archiving_is_a_time_that_can_be_taken_back():
    target = session()
    apply(target, {"archived": True}, now=77)
    assert target.archived == 77 and target.status == "active"
    apply(target, {"archived": False})
    assert target.archived is None


@pytest.mark.requirement("A-014")
@given(TAGS, TAGS, TAGS)
def test_tags_are_a_set_in_order_of_insertion(start, add, remove):
    target = session()
    apply(target, {"tags": start, "addTags": add, "removeTags": remove})
    expected = [tag for tag in dict.fromkeys(start + add) if tag not in remove]
    assert target.tags == expected
    apply(target, {"addTags": expected, "removeTags": [tag for tag in "abcdef" if tag not in expected]})
    assert target.tags == expected


@pytest.mark.parametrize("tag", ["", "x" * 65, 1, None])
def test_odd_tags_are_refused(tag):
    for key in ("tags", "addTags", "removeTags"):
        with pytest.raises(InvalidParam, match=key):
            apply(session(), {key: [tag]})


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_metadata_replaces_the_whole_object_and_round_trips(metadata):
    target = session(metadata='{"old":1}')
    apply(target, {"metadata": metadata})
    assert json.loads(target.metadata) == metadata
    apply(target, {"base": {"metadata": metadata}, "title": "t"})  # what was read still holds


def test_unknown_keys_are_named():
    with pytest.raises(InvalidParam, match="unknown key tilte"):
        apply(session(), {"tilte": "x"})
    with pytest.raises(InvalidParam, match="unknown key base.status"):
        apply(session(), {"base": {"status": "active"}})


@pytest.mark.parametrize(
    "patch,key",
    [
        ({"title": 1}, "title"),
        ({"archived": 1}, "archived"),
        ({"metadata": []}, "metadata"),
        ({"tags": "a"}, "tags"),
        ({"base": {"title": 1}}, "base.title"),
        ({"base": {"archived": "x"}}, "base.archived"),
        ({"base": {"metadata": 1}}, "base.metadata"),
        ({"base": {"tags": [1]}}, r"base.tags\[0\]"),
    ],
)
def test_wrong_types_name_the_key(patch, key):
    with pytest.raises(InvalidParam, match=key):
        apply(session(), patch)


# -- base --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-120")
@pytest.mark.parametrize(
    "base",
    [
        {"title": "t"},
        {"description": None},
        {"tags": ["b", "a"]},
        {"metadata": {"m": [1, {"x": True}]}},
        {"archived": True},
        {"archived": 9},
        {},
    ],
)
def test_a_base_that_still_holds_lets_the_patch_pass(base):
    target = session(title="t", tags=["a", "b"], metadata='{"m":[1.0,{"x":true}]}', archived=9)
    assert apply(target, {"base": base, "title": "new"}) and target.title == "new"


@pytest.mark.requirement("P-120")
@pytest.mark.parametrize(
    "base",
    [
        {"title": "other"},
        {"title": None},
        {"description": ""},
        {"tags": ["a"]},
        {"tags": None},
        {"metadata": {"m": [True, {"x": True}]}},
        {"metadata": {"m": [1]}},
        {"metadata": {}},
        {"metadata": None},
        {"archived": False},
        {"archived": None},
        {"archived": 8},
    ],
)
def test_a_base_that_no_longer_holds_is_a_conflict_that_changes_nothing(base):
    target = session(title="t", tags=["a", "b"], metadata='{"m":[1,{"x":true}]}', archived=9)
    with pytest.raises(Conflict) as caught:
        apply(target, {"base": base, "title": "new", "tags": []})
    assert next(iter(base)) in caught.value.cause and "Read it again" in caught.value.remedy
    assert target.title == "t" and target.tags == ["a", "b"]


def test_a_conflict_names_every_field_that_changed():
    with pytest.raises(Conflict, match="title, tags changed") as caught:
        apply(session(), {"base": {"title": "x", "tags": ["y"], "archived": None}})
    assert caught.value.details == {"fields": ["title", "tags"]} and caught.value.session == "session_1"


def test_a_base_alone_only_checks():
    assert not apply(session(title="t"), {"base": {"title": "t"}})


# -- options -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("A-013")
def test_all_options_are_optional():
    assert patches.parse_options(None) == patches.parse_options("{}") == {}


def test_options_are_checked_and_compacted():
    given_options = {
        "title": "",
        "parentId": "ses_1",
        "key": "k",
        "tags": ["a", "a"],
        "metadata": {"a": [1, 2]},
        "description": "d",
        "role": "r",
        "template": "t",
        "provider": {"providerId": "p", "modelId": "m"},
        "directory": "/",
    }
    assert patches.parse_options(json.dumps(given_options)) == dict(
        given_options, tags=["a"], metadata='{"a":[1,2]}', provider=("p", "m")
    )
    assert patches.parse_options('{"parentId":""}') == {"parentId": None}


@pytest.mark.parametrize(
    "options,message",
    [
        ({"titel": 1}, "unknown key titel"),
        ({"title": None}, "title must be a string, not null"),
        ({"parentId": "x"}, "parentId x is malformed"),
        ({"key": "session_1"}, "begins like an id"),
        ({"key": 1}, "key must be"),
        ({"role": ""}, "role cannot be empty"),
        ({"role": 1}, "role must be"),
        ({"template": ""}, "template cannot be empty"),
        ({"provider": {}}, "provider.providerId is missing"),
        ({"provider": {"providerId": "p"}}, "provider.modelId is missing"),
        ({"provider": {"providerId": "", "modelId": "m"}}, "provider.providerId cannot be empty"),
        ({"provider": {"providerId": "p", "modelId": 1}}, "provider.modelId must be"),
        ({"provider": {"id": "p"}}, "unknown key provider.id"),
        ({"provider": "p"}, "provider must be an object"),
        ({"directory": ""}, "directory cannot be empty"),
        ({"tags": [""]}, r"tags\[0\] cannot be empty"),
    ],
)
def test_wrong_options_name_the_key(options, message):
    with pytest.raises(InvalidParam, match=message):
        patches.parse_options(json.dumps(options))


def test_the_one_name_in_metadata_that_is_the_librarys_is_refused():
    """Where the text is read, so that nobody waits for it, whichever backend there is."""
    text = json.dumps({"metadata": {"plue_session": "mine"}})
    for parse in (patches.parse_patch, patches.parse_options):
        with pytest.raises(InvalidParam, match="plue_session"):
            parse(text)
