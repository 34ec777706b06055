"""The head of an HTTP answer, read from a real socket, and held to what http.client makes of the same bytes."""

import http.client
import socket

import pytest

from plue_session.adapters.opencode.http_response import LONGEST, MOST, HttpResponse


def read(data):
    """Return the answer that `data` is, after which the connection ends, with its head and its body read."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as source:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        answer = HttpResponse(source)
        answer.read_all(1_000_000)
        return answer


def read_by_http_client(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        with http.client.HTTPResponse(ours, method="GET") as answer:
            answer.begin()
            answer.body = answer.read()
        return answer


HEADS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",  # a server that forgets the returns
    b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX: trailer\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nCONTENT-TYPE:text/html ; charset=utf-8\r\ncontent-length:  2 \r\n\r\n<>",
    b"HTTP/1.1 200 OK\r\nX: first\r\nContent-Length: 2\r\nX: second\r\n\r\n{}",
)


@pytest.mark.parametrize("data", HEADS)
def test_a_head_is_read_as_http_client_reads_it(data):
    ours, theirs = read(data), read_by_http_client(data)
    assert (ours.status, ours.body, ours.is_kept) == (theirs.status, theirs.body, not theirs.will_close)
    assert ours.headers.keys() == {name.lower() for name in theirs.headers}
    assert {name: theirs.headers[name].strip() for name in ours.headers} == ours.headers


def test_interim_answers_are_passed_over_and_a_change_of_protocol_ends_the_connection():
    answer = read(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    )
    assert (answer.status, answer.headers, answer.body) == (200, {"content-length": "2"}, b"{}")
    answer = read(b"HTTP/1.1 101 Switching Protocols\r\n\r\nbytes of it")
    assert (answer.status, answer.body, answer.is_kept) == (101, b"", False)


def test_a_header_that_is_folded_is_one_and_a_line_that_is_none_is_passed_over():
    answer = read(b"HTTP/1.1 200 OK\r\nX: one\r\n\ttwo\r\nnonsense\r\n lost\r\nContent-Length:\r\n 2\r\n\r\n{}")
    assert answer.headers == {"x": "one two", "content-length": "2"}
    assert answer.body == b"{}"


@pytest.mark.parametrize(
    "data, error",
    [
        (b"", ConnectionResetError),
        (b"SSH-2.0-OpenSSH\r\n", ValueError),
        (b"HTTP/2.0 200 OK\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Type: app", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * LONGEST + b"\r\n\r\n", ValueError),
        (
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(MOST + 1)) + b"\r\n",
            ValueError,
        ),
    ],
)
def test_a_head_that_is_none_has_no_end_or_is_too_long_is_an_error(data, error):
    with pytest.raises(error):
        read(data)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"3;a=b\r\nabc\r\n1\nd\n0A\r\n\r\n23456\r\n9\r\n0\r\nX: trailer\r\n\r\n"


class Pieces:
    """A source that gives what it has in these pieces, and ends."""

    def __init__(self, *pieces):
        self._head, self._pieces = CHUNKED.splitlines(keepends=True), [piece for piece in pieces if piece]

    def readline(self, most):
        return self._head.pop(0)

    def read1(self, most):
        return self._pieces.pop(0) if self._pieces else b""


def test_a_body_in_chunks_is_the_same_wherever_it_is_split():
    for place in range(len(BODY) + 1):
        for pieces in ([BODY[:place], BODY[place:]], [BODY[:place], *([byte] for byte in BODY[place:])]):
            answer = HttpResponse(Pieces(*map(bytes, pieces)))
            answer.read_all(100)
            assert answer.body == b"abcd\r\n23456\r\n9"
    answer = HttpResponse(Pieces(BODY))
    assert answer.read() == b"abcd\r\n23456\r\n9" and answer.read() == answer.read() == b""


def test_what_has_come_of_a_chunk_is_handed_on_at_once():
    answer = HttpResponse(Pieces(b"5", b"\r\nab", b"c", b"de\r", b"\n", b"1\r\nf"))
    assert [answer.read() for _ in range(4)] == [b"ab", b"c", b"de", b"f"]
    with pytest.raises(ConnectionResetError):
        answer.read()


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n1\r\na\r\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\na\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1;" + b"y" * LONGEST,
        b"1;" + b"y" * LONGEST + b"\r\n",
        b"0\r\n" + b"X: y\r\n" * (MOST + 1),
    ],
)
def test_chunks_that_are_none_are_an_error(body):
    with pytest.raises(ValueError):
        HttpResponse(Pieces(body)).read_all(100_000)
