"""What OpenCode says becomes records, changes and errors of ours, whatever it says."""

import json
from pathlib import Path

import pytest

from plue_session import errors
from plue_session.adapters.opencode import events, shapes
from plue_session.adapters.opencode.survey import Survey
from plue_session.rules.jsontext import dumps

#: As 1.18.33 answers; what the tests do not need is shortened.
SESSION = {
    "id": "ses_e0549a207ffeIBAS1HKImWQEWi",
    "slug": "nimble-forest",
    "version": "1.18.33",
    "projectID": "8c3f",
    "directory": "/home/u/p",
    "path": "",
    "title": "New session - 2026-11-20T20:46:58.040Z",
    "cost": 0,
    "tokens": {"input": 0},
    "model": {"id": "fake-model", "providerID": "fake", "variant": "default"},
    "time": {"created": 1795207618040, "updated": 1795207618073},
}
USER = {"id": "msg_1", "role": "user", "sessionID": "ses_a", "time": {"created": 1}}
ANSWER = {"id": "msg_2", "role": "assistant", "sessionID": "ses_a", "parentID": "msg_1", "time": {"created": 2}}
PART = {"id": "prt_1", "sessionID": "ses_a", "messageID": "msg_1"}
DELTA = {"sessionID": "ses_a", "messageID": "msg_1", "partID": "prt_1", "field": "text", "delta": "x"}


def with_(**more):
    return {**SESSION, **more}


def test_a_session_is_mapped():
    session = shapes.session(
        with_(parentID="ses_p", share={"url": "https://s/1"}, metadata={"a": [1], "plue_session": "tok"})
    )
    assert session._asdict() == {
        "id": SESSION["id"],
        "title": SESSION["title"],
        "parent_id": "ses_p",
        "directory": "/home/u/p",
        "version": "1.18.33",
        "created": 1795207618040,
        "updated": 1795207618073,
        "archived": None,
        "share_url": "https://s/1",
        "metadata": {"a": [1]},
        "token": "tok",
    }


@pytest.mark.requirement("O-017")
def test_a_parent_is_spelled_with_a_capital_d():
    assert shapes.session(with_(parentId="ses_p")).parent_id is None


@pytest.mark.requirement("O-019")
@pytest.mark.parametrize(
    "time, archived", [({"archived": 0}, None), ({"archived": 5}, 5), ({}, None), ({"archived": None}, None)]
)
def test_archived_zero_is_not_archived(time, archived):
    assert shapes.session(with_(time={**SESSION["time"], **time})).archived == archived


def test_sessions_are_compared_by_value():
    assert shapes.session(SESSION) == shapes.session(dict(SESSION)) != shapes.session(with_(title="Other"))


@pytest.mark.requirement("O-026")
@pytest.mark.parametrize(
    "title, shown",
    [
        ('"a\\ud800b"', "a\\ud800b"),
        ('"nul\\u0000"', "nul\0"),
        ('"\\ud83d\\ude00 \\udc00"', "😀 \\udc00"),
        ('"' + "x" * 5_000_000 + '"', "x" * 5_000_000),
    ],
    ids=["lone", "nul", "pair and lone", "huge"],
)
def test_a_title_that_utf8_cannot_hold_is_shown_escaped(title, shown):
    data = json.dumps(SESSION).replace(json.dumps(SESSION["title"]), title).encode()
    session = shapes.session(shapes.parse(data))
    assert session.title == shown
    assert json.loads(dumps({"title": session.title}).encode()) == {"title": shown}
    session = shapes.session(shapes.parse(json.dumps(with_(metadata={"\ud800": ["\udfff", {"k": "\ud900"}]})).encode()))
    assert session.metadata == {"\\ud800": ["\\udfff", {"k": "\\ud900"}]}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        with_(id=5),
        with_(id="ses_"),
        with_(id="x"),
        with_(time=None),
        with_(time={"created": 1}),
        with_(time={"created": "1", "updated": 2}),
        with_(time={"created": True, "updated": 2}),
        with_(time={"created": -1, "updated": 2}),
        with_(time={"created": 1e300, "updated": 2}),
    ],
)
def test_a_session_without_what_it_must_have_is_a_server_error(data):
    with pytest.raises(errors.Server, match="a session that cannot be used"):
        shapes.session(data)


def test_other_flaws_of_a_session_are_left_out():
    session = shapes.session(
        with_(title=5, parentID=["x"], share="x", model=5, metadata=[1], directory=None, version=1)
    )
    assert (session.title, session.parent_id, session.share_url, session.metadata) == (
        "Untitled",
        None,
        None,
        {},
    )


@pytest.mark.requirement("O-015")
def test_a_list_leaves_out_what_no_call_could_name():
    odd = ["ses_../x", "ses_é", "x", "ses_" + "a" * 100, "ses_a-b"]
    told = Survey(json.dumps([*(with_(id=each) for each in odd), SESSION]).encode())
    assert [each.id for each in told.changed] == [SESSION["id"]] == list(told.ids)
    for bad in (b"{}", b"null", b"[5]"):
        with pytest.raises(errors.Server):
            Survey(bad)


@pytest.mark.parametrize(
    "more, ended, failure",
    [
        ({}, False, None),
        ({"time": {"created": 2, "completed": 3}}, True, None),
        (
            {"error": {"name": "MessageAbortedError", "data": {"message": "Aborted"}}},
            True,
            ("MessageAbortedError", "Aborted", None),
        ),
        ({"error": {"name": "APIError", "data": {"message": "no", "statusCode": 400}}}, True, ("APIError", "no", 400)),
        ({"error": "odd"}, True, ("UnknownError", "", None)),
    ],
)
def test_a_message_has_ended_when_it_is_completed_or_failed(more, ended, failure):
    message = shapes.message({**ANSWER, **more})
    assert message.ended is ended and message.parent_id == "msg_1"
    assert failure == (message.failure and (message.failure.name, message.failure.text, message.failure.status))


@pytest.mark.requirement("O-013")
@pytest.mark.parametrize(
    "status, body, kind, text, details",
    [
        (
            404,
            {"name": "NotFoundError", "data": {"message": "Session not found: ses_x"}},
            errors.NotFound,
            "Session not found: ses_x",
            {"error": "NotFoundError"},
        ),
        (
            400,
            {"name": "BadRequest", "data": {"message": "Expected string", "kind": "Body"}},
            errors.InvalidParam,
            "Expected string",
            {"error": "BadRequest"},
        ),
        (400, {"_tag": "BadRequest"}, errors.InvalidParam, "BadRequest", {"error": "BadRequest"}),
        (
            409,
            {"_tag": "SessionBusyError", "sessionID": "ses_x", "message": "Session is busy"},
            errors.Busy,
            "Session is busy",
            {"error": "SessionBusyError"},
        ),
        (
            500,
            {"name": "UnknownError", "data": {"message": "Unexpected server error.", "ref": "err_1"}},
            errors.Server,
            "Unexpected server error.",
            {"error": "UnknownError", "ref": "err_1"},
        ),
        (500, {"_tag": "InternalServerError"}, errors.Server, "InternalServerError", {"error": "InternalServerError"}),
        (404, b"", errors.Server, "", {}),
        (500, b"", errors.Server, "", {}),
        (401, b"", errors.AccessDenied, "", {}),
        (404, b"404 Not Found", errors.Server, "404 Not Found", {}),
        (404, {"message": "no Route matched"}, errors.Server, "no Route matched", {}),
        (502, b"<html>Bad Gateway</html>", errors.Connection, "a web page", {"sent": True}),
        (504, b"", errors.Connection, "", {"sent": True}),
        (503, {"message": "no upstream"}, errors.Connection, "no upstream", {"sent": True}),
        (503, {"_tag": "ServiceUnavailable"}, errors.Server, "ServiceUnavailable", {}),
        (400, b"[1]", errors.InvalidParam, "[1]", {}),
        (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", errors.Server, "a web page", {}),
        (422, b"<html>Unprocessable</html>", errors.Server, "a web page", {}),
        (400, b'{"data":5}', errors.InvalidParam, '{"data":5}', {}),
        (302, b"", errors.Server, "", {}),
        (500, b"\xff\xfe" * 5000, errors.Server, None, {}),
        (413, b"", errors.LimitExceeded, "", {}),
    ],
)
def test_every_shape_of_failure_gives_a_code_and_a_text(status, body, kind, text, details):
    error = shapes.refusal(
        "GET /session/ses_x", status, "application/json", body if type(body) is bytes else json.dumps(body).encode(), {}
    )
    assert type(error) is kind and error.details["status"] == status
    assert {name: error.details[name] for name in details} == details
    if text is not None:
        assert error.details["server"] == text
        assert kind is errors.AccessDenied or text in error.cause
    assert str(status) in error.cause and "\n" not in error.message("x") and error.remedy
    assert len(error.cause) < 800 and dumps(error.details).encode()


WEB_PAGE = b"<!DOCTYPE html><title>x</title>"


@pytest.mark.parametrize(
    "status", [407, 408, 421, 425, 429, 511, 502, 520, 521, 522, 523, 524, 525, 526, 527, 530, 599]
)
@pytest.mark.parametrize(
    "body, kind",
    [(WEB_PAGE, "text/html"), (b"", ""), (b"error code: 1033", "text/plain"), (b'{"message":"x"}', "application/json")],
)
def test_what_lies_before_the_server_says_that_it_is_away_or_to_be_asked_later(status, body, kind):
    error = shapes.refusal("PATCH /session/ses_x", status, kind, body, {})
    assert (
        type(error) is errors.Connection
        and error.retryable
        and error.details["status"] == status
        and str(status) in error.cause
    )
    assert (
        error.details["sent"] is (status > 500 and status != 511)
        and ("whether it took effect" in error.cause) is error.details["sent"]
    )


@pytest.mark.parametrize(
    "status, kind, body, headers, expected",
    [
        (403, "text/html; charset=UTF-8", WEB_PAGE, {}, errors.Connection),
        (401, "text/html", WEB_PAGE, {}, errors.Connection),
        (401, "", WEB_PAGE, {}, errors.Connection),
        (401, "text/html", WEB_PAGE, {"www-authenticate": "Basic realm=x"}, errors.AccessDenied),
        (401, "", b"", {"www-authenticate": 'Basic realm="Secure Area"'}, errors.AccessDenied),
        (403, "", b"", {}, errors.AccessDenied),
        (403, "application/json", b'{"name":"Denied"}', {}, errors.AccessDenied),
        (429, "application/json", b'{"_tag":"Slow"}', {}, errors.Server),
    ],
)
def test_a_login_page_on_the_way_is_not_the_server_refusing_the_password(status, kind, body, headers, expected):
    error = shapes.refusal("GET /session", status, kind, body, headers)
    assert type(error) is expected
    assert ("username and password" in error.message("x")) is (expected is errors.AccessDenied)


def test_how_long_to_wait_is_told_where_it_is_said():
    assert "wait 30 s" in shapes.refusal("GET /session", 429, "", b"", {"retry-after": "30"}).remedy
    assert (
        "tunnel"
        in shapes.refusal("GET /session", 429, "", b"", {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}).remedy
    )


@pytest.mark.requirement("O-009")
def test_a_401_names_username_and_password():
    message = shapes.refusal("GET /session", 401, "", b"", {}).message("plue_session_list")
    assert "username" in message and "password" in message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"[1e999]", b"[" * 100_000, b'{"a":1}x'])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(ValueError):
        shapes.parse(data)


def tell(kind, **properties):
    return events.read(json.dumps({"id": "evt_1", "type": kind, "properties": properties}).encode())


@pytest.mark.requirement("O-061")
def test_events_become_changes():
    assert tell("server.connected").kind == "connected" and tell("server.heartbeat").kind == "heartbeat"
    assert tell("server.instance.disposed", directory="/x").kind == "disposed"
    for kind, told in (("session.created", "created"), ("session.updated", "session")):
        change = tell(kind, sessionID=SESSION["id"], info=SESSION)
        assert (change.kind, change.session_id, change.value) == (told, SESSION["id"], shapes.session(SESSION))
    assert tell("session.deleted", sessionID="ses_a", info=SESSION).session_id == "ses_a"
    assert tell("session.deleted", info=SESSION).session_id == SESSION["id"]
    status = {"type": "retry", "attempt": 2, "message": "x", "next": 5}
    assert tell("session.status", sessionID="ses_a", status=status).value == status
    assert tell("session.idle", sessionID="ses_a").kind == "idle"
    failed = tell(
        "session.error", sessionID="ses_a", error={"name": "APIError", "data": {"message": "m", "statusCode": 400}}
    )
    assert (failed.kind, failed.session_id, failed.value.text, failed.value.status) == ("failed", "ses_a", "m", 400)
    assert tell("session.error", error={"name": "X"}).session_id is None
    assert tell("message.updated", sessionID="ses_a", info=USER).value.ended is False
    assert tell("message.removed", sessionID="ses_a", messageID="msg_1").value == "msg_1"
    part = tell("message.part.updated", part={**PART, "type": "text", "text": "\ud800"})
    assert (part.session_id, part.value.body["text"]) == ("ses_a", "\\ud800")
    assert tell("message.part.delta", **DELTA).value == ("msg_1", "prt_1", "text", "x")
    removed = {"sessionID": "ses_a", "messageID": "msg_1", "partID": "prt_1"}
    assert tell("message.part.removed", **removed).value == ("msg_1", "prt_1")
    assert tell("message.part.removed", sessionID="ses_a", messageID="msg_1") is None
    assert tell("permission.asked", id="per_1", sessionID="ses_a").kind == "permission.asked"


@pytest.mark.requirement("O-061")
def test_the_global_stream_is_unwrapped_and_its_duplicates_dropped():
    event = {"id": "evt_1", "type": "session.idle", "properties": {"sessionID": "ses_a"}}
    assert events.read(json.dumps({"directory": "/x", "payload": event}).encode()).kind == "idle"
    sync = {"type": "sync", "syncEvent": {"id": "x", "type": "session.created.1", "data": {}}}
    assert events.read(json.dumps({"directory": "/x", "payload": sync}).encode()) is None


def tell_numbered(kind, data, seq=7, session_id="ses_a"):
    sync = {"type": "sync", "id": "evt_1", "syncEvent": {"id": "evt_1", "type": kind, "seq": seq, "data": data}}
    sync["syncEvent"]["aggregateID"] = session_id
    return events.read(json.dumps({"directory": "/x", "payload": sync}).encode(), True)


@pytest.mark.requirement("O-061", "O-078")
def test_where_there_are_numbers_they_are_told_and_the_plain_duplicates_dropped():
    told = {"sessionID": SESSION["id"], "info": SESSION}
    change = tell_numbered("session.updated.1", told, session_id=SESSION["id"])
    assert (change.kind, change.seq, change.directory) == ("session", 7, "/x")
    assert (change.session_id, change.value) == (SESSION["id"], shapes.session(SESSION))
    assert tell_numbered("session.deleted.1", told, session_id=SESSION["id"]).kind == "deleted"
    removed = tell_numbered("message.removed.1", {"sessionID": "ses_a", "messageID": "msg_1"})
    assert (removed.kind, removed.value, removed.seq) == ("message.removed", "msg_1", 7)
    for kind, properties in (
        ("session.updated", told),
        ("message.removed", {"sessionID": "ses_a", "messageID": "msg_1"}),
    ):
        data = json.dumps({"directory": "/x", "payload": {"type": kind, "properties": properties}}).encode()
        assert events.read(data, True) is None and events.read(data).seq is None
    delta = {"type": "message.part.delta", "properties": DELTA}
    assert events.read(json.dumps({"directory": "/x", "payload": delta}).encode(), True).kind == "part.delta"


@pytest.mark.requirement("O-063", "O-078")
def test_a_number_counts_whether_or_not_its_event_can_be_read():
    for kind, data in (
        ("session.next.moved.1", {}),
        ("session.updated.2", {"sessionID": "ses_a", "info": SESSION}),
        ("session.updated.1", {"sessionID": SESSION["id"], "info": SESSION}),  # of another session than it says
        ("session.updated.1", 5),
        (5, {}),
    ):
        change = tell_numbered(kind, data)
        assert (change.kind, change.session_id, change.seq, change.value) == ("other", "ses_a", 7, None)
    for seq, session_id in ((None, "ses_a"), (-1, "ses_a"), (True, "ses_a"), (1.5, "ses_a"), (1, "wrk_1"), (1, 5)):
        assert tell_numbered("session.updated.1", {}, seq, session_id) is None


@pytest.mark.requirement("O-063")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'{"type":5}',
        b'{"type":"session.next.moved","properties":{}}',
        b'{"type":"session.updated"}',
        b'{"type":"session.updated","properties":{"info":5}}',
        b'{"type":"session.deleted","properties":{}}',
        b'{"type":"session.idle","properties":{"sessionID":5}}',
        b'{"type":"session.idle","properties":{"sessionID":"../x"}}',
        b'{"type":"message.updated","properties":{"info":{"time":{}}}}',
        b'{"type":"message.part.updated","properties":{"part":5}}',
        b'{"type":"session.status","properties":{"sessionID":"ses_a","status":{"type":"new"}}}',
        b'{"payload":5}',
        b'{"type":"sync","properties":{}}',
        b'{"type":"sync","syncEvent":5}',
        b'{"type":"sync","syncEvent":{}}',
    ],
)
def test_what_is_unknown_or_odd_is_ignored(data):
    assert events.read(data) is None
    assert events.read(data, True) is None


@pytest.mark.requirement("O-061")
def test_of_what_the_recorded_stream_tells_twice_one_is_read_and_the_other_not_even_parsed(monkeypatch):
    parsed, parse = [], shapes.parse
    monkeypatch.setattr(shapes, "parse", lambda data: (parsed.append(data), parse(data))[1])
    path = Path(__file__).parents[1] / "recorded" / "global_event.sse"
    recorded = [block.removeprefix(b"data: ") for block in path.read_bytes().split(b"\n\n") if block]
    payloads = [json.loads(data)["payload"] for data in recorded]
    numbered = [each["syncEvent"] for each in payloads if each["type"] == "sync"]
    assert len(numbered) == 18
    found = [change for data in recorded if (change := events.read(data, True)) and change.seq is not None]
    assert [change.seq for change in found] == [each["seq"] for each in numbered] == [*range(18)]
    assert {change.session_id for change in found} == {numbered[0]["aggregateID"]}
    logged = [data for data, each in zip(recorded, payloads, strict=True) if each["type"] in events._LOGGED]
    assert len(logged) == 18 and not set(logged) & set(parsed) and len(parsed) == len(recorded) - 18


@pytest.mark.requirement("O-061")
@pytest.mark.parametrize("place", ["metadata", "title", "directory"])
def test_an_event_is_not_taken_for_another_by_what_stands_in_it(place):
    inner = {"payload": {"id": "evt_2", "type": "session.updated"}}
    text = json.dumps(inner, separators=(",", ":"))
    info = {**SESSION, place: inner if place == "metadata" else text}
    told = {"type": "session.updated.1", "seq": 3, "aggregateID": SESSION["id"], "data": {"info": info}}
    directory = text if place == "directory" else "/x"
    for separators in ((",", ":"), (", ", ": ")):
        event = {"directory": directory, "payload": {"type": "sync", "syncEvent": told, "id": "evt_1"}}
        change = events.read(json.dumps(event, separators=separators).encode(), True)
        assert (change.seq, change.kind, change.directory) == (3, "session", directory)
        plain = {"id": "evt_1", "type": "session.updated", "properties": {"info": info}}
        event = {"directory": directory, "payload": plain}
        assert events.read(json.dumps(event, separators=separators).encode(), True) is None
