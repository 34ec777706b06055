"""Whose title it is that came during a turn."""

import pytest

from plue_session.adapters.opencode.shapes import RemoteMessage
from plue_session.rules.turns import NAMING_MS, SKEW_MS, TRAILING_MS, may_be_making_title, may_have_made_title


def message(role, created, completed=None):
    return RemoteMessage(f"msg_{created}", "ses_1", role, None, created, completed, None, completed is not None)


PROMPT = message("user", 1000)


@pytest.mark.requirement("O-027")
def test_a_title_that_comes_before_the_first_answer_has_begun_may_be_the_servers():
    assert may_have_made_title([PROMPT], 1001, 1100) and may_be_making_title([PROMPT], 1100)
    assert not may_have_made_title([], 1001, 1100) and not may_be_making_title([], 1100)
    late = 1001 + NAMING_MS
    assert not may_have_made_title([PROMPT], 1001, late) and not may_be_making_title([PROMPT], late)


def test_one_that_comes_long_after_the_first_turn_or_was_set_in_a_later_one_is_another_clients():
    turn = [PROMPT, message("assistant", 1010, 1500)]
    assert may_have_made_title(turn, 1020, 1600)
    assert not may_have_made_title(turn, 1020, 1501 + TRAILING_MS)
    assert not may_have_made_title(turn, 1000 - SKEW_MS - 1, 1600)


@pytest.mark.requirement("O-027", "P-044")
def test_one_may_be_made_however_long_a_cold_server_takes_from_the_prompt_to_its_answer():
    answer = message("assistant", 1000 + 3 * SKEW_MS)
    assert may_have_made_title([PROMPT, answer], 1050, answer.created + 100)
