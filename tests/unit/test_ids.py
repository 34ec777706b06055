"""Ids and keys from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import InvalidParam
from plue_session.rules import ids

HOSTILE = ["", ".", "..", "../x", "a/b", "a\\b", "a\nb", "\x00", "\x7f", "\x85", "x" * 201, "../../etc/passwd", "C:\\x"]


@pytest.mark.parametrize("name", ["session_1", "session_1767225600000", "ses_7fK2", "ses_" + "a" * 96])
def test_well_formed_ids_are_accepted(name):
    assert ids.session_id(name) == name and ids.is_id(name)


@pytest.mark.requirement("P-145")
@pytest.mark.parametrize(
    "name",
    HOSTILE
    + [
        "session_",
        "ses_",
        "session_1a",
        "session_-1",
        "session_ 1",
        "session_\u0661",
        "ses_a/b",
        "ses_a-b",
        "ses_é",
        "ses_" + "a" * 97,
        "key",
        "Session_1",
        "session_1\n",
        "ses_%2e%2e%2f",
    ],
)
def test_malformed_ids_are_refused(name):
    with pytest.raises(InvalidParam):
        ids.session_id(name)


def test_the_message_names_what_is_malformed():
    with pytest.raises(InvalidParam, match="parentId session_x is malformed"):
        ids.session_id("session_x", "parentId")
    with pytest.raises(InvalidParam, match=r'parentId "a\\nb" is malformed'):
        ids.session_id("a\nb", "parentId")
    with pytest.raises(InvalidParam, match="parentId is empty"):
        ids.session_id("", "parentId")


@pytest.mark.requirement("P-145")
@pytest.mark.parametrize("name", HOSTILE)
def test_keys_that_could_be_paths_or_are_unprintable_are_refused(name):
    with pytest.raises(InvalidParam):
        ids.key(name)


@pytest.mark.requirement("P-175")
@pytest.mark.parametrize("name", ["session_1", "session_", "ses_", "session_x y", "ses_a"])
def test_keys_that_begin_like_an_id_are_refused(name):
    assert ids.is_id(name)
    with pytest.raises(InvalidParam, match="begins like an id"):
        ids.key(name)


@pytest.mark.parametrize(
    "name",
    ["a", "a b", "main:window", "…", "\U0001f469\u200d\U0001f4bb", "session", "sess_1", "..a", "%2e%2e%2f", "x" * 200],
)
def test_other_keys_are_accepted(name):
    assert ids.key(name) == name and not ids.is_id(name)


@given(st.text())
def test_no_text_is_both_an_id_and_a_key(name):
    def accepted(check):
        try:
            return check(name) == name
        except InvalidParam:
            return False

    assert not (accepted(ids.session_id) and accepted(ids.key))


@pytest.mark.requirement("R-022")
def test_an_empty_role_is_refused_in_the_words_of_the_contract():
    with pytest.raises(InvalidParam, match="role cannot be empty"):
        ids.role("")


def test_a_role_is_any_printable_text_of_at_most_200_characters():
    assert ids.role("session_/reviewer") == "session_/reviewer"
    for name in ("a\tb", "x" * 201):
        with pytest.raises(InvalidParam):
            ids.role(name)
