"""Agents on the backend opencode: the agent runs its session's turns, the server those of all others."""

import json

import pytest

from tests.agents.conftest import Attached, agent, eventually, lives, text_of
from tests.opencode.fixtures import soon
from tests.remote.hosts import Failed
from tests.remote.proxy import Proxy


@pytest.fixture
def backend(server, repository):
    return {
        "kind": "opencode",
        "url": server.url(soon()),
        "directory": repository,
        "username": server.username,
        "password": server.password,
    }


@pytest.fixture
def remote(start, backend):
    return start(backend=backend)


def test_the_agent_runs_its_sessions_turns_and_the_server_the_others(remote, spawn):
    session, plain = spawn(remote), remote.create()
    session.attach()
    assert session.id.startswith("ses_")
    session.observe_now()
    done = session.turn("[say=mine]")
    assert text_of(done["messages"][1]) == "mine" and done["messages"][1]["model"]["providerId"] == "fake-agent"
    kinds = [each["type"] for each in session.events("turn.finished")]
    other = json.loads(plain.run_turn('{"text":"Hello"}', 30_000))
    assert other["outcome"] == "finished" and other["messages"][1]["model"]["providerId"] != "fake-agent"
    assert "message.part.updated" in kinds and kinds.count("turn.started") == 1
    assert [text_of(each) for each in session.said()] == ["[say=mine]", "mine"]


def durable(session):
    """Return the kinds of what observers were told of a turn and stays, up to its end, but for what a server changes of
    its session besides."""
    events = [
        each for each in session.events("turn.finished") if each["type"] not in ("session.updated", "turn.activity")
    ]
    return [each["type"] for each in events if "delta" not in each["data"]]


def test_a_turn_of_an_agent_is_told_as_one_of_a_server(remote, spawn):
    session, plain = spawn(remote), Attached(remote, remote.call("session_create", None), None)
    session.attach()
    for each in (session, plain):
        each.observe_now()
        assert each.turn("Hello")["outcome"] == "finished"
    assert durable(session) == durable(plain)


def test_asks_plans_choices_and_ends_are_the_agents(remote, spawn):
    session = spawn(remote)
    session.attach("models")
    session.enqueue_text("[plan=1][tool=bash][ask]")
    (asked,) = session.asked()
    remote.call("session_sync", 20_000)  # the server knows nothing of it
    assert session.asked() == [asked]
    session.reply_permission(asked["id"], "once")
    assert eventually(lambda: "turn" not in session.info())
    assert json.loads(session.todos())[0]["status"] == "completed"
    assert json.loads(session.choices())["models"][0]["providerId"] == "fake-agent"
    session.enqueue_text("[words=1][wait]")
    assert eventually(lambda: session.info().get("turn") and len(session.said()) == 4)
    session.abort()
    assert "turn" not in session.info() and session.info()["aborted"]
    session.enqueue_text("[wait]", turnId="mine")
    assert eventually(lambda: session.info().get("turn", {}).get("turnId") == "mine")
    session.abort_turn("mine")
    assert "turn" not in session.info()
    waiting = session.start("run_turn", '{"text":"[wait]"}', 30_000)
    assert eventually(lambda: "turn" in session.info())
    assert session.cancel_turns() == 1 and json.loads(waiting.result())["reason"] == "cancelled"


def test_deleted_in_the_middle_of_a_turn(remote, spawn, tmp_path):
    session = spawn(remote)
    session.attach(f"pids={tmp_path / 'pids'}")
    session.enqueue_text("[words=1][wait]")
    assert eventually(lambda: len(session.said()) == 2)
    session.delete()
    (pid,) = map(int, (tmp_path / "pids").read_text().split())
    assert eventually(lambda: not lives(pid), 10)
    assert session.fails("get_info").code == "NOT_FOUND"


def test_a_session_is_made_with_its_agent_or_not_at_all(remote, tmp_path):
    given = {"agent": {**agent(), "worktree": str(tmp_path)}}
    session = Attached(remote, remote.call("session_create_with", json.dumps(given)), tmp_path)
    assert session.info()["role"] == session.id and session.turn("[say=x]")["outcome"] == "finished"
    before = remote.list().keys()
    given["agent"]["command"].append("exit=3")
    with pytest.raises(Failed, match="SERVER"):
        remote.call("session_create_with", json.dumps(given))
    assert remote.list().keys() == before
    operation = {"op": "create_with", "options_json": json.dumps(given)}
    (result,) = json.loads(remote.call("session_batch", json.dumps([operation])))
    assert result["error"]["code"] == "SERVER" and remote.list().keys() == before


def test_another_process_on_the_store_leaves_it_to_the_agent(start, backend, spawn):
    here, there = start(backend=backend), start(backend=backend)
    session = spawn(here)
    session.attach()
    seen = Attached(there, there.open(session.id).handle, session.worktree)
    assert text_of(seen.turn("[say=a]")["messages"][1]) == "a"
    seen.enqueue_text("[words=1][wait]")
    assert eventually(lambda: len(seen.said()) == 4)
    seen.abort()
    assert "turn" not in seen.info()
    here.kill()
    waiting = seen.start("run_turn", '{"text":"[say=b]"}', 60_000)
    assert not eventually(lambda: waiting.is_there, 1.5)
    seen.attach(restore=False)
    assert text_of(json.loads(waiting.result())["messages"][1]) == "b"


def test_cleaned_its_queue_is_the_servers(remote, spawn):
    session = spawn(remote)
    session.attach()
    session.turn("[say=x]")
    remote.call("session_relay_terminate", session.id, None)
    session.enqueue_text("Hello")
    remote.call("session_relay_clean", session.id)
    assert eventually(lambda: len(session.said()) == 4 and "completed" in session.said()[3]["time"])
    assert session.said()[3]["model"]["providerId"] != "fake-agent"


def test_an_agent_of_a_session_that_the_server_is_yet_to_be_told_of_keeps_it(start, backend, spawn, server):
    """Made while the server is away, it has an id of ours; given the server's, in the middle of a turn, it goes on."""
    with Proxy(server.url(soon())) as proxy:
        host = start(backend={**backend, "url": proxy.url}, offline="queue")
        proxy.down()
        session = eventually(lambda: made if (made := spawn(host)).id.startswith("session_") else None)
        session.attach()
        assert text_of(session.turn("[say=a]")["messages"][1]) == "a"
        waiting = session.start("run_turn", '{"text":"[tool=bash][ask][say=b]"}', 60_000)
        (asked,) = session.asked()
        proxy.up()
        assert eventually(lambda: session.get_id().startswith("ses_"))
        session.reply_permission(asked["id"], "once")
        done = json.loads(waiting.result())
        assert text_of(done["messages"][1]) == "b"
        assert text_of(session.turn("[say=c]")["messages"][1]) == "c"
        session.enqueue_text("[wait]")
        assert eventually(lambda: "turn" in session.info())
        session.abort()
        assert [text_of(each) for each in session.said()][1::2] == ["a", "b", "c"]
        host.end()
