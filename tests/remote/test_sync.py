"""In step with the server, and without it: synchronisation, a server that is away, and one that is back."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.opencode.fixtures import soon
from tests.opencode.stub import reply
from tests.remote.hosts import PATIENCE, Failed, Host, Session
from tests.remote.proxy import Proxy, answering, stall


@pytest.fixture
def way(server):
    """A way to the server that can be cut."""
    with Proxy(server.url(soon())) as proxy:
        yield proxy


#: Each function that changes a session on the server, with arguments that would do.
CHANGES = [
    ("update_title", ("No",)),
    ("update", ('{"archived":true}',)),
    ("update", ('{"metadata":{}}',)),
    ("initialize", ("fake", "fake-model")),
    ("delete", ()),
    ("fork", (None,)),
    ("abort", ()),
]
#: Those that do not wait in the outbox.
UNQUEUED = [each for each in CHANGES if each[0] in ("initialize", "fork", "abort")]


# -- synchronisation ---------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-111", "P-114")
def test_the_first_look_comes_with_the_start(connected, client, title):
    theirs = client.create(f"token {title}", soon(), title=title)
    host = connected(cacheTtlMs=600_000, syncIntervalMs=600_000)
    host.wait_for("session.created", theirs.id)
    assert [each["id"] for each in host.query(text=title)] == [theirs.id]
    assert host.await_status(lambda status: "lastSync" in status)["lastSync"] <= time.time() * 1000


@pytest.mark.requirement("P-110", "P-114", "P-117", "O-023")
def test_a_synchronisation_adds_overwrites_and_removes(deaf, client, title):
    mark = deaf.mark()  # the start's own comparison may come in between
    theirs = [client.create(f"token {title} {number}", soon(), title=f"{title} {number}") for number in range(3)]
    deaf.call("session_sync", 10_000)
    assert {each.id for each in theirs} <= {data["id"] for kind, data in deaf.since(mark) if kind == "session.created"}
    mark = deaf.mark()
    client.delete(theirs[0].id, soon())
    client.update(theirs[1].id, soon(), title=f"{title}, renamed")
    before = deaf.status()["lastSync"]
    deaf.call("session_sync", 10_000)
    assert sorted(deaf.since(mark), key=str) == [
        ("session.deleted", {"id": theirs[0].id}),
        ("session.updated", {"id": theirs[1].id, "title": f"{title}, renamed"}),
    ]
    assert deaf.status()["lastSync"] >= before and deaf.call("session_count", json.dumps({"text": title})) == 2


def test_a_synchronisation_that_is_not_waited_for_happens_all_the_same(deaf, client, title):
    theirs, mark = client.create(f"token {title}", soon(), title=title), deaf.mark()
    assert deaf.call("session_sync", 0) == 0
    deaf.wait_for("session.created", theirs.id, mark)


@pytest.mark.requirement("P-161", "T-03")
def test_a_synchronisation_ends_when_its_time_is_up_and_goes_on(deaf, proxy):
    gate_opened = []

    def slow(request):
        return None if gate_opened or request.path != "/session" else stall

    proxy.rules.append(slow)
    error = deaf.fails("session_sync", 300)
    assert error.code == "TIMEOUT" and "plue_session_sync" in error.message and error.retryable
    gate_opened.append(True)
    proxy.cut_all()
    deaf.call("session_sync", 10_000)
    assert deaf.status()["connected"] is True


@pytest.mark.requirement("P-115")
def test_a_failed_synchronisation_is_logged_shown_in_the_status_and_not_the_last(polling, client, proxy, title):
    mark = polling.mark()
    rule = answering("GET", "/session", reply(500, {"name": "UnknownError", "data": {"message": "database is asleep"}}))
    proxy.rules.append(rule)
    try:
        error = polling.fails("session_sync", 10_000)
        assert error.code == "SERVER" and "database is asleep" in error.message and error.details["status"] == 500
        status = polling.status()
        assert (
            status["connected"] is True and "database is asleep" in status["server"]["error"] and status["lastSync"]
        )  # it did answer
        polling.wait_for("log", None, mark)
        assert [
            data
            for data in polling.said(mark, "log")
            if data["level"] == "warning" and "database is asleep" in data["message"]
        ]
    finally:
        proxy.rules.remove(rule)
    polling.await_status(lambda status: status["connected"] and "error" not in status["server"])
    theirs = client.create(f"token {title}", soon(), title=title)
    polling.wait_for("session.created", theirs.id, mark)
    assert polling.said(mark, "sync.state") == []


# -- the server is away ------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-161", "P-170", "P-132")
def test_while_the_server_is_away_reads_answer_stale_what_cannot_wait_fails_and_it_all_goes_on_afterwards(
    connected, client, title
):
    host = connected(cacheTtlMs=0, syncIntervalMs=600_000, requestTimeoutMs=5_000)
    host.await_stream()
    way = host.proxy
    session, call_context = host.create_with(title=title, key=f"key {title}"), host.create_with(title=f"{title}, bound")
    call_context.initialize("fake", "fake-model")
    mark, known = host.mark(), session.info()
    way.down()
    assert host.wait_for("sync.state", None, mark)["connected"] is False
    stale = {**known, "sync": {"state": "stale", "pending": 0}}
    assert session.peek() == session.info() == host.list()[session.id] == host.query(key=f"key {title}")[0] == stale
    everybody = 1  # PLUE_ALL_SESSIONS
    observed = [json.loads(host.call("session_observation", whose)) for whose in (session.handle, everybody)]
    assert observed[0]["session"] == stale and stale in observed[1]["sessions"]
    assert observed[0]["cursor"].endswith(f".{session.id}") and observed[0]["revision"] > 0
    assert (
        host.open(f"key {title}").info() == host.get_or_create(f"key {title}").peek() == stale
        and host.open(session.id).id == session.id
    )
    assert (
        host.call("session_count", json.dumps({"text": title})) == 2
        and call_context.initialize("fake", "fake-model") == 0
    )
    for name, arguments in UNQUEUED:
        error = session.fails(name, *arguments)
        assert (
            error.code == "CONNECTION"
            and error.retryable
            and session.id in error.message
            and f"plue_session_{name}" in error.message
        ), (name, error)
    for name, *arguments in (("open", "ses_0000000000nobody"), ("sync", 5_000)):
        error = host.fails(f"session_{name}", *arguments)
        assert error.code == "CONNECTION" and f"plue_session_{name}" in error.message, (name, error)
    assert {**session.info(), "aborted": False} == {**stale, "time": session.info()["time"]} and session.info()[
        "aborted"
    ] is True
    share = json.loads(session.create_share())  # ours, then
    assert host.call("session_validate_share", session.id, share["secret"]) == 0 and session.unshare() == 0
    status = host.status()
    assert (
        status["connected"] is False
        and status["server"]["error"]
        and status["server"]["url"] == way.url
        and host.app_info()["server"]["running"] is False
    )
    assert [kind for kind, _ in host.since(mark)] == [
        "session.updated",
        "session.shared",
        "session.unshared",
    ]  # the flag, and the link
    mark = host.mark()
    client.update(session.id, soon(), title=f"{title}, meanwhile")
    theirs = client.create(f"token {title}", soon(), title=f"{title}, made meanwhile")
    client.delete(call_context.id, soon())
    way.up()
    assert host.wait_for("sync.state", None, mark)["connected"] is True
    host.await_stream()
    assert session.info()["title"] == f"{title}, meanwhile" and session.peek()["sync"]["state"] == "synced"
    assert session.update_title(f"{title}, after") == 0 and client.get(session.id, soon()).title == f"{title}, after"
    assert host.create().info()["sync"]["state"] == "synced" and call_context.fails("get_info").code == "NOT_FOUND"
    assert host.open(theirs.id).info()["title"] == f"{title}, made meanwhile"
    host.fence(client)
    assert [
        event
        for event in host.since(mark)
        if event[1]["id"] in (session.id, theirs.id) or event[0] == "session.deleted"
    ].count(("session.updated", {"id": session.id, "title": f"{title}, meanwhile"})) == 1
    assert [kind for kind, _ in host.since(mark, theirs.id)] == ["session.created"]


@pytest.mark.requirement("P-161", "P-132")
def test_with_offline_fail_everything_that_needs_the_server_fails_while_it_is_away(connected, title):
    host = connected(cacheTtlMs=0, syncIntervalMs=600_000, requestTimeoutMs=5_000, offline="fail")
    host.await_stream()
    way = host.proxy
    session, mark = host.create_with(title=title), host.mark()
    way.down()
    host.wait_for("sync.state", None, mark)
    for name, arguments in [("get_info", ()), *CHANGES]:
        error = session.fails(name, *arguments)
        assert error.code == "CONNECTION" and session.id in error.message, (name, error)
    for name, *arguments in (("list",), ("create", None), ("sync", 5_000)):
        assert host.fails(f"session_{name}", *arguments).code == "CONNECTION", name
    assert session.peek()["sync"]["state"] == "stale" and session.peek()["title"] == title
    way.up()
    deadline = time.monotonic() + PATIENCE
    while True:  # a call finds the server by itself
        answer = session.start("update_title", f"{title}, back")
        try:
            assert answer.result() == 0
            break
        except Failed as error:
            assert error.code == "CONNECTION" and time.monotonic() < deadline
            time.sleep(0.05)
    assert session.info()["title"] == f"{title}, back" and session.id in host.list()
    host.await_status(lambda status: status["connected"])


# -- starting without it -----------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-161", "P-170", "T-09")
def test_a_start_without_the_server_shows_what_was_known_and_finds_it_when_it_comes(
    plain, server, client, repository, way, tmp_path, title
):
    backend = {
        "kind": "opencode",
        "url": way.url,
        "directory": repository,
        "username": server.username,
        "password": server.password,
    }
    with Host(plain, tmp_path, dataDir=str(tmp_path), backend=backend) as host:
        session_id = host.create_with(title=title, key=f"key {title}").id
    way.down()
    with Host(plain, tmp_path, dataDir=str(tmp_path), backend=backend) as host:
        assert host.status()["connected"] is False and host.list()[session_id]["sync"]["state"] == "stale"
        session = host.open(f"key {title}")
        assert (
            session.info()["title"] == title
            and session.info()["sync"]["state"] == "stale"
            and session.fails("fork", None).code == "CONNECTION"
        )
        client.update(session_id, soon(), title=f"{title}, meanwhile")
        mark = host.mark()
        way.up()
        host.wait_for("session.updated", session_id, mark, title=f"{title}, meanwhile")
        host.await_status(lambda status: status["connected"])
        assert (
            session.info()["title"] == f"{title}, meanwhile"
            and session.info()["sync"]["state"] == "synced"
            and session.update_title(title) == 0
        )


@pytest.mark.requirement("P-161", "X-007", "T-09")
def test_with_offline_fail_a_start_without_the_server_fails_and_the_next_one_works(
    plain, server, repository, way, tmp_path
):
    way.down()
    backend = {
        "kind": "opencode",
        "url": way.url,
        "directory": repository,
        "username": server.username,
        "password": server.password,
    }
    config = json.dumps({"dataDir": str(tmp_path), "backend": backend, "offline": "fail", "requestTimeoutMs": 1_000})
    with Host(plain, tmp_path, init=False) as host:
        error = host.fails("init", config)
        assert (
            error.code == "CONNECTION"
            and error.retryable
            and "plue_init" in error.message
            and "backend.url" in error.message
        )
        assert host.fails("session_create", None).code == "NOT_INITIALIZED"
        way.up()
        config = json.dumps({"dataDir": str(tmp_path), "backend": backend, "offline": "fail"})
        host.call("init", config)
        assert host.create().id.startswith("ses_")


@pytest.mark.requirement("O-012", "T-09")
def test_with_offline_fail_a_start_at_a_web_page_says_what_is_there(plain, repository, way, tmp_path):
    way.rules.append(answering("GET", "/global/health", reply(200, b"<html>", "text/html")))
    with Host(plain, tmp_path, init=False) as host:
        error = host.fails(
            "init",
            json.dumps(
                {
                    "dataDir": str(tmp_path),
                    "offline": "fail",
                    "requestTimeoutMs": 500,
                    "backend": {"kind": "opencode", "url": way.url, "directory": repository},
                }
            ),
        )
        assert error.code == "SERVER" and "text/html" in error.message and "backend.url" in error.message


# -- the host's files --------------------------------------------------------------------------------------------------
def tree(folder):
    """Everything in a folder, to the byte."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in folder.rglob("*")
    }


@pytest.mark.requirement("T-10")
def test_no_file_of_a_worktree_is_touched(quiet, turn, repository, title):
    folder = Path(repository)
    (folder / "src").mkdir()
    git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    (folder / "tracked").write_text("as committed")
    for command in (["add", "."], ["commit", "-q", "-m", "Second"]):
        subprocess.run([*git, *command], check=True)
    (folder / "tracked").write_text("changed since")
    (folder / "src" / "untracked.bin").write_bytes(bytes(range(256)))
    (folder / "src" / "link").symlink_to("../tracked")
    (folder / "run").write_text("#!/bin/sh")
    (folder / "run").chmod(0o755)
    session, before = quiet.create_with(title=title), tree(folder)
    turn.begin(session.id, f"[words=2] {title}")
    assert turn.await_end(f"[words=2] {title}") == "done"
    turn.begin(session.id, f"[words=1000][wait] {title}")
    assert session.abort() == 0 and turn.await_end(f"[words=1000][wait] {title}") == "left"
    fork = Session(quiet, session.fork(None))
    session.initialize("fake", "fake-model")
    assert session.delete() == 0 == fork.delete()
    assert len(before) > 10 and tree(folder) == before


@pytest.mark.requirement("P-161", "P-132", "O-001")
def test_the_end_and_the_return_of_a_server_of_our_own_are_told(plain, opencode, isolated, repository, tmp_path, title):
    spawn = {"command": [opencode], "directory": repository, "env": isolated}
    config = {"backend": {"kind": "opencode", "spawn": spawn}, "cacheTtlMs": 600_000, "syncIntervalMs": 600_000}
    with Host(plain, tmp_path, dataDir=str(tmp_path), **config) as host:
        host.await_stream()
        session = host.create_with(title=title)
        for _ in range(2):
            mark, pid = host.mark(), host.status()["server"]["pid"]
            os.killpg(pid, signal.SIGKILL)
            assert host.wait_for("sync.state", None, mark)["connected"] is False
            assert host.wait_for("sync.state", None, mark, connected=True)
            assert host.status()["server"]["pid"] != pid
            host.await_stream()
            assert session.peek()["sync"]["state"] == "synced" and session.update_title(f"{title}, {pid}") == 0
            assert [said["connected"] for said in host.said(mark, "sync.state")] == [False, True]
            assert "reason" in host.said(mark, "sync.state")[0]
