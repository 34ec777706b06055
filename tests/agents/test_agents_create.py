"""A session with its agent in one call, which is undone as one."""

import json

import pytest

from tests.agents.conftest import Attached, agent, eventually, lives
from tests.remote.hosts import Failed


def make(host, worktree, *words, **fields):
    options = {"agent": {**agent(*words), "worktree": str(worktree)}, **fields}
    return Attached(host, host.call("session_create_with", json.dumps(options)), worktree)


def test_one_call_makes_a_session_that_takes_turns(host, tmp_path):
    session = make(host, tmp_path)
    info = session.info()
    assert info["relay"]["state"] == "ACTIVE" and info["role"] == info["id"]
    assert session.turn("[cwd]")["messages"][1]["parts"][0]["text"] == str(tmp_path)
    host.call("session_relay_terminate", session.id, None)
    host.call("session_relay_clean", session.id)
    assert session.info()["relay"]["state"] == "CLEANED"


def test_the_sessions_directory_is_its_worktree(host, tmp_path):
    handle = host.call("session_create_with", json.dumps({"agent": agent(), "directory": str(tmp_path), "role": "r"}))
    session = Attached(host, handle, tmp_path)
    assert session.info()["relay"]["worktree"] == str(tmp_path) and session.info()["role"] == "r"
    with pytest.raises(Failed, match="worktree"):
        host.call("session_create_with", json.dumps({"agent": agent()}))


@pytest.mark.parametrize("words, code", [(["exit=3"], "SERVER"), (["auth=login"], "PROVIDER_AUTH")])
def test_what_fails_leaves_neither_session_nor_agent_nor_role(host, tmp_path, words, code):
    mark = host.mark()
    with pytest.raises(Failed, match=code):
        make(host, tmp_path, *words, f"pids={tmp_path / 'pids'}", role="mine", key="mine")
    assert host.list() == {}
    kinds = [kind for kind, _ in host.since(mark)]
    assert kinds[0] == "session.created" and kinds[-1] == "session.deleted"
    assert not any(map(lives, map(int, (tmp_path / "pids").read_text().split())))
    assert make(host, tmp_path, role="mine", key="mine").turn("[say=x]")["outcome"] == "finished"


def test_bad_agents_are_refused_before_there_is_a_session(host, tmp_path):
    for bad in ({"kind": "acp"}, {"kind": "x"}, 5, {**agent(), "files": "all"}, {**agent(), "worktree": "/nowhere"}):
        assert host.fails("session_create_with", json.dumps({"agent": bad})).code in (
            "INVALID_PARAM",
            "NOT_FOUND",
            "IO",
        )
    assert host.list() == {}


def test_a_host_may_be_the_agent(host, tmp_path):
    made = host.create_with(agent={"kind": "host", "worktree": str(tmp_path)})
    assert made.info()["relay"]["state"] == "ACTIVE"
    assert made.fails("run_turn", '{"text":"x"}', 1000).code == "UNSUPPORTED"


def test_in_bulk_it_is_waited_for(host, tmp_path):
    given = {"agent": {**agent(), "worktree": str(tmp_path)}}
    bad = {"agent": {**agent("exit=1"), "worktree": str(tmp_path)}}
    operations = [{"op": "create_with", "options_json": json.dumps(each)} for each in (given, bad)]
    results = json.loads(host.call("session_batch", json.dumps([{"op": "create"}, *operations, {"op": "create"}])))
    assert ["ok" in each for each in results] == [True, True, False, True], results
    assert results[1]["ok"]["relay"]["state"] == "ACTIVE" and results[2]["error"]["code"] == "SERVER"
    assert len(host.list()) == 3
    session = host.open(results[1]["ok"]["id"])
    turn = {"op": "run_turn", "session": session.id, "input_json": '{"text":"[say=x]"}', "timeout_ms": 20_000}
    abort = {"op": "abort", "session": session.id}
    ran, _ = json.loads(host.call("session_batch", json.dumps([turn, abort])))
    assert ran["ok"]["outcome"] == "finished"
    session.enqueue('{"text":"[wait]"}')
    eventually(lambda: "turn" in session.info())
    (ended,) = json.loads(host.call("session_batch", json.dumps([abort])))
    assert ended["ok"] is True and "turn" not in session.info()


def test_submitted_it_ends_with_an_event(host, tmp_path):
    given = {"agent": {**agent(), "worktree": str(tmp_path)}}
    number = host.call("session_submit", json.dumps([{"op": "create_with", "options_json": json.dumps(given)}]))
    data = host.wait_for("operation.completed", operation=number)
    assert data["results"][0]["ok"]["relay"]["state"] == "ACTIVE"


@pytest.mark.parametrize("words", [(), ("stubborn",)])
def test_a_shutdown_in_the_midst_leaves_no_session(start, tmp_path, words):
    """Whose role nobody could have again."""
    host, pids = start(), tmp_path / "pids"
    given = json.dumps({"role": "taken", "agent": agent("slow=60", f"pids={pids}", *words, worktree=str(tmp_path))})
    creating = host.start("session_create_with", given)
    assert eventually(pids.exists)
    host.call("shutdown")
    assert creating.failure().code == "CLOSED"
    assert json.loads(start().call("session_list")) == []


@pytest.mark.parametrize("meets", ["start", "create_with", "get_or_create"])
def test_a_process_that_is_killed_in_the_midst_leaves_no_session(start, tmp_path, meets):
    """The next one to start deletes it, and so does whoever wants its key or role."""
    host, pids = start(), tmp_path / "pids"
    there = None if meets == "start" else start()
    given = {"role": "taken", "key": "taken"}
    words = agent("slow=60", f"pids={pids}", worktree=str(tmp_path))
    host.start("session_create_with", json.dumps({**given, "agent": words}))
    assert eventually(pids.exists)
    if there is not None:
        assert there.fails("session_create_with", json.dumps(given)).code == "ALREADY_EXISTS"
    host.kill()
    if there is None:
        there = start()
        assert there.list() == {}
    if meets == "get_or_create":
        assert "role" not in there.get_or_create("taken").info()
    else:
        assert make(there, tmp_path, **given).turn("[say=x]")["outcome"] == "finished"
    assert len(there.list()) == 1
