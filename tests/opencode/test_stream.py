"""The event stream is followed for ever: snapshot first, nothing lost without a new snapshot, ended at once."""

import json
import os
import queue
import signal
import socket
import threading
import time
import uuid
import zlib

import pytest

from plue_session import errors
from plue_session.adapters.opencode import stream as module
from plue_session.adapters.opencode.api_call import headers
from plue_session.adapters.opencode.history import History
from plue_session.adapters.opencode.stream import Stream
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(kind, **properties):
    return b"data: " + json.dumps({"id": "evt_1", "type": kind, "properties": properties}).encode() + b"\n\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def idle(number):
    return event("session.idle", sessionID=f"ses_{number}")


CONNECTED = event("server.connected")


class Follower:
    """What a stream's user sees, in order, as one queue of texts."""

    def __init__(self, url, directory="/d", headers=None, snapshot=None, apply=None, state=None, **more):
        self.seen = queue.Queue()
        self.stream = Stream(
            lambda call: url() if callable(url) else url,
            directory,
            headers or {},
            snapshot or self.snapshot,
            apply or self.apply,
            state or self.state,
            **{"back_off": (0.02, 0.1), **more},
        )

    def snapshot(self):
        self.seen.put("snapshot")

    def apply(self, changes):
        for change in changes:
            self.seen.put(f"{change.kind} {change.session_id}" + (f" {change.seq}" if change.seq is not None else ""))

    def state(self, error):
        self.seen.put("up" if error is None else f"down {error.name}")

    def next(self, seconds=10):
        return self.seen.get(timeout=seconds)

    def until(self, text, seconds=10):
        """Skip what comes before `text`."""
        until = time.monotonic() + seconds
        while self.next(until - time.monotonic()) != text:
            pass

    def __enter__(self):
        self.stream.start()
        return self

    def __exit__(self, *_):
        self.stream.stop()


@pytest.fixture
def stub():
    with Stub() as server:
        yield server


@pytest.mark.requirement("O-058")
def test_the_snapshot_comes_after_subscribing_and_before_what_was_heard_meanwhile(stub):
    order = []

    def snapshot():
        order.append(len(stub.requests))
        follower.seen.put("snapshot")

    stub.answers.append(stub.stall(HEAD + chunk(CONNECTED + idle(1)) + chunk(idle(2))))
    follower = Follower(stub.url, snapshot=snapshot, headers={"Authorization": "Basic x"})
    with follower:
        assert [follower.next() for _ in range(4)] == ["snapshot", "up", "idle ses_1", "idle ses_2"]
    assert order == [1]
    method, target, headers, _ = stub.requests[0]
    assert (method, target) == ("GET", "/event?directory=%2Fd") and headers["authorization"] == "Basic x"


@pytest.mark.requirement("O-062")
def test_the_first_event_is_heard_at_once_chunked_or_not(stub):
    stub.answers.append(
        stub.stall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n" + CONNECTED)
    )
    began = time.monotonic()
    with Follower(stub.url) as follower:
        assert follower.next() == "snapshot" and time.monotonic() - began < 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_stream_is_read_as_every_answer_is_with_hints_before_it_and_compressed_on_its_way(stub, encoding):
    """Something on the way may do so, although nobody asked: calls went on, and nothing was ever heard."""
    packing = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    parts = [
        packing.compress(data) + packing.flush(zlib.Z_SYNC_FLUSH) for data in (CONNECTED + idle(1)[:5], idle(1)[5:])
    ]
    hints, head = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n",
        HEAD[:-2] + f"Content-Encoding: {encoding}\r\n\r\n".encode(),
    )
    stub.answers.append(stub.stall(hints + head + b"".join(map(chunk, parts))))
    with Follower(stub.url) as follower:
        assert [follower.next() for _ in range(3)] == ["snapshot", "up", "idle ses_1"]


@pytest.mark.parametrize("head", [b"Content-Encoding: br\r\n\r\n", b"Content-Encoding: gzip\r\n\r\n"])
def test_a_stream_that_cannot_be_read_is_a_state_that_says_so(stub, head):
    stub.default = lambda method, target: HEAD[:-2] + head + chunk(CONNECTED)
    with Follower(stub.url) as follower:
        assert follower.next() == "down SERVER"


@pytest.mark.requirement("O-058")
def test_after_a_reconnect_and_after_a_disposal_there_is_a_new_snapshot(stub):
    stub.answers += [
        stub.hang_up(HEAD + chunk(CONNECTED + idle(1))),
        stub.stall(HEAD + chunk(CONNECTED + event("server.instance.disposed", directory="/d") + idle(2))),
    ]
    with Follower(stub.url) as follower:
        assert [follower.next() for _ in range(9)] == [
            "snapshot",
            "up",
            "idle ses_1",
            "down CONNECTION",
            "snapshot",
            "up",
            "snapshot",
            "disposed None",
            "idle ses_2",
        ]


@pytest.mark.requirement("O-059")
def test_silence_ends_a_connection(stub):
    stub.answers += [stub.stall(HEAD + chunk(CONNECTED)), stub.stall(HEAD + chunk(CONNECTED))]
    with Follower(stub.url, silence=0.2) as follower:
        assert [follower.next() for _ in range(4)] == ["snapshot", "up", "down CONNECTION", "snapshot"]


@pytest.mark.requirement("O-059")
def test_reconnecting_backs_off_up_to_the_longest_pause_and_tells_of_the_loss_once(stub, monkeypatch):
    pauses, enough = [], threading.Event()
    monkeypatch.setattr(module.random, "uniform", lambda least, most: most)

    def pause(self, seconds):
        pauses.append(seconds)
        if len(pauses) == 8:
            enough.set()
            self._stopping = True

    monkeypatch.setattr(Stream, "_pause", pause)
    stub.default = lambda method, target: reply(500)
    with Follower(stub.url, back_off=module.BACK_OFF) as follower:
        assert enough.wait(10)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert follower.seen.qsize() <= 1


def test_our_own_servers_return_ends_the_pause(stub):
    stub.answers += [reply(500), stub.stall(HEAD + chunk(CONNECTED))]
    with Follower(stub.url, back_off=(60, 60)) as follower:
        assert follower.next() == "down SERVER"
        follower.stream.hurry()
        assert follower.next() == "snapshot"


def test_how_a_hurried_attempt_ends_is_told_even_if_nothing_has_changed(stub):
    stub.answers += [reply(500), reply(500), stub.stall(HEAD + chunk(CONNECTED))]
    with Follower(stub.url, back_off=(60, 60)) as follower:
        for _ in range(2):
            assert follower.next() == "down SERVER" and not follower.stream.hears
            follower.stream.hurry()
        assert [follower.next() for _ in range(2)] == ["snapshot", "up"] and follower.stream.hears


@pytest.mark.parametrize(
    "answer, state",
    [
        (reply(401, content_type=None), "ACCESS_DENIED"),
        (reply(200, b"<html>", "text/html"), "SERVER"),
        (reply(200, b"{}"), "SERVER"),
        (reply(404), "SERVER"),
        (b"SSH-2.0\r\n\r\n", "SERVER"),
    ],
)
def test_what_is_no_event_stream_is_a_state_that_says_so(stub, answer, state):
    stub.default = lambda method, target: answer
    with Follower(stub.url) as follower:
        assert follower.next() == f"down {state}"


@pytest.mark.requirement("O-062")
def test_an_event_that_is_too_large_is_skipped_and_costs_a_snapshot_not_the_connection(stub):
    large = chunk(b"data: " + b"x" * 10_000_001) + chunk(b"\n\n")
    stub.answers += [stub.stall(HEAD + chunk(CONNECTED) + chunk(idle(1)) + large + chunk(idle(2)))]
    with Follower(stub.url) as follower:
        assert [follower.next() for _ in range(5)] == ["snapshot", "up", "idle ses_1", "snapshot", "idle ses_2"]
    assert len(stub.requests) == 1


def test_a_snapshot_that_fails_is_tried_again_with_a_new_connection(stub):
    failures = [errors.Timeout("x")]

    def snapshot():
        if failures:
            raise failures.pop()
        follower.seen.put("snapshot")

    stub.default = lambda method, target: stub.stall(HEAD + chunk(CONNECTED))
    follower = Follower(stub.url, snapshot=snapshot)
    with follower:
        assert follower.next() == "down TIMEOUT"
        follower.until("snapshot")
        assert follower.next() == "up"


@pytest.mark.parametrize("where", ["snapshot", "apply"])
def test_a_defect_of_who_is_called_is_told_and_does_not_end_the_following(stub, where):
    defects = [ValueError("x")]

    def broken(*_):
        if defects:
            raise defects.pop()
        follower.seen.put(where)

    stub.default = lambda method, target: stub.stall(HEAD + chunk(CONNECTED + idle(1)))
    follower = Follower(stub.url, **{where: broken})
    with follower:
        follower.until("down UNKNOWN")
        follower.until(where)


@pytest.mark.requirement("X-013")
@pytest.mark.parametrize("where", ["locate", "on_state"])
def test_a_defect_in_either_thread_is_no_print_and_does_not_end_the_following(stub, where, capfd):
    defects = [AttributeError("x"), TypeError("y")]
    stub.default = lambda method, target: (
        reply(401, content_type=None) if where == "on_state" and defects else stub.stall(HEAD + chunk(CONNECTED))
    )

    def broken(*told):
        if defects:
            raise defects.pop()
        return stub.url if where == "locate" else follower.state(*told)

    follower = Follower(broken) if where == "locate" else Follower(stub.url, state=broken)
    with follower:
        if where == "locate":
            assert follower.next() == "down UNKNOWN"
        follower.until("up")
    assert capfd.readouterr().err == ""


@pytest.mark.requirement("O-060")
def test_the_reader_does_not_wait_for_who_applies_and_too_much_becomes_a_snapshot(stub, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    begun, release = threading.Event(), threading.Event()

    def snapshot():
        begun.set()
        release.wait(10)
        follower.seen.put("snapshot")

    taken = threading.Event()

    def flood(connection):
        connection.sendall(HEAD + chunk(CONNECTED))
        begun.wait(10)
        for number in range(200):
            connection.sendall(chunk(b"".join(idle(number * 100 + each) for each in range(100))))
        taken.set()
        stub.stall()(connection)

    stub.answers.append(flood)
    follower = Follower(stub.url, snapshot=snapshot)
    with follower:
        assert taken.wait(10)  # 20,000 events, 2 MB: the sender was never stopped
        release.set()
        follower.until("snapshot")
        follower.until("snapshot")
        follower.until("idle ses_19999")


@pytest.mark.parametrize("when", ["connected", "silent", "paused", "connecting", "resolving"])
def test_stopping_takes_at_most_100_ms(stub, when, monkeypatch):
    reached, release = threading.Event(), threading.Event()

    def hang(*_):
        reached.set()
        release.wait(10)
        raise OSError("released")

    if when == "resolving":  # "localhost" is a name
        look_up, stub.url = socket.getaddrinfo, stub.url.replace("127.0.0.1", "localhost")
        monkeypatch.setattr(
            "socket.getaddrinfo",
            lambda *asked: look_up(*asked) if asked[-1] == socket.AI_NUMERICHOST else hang(),
        )
    elif when == "paused":
        monkeypatch.setattr(  # nothing outside tells that the stream waits before it tries again
            Stream, "_pause", lambda self, seconds, real=Stream._pause: (reached.set(), real(self, seconds))
        )
        stub.default = lambda method, target: reply(500)
    elif when == "connecting":
        monkeypatch.setattr("socket.socket.connect", hang)
    else:
        stub.default = lambda method, target: stub.stall() if when == "silent" else stub.stall(HEAD + chunk(CONNECTED))
    follower = Follower(stub.url, back_off=(60, 60))
    with follower:
        if when == "silent":
            stub.asked.get(timeout=5)
        elif when == "connected":
            follower.until("up")
        else:
            assert reached.wait(5)
        began = time.monotonic()
        follower.stream.stop()
        assert time.monotonic() - began < 0.25  # 100 ms, and a busy machine's share
        follower.stream.stop()
    release.set()


def anywhere(kind, directory="/d", seq=None, **properties):
    """An event of all directories' stream; with `seq` the numbered one."""
    payload = {"id": "evt_1", "type": kind, "properties": properties}
    if seq is not None:
        logged = {"type": f"{kind}.1", "seq": seq, "aggregateID": properties["sessionID"], "data": properties}
        payload = {"id": "evt_1", "type": "sync", "syncEvent": logged}
    return b"data: " + json.dumps({"directory": directory, "payload": payload}).encode() + b"\n\n"


@pytest.mark.requirement("O-078")
@pytest.mark.parametrize("numbered", [True, False])
def test_of_what_is_told_twice_the_one_with_the_number_is_taken_where_there_are_numbers(stub, numbered):
    told = {"sessionID": "ses_1", "messageID": "msg_1"}
    twice = anywhere("message.removed", **told) + anywhere("message.removed", seq=4, **told)
    stub.answers.append(stub.stall(HEAD + chunk(anywhere("server.connected", None) + twice)))
    with Follower(stub.url, sequences=lambda until: numbered) as follower:
        expected = ["snapshot", "up", "message.removed ses_1 4" if numbered else "message.removed ses_1"]
        assert [follower.next() for _ in expected] == expected
        assert follower.stream.numbered is numbered and follower.seen.empty()
    assert stub.requests[0][1] == "/global/event"


@pytest.mark.requirement("O-078")
def test_of_other_directories_only_what_is_of_known_sessions_is_told(stub):
    said = b"".join(
        anywhere("session.idle", directory, sessionID=f"ses_{number}")
        for number, directory in enumerate(("/d", "/other", "/other"))
    )
    gone = anywhere("server.instance.disposed", "/other") + anywhere("server.instance.disposed")
    stub.answers.append(stub.stall(HEAD + chunk(anywhere("server.connected", None) + said + gone)))
    with Follower(stub.url, sequences=lambda until: True, knows=lambda session_id: session_id == "ses_2") as follower:
        expected = ["snapshot", "up", "idle ses_0", "idle ses_2", "snapshot", "disposed None"]
        assert [follower.next() for _ in expected] == expected


@pytest.mark.requirement("O-078", "O-063")
@pytest.mark.parametrize("answer", [reply(404), reply(500, content_type=None), reply(200, b"<html>", "text/html")])
def test_an_older_server_is_followed_in_one_directory_and_each_new_connection_tries_again(stub, answer):
    ends = [stub.hang_up(HEAD + chunk(CONNECTED + idle(1))), stub.stall(HEAD + chunk(CONNECTED))]
    stub.answers += [answer, ends[0], answer, ends[1]]
    with Follower(stub.url, sequences=lambda until: True) as follower:
        expected = ["snapshot", "up", "idle ses_1", "down CONNECTION", "snapshot", "up"]
        assert [follower.next() for _ in expected] == expected
        assert follower.stream.numbered is False
    assert [target for _, target, _, _ in stub.requests] == ["/global/event", "/event?directory=%2Fd"] * 2


def test_whether_there_are_numbers_is_asked_before_the_snapshot_and_anew_if_it_cannot_be_said(stub):
    answers = [errors.Timeout("x"), True]

    def ask(until):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        follower.seen.put("asked")
        return answer

    stub.default = lambda method, target: stub.stall(HEAD + chunk(CONNECTED))
    follower = Follower(stub.url, sequences=ask)
    with follower:
        assert [follower.next() for _ in range(4)] == ["down TIMEOUT", "asked", "snapshot", "up"]


def test_what_waits_is_handed_on_together(stub):
    groups, begun, sent = queue.Queue(), threading.Event(), threading.Event()
    count = 2 * module.GROUP + 44

    def snapshot():
        begun.set()
        sent.wait(10)

    def flood(connection):
        connection.sendall(HEAD + chunk(CONNECTED))
        begun.wait(10)
        connection.sendall(chunk(b"".join(map(idle, range(count)))) + chunk(CONNECTED))
        while len(follower.stream._waiting) < count:  # what is read and not handed on yet has nothing else to show
            time.sleep(0.01)
        sent.set()
        stub.stall()(connection)

    stub.answers.append(flood)
    follower = Follower(stub.url, snapshot=snapshot, apply=groups.put)
    with follower:
        told = [groups.get(timeout=5) for _ in range(3)]
    assert [len(group) for group in told] == [module.GROUP, module.GROUP, 44]
    assert [change.session_id for group in told for change in group] == [f"ses_{number}" for number in range(count)]


def test_another_clients_changes_are_heard_from_the_real_server(server, client, repository):
    heard = queue.Queue()
    given = headers(server.username, server.password)
    with Follower(server.url(soon()), repository, given, apply=lambda each: list(map(heard.put, each))) as follower:
        assert [follower.next(), follower.next()] == ["snapshot", "up"]
        session = client.create(uuid.uuid4().hex, soon(), title="Heard")
        # `session.created` may come before the reply or after it (O-029).
        assert heard.get(timeout=5).value == session
        renamed = client.update(session.id, soon(), title="Renamed")
        while (change := heard.get(timeout=5)).kind != "session" or change.value.title != "Renamed":
            pass
        assert change.value == renamed
        client.delete(session.id, soon())
        while (change := heard.get(timeout=5)).kind != "deleted":
            pass
        assert change.session_id == session.id


@pytest.mark.requirement("O-058", "O-065")
def test_after_a_kill_of_the_real_server_the_stream_comes_back(server, client, repository):
    with Follower(lambda: server.url(soon(30)), repository, headers(server.username, server.password)) as follower:
        assert [follower.next(), follower.next()] == ["snapshot", "up"]
        os.killpg(server.pid, signal.SIGKILL)
        follower.until("down CONNECTION")
        follower.until("snapshot", 30)
        assert follower.next() == "up"


@pytest.mark.requirement("O-078", "P-123")
def test_the_real_servers_numbers_have_no_hole_and_the_last_is_what_it_answered(server, client, repository):
    heard, given = queue.Queue(), headers(server.username, server.password)
    follower = Follower(
        server.url(soon()),
        repository,
        given,
        apply=lambda changes: list(map(heard.put, changes)),
        sequences=History(client).is_there,
    )
    with follower:
        assert [follower.next(), follower.next()] == ["snapshot", "up"]
        session = client.create(uuid.uuid4().hex, soon(), title="Numbered")
        answers = [session, *(client.update(session.id, soon(), title=f"Numbered {number}") for number in range(5))]
        client.delete(session.id, soon())
        changes = []
        while not changes or changes[-1].kind != "deleted":
            change = heard.get(timeout=5)
            if change.session_id == session.id:
                changes.append(change)
    assert [change.seq for change in changes] == list(range(7))
    assert [change.value for change in changes[:-1]] == answers
