"""Agents that say more than anyone can keep: the rest is left out, and the host's memory stays its own."""

import json

from tests.agents.conftest import eventually, lives, text_of

#: Characters that are kept, and those of the line with which they are too many.
KEPT = (16 << 20) + 1_000_000


def test_a_turn_says_no_more_than_a_turn_may(attached):
    done = attached().turn("[deaf][flood=60:1000000]")
    assert (done["outcome"], done["reason"]) == ("stopped", "incomplete")
    assert done["error"]["code"] == "LIMIT_EXCEEDED"
    assert 16 << 20 <= len(text_of(done["messages"][1])) <= KEPT


def test_a_line_that_is_the_last_is_whole_however_long(attached):
    done = attached().turn("[size=20000000]")
    assert done["outcome"] == "finished" and len(text_of(done["messages"][1])) == 20_000_000


def test_an_agent_that_floods_between_turns_is_ended(attached, tmp_path):
    session, other = attached(f"pids={tmp_path / 'pids'}"), attached()
    session.turn("[say=x][after-flood=60:1000000]")
    (pid,) = map(int, (tmp_path / "pids").read_text().split())
    assert eventually(lambda: not lives(pid))
    assert other.turn("[say=y]")["outcome"] == "finished"
    assert eventually(lambda: "completed" in session.said()[-1]["time"])
    assert 16 << 20 <= len(text_of(session.said()[-1])) <= KEPT
    assert session.info()["relay"]["state"] == "ACTIVE"


def test_what_is_said_between_turns_does_not_add_up(attached):
    session = attached()
    for number in range(1, 4):
        session.turn("[size=9000000][after-flood=1:9000000]")
        assert eventually(lambda count=3 * number: len(session.said()) == count)
        assert eventually(lambda: "completed" in session.said()[-1]["time"])
    assert json.loads(session.run_turn('{"text":"[say=on]"}', 30_000))["outcome"] == "finished"
