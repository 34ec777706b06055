"""Which events can still be had after a place in the log."""

import pytest

from plue_session.rules.replay import Window, is_trimmed, lapse


def window(floor=0, last=100, count=5, since=1000, before=1, first_kind=1, rev=90):
    return Window(floor, last, count, since, before, first_kind, rev)


@pytest.mark.requirement("L-171", "L-173")
@pytest.mark.parametrize("session_id", ["session_1", None])
def test_a_cursor_ahead_of_the_log_is_unavailable(session_id):
    assert lapse(window(), 101, session_id, 10, 0) == "unavailable"
    assert lapse(window(count=0, since=None), 100, session_id, 10, 0) is None


@pytest.mark.requirement("L-172")
@pytest.mark.parametrize("session_id", ["session_1", None])
@pytest.mark.parametrize(
    "found, oldest, expected",
    [
        (window(count=10), 1000, None),
        (window(count=11), 1000, "trimmed"),
        (window(count=1), 1001, "trimmed"),
        (window(count=0, since=None), 9999, None),
    ],
)
def test_the_window_counts_by_number_and_age_whether_or_not_the_log_is_trimmed(session_id, found, oldest, expected):
    assert lapse(found, 50, session_id, 10, oldest) == expected


@pytest.mark.requirement("L-169", "L-174")
def test_of_a_session_only_its_own_events_count_as_trimmed():
    assert not is_trimmed(window(floor=50), 50, "session_1")
    assert not is_trimmed(window(floor=80), 50, "session_1")  # it has an event from before, so none after it has gone
    assert not is_trimmed(window(floor=80, before=0, first_kind=0), 50, "session_1")  # its first one is there
    assert not is_trimmed(window(floor=80, before=0, rev=50), 50, "session_1")  # nothing has happened to it since
    assert not is_trimmed(window(floor=80, before=0, rev=None), 50, "session_1")  # it was erased
    assert is_trimmed(window(floor=80, before=0), 50, "session_1")
    assert is_trimmed(window(floor=51), 50, None) and not is_trimmed(window(floor=50), 50, None)
