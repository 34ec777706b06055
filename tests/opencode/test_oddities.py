"""What a real server will not do on demand: lost replies, missing routes, web pages, wrong types, bare failures."""

import base64
import json
import threading
import time
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import pytest

from plue_session import errors
from plue_session.adapters.opencode import events, http
from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply

SESSION = {"id": "ses_a", "title": "T", "directory": "/", "version": "1", "time": {"created": 1, "updated": 2}}
PAGE = reply(200, b"<!doctype html><title>OpenCode</title>", "text/html")


@pytest.fixture
def stub():
    with Stub() as server:
        yield server


@pytest.fixture
def client(stub):
    made = Client(lambda call: stub.url, "/", heard=EventSignal())
    yield made
    made.close()


def made(token):
    return {**SESSION, "metadata": {"plue_session": token}}


@pytest.mark.requirement("O-065")
def test_a_create_whose_reply_is_lost_is_found_and_not_sent_again(stub, client):
    stub.answers += [stub.hang_up(), reply(200, [{**SESSION, "id": "ses_b"}, made("tok")])]
    assert client.create("tok", soon()).id == "ses_a"
    assert [request[0] for request in stub.requests] == ["POST", "GET"]
    assert json.loads(stub.requests[0][3]) == {"metadata": {"plue_session": "tok"}}


@pytest.mark.requirement("O-065")
def test_a_create_that_did_not_happen_fails_and_is_not_sent_again(stub, client):
    stub.answers += [stub.hang_up(), reply(200, [])]
    with pytest.raises(errors.Connection) as caught:
        client.create("tok", soon())
    assert caught.value.details["sent"] and [request[0] for request in stub.requests] == ["POST", "GET"]


@pytest.mark.requirement("P-176")
@pytest.mark.parametrize("answer", [reply(500), PAGE, reply(200, b"[")], ids=["bare 500", "page", "cut"])
def test_a_lost_create_stays_lost_whatever_its_search_meets(stub, client, answer):
    stub.answers.append(stub.hang_up())
    stub.default = lambda method, target: answer
    with pytest.raises(errors.Connection) as caught:
        client.create("tok", soon(1))
    assert caught.value.details["sent"] and len(stub.requests) > 2  # it may still be found


def test_a_delete_while_the_server_is_being_restarted_says_so():
    def locate(call):
        raise errors.Connection("the server is being restarted", "Try again.")

    with pytest.raises(errors.Connection, match="restarted"):
        Client(locate, "/").delete("ses_a", soon(1))


def test_a_lost_create_is_searched_for_until_the_server_is_back(stub, client):
    stub.answers += [stub.hang_up(), stub.hang_up(), stub.hang_up(), reply(200, [made("tok")])]
    assert client.create("tok", soon()).id == "ses_a"


@pytest.mark.requirement("O-065")
def test_what_a_gateway_says_of_a_server_that_is_away_is_no_word_of_the_servers(stub, client):
    """It may have passed the request on: a create is looked for, but not for long, and a delete is sent again."""
    away = reply(502, b"<html>Bad Gateway</html>", "text/html")
    stub.answers += [away, away, reply(200, [made("tok")])]
    assert client.create("tok", soon()).id == "ses_a"
    stub.answers += [away, reply(404, {"name": "NotFoundError"})]
    client.delete("ses_a", soon())
    stub.default = lambda method, target: away
    began = time.monotonic()
    for call in (
        lambda: client.create("tok", soon(30)),
        lambda: client.update("ses_a", soon(30), title="x"),
        lambda: client.delete("ses_a", soon(30)),
        lambda: client.get("ses_a", soon(30)),
        lambda: client.survey(None, soon(30)),
    ):
        with pytest.raises(errors.Connection) as caught:
            call()
        assert caught.value.details == {"status": 502, "server": "a web page", "sent": True}
    assert time.monotonic() - began < 6


def test_a_create_that_is_not_answered_in_time_can_be_found_later(stub, client):
    stub.default = lambda method, target: stub.stall()  # also what looks for it, should there be time for that
    with pytest.raises(errors.Timeout) as caught:
        client.create("tok", soon(1))
    stub.default = lambda method, target: reply(200, [made("tok")])
    assert caught.value.details["sent"] and client.find_created("tok", soon()).id == "ses_a"


@pytest.mark.requirement("P-116")
@pytest.mark.parametrize(
    "missing",
    [PAGE, reply(404, b"404 Not Found", "text/plain"), reply(405, content_type=None), reply(500, content_type=None)],
)
def test_where_the_route_is_missing_a_session_is_read_from_the_list(stub, client, missing):
    stub.answers += [missing, reply(200, [SESSION]), missing, reply(200, [SESSION])]
    assert client.get("ses_a", soon()).title == "T"
    with pytest.raises(errors.NotFound):
        client.get("ses_b", soon())
    assert "limit=1000000" in stub.requests[1][1]


@pytest.mark.requirement("P-117")
@pytest.mark.parametrize(
    "answer",
    [
        reply(404, b"404 page not found", "text/plain"),
        reply(404, b"", None),
        reply(404, b"<html>not found</html>", "text/html"),
        reply(404, {"message": "no Route matched with those values"}),
    ],
    ids=["text", "empty", "page", "gateway"],
)
def test_a_404_of_something_on_the_way_is_not_an_absence(stub, client, answer):
    for call in (
        lambda: client.get("ses_a", soon()),
        lambda: client.update("ses_a", soon(), title="x"),
        lambda: client.delete("ses_a", soon()),
        lambda: client.children("ses_a", soon()),
        lambda: client.status(soon()),
    ):
        stub.answers[:] = [answer] * 3
        with pytest.raises(errors.Server) as caught:
            call()
        assert caught.value.details["status"] == 404


def test_a_failure_of_the_read_is_not_an_absence(stub, client):
    for answer, kind in (
        (reply(500, {"name": "UnknownError"}), errors.Server),
        (reply(503, b"", None), errors.Connection),
        (stub.stall(), errors.Timeout),
    ):
        stub.answers[:] = [answer]
        with pytest.raises(kind):
            client.get("ses_a", soon(0.3))


@pytest.mark.requirement("O-012")
@pytest.mark.parametrize(
    "answer",
    [
        PAGE,
        reply(200, b"{}", None),
        reply(200, b"", None),
        reply(200, b"{", "application/json"),
        reply(200, b"\xff\xfe", "application/json"),
        reply(200, b"[" * 5000, "application/json"),
        reply(200, {"a": 1}),
        reply(200, [1]),
        reply(200, b'[{"title":"no id"}]'),
        reply(204, b"", None),
        reply(302, b"", None),
    ],
)
def test_what_is_not_the_json_that_was_asked_for_is_a_server_error(stub, client, answer):
    stub.answers.append(answer)
    with pytest.raises(errors.Server) as caught:
        client.list(soon())
    assert len(caught.value.message("plue_session_list")) < 1000


DEEP = {**SESSION, "id": "ses_odd", "metadata": json.loads("[" * 200 + "]" * 200)}
DEEP["metadata"] = {"a": DEEP["metadata"]}


def test_a_session_that_cannot_be_read_costs_itself_alone(stub, client):
    """It is in no list, a lost create is found all the same, and the children of one that is deleted are known by their
    ids."""
    odd = [{"id": "ses_odd", "time": 5}, DEEP]
    for each in odd:
        stub.answers += [
            reply(200, [each, SESSION]),
            stub.hang_up(),
            reply(200, [each, made("tok")]),
            reply(200, [each, SESSION]),
        ]
        assert [session.id for session in client.list(soon())] == ["ses_a"]
        assert client.create("tok", soon()).id == "ses_a"
        children = client.children("ses_p", soon())
        assert [child.id for child in children.changed] == ["ses_a"] and children.unreadable == ["ses_odd"]


@pytest.mark.requirement("P-116", "P-117")
def test_a_session_that_cannot_be_read_is_not_taken_for_gone_where_the_route_is_missing(stub, client):
    stub.answers += [PAGE, reply(200, [{"id": "ses_odd", "time": 5}])]
    with pytest.raises(errors.Server, match="cannot be read"):
        client.get("ses_odd", soon())


GARBLED = [PAGE, reply(200, b'{"id":"ses_a","ti', "application/json"), reply(200, b"", None), reply(204, b"", None)]


@pytest.mark.requirement("P-176", "O-012")
@pytest.mark.parametrize("answer", [*GARBLED, reply(500, {"name": "UnknownError"})])
def test_a_create_whose_answer_is_of_no_use_is_found_by_its_token(stub, client, answer):
    stub.answers += [answer, reply(200, [made("tok")])]
    assert client.create("tok", soon()).id == "ses_a"
    stub.answers += [answer, reply(200, [SESSION])]
    with pytest.raises(errors.Server):
        client.create("tok", soon())
    assert [request[0] for request in stub.requests] == ["POST", "GET"] * 2


@pytest.mark.requirement("O-012")
@pytest.mark.parametrize("answer", GARBLED)
def test_a_change_whose_answer_is_of_no_use_is_searched_for(stub, client, answer):
    stub.answers += [answer, reply(200, {**SESSION, "title": "x"})]
    assert client.update("ses_a", soon(), title="x").title == "x"
    stub.answers += [answer, reply(200, SESSION)]
    with pytest.raises(errors.Server) as caught:
        client.update("ses_a", soon(), title="x")
    assert "whether it took effect is not known yet" in caught.value.cause
    stub.answers[:] = [reply(200, b"{", "application/json"), reply(404, {"name": "NotFoundError"})]
    client.delete("ses_a", soon())
    stub.answers[:] = [PAGE, reply(200, SESSION)]
    with pytest.raises(errors.Server) as caught:
        client.delete("ses_a", soon())
    assert "whether it took effect is not known yet" in caught.value.cause


@pytest.mark.requirement("O-011", "T-08")
@pytest.mark.parametrize(
    "name, sent", [("plain", "plain"), ("100% done", "100%25%20done"), ("x%41y", "x%252541y"), ("a%2Fb", "a%25252Fb")]
)
def test_a_directory_is_the_same_one_after_the_server_has_decoded_its_name_twice(stub, tmp_path, name, sent):
    (tmp_path / name).mkdir()
    client = Client(lambda call: stub.url, str(tmp_path / name), heard=EventSignal())
    stub.answers.append(reply(200, []))
    client.list(soon())
    client.close()
    assert stub.requests[0][1].partition("directory=")[2].partition("&")[0].endswith("%2F" + sent)


@pytest.mark.requirement("O-012")
def test_any_2xx_is_success(stub, client):
    stub.answers.append(reply(201, SESSION, "application/json; charset=utf-8"))
    assert client.create("tok", soon()).id == "ses_a"


@pytest.mark.requirement("O-014")
def test_a_bare_500_is_joined_by_the_text_that_the_event_stream_has_for_it(stub, client):
    client.heard.connected = True
    bare = reply(500, {"name": "UnknownError", "data": {"message": "Unexpected server error.", "ref": "err_1"}})

    def answer(connection):
        client.heard.hear(
            events.read(
                json.dumps(
                    {
                        "type": "session.error",
                        "properties": {
                            "sessionID": "ses_a",
                            "error": {"name": "X", "data": {"message": "Model not found: a/b"}},
                        },
                    }
                ).encode()
            )
        )
        connection.sendall(bare)

    stub.answers += [bare, answer]
    with pytest.raises(errors.Server) as caught:
        client.update("ses_a", soon(), title="x")
    assert "reason" not in caught.value.details
    with pytest.raises(errors.Server) as caught:
        client.update("ses_a", soon(), title="x")
    assert "Model not found: a/b" in caught.value.message("plue_session_update_title")
    assert (
        caught.value.details
        == {
            "status": 500,
            "error": "UnknownError",
            "ref": "err_1",
            "server": "Unexpected server error.",
            "reason": "Model not found: a/b",
        }
        and caught.value.session == "ses_a"
    )


@pytest.mark.requirement("O-031")
def test_a_404_is_a_delete_only_when_the_delete_was_sent_before(stub, client):
    gone = reply(404, {"name": "NotFoundError", "data": {"message": "x"}})
    stub.answers += [gone]
    with pytest.raises(errors.NotFound):
        client.delete("ses_a", soon())
    stub.answers += [stub.hang_up(), gone]
    client.delete("ses_a", soon())
    assert len(stub.requests) == 3


@pytest.mark.requirement("O-019", "P-121")
def test_a_patch_holds_what_changes_and_nothing_else(stub, client):
    stub.default = lambda method, target: reply(200, SESSION)
    client.update("ses_a", soon(), title="x")
    client.update("ses_a", soon(), archived=None)
    client.update("ses_a", soon(), archived=7, metadata={"a": 1})
    assert [json.loads(body) for _, _, _, body in stub.requests] == [
        {"title": "x"},
        {"time": {"archived": 0}},
        {"metadata": {"a": 1}, "time": {"archived": 7}},
    ]


@pytest.mark.requirement("O-011")
def test_every_request_names_a_directory(stub, client):
    stub.default = lambda method, target: reply(200, [])
    client.list(soon())
    client.list(soon(), directory="/other place")
    assert [target.partition("directory=")[2].partition("&")[0] for _, target, _, _ in stub.requests] == [
        "%2F",
        "%2Fother%20place",
    ]


def test_a_share_without_a_link_is_none(stub, client):
    links = {}, {"url": ""}, {"url": "https://opncd.ai/s/1"}
    stub.answers += [reply(200, {**SESSION, "share": share}) for share in links]
    for _ in range(2):
        with pytest.raises(errors.Unsupported):
            client.share("ses_a", soon())
    assert client.share("ses_a", soon()).share_url == "https://opncd.ai/s/1"


@pytest.mark.requirement("O-012")
def test_a_change_that_is_answered_by_nothing_is_done_and_by_a_web_page_is_not(stub, client):
    calls = (
        lambda: client.delete("ses_a", soon()),
        lambda: client.stop_turn("ses_a", soon()),
        lambda: client.prompt("ses_a", "msg_1", [{}], ("p", "m"), soon()),
    )
    for call in calls:
        for answer in (reply(204, b"", None), reply(200, b"", None), reply(202, True)):
            stub.answers[:] = [answer]
            call()
        stub.answers[:] = [PAGE]
        with pytest.raises(errors.Server, match="not JSON"):
            call()


@pytest.mark.parametrize("call", ["get", "update", "share", "unshare"])
def test_an_answer_about_another_session_is_not_taken_for_it(stub, client, call):
    stub.answers.append(reply(200, {**SESSION, "id": "ses_b", "share": {"url": "https://s"}}))
    with pytest.raises(errors.Server, match="ses_b"):
        getattr(client, call)("ses_a", soon(), **({"title": "x"} if call == "update" else {}))


@pytest.mark.requirement("P-176")
def test_of_the_time_of_a_create_some_is_kept_for_finding_it(stub, client):
    stub.answers += [stub.stall(), reply(200, [made("tok")])]
    assert client.create("tok", soon(2)).id == "ses_a"


@pytest.mark.requirement("P-185")
def test_a_change_without_an_answer_says_that_its_effect_is_not_known(stub, client):
    stub.answers += [stub.stall(), stub.hang_up(), stub.stall()]
    with pytest.raises(errors.Timeout, match="not known yet"):
        client.update("ses_a", soon(1), title="x")
    with pytest.raises(errors.PlueError) as caught:
        client.delete("ses_a", soon(1))
    assert "not known yet" in caught.value.cause


def test_metadata_that_is_too_deep_is_the_servers_fault_and_named(stub, client):
    deep = json.loads('{"a":' * 300 + "1" + "}" * 300)
    stub.answers.append(reply(200, {**SESSION, "metadata": deep}))
    with pytest.raises(errors.Server, match="deeper than 128"):
        client.get("ses_a", soon())


@pytest.mark.requirement("O-009", "T-09")
def test_a_password_of_any_bytes_is_sent_as_it_is(stub):
    """As the environment may hold it: what is not UTF-8 stands there as lone surrogates."""
    client = Client(
        lambda call: stub.url, "/", None, b"\xff\xfe".decode("utf-8", "surrogateescape"), heard=EventSignal()
    )
    stub.answers.append(reply(200, []))
    client.list(soon())
    client.close()
    sent = next(value for name, value in stub.requests[0][2].items() if name.lower() == "authorization")
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"opencode:\xff\xfe"


@pytest.mark.parametrize(
    "said, low, high",
    [
        (600, 598_000, 602_000),
        (-600, -602_000, -598_000),
        (0, 0, 0),
        ("yesterday", 0, 0),
        ("Fri, 32 Dec 9999 99:99:99 GMT", 0, 0),
        ("Thu, 01 Jan 0000 00:00:00 GMT", -1 << 50, 0),
        (None, 0, 0),
    ],
)
def test_what_the_servers_clock_shows_is_what_its_last_answer_says(stub, client, said, low, high):
    """Titles that the server makes are told from its messages' times (O-027): they are compared by its own clock."""
    assert client.ahead() == 0
    date = formatdate(time.time() + said, usegmt=True) if isinstance(said, int) else said
    stub.answers.append(reply(200, SESSION, headers=[f"Date: {date}"] if date else ()))
    assert client.get("ses_a", soon()).id == "ses_a" and low <= client.ahead() <= high


def test_messages_that_are_too_much_for_one_answer_are_read_in_smaller_pages(stub, client, monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER", 10_000)

    def answer(method, target):
        limit = int(parse_qs(urlsplit(target).query)["limit"][0])
        message = {"id": "msg_1", "sessionID": "ses_a", "role": "user", "time": {"created": 1}, "text": "x" * 1000}
        return reply(200, [{"info": message, "parts": []}] * limit, headers=("x-next-cursor: more",))

    stub.default = answer
    page, cursor = client.messages("ses_a", soon())
    assert (len(page), cursor) == (6, "more")
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    with pytest.raises(errors.LimitExceeded):
        client.messages("ses_a", soon())


@pytest.mark.parametrize("what", ["command", "summarize"])
def test_commands_that_are_slow_hold_up_no_other_call(stub, client, monkeypatch, what):
    monkeypatch.setattr(http, "MOST", 1)
    barrier = threading.Event()
    slow = lambda connection: (barrier.wait(10), connection.sendall(reply(200, b"{}")))  # noqa: E731
    stub.default = lambda method, target: slow if method == "POST" else reply(200, b"{}")
    given = ("msg_a", "init", "", ("p", "m")) if what == "command" else (("p", "m"),)
    threads = [threading.Thread(target=getattr(client, what), args=("ses_a", *given, soon())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        stub.asked.get(timeout=5)
    assert client.status(soon(3)) == {}
    barrier.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
