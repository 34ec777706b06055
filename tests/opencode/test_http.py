"""A request ends in time, whatever the server does, and says what happened."""

import contextlib
import gc
import gzip
import mmap
import socket
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.opencode import health, http, http_connection
from plue_session.adapters.opencode.api_call import headers
from plue_session.call import Call
from tests.opencode.stub import Stub, reply


@pytest.fixture
def stub():
    with Stub() as server:
        yield server


@pytest.fixture
def transport(stub):
    made = http.Transport(stub.url, {})
    yield made
    made.close()


def within(seconds):
    return Call(time.monotonic() + seconds)


def get(transport, seconds=5.0, call=None, **more):
    return transport.send("GET", "/x", {"directory": "/d"}, None, call or within(seconds), **more)


def ended_in(seconds, began):
    return time.monotonic() - began < seconds


def test_a_request_names_what_it_must(stub):
    transport = http.Transport(stub.url + "/prefix/", headers(None, "pä:ss"))
    stub.answers.append(reply(200, {"a": 1}))
    answer = transport.send("POST", "/x", {"directory": "/dü r", "none": None}, b"{}", within(5))
    transport.close()
    method, target, sent, body = stub.requests[0]
    assert (answer.status, answer.type, answer.body) == (200, "application/json", b'{"a": 1}')
    assert (method, target, body) == ("POST", "/prefix/x?directory=%2Fd%C3%BC%20r", b"{}")
    assert sent["authorization"] == "Basic b3BlbmNvZGU6cMOkOnNz"
    assert sent["accept-encoding"] == "identity" and sent["content-type"] == "application/json"
    assert "cookie" not in sent


def test_the_environment_changes_nothing(stub, transport, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    stub.answers += [reply(200, headers=["Set-Cookie: a=b"]), reply(200)]
    assert get(transport).status == get(transport).status == 200
    assert all("authorization" not in sent and "cookie" not in sent for _, _, sent, _ in stub.requests)


def test_a_connection_is_kept_for_the_next_request(stub, transport):
    stub.answers += [reply(200, b"{}")] * 3
    for _ in range(3):
        get(transport)
    assert len(stub.connections) == 1


def test_who_asks_connects_and_asks_itself(stub, transport, monkeypatch):
    """To wake another thread, and to be woken by it, takes longer than all else."""
    threads = set(threading.enumerate())
    monkeypatch.setattr("plue_session.threads.start", None)
    stub.answers += [reply(200), reply(200, headers=["Connection: close"]), reply(200)]
    for _ in range(3):
        get(transport)
    assert len(stub.connections) == 2
    assert not [each for each in set(threading.enumerate()) - threads if each.name.startswith("plue")]


def test_a_request_that_waits_for_a_connection_gets_the_one_that_another_caller_has_used(stub, monkeypatch):
    monkeypatch.setattr(http, "MOST", 1)
    transport, arrived = http.Transport(stub.url, {}), threading.Event()
    stub.answers += [
        reply(200),
        lambda connection: (arrived.wait(5), connection.sendall(reply(200, b"1"))),
        reply(200, b"2"),
    ]
    get(transport)
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(get(transport).body)) for _ in range(2)]
    threads[0].start()
    stub.asked.get(timeout=5)
    stub.asked.get(timeout=5)
    threads[1].start()
    until = time.monotonic() + 5
    while not transport._waiting:  # a call that waits for a connection has nothing else to show
        assert time.monotonic() < until
        time.sleep(0.001)
    arrived.set()
    for thread in threads:
        thread.join(5)
    transport.close()
    assert bodies == [b"1", b"2"] and len(stub.connections) == 1


def test_a_request_and_its_body_come_in_one_piece(stub, transport):
    pieces = []
    stub.answers.append(reply(200))
    original = socket.socket.sendall
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            socket.socket, "sendall", lambda sock, data: (pieces.append(bytes(data)), original(sock, data))[1]
        )
        transport.send("PATCH", "/x", {}, b'{"title":"a"}', within(5))
    asked = [piece for piece in pieces if piece.startswith(b"PATCH")]
    assert len(asked) == 1 and asked[0].endswith(b'\r\n\r\n{"title":"a"}')


def test_an_answer_that_is_compressed_although_nobody_asked_is_read(stub, transport):
    stub.answers += [reply(200, gzip.compress(b"a" * 3_000_000), headers=["Content-Encoding: gzip"]), reply(200, b"{}")]
    assert get(transport).body == b"a" * 3_000_000
    assert get(transport).body == b"{}"
    assert len(stub.connections) == 1


@pytest.mark.parametrize("data", [gzip.compress(b"a" * 1000, mtime=0)[:-9], b"no gzip"], ids=["cut", "none"])
def test_a_compressed_answer_that_is_cut_or_is_none_is_an_error(stub, transport, data):
    stub.answers += [
        stub.hang_up(reply(200, data, headers=["Content-Encoding: gzip"], length=len(data) + 9)),
        reply(200),
    ]
    with pytest.raises(errors.PlueError):
        get(transport)
    assert get(transport).status == 200


def test_a_long_answer_is_in_memory_of_its_own_and_one_that_is_cut_is_an_error(stub, transport):
    text = bytes(range(256)) * 1024
    stub.answers += [
        reply(200, text),
        reply(200, text[:131_071]),
        stub.hang_up(reply(200, text[:200_000], length=len(text))),
    ]
    first, second = get(transport).body, get(transport).body
    assert (
        type(first) is mmap.mmap
        and first[:] == text
        and type(second) is bytes
        and second == text[:131_071]
        and len(stub.connections) == 1
    )
    with pytest.raises(errors.Connection, match="in the middle of the answer"):
        get(transport)


def test_an_answer_that_has_no_body_although_it_tells_a_length_is_complete(stub, transport):
    stub.answers += [reply(304, length=5), reply(200)]
    assert [get(transport).status for _ in range(2)] == [304, 200] and len(stub.connections) == 1


@pytest.mark.parametrize("path", ["", "/", "/a/../b", "/%2e%2e/b", "/%7Eme", "/a%2fb"])
def test_the_path_of_the_url_is_sent_as_it_is_by_requests_and_by_the_question_for_health(stub, path):
    transport, stub.well = http.Transport(stub.url + path, {}), False
    stub.answers += [reply(200), reply(200, {"healthy": True})]
    get(transport)
    health.probe(stub.url + path, {}, 5)
    assert [target for _, target, _, _ in stub.requests] == [
        f"{path.rstrip('/')}/x?directory=%2Fd",
        f"{path.rstrip('/')}/global/health",
    ]
    transport.close()


def test_a_path_that_no_url_may_hold_is_encoded_alike_everywhere(stub):
    transport, stub.well = http.Transport(stub.url + "/pr\u00e9 x/", {}), False
    stub.answers += [reply(200), reply(200, {"healthy": True})]
    get(transport)
    health.probe(stub.url + "/pr\u00e9 x/", {}, 5)
    assert [target for _, target, _, _ in stub.requests] == [
        "/pr%C3%A9%20x/x?directory=%2Fd",
        "/pr%C3%A9%20x/global/health",
    ]
    transport.close()


@pytest.mark.parametrize("url", ["http://[zz]:1", "http://h:1;x", "http://\u00ff\u2603..x:1"])
def test_a_url_that_names_no_server_is_an_error_and_nothing_was_sent(url):
    transport = http.Transport(url, {})
    with pytest.raises(errors.PlueError) as caught:
        get(transport)
    assert caught.value.details == {"sent": False}
    transport.close()


def test_a_server_that_ends_the_connection_after_each_answer_is_asked_on_a_new_one(stub, transport):
    stub.answers += [reply(200, b"{}", headers=["Connection: close"])] * 3
    assert [get(transport).body for _ in range(3)] == [b"{}"] * 3
    assert len(stub.connections) == 3


@pytest.mark.parametrize(
    "answer",
    [
        lambda stub: stub.stall(),
        lambda stub: stub.stall(b"HTTP/1.1 200 OK\r\nContent-Le"),
        lambda stub: stub.stall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        lambda stub: stub.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        lambda stub: stub.drip(b"HTTP/1.1 200 OK\r\nX: "),
    ],
    ids=["silence", "half a header", "half a body", "a body byte by byte", "a header byte by byte"],
)
def test_a_slow_server_is_a_timeout_in_time_and_the_connection_is_cut(stub, transport, answer):
    stub.answers += [reply(200), answer(stub), reply(200, b"{}")]
    get(transport)  # which imports what it takes, and connects
    began = time.monotonic()
    with pytest.raises(errors.Timeout, match="GET /x in time") as caught:
        get(transport, 0.4)
    assert ended_in(1.5, began) and caught.value.details == {"sent": True}
    stub.ended.get(timeout=5)
    assert get(transport).status == 200


def test_a_server_that_does_not_read_what_it_is_sent_is_a_timeout_in_time():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        transport = http.Transport(f"http://127.0.0.1:{deaf.getsockname()[1]}", {})
        body, began = b" " * 50_000_000, time.monotonic()
        with pytest.raises(errors.Timeout, match="not known") as caught:
            transport.send("POST", "/x", {}, body, within(2))
        assert ended_in(8, began) and caught.value.details == {"sent": True}
        transport.close()


def test_requests_that_last_are_in_nobodys_way(stub, transport):
    """A command of the server's is answered at its end, which may take minutes."""
    barrier, outcomes = threading.Event(), []
    slow = lambda connection: (barrier.wait(10), connection.sendall(reply(200, b"{}")))  # noqa: E731
    stub.default = lambda method, target: slow if method == "POST" else reply(200, b"{}")

    def ask():
        outcomes.append(transport.send("POST", "/x", {}, b"{}", within(10), lasts=True).status)

    threads = [threading.Thread(target=ask) for _ in range(2 * http.MOST)]
    for thread in threads:
        thread.start()
    for _ in threads:
        stub.asked.get(timeout=5)
    for _ in range(http.MOST):
        assert get(transport, 5).status == 200
    barrier.set()
    for thread in threads:
        thread.join(5)
    assert outcomes == [200] * len(threads) and len(stub.connections) == len(threads) + 1


def test_closing_cuts_a_request_that_lasts(stub):
    transport, outcomes = http.Transport(stub.url, {}), []
    stub.default = lambda method, target: stub.stall()

    def ask():
        try:
            transport.send("POST", "/x", {}, b"{}", within(10), lasts=True)
        except errors.PlueError as error:
            outcomes.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    stub.asked.get(timeout=5)
    transport.close()
    thread.join(5)
    assert isinstance(outcomes[0], errors.Closed)
    assert transport._free == http.MOST and not transport._lent


@pytest.mark.requirement("O-065")
def test_a_change_that_may_be_sent_twice_is_not_when_its_time_is_up_and_says_that_it_was_sent(stub, transport):
    for _ in range(10):
        stub.answers += [reply(200), stub.stall()]
        get(transport)
        with pytest.raises(errors.Timeout, match="not known") as caught:
            transport.send("PATCH", "/x", {}, b"{}", within(0.05), resend=True)
        assert caught.value.details == {"sent": True}
        stub.ended.get(timeout=5)
    assert [request[0] for request in stub.requests] == ["GET", "PATCH"] * 10


@pytest.mark.requirement("O-065")
def test_a_change_whose_second_attempt_is_refused_was_sent_all_the_same(stub, transport):
    stub.answers += [reply(200), lambda connection: (stub.refuse(), stub.hang_up()(connection))]
    get(transport)
    with pytest.raises(errors.Connection, match="cannot be reached .*; whether it took effect is not known") as caught:
        transport.send("PATCH", "/x", {}, b"{}", within(5), resend=True)
    assert caught.value.details == {"sent": True}


def test_a_connect_that_nobody_answers_is_a_timeout_in_time():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(4):  # the backlog is full: further connects get no answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        transport = http.Transport(f"http://127.0.0.1:{full.getsockname()[1]}", {})
        began = time.monotonic()
        with pytest.raises(errors.Timeout) as caught:
            get(transport, 0.2)
        assert ended_in(0.5, began) and caught.value.details == {"sent": False}
        transport.close()
        for filler in fillers:
            filler.close()


@pytest.fixture
def hanging(monkeypatch):
    """A name server that answers when it is `set`; `asked` are the names that it was asked for."""
    release, look_up = threading.Event(), socket.getaddrinfo
    release.asked, release.begun = [], threading.Event()

    def hang(host, *others):
        if others[-1] == socket.AI_NUMERICHOST:
            return look_up(host, *others)
        release.asked.append(host)
        release.begun.set()
        release.wait(10)
        return look_up(host, *others)

    monkeypatch.setattr(http_connection.socket, "getaddrinfo", hang)
    yield release
    release.set()


def test_a_name_lookup_that_hangs_is_a_timeout_in_time_and_is_not_begun_twice(stub, hanging):
    transport = http.Transport(stub.url.replace("127.0.0.1", "localhost"), {})
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(errors.Timeout) as caught:
            get(transport, 0.1)
        assert ended_in(3, began) and caught.value.details == {"sent": False}
    assert hanging.begun.wait(5) and hanging.asked == ["localhost"]
    hanging.set()
    stub.answers.append(reply(200))
    assert get(transport).status == 200
    transport.close()


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_who_waits_for_a_name_lookup_is_woken(stub, hanging, how):
    transport, call = http.Transport(f"http://{how}.invalid:4096", {}), within(10)
    end = transport.close if how == "close" else lambda: call.set(errors.Closed("x", ""))
    threading.Timer(0.1, end).start()
    began = time.monotonic()
    with pytest.raises(errors.Closed):
        get(transport, call=call)
    assert ended_in(5, began)
    transport.close()


def test_where_no_thread_can_be_started_a_name_cannot_be_looked_up_and_the_error_says_so(stub, monkeypatch):
    def refuse(name, run):
        raise RuntimeError("can't start new thread")

    transport = http.Transport(stub.url.replace("127.0.0.1", "localhost"), {})
    stub.answers.append(reply(200))
    with monkeypatch.context() as patch:
        patch.setattr("plue_session.threads.make", refuse)
        for _ in range(http.MOST + 1):
            with pytest.raises(errors.StoreIo, match="no thread can be started"):
                get(transport)
    assert get(transport).status == 200
    transport.close()


def test_a_name_that_does_not_exist_is_an_error_that_says_so(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(http_connection.socket, "getaddrinfo", unknown)
    transport = http.Transport("http://opencode.invalid:4096", {})
    with pytest.raises(errors.Connection, match="name cannot be resolved .Name or service") as caught:
        get(transport)
    assert caught.value.details == {"sent": False}
    transport.close()


def test_cancelling_ends_a_request_at_once_with_the_error_given(stub, transport):
    call = within(10)
    stub.answers.append(stub.stall())
    threading.Thread(target=lambda: (stub.asked.get(timeout=5), call.set(errors.Aborted("aborted")))).start()
    began = time.monotonic()
    with pytest.raises(errors.Aborted):
        get(transport, call=call)
    assert ended_in(2, began)
    stub.ended.get(timeout=5)
    with pytest.raises(errors.Aborted):
        get(transport, call=call)
    assert len(stub.requests) == 1


def test_closing_cuts_requests_within_100_ms(stub):
    transport = http.Transport(stub.url, {})
    stub.default = lambda method, target: stub.stall()
    outcomes = []

    def call():
        try:
            get(transport, 30)
        except errors.PlueError as error:
            outcomes.append(error.name)

    threads = [threading.Thread(target=call) for _ in range(http.MOST + 4)]
    for thread in threads:
        thread.start()
    for _ in range(http.MOST):
        stub.asked.get(timeout=5)
    began = time.monotonic()
    transport.close()
    assert ended_in(0.25, began)  # 100 ms, and a busy machine's share
    for thread in threads:
        thread.join(5)
    assert outcomes == ["CLOSED"] * len(threads)
    with pytest.raises(errors.Closed):
        get(transport)
    transport.close()


@pytest.mark.requirement("O-066")
def test_at_most_eight_requests_are_under_way(stub, transport):
    running, most, lock = [0], [0], threading.Lock()
    barrier = threading.Event()

    def slow(connection):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        barrier.wait(5)
        with lock:
            running[0] -= 1
        connection.sendall(reply(200, b"{}"))

    stub.default = lambda method, target: slow
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(get(transport, 10).status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for _ in range(http.MOST):
        stub.asked.get(timeout=5)
    barrier.set()
    for thread in threads:
        thread.join(5)
    assert outcomes == [200] * 20 and most[0] == http.MOST and len(stub.connections) == http.MOST


@pytest.mark.requirement("O-065")
def test_a_dropped_kept_connection_is_made_up_for_once_and_only_where_resending_is_harmless(stub, transport):
    stub.answers += [reply(200), stub.hang_up(), reply(200)]
    get(transport)
    assert get(transport, resend=True).status == 200
    assert len(stub.requests) == 3
    stub.answers += [stub.hang_up(), reply(200)]
    with pytest.raises(errors.Connection, match="without an answer to GET /x") as caught:
        get(transport)
    assert caught.value.details == {"sent": True} and len(stub.requests) == 4
    stub.answers[:] = [stub.hang_up(), stub.hang_up(), reply(200)]
    with pytest.raises(errors.Connection):
        get(transport, resend=True)  # a new connection that is dropped is no accident
    assert len(stub.requests) == 5


def test_nobody_listening_is_a_connection_error_at_once(stub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    transport = http.Transport(f"http://127.0.0.1:{port}", {})
    with pytest.raises(errors.Connection, match="cannot be reached .Connection refused.") as caught:
        get(transport)
    assert caught.value.details == {"sent": False}
    transport.close()


@pytest.mark.parametrize(
    "answer, kind, text",
    [
        (
            lambda stub: stub.hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
            errors.Connection,
            "in the middle of the answer",
        ),
        (
            lambda stub: stub.hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            errors.Connection,
            "in the middle",
        ),
        (
            lambda stub: stub.hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"),
            errors.Connection,
            "in the middle",
        ),
        (lambda stub: stub.hang_up(b"HTTP/1.1 200 OK\r\nContent-Type: applic"), errors.Connection, "without an answer"),
        (lambda stub: stub.hang_up(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), errors.Server, "not HTTP"),
        (lambda stub: stub.hang_up(b"\x00\xff" * 100), errors.Server, "not HTTP"),
    ],
)
def test_a_broken_answer_is_an_error_that_says_so(stub, transport, answer, kind, text):
    stub.answers += [answer(stub), reply(200)]
    with pytest.raises(kind, match=text):
        get(transport)
    assert get(transport).status == 200


def test_an_answer_that_is_too_large_is_refused_before_it_is_read(stub, transport, monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    stub.answers += [reply(200, b" " * 1000), reply(200, b" " * 1001), reply(200)]
    assert len(get(transport).body) == 1000
    with pytest.raises(errors.LimitExceeded, match="1000 bytes"):
        get(transport)
    assert get(transport).status == 200


def test_redirects_are_answers(stub, transport):
    stub.answers.append(reply(302, headers=["Location: http://127.0.0.1:9/"]))
    assert get(transport).status == 302


@pytest.mark.requirement("O-001", "O-002")
def test_a_server_that_was_lost_is_asked_whether_it_is_well_before_anything_else(stub, transport):
    """One that is just starting accepts connections and never answers what is asked on them: that must not take the
    whole deadline."""
    healthy = reply(200, {"healthy": True})
    stub.answers += [reply(200), stub.hang_up(), stub.stall(), stub.stall(), healthy, reply(204)]
    stub.well = False
    get(transport)
    began = time.monotonic()
    assert get(transport, 20, resend=True).status == 204
    assert time.monotonic() - began < 5
    assert [request[1].partition("?")[0] for request in stub.requests] == [
        "/x",
        "/x",
        "/global/health",
        "/global/health",
        "/global/health",
        "/x",
    ]
    stub.answers += [reply(200)]
    assert get(transport).status == 200 and len(stub.requests) == 7


@pytest.mark.requirement("O-002")
def test_a_server_in_doubt_that_ends_each_connection_is_asked_on_the_next(stub, transport):
    stub.well, last = False, ["Connection: close"]
    stub.answers += [reply(200), stub.hang_up(), reply(200, {"healthy": True}, headers=last), reply(204, headers=last)]
    get(transport)
    with pytest.raises(errors.Connection):
        get(transport)
    assert get(transport).status == 204
    assert [request[1].partition("?")[0] for request in stub.requests] == ["/x", "/x", "/global/health", "/x"]


@pytest.mark.requirement("P-113")
def test_a_closed_transport_has_closed_its_connections_without_the_collectors_help(stub, transport):
    before, _ = open_sockets(stub), gc.disable()
    try:
        get(transport)
        assert len(open_sockets(stub) - before) == 2  # with its copy, which cuts it
        transport.close()
        assert not open_sockets(stub) - before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "answer, error",
    [
        (lambda stub: reply(200, b" " * 2000), errors.LimitExceeded),
        (lambda stub: stub.stall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), errors.Timeout),
        (lambda stub: stub.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), errors.Timeout),
        (lambda stub: stub.stall(b"HTTP/1.1 200 OK\r\n"), errors.Timeout),
        (lambda stub: stub.hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), errors.Connection),
    ],
)
@pytest.mark.requirement("P-113")
def test_a_failed_request_has_closed_its_connection_without_the_collectors_help(
    stub, transport, monkeypatch, answer, error
):
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    before, kept, _ = open_sockets(stub), [], gc.disable()
    try:
        for _ in range(3):
            stub.answers += [reply(200), answer(stub)]
            assert get(transport).status == 200
            with pytest.raises(error) as caught:
                get(transport, 0.2)
            kept.append(caught.value)  # whoever keeps the error does not keep the socket
        get(transport)
        assert len(open_sockets(stub) - before) == 2
    finally:
        gc.enable()


def open_sockets(stub):
    """Return the descriptors of our sockets that are, or were, connected with the stub. (Other tests of this process
    leave threads with sockets of their own, which end meanwhile.)"""
    found = set()
    for each in gc.get_objects():
        if isinstance(each, socket.socket) and each.family == socket.AF_INET:
            with contextlib.suppress(OSError):  # closed meanwhile
                if each.getsockname()[1] != stub.port and _peer(each) in (stub.port, None):
                    found.add(each.fileno())
    return found


def _peer(connection):
    try:
        return connection.getpeername()[1]
    except OSError:
        return None


def test_a_server_that_stays_silent_is_a_timeout_and_nothing_was_sent(stub, transport):
    stub.answers += [stub.hang_up(), stub.stall(), stub.stall(), stub.stall()]
    stub.well = False
    with pytest.raises(errors.Connection):
        get(transport)
    with pytest.raises(errors.Timeout) as caught:
        get(transport, 0.6)
    assert caught.value.details == {"sent": False} and {request[1] for request in stub.requests[1:]} == {
        "/global/health"
    }
