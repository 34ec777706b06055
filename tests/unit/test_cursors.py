"""Cursors: opaque to callers, exact to us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import BadCursor
from plue_session.rules import cursors

ids = st.none() | st.from_regex(r"session_[0-9]{1,18}", fullmatch=True)


@given(st.integers(0, 2**63 - 1), ids)
def test_a_cursor_reads_back_as_it_was_written(log_id, session_id):
    assert cursors.parse(cursors.render("0a1b2c3d", log_id, session_id)) == ("0a1b2c3d", log_id, session_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1",
        "1.a",
        "1.a.1",
        "1.a.1.",
        "1..1.*",
        "1.a.-1.*",
        "1.a.g.*",
        "1.a.0x1.*",
        "1.a. 1.*",
        "1.a.01.*",
        "1.a.8000000000000000.*",
        "2.a.1.*",
        "99999999999.a.1.*",
        "\0",
    ],
)
@pytest.mark.requirement("L-163")
def test_what_is_no_cursor_of_ours_is_refused(text):
    with pytest.raises(BadCursor):
        cursors.parse(text)


@pytest.mark.requirement("L-165")
def test_a_cursor_of_another_format_says_so():
    with pytest.raises(BadCursor, match="format 2, this library reads 1"):
        cursors.parse("2.0a1b2c3d.1.*")


@given(st.text())
def test_any_text_is_either_a_cursor_or_refused(text):
    try:
        store_id, log_id, session_id = cursors.parse(text)
    except BadCursor:
        return
    assert cursors.render(store_id, log_id, session_id) == text
