"""How every request goes out and its answer comes in. It needs requests, which takes 100 ms to import: see `needs`.

requests and urllib3 make the connections and secure them; no environment, no redirects, no cookies, no netrc. What
passes over a connection is written and read here, with http.client (see `answers`).
"""

import functools
import http.client
import mmap
import socket
import ssl
import time

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import is_connection_dropped

from plue_session import errors
from plue_session.adapters.opencode.connection import TimedSocket, lack, prefix, tls_context, untrusted
from plue_session.adapters.opencode.http_exchange import Reply, unknown
from plue_session.adapters.opencode.http_response import HttpResponse

#: Bytes that are read at a time: nearly every answer in one piece, which is not copied again.
PIECE = 1 << 24
#: Bytes from which on a body is in memory of its own, which goes with it: the allocator would keep some for each
#: thread.
LARGE = 1 << 17
#: What requests, urllib3, http.client and the system raise when a connection fails.
FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
_REACH = "See that the server runs and that backend.url names it, then try again."


class Dropped(Exception):
    """The exchange failed below HTTP's meaning; `cause` is what requests, urllib3 or the system raised."""

    def __init__(self, cause, begun):
        super().__init__(str(cause))
        self.cause, self.begun = cause, begun

    def translated(self, exchange):
        """Return the `PlueError` for it. `begun`: part of the answer was there."""
        details, call = {"sent": exchange.sent}, f"{exchange.method} {exchange.target.partition('?')[0]}"
        cause = self.cause
        if (error := lack(cause)) is not None:
            error.cause, error.details = error.cause + unknown(exchange), details
            return error
        if isinstance(cause, socket.gaierror):
            return errors.Connection(
                f"the server's name cannot be resolved ({cause.strerror})", _REACH, details=details
            )
        if not exchange.sent and (error := untrusted(cause, details)) is not None:
            return error
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return errors.Timeout(
                f"the server did not answer {call} in time{unknown(exchange)}",
                "Try again, or raise requestTimeoutMs.",
                details=details,
            )
        if (
            isinstance(
                cause, (ConnectionError, ssl.SSLError, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)
            )
            or self.begun
        ):
            how = (
                ("in the middle of the answer" if self.begun else "without an answer")
                if exchange.sent
                else "before it was asked"
            )
            reason = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
            reached = exchange.sent and not isinstance(cause, ConnectionRefusedError)  # that may be of a second attempt
            doing = f"the server ended the connection {how} to {call}" if reached else "the server cannot be reached"
            return errors.Connection(f"{doing}{reason}{unknown(exchange)}", _REACH, details=details)
        if isinstance(cause, OSError):
            return errors.Connection(
                f"the server cannot be reached ({cause.strerror or cause})", _REACH, details=details
            )
        return errors.Server(
            f"what the server answered {call} is not HTTP",
            "See that backend.url is an OpenCode server.",
            details=details,
        )


class HttpConnection:
    """One kept connection to the server at `base`, made by `dial(connection)`; each request carries `headers`. For one
    thread at a time."""

    def __init__(self, dial, base, headers):
        class Plain(HTTPConnection):
            def _new_conn(self):
                return dial(self)

        class Secure(HTTPSConnection):
            def _new_conn(self):
                return dial(self)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self._base, self._lines = base, "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._adapter.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        self._connection = self._prefix = None

    def perform(self, exchange, most):
        """Send the exchange and read the whole answer; `Dropped` when the connection fails, `LIMIT_EXCEEDED` beyond
        `most` bytes.

        Timeouts are the exchange's whole time: its caller cuts the connection at the deadline, wherever that falls.
        """
        begun = keep = False
        try:
            try:
                answer = self._ask(exchange)
                begun = True
                try:
                    body = _body(answer, most)
                    keep = not answer.will_close and answer.isclosed()  # it was read to its end
                finally:
                    answer.close()  # it holds the socket, too
            finally:
                if not keep and self._connection is not None:
                    self._connection.close()
        except FAILURES as error:
            raise Dropped(_root(error), begun) from None
        return Reply(answer.status, answer.headers, body)

    def open(self, exchange, silence):
        """Send the exchange and return its `HttpResponse`, whose body its caller reads; of that each byte may take
        `silence` seconds. `Dropped` as above."""
        try:
            answer = self._ask(exchange)
        except FAILURES as error:
            raise Dropped(_root(error), False) from None
        if isinstance(self._connection.sock, TimedSocket):
            self._connection.sock.deadline = None
        self._connection.sock.settimeout(silence)
        return answer

    def _prepare(self):
        """Have requests prepare a connection; nothing is connected yet."""
        request = requests.Request("GET", self._base).prepare()
        find = getattr(self._adapter, "get_connection_with_tls_context", None)  # requests 2.31 does not have it
        pool = find(request, True) if find else self._adapter.get_connection(request.url)
        self._prefix = prefix(self._base)
        self._connection = pool._new_conn()
        if request.url.startswith("https:"):
            self._connection.ssl_context = tls_context()

    def _ask(self, exchange):
        """Send the request and return its `HttpResponse`, of which the body is still to be read.

        Neither requests' nor urllib3's own way is taken: with retries, redirects and proxies, which are not wanted
        here, it takes three times the processor's time, and sends a body in a packet of its own.
        """
        if self._connection is None:
            self._prepare()
        connection = self._connection
        if connection.sock is not None and is_connection_dropped(connection):
            connection.close()
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(max(exchange.deadline - time.monotonic(), 0.001))  # to send; with TLS, each read
        if isinstance(connection.sock, TimedSocket):
            connection.sock.deadline = exchange.deadline
        body, kind = exchange.body or b"", ""
        if exchange.body is not None:
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        elif exchange.method in ("POST", "PATCH"):
            kind = "Content-Length: 0\r\n"
        head = f"{exchange.method} {self._prefix}{exchange.target} HTTP/1.1\r\nHost: {_authority(connection)}\r\n{self._lines}{kind}\r\n"
        exchange.sent = True
        try:
            connection.sock.sendall(head.encode("latin-1") + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server may answer before it has read everything
        answer = HttpResponse(connection.sock, method=exchange.method)
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self):
        """Close the connection: the collector may never come by."""
        if self._connection is not None:
            self._connection.close()
        self._adapter.close()


def _authority(connection):
    """Return what names the server in a request: its port only where it is not the usual one."""
    host = f"[{connection.host.partition('%')[0]}]" if ":" in connection.host else connection.host
    return host if connection.port == connection.default_port else f"{host}:{connection.port}"


def _body(answer, most):
    if "content-encoding" in answer.headers:  # although it was not asked for
        source = urllib3.HTTPResponse(answer, answer.headers, answer.status, preload_content=False)
        read, expected = functools.partial(source.read, decode_content=True), 0
    else:
        read, expected = answer.read, answer.length or 0
    if LARGE <= expected <= most and not answer.chunked:
        return _mapped(answer, expected)
    pieces, size = [], 0
    while max(size, expected) <= most and (piece := read(PIECE)):
        pieces.append(piece)
        size += len(piece)
    if max(size, expected) > most:
        raise errors.LimitExceeded(f"the server's answer has more than {most} bytes", "Ask for less at a time.")
    # http.client tells nobody that the connection ended early.
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)


def _mapped(answer, size):
    """Return a body that long, which is still to be read, as a `mmap`: what reads it takes parts of it, which are
    bytes."""
    body, read = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
    with memoryview(body) as view:
        while read < size:
            with view[read:] as rest:
                got = answer.readinto(rest)
            if not got:
                raise http.client.IncompleteRead(b"", size - read)
            read += got
    return body


def _root(error):
    """Return what is behind the wrappers: requests puts urllib3's exception in `args`, urllib3 the system's in its
    own."""
    while True:
        inner = [
            each
            for each in (*error.args, getattr(error, "reason", None), error.__cause__)
            if isinstance(each, Exception)
        ]
        if not inner:
            return error
        error = inner[0]
