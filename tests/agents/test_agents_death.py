"""Agents that end, floods, garbage: what becomes of their session, and that of others nothing."""

import json
import os
import signal

import pytest

from tests.agents.conftest import Attached, eventually, lives, text_of


def attachment_of(session):
    """Return what the metrics show of a session's agent."""
    shown = json.loads(session.host.call("session_metrics", "json"))["agents"]["sessions"]
    return next(each for each in shown if each["session"] == session.id)


def reason(turn):
    return turn["outcome"], turn.get("reason")


def test_an_agent_that_dies_in_mid_turn_ends_that_with_its_last_words(attached):
    """clawbench#280: exit status and the tail of stderr; the half line is no message."""
    session = attached()
    done = session.turn("[stderr=out-of-luck][words=2][tool=bash][half=7]")
    assert reason(done) == ("stopped", "incomplete") and done["error"]["code"] == "SERVER"
    assert "7" in done["error"]["message"] and "out-of-luck" in done["error"]["message"]
    answer = done["messages"][1]
    assert text_of(answer) == "word0 word1 " and answer["error"] == done["error"]
    assert [part["tool"]["state"] for part in answer["parts"] if part["type"] == "tool"] == ["error"]
    assert session.info()["relay"]["state"] == "ACTIVE"


@pytest.mark.requirement("R-077", "O-072")
@pytest.mark.parametrize("how", ["load", "resume", "load,resume"])
def test_a_session_is_attached_again_with_its_conversation_and_goes_on(attached, tmp_path, how):
    (tmp_path / "memory").mkdir()
    words = f"memory={tmp_path / 'memory'}", f"caps={how}", f"trace={tmp_path / 'trace'}"
    session = attached(*words)
    session.turn("[say=before]")
    session.turn("[exit=1]")
    eventually(lambda: session.start("relay_attach", session.given(*words)).result() == 0 or True)
    assert session.turn("[say=after]")["outcome"] == "finished"
    texts = [text_of(each) for each in session.said()]
    assert texts == ["[say=before]", "before", "[exit=1]", "[say=after]", "after"]
    methods = [json.loads(line).get("in", {}).get("method") for line in (tmp_path / "trace").read_text().splitlines()]
    assert methods.count("session/new") == 1
    assert methods.count("session/resume" if "resume" in how else "session/load") == 1


def test_the_death_of_an_agent_that_does_nothing_is_told(attached):
    session = attached()
    assert "isLost" not in session.info()["relay"]
    session.observe_now()
    os.kill(attachment_of(session)["pid"], signal.SIGKILL)
    told = session.events("session.updated")
    assert [each["data"] for each in told] == [{"id": session.id, "fields": ["relay"]}]
    lost = session.info()["relay"]
    assert lost["state"] == "ACTIVE" and lost["isLost"] is True and attachment_of(session)["isLost"]
    session.attach(restore=False)
    assert session.events("session.updated")[-1]["data"]["fields"] == ["relay"]
    assert "isLost" not in session.info()["relay"] and not attachment_of(session)["isLost"]
    assert session.turn("[say=on]")["outcome"] == "finished"


@pytest.mark.parametrize("kind, end", [("acp", "shutdown"), ("acp", "kill"), ("host", "kill")])
def test_the_end_of_the_process_that_had_an_agent_is_told(spawn, start, kind, end):
    host, other = start(store="sqlite"), start(store="sqlite")
    session = spawn(host)
    if kind == "acp":
        session.attach()
    else:
        session.relay_attach(json.dumps({"worktree": str(session.worktree), "agent": {"kind": kind}}))
    there = Attached(other, other.call("session_open", session.id), session.worktree)
    there.observe_now()
    if end == "shutdown":
        host.call("shutdown")
        third = other
    else:
        host.kill()
        third = start(store="sqlite")  # whoever starts next looks
    assert there.events("session.updated")[-1]["data"]["fields"] == ["relay"]
    assert json.loads(third.call("session_get_info", third.call("session_open", session.id)))["relay"]["isLost"] is True


def test_one_that_dies_while_a_model_is_chosen_is_no_bad_model(attached):
    """Also while it has left a process behind, so that its end is not whole yet."""
    session = attached("models", "stubborn", "die=session/set_model", "stderr=out-of-luck")
    done = session.turn("[say=x]", 60, model={"providerId": "fake-agent", "modelId": "fake/large"})
    assert reason(done) == ("stopped", "incomplete") and done["error"]["code"] == "SERVER"
    assert "7" in done["error"]["message"] and "out-of-luck" in done["error"]["message"]
    session.attach(restore=False)
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_inputs_wait_while_the_agent_is_lost(attached, tmp_path):
    (tmp_path / "memory").mkdir()
    session = attached(f"memory={tmp_path / 'memory'}")
    session.turn("[exit=1]")
    waiting = session.start("run_turn", '{"text":"[say=late]"}', 30_000)
    assert not eventually(lambda: waiting.is_there, 0.3)
    session.attach(f"memory={tmp_path / 'memory'}")
    assert text_of(json.loads(waiting.result())["messages"][1]) == "late"


def test_a_failed_restore_fails_the_attachment_and_begins_no_other_conversation(attached, tmp_path):
    """hermes-agent#74678."""
    (tmp_path / "memory").mkdir()
    session = attached(f"memory={tmp_path / 'memory'}")
    session.turn("[exit=1]")
    assert session.fails("relay_attach", session.given("forgets", f"memory={tmp_path / 'memory'}")).code == "NOT_FOUND"
    assert session.fails("relay_attach", session.given("caps=none")).code == "UNSUPPORTED"
    session.attach("caps=none", restore=False)
    assert session.turn("[say=anew]")["outcome"] == "finished"


def test_attached_and_alive_it_is_not_attached_again(attached):
    session = attached()
    assert session.fails("relay_attach", session.given()).code == "INVALID_TRANSITION"
    assert session.turn("[say=on]")["outcome"] == "finished"


@pytest.mark.requirement("R-073")
def test_one_that_floods_stalls_or_dies_harms_no_other(attached):
    bad, good = attached(silenceMs=60_000), attached()
    bad.enqueue_text("[flood=20000]")
    assert good.turn("[say=fine]", 20)["outcome"] == "finished"
    done = bad.turn("[say=over]", 60)
    assert done["outcome"] == "finished"
    flood = [text_of(each) for each in bad.said()][1]
    assert len(flood) == 20_000 * 100
    bad.enqueue_text("[stall]")
    eventually(lambda: "turn" in bad.info())
    assert good.turn("[say=still]", 20)["outcome"] == "finished"


def test_a_turn_that_says_too_much_is_ended_and_the_next_is_not(attached):
    session = attached()
    size = 6 << 20
    done = session.turn(f"[size={size}][size={size}][size={size}][wait]", 60)
    assert reason(done) == ("stopped", "incomplete") and done["error"]["code"] == "LIMIT_EXCEEDED"
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_garbage_is_skipped_and_split_characters_are_whole(attached):
    session = attached("banner")
    done = session.turn("[garbage][split][binary][strange][other][invalid][child]")
    assert done["outcome"] == "finished" and "é€😀" in text_of(done["messages"][1])


def test_unknown_requests_are_refused_and_answered(attached, tmp_path):
    session = attached()
    done = session.turn(f"[request=plue/strange][write={tmp_path / 'x'}:y][terminal]")
    assert text_of(done["messages"][1]) == "-32601" * 3 and not (tmp_path / "x").exists()


def test_each_prompt_has_one_outcome(attached):
    session = attached()
    session.observe_now()
    session.turn("[twice][say=a]")
    session.turn("[say=b]")
    finished = session.events("turn.finished") + session.events("turn.finished")
    assert [e["data"]["outcome"] for e in finished if e["type"] == "turn.finished"] == ["finished", "finished"]


@pytest.mark.parametrize(
    "word, expected",
    [
        ("[stop=max_tokens]", ("stopped", "incomplete")),
        ("[stop=max_turn_requests]", ("stopped", "max_turns")),
        ("[stop=refusal]", ("stopped", "provider_error")),
        ("[error=-32000:Authentication required]", ("stopped", "provider_error")),
        ("[error=-32603:model not found]", ("stopped", "submitted_error")),
    ],
)
def test_how_an_agent_ends_a_turn_is_told(attached, word, expected):
    session = attached()
    assert reason(session.turn(f"[say=x]{word}")) == expected
    assert session.turn("[say=on]")["outcome"] == "finished"


def test_an_agent_that_wants_a_login_in_mid_turn_says_so(attached):
    done = attached().turn("[error=-32000:Authentication required]")
    assert done["error"]["code"] == "PROVIDER_AUTH"


@pytest.mark.requirement("R-072")
def test_cleaning_ends_the_agent_and_all_that_it_has_started(attached, tmp_path):
    session = attached("stubborn", f"pids={tmp_path / 'pids'}")
    session.turn("[grandchild][say=x]")
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3 and all(map(lives, pids))
    session.host.call("session_relay_terminate", session.id, "done")
    session.host.call("session_relay_clean", session.id)
    assert not any(map(lives, pids)) and session.info()["relay"]["state"] == "CLEANED"
    assert session.fails("run_turn", '{"text":"x"}', 1000).code == "UNSUPPORTED"


def test_who_waits_for_a_turn_that_nobody_will_run_is_told_so_when_the_session_is_cleaned(attached):
    session = attached()
    session.enqueue_text("[wait]")
    assert eventually(lambda: "turn" in session.info())
    waiting = session.start("run_turn", '{"text":"x"}', 25_000)
    assert eventually(lambda: len(json.loads(session.inputs())) == 1)
    session.host.call("session_relay_terminate", session.id, None)
    assert not eventually(lambda: waiting.is_there, 0.3)
    session.host.call("session_relay_clean", session.id)
    assert eventually(lambda: waiting.is_there, 5) and waiting.failure().code == "UNSUPPORTED"


def test_a_cleaning_goes_on_that_takes_longer_than_its_caller_waits(start, spawn, tmp_path):
    host = start(requestTimeoutMs=1000)
    session = spawn(host)
    session.attach("stubborn", f"pids={tmp_path / 'pids'}")
    host.call("session_relay_terminate", session.id, None)
    assert host.fails("session_relay_clean", session.id).code == "TIMEOUT"
    assert eventually(lambda: session.info()["relay"]["state"] == "CLEANED", 10)
    assert not any(map(lives, map(int, (tmp_path / "pids").read_text().split())))


def test_terminating_cancels_the_turn_and_runs_no_other(attached):
    session = attached()
    session.observe_now()
    session.enqueue_text("[words=1][wait]")
    eventually(lambda: len(session.said()) == 2)
    session.enqueue_text("[say=never]")  # now: both at once would be one turn
    session.host.call("session_relay_terminate", session.id, None)
    assert reason(session.events("turn.finished")[-1]["data"]) == ("stopped", "cancelled")
    session.host.call("session_relay_clean", session.id)
    assert [text_of(each) for each in session.said()][1:] == ["word0 "] and len(json.loads(session.inputs())) == 1


def test_deleting_a_session_ends_its_agent_and_has_it_forget(attached, tmp_path):
    (tmp_path / "memory").mkdir()
    session = attached(f"pids={tmp_path / 'pids'}", f"memory={tmp_path / 'memory'}", "caps=load,delete")
    session.enqueue_text("[words=1][wait]")
    eventually(lambda: len(session.said()) == 2)
    (pid,) = map(int, (tmp_path / "pids").read_text().split())
    assert list((tmp_path / "memory").iterdir())
    session.delete()
    assert eventually(lambda: not lives(pid), 10)
    assert not list((tmp_path / "memory").iterdir())


@pytest.mark.requirement("R-077")
def test_one_is_attached_again_as_soon_as_the_turn_is_over(attached):
    """What the agent has started lives on for a moment, and is waited for."""
    session = attached()
    for order in ("[exit=3]", "[grandchild][exit=3]"):
        assert session.turn(order)["reason"] == "incomplete"
        session.attach(restore=False)
    assert session.turn("[words=1]")["outcome"] == "finished"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.requirement("T-10")
def test_the_worktree_stays_as_it_is(host, spawn):
    sessions = [spawn(host), spawn(host)]
    for session in sessions:
        (session.worktree / ".git").mkdir()
        (session.worktree / ".git" / "index").write_bytes(bytes(range(256)))
        (session.worktree / "a.txt").write_text("text")
    before = [contents(session.worktree) for session in sessions]
    for session in sessions:
        session.attach(files="write")
        session.turn("[say=x]")
        session.enqueue_text("[wait]")
        assert eventually(lambda of=session: "turn" in of.info())
        session.abort()
    host.call("session_relay_terminate", sessions[0].id, None)
    host.call("session_relay_clean", sessions[0].id)
    for session in sessions:
        session.delete()
    assert [contents(session.worktree) for session in sessions] == before
