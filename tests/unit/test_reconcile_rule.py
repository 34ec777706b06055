"""What a list says of the server and of what it lacks."""

import pytest

from plue_session.rules import reconcile
from plue_session.rules.reconcile import ASK, DOUBT, LOST, PROBE, RIGHT, WAIT, WRONG, Trust

OURS, SOME, NONE = {"a", "b", "c"}, {"c", "x"}, {"x"}


def trust(state, base=None):
    made = Trust()
    made.state, made.base, made.since = state, base, 100.0
    return made


@pytest.mark.requirement("P-117")
@pytest.mark.parametrize(
    "state, found, now, action, after",
    [
        (RIGHT, SOME, 100, ASK, RIGHT),
        (RIGHT, NONE, 100, PROBE, LOST),
        (LOST, SOME, 100, ASK, LOST),
        (LOST, NONE, 100, PROBE, LOST),
        (WRONG, SOME, 100, ASK, LOST),
        (WRONG, NONE, 100 + DOUBT - 1, WAIT, WRONG),
        (WRONG, NONE, 100 + DOUBT, ASK, WRONG),
    ],
)
def test_what_is_done_about_the_missing(state, found, now, action, after):
    judged = trust(state)
    assert (judged.judge(OURS, found, now), judged.state) == (action, after)
    assert judged.in_doubt is (after != RIGHT)


@pytest.mark.parametrize("event", reconcile.STATES)
@pytest.mark.parametrize("state", [RIGHT, LOST, WRONG])
def test_every_event_leads_on_and_only_what_was_known_of_the_right_one_counts_after_it(event, state):
    noted = trust(state, {"a"})
    noted.heard(event, OURS)
    assert noted.state == reconcile.STATES[event][state]
    assert noted.base == (OURS if state == RIGHT != noted.state else {"a"})


def test_after_an_outage_the_minute_begins_anew():
    noted = trust(WRONG, OURS)
    noted.heard("unreachable", OURS)
    assert noted.judge(OURS, NONE, 10_000) == PROBE
    noted.none_found(10_000)
    assert noted.judge(OURS, NONE, 10_001) == WAIT


@pytest.mark.parametrize("base, found, action", [({"a"}, NONE, PROBE), ({"a"}, SOME, ASK), ({"a", "b"}, SOME, PROBE)])
def test_what_became_known_since_counts_only_where_too_little_else_is(base, found, action):
    assert trust(LOST, base).judge(OURS, found, 100) == action


def test_one_session_alone_says_nothing():
    assert trust(LOST).judge({"a"}, NONE, 100) == ASK


def test_when_all_missing_were_asked_for_it_is_the_right_one():
    found = trust(WRONG, OURS)
    found.done({"c"})
    assert not found.in_doubt and found.base == {"c"}
