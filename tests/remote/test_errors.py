"""Every way in which a call can fail: parameters, credentials, and a server that answers what it should not."""

import json

import pytest

from tests.opencode.fixtures import soon
from tests.opencode.stub import reply
from tests.remote.hosts import Host, Session
from tests.remote.proxy import answering, hang_up, stall

BAD_IDS = (
    "ses_../x",
    "ses_a/b",
    "ses_a\\b",
    "ses_",
    "ses_a b",
    "ses_%2e",
    "ses_é",
    "ses_\x01",
    "session_12x",
    "ses_" + "a" * 97,
)


def cut(proxy, connection, request):
    """Begin an answer and leave."""
    connection.sendall(reply(200, b'{"id":', length=1000))
    raise OSError


#: What a server may do instead of answering: how the call fails, and what its error says.
ODDITIES = {
    "500": (
        reply(500, {"name": "UnknownError", "data": {"message": "it broke", "ref": "err_1"}}),
        "SERVER",
        {"status": 500, "server": "it broke", "ref": "err_1"},
    ),
    "400": (
        reply(400, {"name": "BadRequest", "data": {"message": "no such thing", "kind": "Body"}}),
        "INVALID_PARAM",
        {"status": 400, "server": "no such thing"},
    ),
    "tag": (reply(503, {"_tag": "ServiceUnavailable"}), "SERVER", {"status": 503, "error": "ServiceUnavailable"}),
    "507, empty": (reply(507, b"", ""), "SERVER", {"status": 507, "server": ""}),
    "gateway": (
        reply(502, b"<html>Bad Gateway</html>", "text/html"),
        "CONNECTION",
        {"status": 502, "server": "a web page", "sent": True},
    ),
    "tunnel": (
        reply(530, b"<!doctype html>error code: 1033", "text/html"),
        "CONNECTION",
        {"status": 530, "server": "a web page", "sent": True},
    ),
    "too many": (reply(429, b"", "", ["Retry-After: 30"]), "CONNECTION", {"status": 429, "sent": False}),
    "login page": (
        reply(403, b"<!doctype html>Sign in", "text/html"),
        "CONNECTION",
        {"status": 403, "server": "a web page", "sent": False},
    ),
    "web page": (reply(203, b"<!doctype html><html></html>", "text/html; charset=utf-8"), "SERVER", {"status": 203}),
    "200, empty": (reply(200, b""), "SERVER", None),
    "garbage": (reply(200, b'{"id": "ses_1", oops'), "SERVER", None),
    "another type": (reply(200, 7), "SERVER", None),
    "wrong shape": (reply(200, {"id": "ses_1", "title": "x"}), "SERVER", None),
    "no HTTP": (b"220 smtp ready\r\n", "SERVER", None),
    "409": (
        reply(409, {"_tag": "SessionBusyError", "sessionID": "ses_1", "message": "busy"}),
        "BUSY",
        {"status": 409, "server": "busy"},
    ),
    "401": (reply(401, b"", "", ["www-authenticate: Basic"]), "ACCESS_DENIED", {"status": 401}),
    "cut": (cut, "CONNECTION", None),
    "hung up": (hang_up, "CONNECTION", None),
}


class Call:
    """A function that asks the server: how it is called, and what it asks."""

    def __init__(self, host, client, title, say):
        session = host.create_with(title=title)
        message = say(session.id, "one")
        one, self.session, self.host = f"/session/{session.id}", session, host
        host.fence(client)
        self.ways = {
            "create": (lambda: host.start("session_create", None), "POST", "/session"),
            "create_with": (lambda: host.start("session_create_with", '{"metadata":{"a":1}}'), "POST", "/session"),
            "get_or_create": (lambda: host.start("session_get_or_create", f"key {title}"), "POST", "/session"),
            "get_info": (lambda: session.start("get_info"), "GET", one),
            "list": (lambda: host.start("session_list"), "GET", "/session"),
            "sync": (lambda: host.start("session_sync", 3_000), "GET", "/session"),
            "update_title": (lambda: session.start("update_title", "No"), "PATCH", one),
            "update": (lambda: session.start("update", '{"archived":true}'), "PATCH", one),
            "initialize": (lambda: session.start("initialize", "fake", "fake-model"), "GET", "/config/providers"),
            "delete": (lambda: session.start("delete"), "DELETE", one),
            "abort_turn": (lambda: session.start("abort_turn", "msg_1"), "GET", f"{one}/message"),
            "fork": (lambda: session.start("fork", message), "POST", f"{one}/fork"),
        }

    def snapshot(self):
        """What is shown of the session, but for whether the server is there."""
        return {name: value for name, value in self.session.peek().items() if name != "sync"}


@pytest.mark.requirement("P-132", "P-161", "P-162", "P-181", "P-185", "O-012", "O-013")
@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_the_server_should_not_answer_fails_every_call_alike_and_changes_nothing(
    strict, client, proxy, say, title, oddity
):
    answer, code, details = ODDITIES[oddity]
    call = Call(strict, client, title, say)
    for name, (begin, method, path) in call.ways.items():
        if name == "delete" and oddity in ("another type", "wrong shape", "200, empty"):
            continue  # that it was deleted is in the status
        before, mark = call.snapshot(), strict.mark()
        proxy.rules.append(answering(method, path, answer))
        error = begin().failure()
        proxy.rules.clear()
        assert error.code == code, (name, error)
        assert f"plue_session_{name}" in error.message and "\n" not in error.message and error.message.endswith("."), (
            name
        )
        assert call.session.id in error.message or path in ("/session", "/config/providers") and name != "initialize", (
            name,
            error.message,
        )
        if details is not None:
            assert details.items() <= error.details.items(), (name, error.details)
            assert str(details["status"]) in error.message and details.get("server", "") in error.message, (
                name,
                error.message,
            )
        if code == "ACCESS_DENIED":
            assert "username" in error.message and "password" in error.message, (name, error.message)
        assert error.retryable == (code in ("CONNECTION", "TIMEOUT", "BUSY"))
        assert strict.since(mark) == [] and call.snapshot() == before, name
    mark = strict.mark()
    strict.call("session_sync", 10_000)
    strict.fence(client)
    assert strict.since(mark) == [] and call.snapshot() == before
    theirs = client.get(call.session.id, soon())
    assert (theirs.title, theirs.archived) == (title, None)
    assert call.session.update_title("Yes") == 0 and call.session.info()["title"] == "Yes"


@pytest.mark.requirement("P-161", "T-03", "P-132")
def test_a_server_that_does_not_answer_costs_each_call_its_time_and_no_more(hurried, client, proxy, say, title):
    calls = {
        name: Call(hurried, client, f"{title} {name}", say)
        for name in ("create", "get_info", "update_title", "initialize", "delete", "fork")
    }
    before, mark = {name: call.snapshot() for name, call in calls.items()}, hurried.mark()
    for name, call in calls.items():
        _, method, path = call.ways[name]
        proxy.rules.append(answering(method, path, stall))
    began = {name: call.ways[name][0]() for name, call in calls.items()}
    assert json.loads(began.pop("get_info").result())["sync"]["state"] == "stale"  # what was last known
    for name, answer in began.items():
        error = answer.failure()
        assert error.code == "TIMEOUT" and error.retryable and f"plue_session_{name}" in error.message, (name, error)
        assert "in time" in error.message and "requestTimeoutMs" in error.message, error.message
    proxy.rules.clear()
    hurried.call("session_sync", 10_000)
    hurried.fence(client)
    assert {name: call.snapshot() for name, call in calls.items()} == before and hurried.since(mark) == []


# -- parameters --------------------------------------------------------------------------------------------------------
@pytest.mark.requirement(
    "P-031", "P-132", "P-145", "P-175", "P-015", "P-046", "P-018", "P-023", "P-025", "P-009", "P-012", "O-015"
)
def test_parameter_errors_never_reach_the_network(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    before, mark, asked = session.info(), quiet.mark(), proxy.mark()
    errors = []

    def refused(code, name, *arguments, says=""):
        error = quiet.fails(f"session_{name}", *arguments)
        assert error.code == code and f"plue_session_{name}" in error.message and says in error.message, (
            name,
            arguments,
            error,
        )
        errors.append(error)

    for name, more in (
        ("get_info", ()),
        ("peek_info", ()),
        ("get_id", ()),
        ("update_title", ("x",)),
        ("update", ("{}",)),
        ("initialize", ("a", "b")),
        ("delete", ()),
        ("abort", ()),
        ("abort_turn", ("msg_1",)),
        ("create_share", ()),
        ("unshare", ()),
        ("fork", (None,)),
    ):
        refused("INVALID_PARAM", name, None, *more, says="Session handle is null")
        for handle in (1, 2, 8, 0xDEADBEEF, session.handle + 16, (1 << 64) - 1):
            refused("BAD_HANDLE", name, handle, *more)
    for bad in BAD_IDS:
        for name in ("create", "open"):
            refused("INVALID_PARAM", name, bad)
    for bad in ("", "../x", "a/b", "a\\b", "a\nb", ".", "k" * 201):
        for name in ("open", "get_or_create"):
            refused("INVALID_PARAM", name, bad)
    refused("INVALID_PARAM", "get_or_create", "ses_x")
    refused("INVALID_PARAM", "open", None)
    refused("INVALID_PARAM", "get_or_create", None)
    refused("INVALID_PARAM", "update_title", session.handle, None, says="Invalid parameters")
    refused("INVALID_PARAM", "update_title", session.handle, "\udcff\udcfe")
    refused("INVALID_PARAM", "create", "\udc80")
    for pair in ((None, "m"), ("p", None), ("", "m"), ("p", "")):
        refused("INVALID_PARAM", "initialize", session.handle, *pair)
    for code, patch, key in (
        ("JSON_PARSE", "{", ""),
        ("JSON_PARSE", "", ""),
        ("INVALID_PARAM", "[]", ""),
        ("INVALID_PARAM", '{"titel":"x"}', "titel"),
        ("INVALID_PARAM", '{"title":5}', "title"),
        ("INVALID_PARAM", '{"tags":"a"}', "tags"),
        ("INVALID_PARAM", '{"archived":1}', "archived"),
        ("INVALID_PARAM", '{"metadata":[]}', "metadata"),
        ("INVALID_PARAM", '{"base":{"key":"x"}}', "key"),
    ):
        refused(code, "update", session.handle, patch, says=key)
    refused("INVALID_PARAM", "update", session.handle, None)
    for code, options, key in (
        ("JSON_PARSE", "nope", ""),
        ("INVALID_PARAM", '{"parentID":"ses_1"}', "parentID"),
        ("INVALID_PARAM", '{"parentId":"x"}', "parentId"),
        ("INVALID_PARAM", '{"key":"ses_1"}', "key"),
        ("INVALID_PARAM", '{"provider":{"providerId":"fake"}}', "modelId"),
        ("INVALID_PARAM", '{"directory":"/nowhere/at/all"}', "directory"),
        ("INVALID_PARAM", '{"role":""}', "role"),
        ("NOT_FOUND", '{"template":"t"}', "template"),
    ):
        refused(code, "create_with", options, says=key)
    for turn in ("", "msg/1", "x" * 101):
        refused("INVALID_PARAM", "abort_turn", session.handle, turn)
    refused("INVALID_PARAM", "abort_turn", session.handle, None)
    refused("INVALID_PARAM", "fork", session.handle, "no-message")
    refused("INVALID_PARAM", "sync", -1)
    refused("INVALID_PARAM", "query", '{"colour":"red"}', says="colour")
    refused("INVALID_PARAM", "validate_share", "ses_a/b", "secret")
    quiet.fence(client)
    assert proxy.since(asked) == [] and quiet.since(mark) == [] and session.info() == before and len(errors) > 100
    assert not [error for error in errors if error.retryable]


@pytest.mark.requirement("P-132", "A-124")
def test_what_is_taken_or_too_much_is_refused_before_the_server_is_asked(connected, client, title):
    host = connected(cacheTtlMs=600_000, syncIntervalMs=600_000, limits={"activeSessions": 2})
    host.await_stream()
    host.call("session_sync", 10_000)
    for number in range(3):
        client.create(f"{title} {number}", soon())
    assert len(host.list()) > 2  # those only seen on the server do not count
    host.create_with(key=f"key {title}", role=f"role {title}")
    asked, mark = host.proxy.mark(), host.mark()
    for options, named in (({"key": f"key {title}"}, "key"), ({"role": f"role {title}"}, "role")):
        error = host.fails("session_create_with", json.dumps(options))
        assert (
            error.code == "ALREADY_EXISTS"
            and named in error.message
            and host.open(f"key {title}").id == error.details["sessionId"]
        )
    second = host.create()
    for name, *arguments in (("create", None), ("get_or_create", "another"), ("create_with", "{}")):
        error = host.fails(f"session_{name}", *arguments)
        assert error.code == "LIMIT_EXCEEDED" and "limits.activeSessions" in error.message
    assert second.fails("fork", None).code == "LIMIT_EXCEEDED"
    host.fence(client)
    assert host.proxy.since(asked) == ["POST /session"] and host.since(mark) == [("session.created", {"id": second.id})]


# -- credentials -------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-009", "X-007")
@pytest.mark.parametrize("offline", ["queue", "fail"])
def test_refused_credentials_fail_the_start_and_name_username_and_password(
    plain, server, repository, tmp_path, offline
):
    place = {"kind": "opencode", "url": server.url(soon()), "directory": repository, "username": server.username}
    with Host(plain, tmp_path, init=False) as host:
        for wrong in ({"password": "wrong"}, {}, {"password": server.password, "username": "nobody"}):
            config = json.dumps({"dataDir": str(tmp_path), "offline": offline, "backend": {**place, **wrong}})
            error = host.fails("init", config)
            assert (
                error.code == "ACCESS_DENIED"
                and "username" in error.message
                and "password" in error.message
                and not error.retryable
            )
            assert (
                error.details["status"] == 401 and server.password not in error.message and "wrong" not in error.message
            )
            assert host.fails("session_list").code == "NOT_INITIALIZED"
        host.call(
            "init",
            json.dumps(
                {"dataDir": str(tmp_path), "offline": offline, "backend": {**place, "password": server.password}}
            ),
        )
        assert json.loads(host.call("session_list")) is not None


@pytest.mark.requirement("O-009", "P-115")
def test_credentials_that_are_refused_later_fail_calls_and_show_in_the_status(quiet, proxy, title):
    session = quiet.create_with(title=title)
    denied = reply(401, b"", "", ['www-authenticate: Basic realm="Secure Area"'])
    proxy.rules.append(lambda request: denied)
    for name, *arguments in (("update_title", "x"), ("delete",), ("fork", None), ("initialize", "fake", "fake-model")):
        error = session.fails(name, *arguments)
        assert (
            error.code == "ACCESS_DENIED"
            and "username" in error.message
            and "password" in error.message
            and session.id in error.message
        )
    assert quiet.fails("session_create", None).code == "ACCESS_DENIED"
    assert quiet.fails("session_sync", 5_000).code == "ACCESS_DENIED"
    status = quiet.status()
    assert status["connected"] is False and "username" in status["server"]["error"]
    proxy.rules.clear()
    quiet.call("session_sync", 5_000)
    assert quiet.status()["connected"] is True and session.update_title("x") == 0 and session.info()["title"] == "x"


# -- deleted by another client -----------------------------------------------------------------------------------------
@pytest.mark.requirement("P-078", "P-117", "P-132")
@pytest.mark.parametrize(
    "name, arguments",
    [
        ("get_info", ()),
        ("update_title", ("x",)),
        ("update", ('{"archived":true}',)),
        ("delete", ()),
        ("abort_turn", ("msg_1",)),
        ("fork", (None,)),
        ("abort", ()),
    ],
)
def test_a_session_that_another_client_deleted_unheard_is_found_out_by_the_next_call(
    deaf, client, title, name, arguments
):
    session = deaf.create_with(title=title)
    session_id, mark = session.id, deaf.mark()
    client.delete(session_id, soon())
    error = session.fails(name, *arguments)
    assert error.code == "NOT_FOUND" and session_id in error.message
    deaf.wait_for("session.deleted", session_id, mark)
    told = [kind for kind, _ in deaf.since(mark, session_id)]
    assert told == (["session.updated"] if name == "abort" else []) + ["session.deleted"]  # abort sets its flag first
    assert session.fails("peek_info").code == "NOT_FOUND" and session_id not in deaf.list()


@pytest.mark.requirement("P-117")
def test_a_session_that_one_list_lacks_is_not_gone(quiet, proxy, title):
    session, mark = quiet.create_with(title=title), quiet.mark()
    proxy.rules.append(answering("GET", "/session", reply(200, []), times=1))
    quiet.call("session_sync", 10_000)
    assert session.info()["title"] == title and session.id in quiet.list() and quiet.since(mark) == []


@pytest.mark.requirement("P-116")
def test_an_old_server_that_cannot_be_asked_for_one_session_is_asked_for_all(eager, client, proxy, title):
    session = eager.create_with(title=title)
    proxy.rules.append(answering("GET", "/session/ses_[^/]*", reply(200, b"<html>", "text/html")))
    asked = proxy.mark()
    assert session.info()["title"] == title and proxy.since(asked) == [f"GET /session/{session.id}", "GET /session"]
    client.delete(session.id, soon())
    eager.wait_for("session.deleted", session.id)
    assert eager.fails("session_open", "ses_0000000000nobody").code == "NOT_FOUND"


def test_other_handles_are_not_disturbed_by_a_failure(strict, proxy, title):
    one, two = Session(strict, strict.create_with(title=title).handle), strict.create()
    proxy.rules.append(answering("PATCH", f"/session/{one.id}", reply(500, b"")))
    assert (
        one.fails("update_title", "x").code == "SERVER"
        and two.update_title("Two") == 0
        and two.info()["title"] == "Two"
    )
