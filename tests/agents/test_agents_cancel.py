"""Turns that are to end: by an abort, by cancel_turns, by silence."""

import contextlib
import json
import sqlite3
import time

import pytest

from tests.agents.conftest import eventually, lives, text_of
from tests.remote.hosts import Failed


def reason(turn):
    return turn["outcome"], turn.get("reason")


@pytest.mark.requirement("O-071")
def test_what_comes_after_a_cancel_belongs_to_the_cancelled_turn(attached):
    session = attached()
    session.observe_now()
    session.enqueue_text("[words=2][wait][late=3]")
    session.hears("word1 ")
    session.abort()
    events = session.events("turn.finished")
    assert reason(events[-1]["data"]) == ("stopped", "cancelled")
    user, answer = session.said()
    assert text_of(answer) == "word0 word1 late0 late1 late2 " and answer["error"]["code"] == "ABORTED"
    assert answer["turnId"] == user["turnId"] == events[-1]["data"]["turnId"]
    assert session.info()["aborted"] and reason(session.turn("[say=on]")) == ("finished", None)


@pytest.mark.requirement("P-152")
def test_an_abort_returns_after_the_end_of_the_turn(attached):
    session = attached()
    session.enqueue_text("[words=1][wait]")
    eventually(lambda: len(session.said()) == 2)
    began = time.monotonic()
    session.abort()
    assert time.monotonic() - began < 2 and "turn" not in session.info()
    session.abort()  # nothing runs


def test_one_turn_can_be_ended_by_its_id(attached):
    session = attached()
    first = session.enqueue_text("[wait]", turnId="mine")
    session.enqueue_text("[say=next]")
    eventually(lambda: "turn" in session.info())
    session.abort_turn("another")
    session.abort_turn("mine")
    assert first["inputId"] and eventually(lambda: any(text_of(each) == "next" for each in session.said()))
    assert not session.info()["aborted"]


def test_cancel_turns_ends_those_of_this_process_and_leaves_the_queue(attached):
    session = attached()
    waiting = session.start("run_turn", '{"text":"[wait]"}', 30_000)
    assert eventually(lambda: "turn" in session.info())
    queued = session.start("run_turn", '{"text":"[say=b]"}', 30_000)
    assert eventually(lambda: len(json.loads(session.inputs())) == 1)
    session.enqueue_text("[say=left]")
    assert session.cancel_turns() == 2
    assert reason(json.loads(waiting.result())) == reason(json.loads(queued.result())) == ("stopped", "cancelled")
    assert eventually(lambda: any(text_of(each) == "left" for each in session.said()))


def test_run_turn_may_only_begin_one_and_its_wait_may_end_before_the_turn(attached):
    session = attached()
    begun = json.loads(session.run_turn('{"text":"[words=1][wait]"}', 0))
    assert session.fails("run_turn", '{"text":"[say=x]"}', 1000).code == "TIMEOUT"
    session.abort_turn(begun["turnId"])
    assert eventually(lambda: any(text_of(each) == "x" for each in session.said()))
    assert session.said()[0]["turnId"] == begun["turnId"]


def test_an_agent_that_ignores_a_cancel_is_ended_with_its_descendants(attached, tmp_path):
    """opencode#30146: and only such a one."""
    session = attached(f"pids={tmp_path / 'pids'}")
    session.enqueue_text("[deaf][grandchild=away][words=1][stall]")
    eventually(lambda: len(session.said()) == 2)
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and all(map(lives, pids))
    session.observe_now()
    session.start("abort")
    assert reason(session.events("turn.finished")[-1]["data"]) == ("stopped", "cancelled")
    assert eventually(lambda: not any(map(lives, pids)), 10)
    assert session.info()["relay"]["state"] == "ACTIVE"


def test_an_agent_that_is_slow_to_end_a_turn_is_left_alone(attached):
    session = attached()
    session.enqueue_text("[words=1][wait][late=2][sleep=1]")
    eventually(lambda: len(session.said()) == 2)
    session.abort()
    assert session.turn("[say=alive]")["outcome"] == "finished"


def test_a_silent_turn_is_cancelled_and_the_agent_ended(attached):
    """gajae-code#4018."""
    session = attached(silenceMs=500)
    done = session.turn("[words=1][stall]")
    assert reason(done) == ("stopped", "incomplete") and done["error"]["code"] == "TIMEOUT"
    assert "silenceMs" in done["error"]["remedy"]


def test_waiting_for_the_user_is_no_silence(attached):
    session = attached(silenceMs=400)
    session.enqueue_text("[tool=bash][ask]")
    (asked,) = session.asked()
    assert not eventually(lambda: not session.asked(), 1.2, 0.3)
    session.reply_permission(asked["id"], "once")
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_an_old_cancel_does_not_hit_the_next_turn(attached):
    """vercel-labs/fx#993."""
    session = attached()
    for number in range(5):
        session.enqueue_text("[wait]", turnId=f"t{number}")
        following = session.start("run_turn", f'{{"text":"[pause=0.01][words=3][say=n{number}]"}}', 30_000)
        eventually(lambda n=number: session.info().get("turn", {}).get("turnId") == f"t{n}", every=0.001)
        session.abort_turn(f"t{number}")
        session.abort_turn(f"t{number}")
        assert reason(json.loads(following.result())) == ("finished", None)


def test_silence_counts_from_the_users_answer_on(attached):
    """Also if the agent may be silent for less time than passes between two looks at the turn."""
    session = attached(silenceMs=400)
    for number in range(4):
        waiting = session.start("run_turn", '{"text":"[tool=bash][ask][say=on]"}', 30_000)
        (asked,) = session.asked()
        time.sleep(0.6 + number * 0.12)
        session.reply_permission(asked["id"], "once")
        assert reason(json.loads(waiting.result())) == ("finished", None)


def test_time_in_which_the_store_is_locked_is_no_silence(start, spawn, tmp_path):
    session = spawn(start())
    session.attach(silenceMs=1500)
    waiting = session.start("run_turn", json.dumps({"text": "[tool=a]" + "[done][sleep=0.1][tool=a]" * 50}), 30_000)
    assert eventually(lambda: len(session.said()) == 2)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "sessions.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        time.sleep(3)
        store.execute("ROLLBACK")
    assert reason(json.loads(waiting.result())) == ("finished", None)


@pytest.mark.parametrize("words, options", [("[stall]", {"silenceMs": 1000}), ("[sleep=0.5][size=70000000]", {})])
def test_what_waits_is_left_to_the_next_agent_by_one_that_is_being_ended(attached, tmp_path, words, options):
    (tmp_path / "memory").mkdir()
    memory = f"memory={tmp_path / 'memory'}"
    session = attached(memory, "stubborn", **options)
    session.observe_now()
    session.enqueue_text(words)
    assert eventually(lambda: "turn" in session.info())
    session.enqueue_text("[say=later]")
    session.events("turn.finished")
    time.sleep(1)
    assert len(json.loads(session.inputs())) == 1

    def attach():
        with contextlib.suppress(Failed):
            return session.attach(memory) or True

    assert eventually(attach, every=0.2)
    assert eventually(lambda: text_of(session.said()[-1]) == "later")
