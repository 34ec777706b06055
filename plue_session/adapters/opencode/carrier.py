"""The part of `http` that needs requests, which takes 100 ms to import: imported by the first worker, never before.

`HTTPAdapter.send` is used without a `requests.Session`: no environment, no redirects, no cookies, no netrc, and half of
the time per request.
"""

import http.client
import socket
import ssl

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from plue_session import errors
from plue_session.adapters.opencode.http import Reply

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
        if isinstance(cause, socket.gaierror):
            return errors.Connection(f"the server's name cannot be resolved ({cause.strerror})", _REACH, details=details)
        if isinstance(cause, ssl.SSLError):
            return errors.Connection(f"no trusted connection to the server ({cause.reason or cause})",
                                     "See that backend.url names a server whose certificate this machine trusts.", details=details)
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return errors.Timeout(f"the server did not answer {call} in time", "Try again, or raise requestTimeoutMs.", details=details)
        if isinstance(cause, (ConnectionError, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)) or self.begun:
            how = ("in the middle of the answer" if self.begun else "without an answer") if exchange.sent else "before it was asked"
            reason = f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
            doing = f"the server ended the connection {how} to {call}" if exchange.sent else "the server cannot be reached"
            return errors.Connection(f"{doing}{reason}", _REACH, details=details)
        if isinstance(cause, OSError):
            return errors.Connection(f"the server cannot be reached ({cause.strerror or cause})", _REACH, details=details)
        return errors.Server(f"what the server answered {call} is not HTTP", "See that backend.url is an OpenCode server.", details=details)


def adapter(dial):
    """Return an adapter that keeps one connection, made by `dial(connection)`."""
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

    made = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    made.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return made


def perform(made, exchange, base, headers, most):
    """Send the exchange and read the whole answer; `Dropped` when the connection fails, `LIMIT_EXCEEDED` beyond `most` bytes.

    Timeouts are the exchange's whole time: its caller cuts the connection at the deadline, wherever that falls.
    """
    import time
    seconds = max(exchange.until - time.monotonic(), 0.001)
    request = requests.PreparedRequest()
    request.method, request.url, request.body = exchange.method, base + exchange.target, exchange.body
    request.headers = dict(headers)
    if exchange.body is not None or exchange.method in ("POST", "PATCH"):
        request.headers["Content-Length"] = str(len(exchange.body or b""))
    request.hooks, request._cookies = {"response": []}, None
    begun = False
    try:
        response = made.send(request, stream=True, timeout=Timeout(connect=seconds, read=seconds)).raw
        begun = True
        try:
            body = _body(response, most)
        except BaseException:
            response.close()  # half-read: of no use to the next request
            raise
        response.release_conn()
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise Dropped(_root(error), begun) from None
    return Reply(response.status, response.headers, body)


def _body(response, most):
    pieces, size = [], 0
    while True:
        piece = response.read(65536, decode_content=True)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise errors.LimitExceeded(f"the server's answer has more than {most} bytes", "Ask for less at a time.")
    # urllib3 1 tells nobody that the connection ended early.
    length = response.headers.get("content-length", "")
    if length.isdecimal() and "content-encoding" not in response.headers and size < int(length):
        raise http.client.IncompleteRead(b"", int(length) - size)
    return b"".join(pieces)


def _root(error):
    """Return what is behind the wrappers: requests puts urllib3's exception in `args`, urllib3 the system's in its own."""
    while True:
        inner = [each for each in (*error.args, getattr(error, "reason", None), error.__cause__) if isinstance(each, Exception)]
        if not inner:
            return error
        error = inner[0]
