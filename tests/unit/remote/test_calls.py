"""Calls that are under way, and what ends them."""

import time

import pytest

from plue_session import errors
from plue_session.services.calls import Calls
from tests.remote_world import until


@pytest.mark.requirement("P-150")
def test_an_abort_ends_every_other_call_on_its_session_but_other_aborts():
    calls, end = Calls(), time.monotonic() + 60
    blocked = [
        calls.begin(name, "ses_a", end)
        for name in ("plue_session_update_title", "plue_session_abort_turn", "plue_session_get_info")
    ]
    left = [
        calls.begin("plue_session_abort", "ses_a", end),
        calls.begin("plue_session_abort_turn", "ses_b", end),
        calls.begin("plue_session_list", None, end),
    ]
    calls.begin_abort("ses_a")
    until(lambda: all(isinstance(call.error, errors.Aborted) for call in blocked), 2)
    assert all(call.error is None for call in left)


@pytest.mark.requirement("P-150", "P-156")
def test_an_abort_ends_also_a_call_made_before_it_that_is_registered_after_it():
    calls, end, made = Calls(), time.monotonic() + 60, time.monotonic()
    calls.begin_abort("ses_a")
    before = calls.begin("plue_session_update", "ses_a", end, made)
    after = calls.begin("plue_session_update", "ses_a", end)
    until(lambda: isinstance(before.error, errors.Aborted), 2)
    assert after.error is None


def test_a_call_whose_session_cannot_be_told_keeps_no_other_from_its_end():
    calls, end = Calls(), time.monotonic() + 60

    def unreadable(session_id):
        raise errors.StoreIo("the store cannot be read", "")

    calls.resolve = unreadable
    doubtful, blocked = (calls.begin("plue_session_update", each, end) for each in ("session_1", "ses_a"))
    calls.begin_abort("ses_a")
    until(lambda: isinstance(blocked.error, errors.Aborted), 2)
    assert doubtful.error is None
