"""The part of `http` that needs requests, which takes 100 ms to import: imported by the first worker, never before.

`HTTPAdapter.send` is used without a `requests.Session`: no environment, no redirects, no cookies, no netrc. What it and urllib3
find out anew for each request is found out once: four fifths of the time per request.
"""

import http.client
import socket
import ssl
import time
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from plue_session import errors
from plue_session.adapters.opencode.connection import TimedSocket
from plue_session.adapters.opencode.http import Reply, unknown

#: Bytes that are read at a time: nearly every answer in one piece, which is not copied again.
PIECE = 1 << 24
_REACH = "See that the server runs and that backend.url names it, then try again."
#: Says to requests that time is not its business: see `_Pool.seconds`.
_OWN = Timeout()


class Dropped(Exception):
    """The exchange failed below HTTP's meaning; `cause` is what requests, urllib3 or the system raised."""

    def __init__(self, cause, begun):
        super().__init__(str(cause))
        self.cause, self.begun = cause, begun

    def translated(self, exchange):
        """Return the `PlueError` for it. `begun`: part of the answer was there."""
        details, call = {"sent": exchange.sent}, f"{exchange.method} {exchange.target.partition('?')[0]}"
        cause = self.cause
        if isinstance(cause, socket.gaierror):
            return errors.Connection(f"the server's name cannot be resolved ({cause.strerror})", _REACH, details=details)
        if isinstance(cause, ssl.SSLError):
            return errors.Connection(f"no trusted connection to the server ({cause.reason or cause})",
                                     "See that backend.url names a server whose certificate this machine trusts.", details=details)
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return errors.Timeout(f"the server did not answer {call} in time{unknown(exchange)}", "Try again, or raise requestTimeoutMs.", details=details)
        if isinstance(cause, (ConnectionError, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)) or self.begun:
            how = ("in the middle of the answer" if self.begun else "without an answer") if exchange.sent else "before it was asked"
            reason = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
            reached = exchange.sent and not isinstance(cause, ConnectionRefusedError)  # that may be of a second attempt
            doing = f"the server ended the connection {how} to {call}" if reached else "the server cannot be reached"
            return errors.Connection(f"{doing}{reason}{unknown(exchange)}", _REACH, details=details)
        if isinstance(cause, OSError):
            return errors.Connection(f"the server cannot be reached ({cause.strerror or cause})", _REACH, details=details)
        return errors.Server(f"what the server answered {call} is not HTTP", "See that backend.url is an OpenCode server.", details=details)


class _Pool:
    """Sends one request over the one connection. urllib3 keeps it, connects it and secures it; its own way of asking, with retries,
    redirects and proxies that are not wanted here, takes three times the processor's time, and sends a body in a packet of its own.

    `until` is set before each request: the monotonic time at which it ends."""

    until = 0.0

    def urlopen(self, method, url, body=None, headers=None, **_):
        connection = self._get_conn()  # connected no longer if the server has dropped it meanwhile
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(max(self.until - time.monotonic(), 0.001))  # to send; with TLS, each read
            if isinstance(connection.sock, TimedSocket):
                connection.sock.until = self.until
            lines = [f"{method} {url} HTTP/1.1", f"Host: {_authority(connection)}", *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]
            try:
                connection.sock.sendall("\r\n".join(lines).encode("latin-1") + (body or b""))
            except (BrokenPipeError, ConnectionResetError):
                pass  # a server may answer before it has read everything
            response = connection.response_class(connection.sock, method=method)
            response.begin()
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        response.connection = connection
        return response

    def give_back(self, response):
        """Keep the connection for the next request, if the server does and the answer was read to its end."""
        connection = response.connection
        if response.will_close or not response.isclosed():
            response.close()
            connection.close()
        self._put_conn(connection)


class Adapter(HTTPAdapter):
    """Keeps one connection, to one server, made by `dial(connection)`."""

    def __init__(self, dial):
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

        class Plain(HTTPConnection):
            def _new_conn(self):
                return dial(self)

        class Secure(HTTPSConnection):
            def _new_conn(self):
                return dial(self)

        class PlainPool(_Pool, HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(_Pool, HTTPSConnectionPool):
            ConnectionCls = Secure
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        self.pool = self.prefix = None

    def find_pool(self, request):
        """Return the pool of the one connection. What requests finds out anew for each request is always the same here."""
        if self.pool is None:
            find = getattr(super(), "get_connection_with_tls_context", None)  # requests 2.31 does not have it
            self.pool = find(request, True) if find else super().get_connection(request.url)
            super().cert_verify(self.pool, request.url, True, None)
            self.prefix = quote(urlsplit(request.url).path, safe="/%:@!$&'()*+,;=~")
        return self.pool

    def get_connection_with_tls_context(self, request, *_, **__):
        return self.pool

    def get_connection(self, *_):
        return self.pool

    def cert_verify(self, *_):
        pass

    def request_url(self, request, proxies):
        return self.prefix + request.target

    def build_response(self, req, resp):
        return resp

    def close(self):
        """Close the connection: the pool manager only forgets the pool, and the collector may never come by."""
        if self.pool is not None:
            self.pool.close()
        super().close()


def adapter(dial):
    """Return an adapter that keeps one connection, made by `dial(connection)`."""
    return Adapter(dial)


def _authority(connection):
    """Return what names the server in a request: its port only where it is not the usual one."""
    host = f"[{connection.host.partition('%')[0]}]" if ":" in connection.host else connection.host
    return host if connection.port == connection.default_port else f"{host}:{connection.port}"


def perform(made, exchange, base, headers, most):
    """Send the exchange and read the whole answer; `Dropped` when the connection fails, `LIMIT_EXCEEDED` beyond `most` bytes.

    Timeouts are the exchange's whole time: its caller cuts the connection at the deadline, wherever that falls.
    """
    request = requests.PreparedRequest()
    request.method, request.url, request.body = exchange.method, base, exchange.body
    request.target = exchange.target
    request.headers = dict(headers)
    if exchange.body is not None or exchange.method in ("POST", "PATCH"):
        request.headers["Content-Length"] = str(len(exchange.body or b""))
    begun = False
    try:
        pool = made.find_pool(request)
        pool.until = exchange.until
        response = made.send(request, stream=True, timeout=_OWN)
        begun = True
        try:
            body = _body(response, most)
        finally:
            pool.give_back(response)
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise Dropped(_root(error), begun) from None
    return Reply(response.status, response.headers, body)


def _body(response, most):
    length = response.headers.get("content-length", "")
    encoded = "content-encoding" in response.headers  # although it was not asked for
    source = urllib3.HTTPResponse(response, dict(response.headers), response.status, preload_content=False) if encoded else response
    expected = int(length) if length.isdecimal() and not encoded else 0
    pieces, size = [], 0
    while max(size, expected) <= most and (piece := source.read(PIECE, decode_content=True) if encoded else source.read(PIECE)):
        pieces.append(piece)
        size += len(piece)
    if max(size, expected) > most:
        raise errors.LimitExceeded(f"the server's answer has more than {most} bytes", "Ask for less at a time.")
    # http.client tells nobody that the connection ended early.
    if size < expected:
        raise http.client.IncompleteRead(b"", expected - size)
    return b"".join(pieces)


def _root(error):
    """Return what is behind the wrappers: requests puts urllib3's exception in `args`, urllib3 the system's in its own."""
    while True:
        inner = [each for each in (*error.args, getattr(error, "reason", None), error.__cause__) if isinstance(each, Exception)]
        if not inner:
            return error
        error = inner[0]
