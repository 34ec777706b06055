"""Errors: one line that says operation, session, cause and remedy."""

import pytest

from plue_session.errors import ALL, Integrity, NotFound


@pytest.mark.requirement("P-162")
def test_a_message_says_operation_session_cause_and_remedy():
    assert (
        NotFound("it is gone.", "Look elsewhere.", session="session_1").message("plue_session_open")
        == "plue_session_open session_1: it is gone. Look elsewhere."
    )
    assert NotFound("it is gone").message("plue_session_open") == "plue_session_open: it is gone."


def test_a_message_is_one_line_whatever_the_cause_says():
    assert "\n" not in Integrity("*** in database main ***\nPage 3: broken", "Run\nthis.").message("plue_init")


@pytest.mark.requirement("L-190")
def test_exactly_these_may_be_tried_again():
    assert {error.name for error in ALL if error.retryable} == {
        "TIMEOUT",
        "CONNECTION",
        "BUSY",
        "LEASE_LOST",
        "QUEUE_FULL",
    }
    assert len({error.number for error in ALL}) == len(ALL)
