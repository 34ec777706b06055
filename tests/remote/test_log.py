"""The debug log: what was called and asked, how it ended and how long it took, and nothing that anybody wrote."""

import json
import re

import pytest

from tests.opencode.stub import reply
from tests.remote.hosts import Host
from tests.remote.proxy import answering

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z debug "
CALL = re.compile(STAMP + r"call name=plue_\w+( session=ses_\w+)? ms=\d+\.\d outcome=[A-Z_]+( caller=left)?")
REQUEST = re.compile(STAMP + r"request method=[A-Z]+ path=/[\w/]+ ms=\d+\.\d (status=\d{3} bytes=\d+|failed=\w+)")
#: Texts of the user's, each of them found nowhere else.
WORDS = ("title", "note", "tag", "about", "prompt", "key", "folder")
TITLE, NOTE, TAG, ABOUT, PROMPT, KEY, FOLDER = TEXTS = [f"zq{word}" for word in WORDS]


def debug(path):
    return [line for line in path.read_text().splitlines() if " debug " in line]


def outcomes(path, name):
    """How the calls of a function ended, by the debug log."""
    return re.findall(rf" call name={name} .*outcome=(\w+)", path.read_text())


@pytest.mark.requirement("X-022", "P-097")
def test_the_debug_log_has_each_call_and_request_and_no_text_of_the_users(
    connected, client, server, say, tmp_path, title
):
    path, title = tmp_path / "log", f"{title} {TITLE}"
    host = connected(folder=tmp_path, cacheTtlMs=0, log={"level": "debug", "file": str(path)})
    host.await_stream()
    (tmp_path / FOLDER).mkdir()
    session = host.create_with(
        title=title, key=KEY, tags=[TAG], description=ABOUT, metadata={"note": NOTE}, directory=str(tmp_path / FOLDER)
    )
    session_id, share = session.id, json.loads(session.create_share())
    say(session_id, PROMPT)
    session.update_title(f"{title} 2")
    session.update(json.dumps({"metadata": {"note": f"{NOTE} 2"}, "base": {"title": title + " 2"}}))
    assert session.info()["title"] == f"{title} 2"
    assert host.query(text=TITLE)
    assert host.fails("session_open", f"{KEY} of none").code == "NOT_FOUND"
    assert host.fails("session_open", f"ses_{TITLE}/x").code == "INVALID_PARAM"
    assert host.fails("session_validate_share", session_id, f"{share['secret']}x").code == "ACCESS_DENIED"
    assert host.call("session_validate_share", session_id, share["secret"]) == 0
    host.call("session_sync", 10_000)
    session.delete()
    host.end()
    host.__exit__()
    lines = debug(path)
    assert not [line for line in lines if not CALL.fullmatch(line) and not REQUEST.fullmatch(line)]
    text = path.read_text()
    secrets = (server.password, share["secret"], share["url"], "Authorization", "Basic ")
    assert not [word for word in (*TEXTS, *secrets) if word in text]
    assert outcomes(path, "plue_init") == outcomes(path, "plue_shutdown") == ["OK"]
    assert outcomes(path, "plue_session_open") == ["NOT_FOUND", "INVALID_PARAM"]
    assert outcomes(path, "plue_session_validate_share") == ["ACCESS_DENIED", "OK"]
    for name in ("create_with", "update", "update_title", "get_info", "create_share", "delete"):
        assert f"call name=plue_session_{name} session={session_id} " in text
    for request in (
        "method=GET path=/global/health",
        "method=GET path=/global/event",
        "method=POST path=/session",
        f"method=PATCH path=/session/{session_id}",
        f"method=DELETE path=/session/{session_id}",
    ):
        assert re.search(rf" request {request} ms=\S+ status=200 bytes=\d+$", text, re.M), request


@pytest.mark.requirement("X-022")
def test_requests_and_calls_that_fail_are_told_with_their_outcome(connected, tmp_path):
    path = tmp_path / "log"
    host = connected(
        [answering("PATCH", "/session/.*", reply(500, {"_tag": "InternalServerError"}))],
        folder=tmp_path,
        cacheTtlMs=600_000,
        offline="fail",
        log={"level": "debug", "file": str(path)},
    )
    session = host.create()
    assert session.fails("update_title", TITLE).code == "SERVER"
    assert outcomes(path, "plue_session_update_title") == ["SERVER"]
    before = len(path.read_text())
    host.proxy.down()
    assert session.fails("update_title", TITLE).code == "CONNECTION"
    assert outcomes(path, "plue_session_update_title") == ["SERVER", "CONNECTION"]
    assert re.search(r" debug connect ms=\S+ failed=ConnectionRefusedError$", path.read_text()[before:], re.M)
    assert f"method=PATCH path=/session/{session.id} " in path.read_text() and TITLE not in path.read_text()
    assert re.search(r"path=/session/\S+ ms=\S+ status=500 bytes=\d+$", path.read_text(), re.M)


@pytest.mark.requirement("X-022")
def test_a_variable_asks_for_it_without_a_change_to_the_program(plain, tmp_path):
    path = tmp_path / "log"
    with Host(plain, tmp_path, {"PLUE_SESSION_LOG": f"debug:{path}"}, dataDir=str(tmp_path)) as host:
        session = host.create()
        session_id = session.id
        session.update_title(TITLE)
        assert outcomes(path, "plue_session_update_title") == ["OK"]
        assert [record["level"] for record in host.said(0, "log")] == ["info"]  # that it runs
    with Host(plain, tmp_path, dataDir=str(tmp_path)) as host:  # one that does not ask adds nothing
        before = path.read_bytes()
        host.open(session_id).update_title(TITLE)
        assert path.read_bytes() == before


@pytest.mark.requirement("X-022")
def test_a_start_without_debug_follows_one_with_it(plain, tmp_path):
    path = tmp_path / "log"
    config = {"dataDir": str(tmp_path), "log": {"level": "debug", "file": str(path)}}
    with Host(plain, tmp_path, **config) as host:
        host.create()
        host.call("shutdown")
        config["log"]["level"] = "warning"
        before = path.read_bytes()
        host.call("init", json.dumps(config))
        host.create()
        assert path.read_bytes() == before


@pytest.mark.requirement("X-022")
def test_a_start_that_fails_is_told_with_its_outcome(plain, tmp_path):
    path = tmp_path / "log"
    with Host(plain, tmp_path, dataDir=str(tmp_path)) as host:
        host.call("shutdown")
        log, nobody = {"level": "debug", "file": str(path)}, {"kind": "opencode", "url": "http://127.0.0.1:1"}
        config = {"dataDir": str(tmp_path), "backend": nobody, "offline": "fail", "log": log}
        assert host.fails("init", json.dumps(config)).code == "CONNECTION"
        assert outcomes(path, "plue_init") == ["CONNECTION"]
