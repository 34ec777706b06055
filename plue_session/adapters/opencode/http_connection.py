"""One connection to a server: calls, the event stream and the question for health are all sent and answered over one.

requests and urllib3 make it: what the URL means, TLS, trust; no environment, no redirects, no cookies, no netrc.
They take 100 ms to import: see `needs`. What they do not give is here:

- Their timeouts are of one read, and a server that sends a byte now and then renews them. Here all of it ends at a
  deadline.
- Nothing wakes who blocks in their `connect`, `recv` or `send`. Here `cut` does, from any thread. To close a descriptor
  that another thread waits on does not wake it, and its number may be someone else's by then: hence a twin of the
  socket, for shutting down.
- A name lookup can be neither bounded nor cut. Here it has a thread, which who gives up leaves behind.
- With retries, redirects and proxies, which are not wanted here, their way of sending takes three times the processor's
  time, and puts a body into a packet of its own.
"""

import errno
import functools
import io
import select
import socket
import ssl
import threading
import time
from urllib.parse import quote, urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from plue_session import errors, threads
from plue_session.adapters.opencode.http_response import HttpResponse

#: What requests, urllib3, HttpResponse and the system raise when a connection fails.
FAILURES = (OSError, ValueError, HTTPError)
#: Bytes that are sent at a time: one record of TLS, so that no `send` has more than one deadline.
PIECE = 16_384
#: What the system says when this process, or the machine, has no more to give: it is not the server's fault.
LACKS = {
    errno.EMFILE: "Close some files, or raise the limit (ulimit -n).",
    errno.ENFILE: "Close some files: the machine has no more.",
    errno.ENOMEM: "Free some memory.",
    errno.ENOBUFS: "Free some memory, or close some connections.",
}
_REACH = "See that the server runs and that backend.url names it, then try again."
_WAIT = "Try again, or raise requestTimeoutMs."
_TRUST = "See that backend.url names a server whose certificate this machine trusts."
_OTHER = "See that backend.url is an OpenCode server."


class Endpoint:
    """A server as requests connects to it; each request carries `headers`, and `trace` hears of each. Thread-safe."""

    def __init__(self, url, headers, trace=None):
        self._url, self._headers, self.trace = url, headers, trace
        self._pool = None

    def connection(self):
        """Return a connection of urllib3's that is not connected yet; `FAILURES` say what is wrong with the URL."""
        if self._pool is None:
            self._prepare()
        connection = self._pool._new_conn()
        connection.ssl_context = self._context
        return connection

    def _prepare(self):
        request, adapter = requests.Request("GET", self._url).prepare(), HTTPAdapter(max_retries=0)
        find = getattr(adapter, "get_connection_with_tls_context", None)  # requests 2.31 does not have it
        pool = find(request, True) if find else adapter.get_connection(request.url)
        connection = pool._new_conn()
        host = f"[{connection.host.partition('%')[0]}]" if ":" in connection.host else connection.host
        if connection.port != connection.default_port:
            host = f"{host}:{connection.port}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        #: how each request's path begins (what no URL may hold is encoded, nothing else changed), and its head ends
        self.prefix = quote(urlsplit(self._url).path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self.head = f" HTTP/1.1\r\nHost: {host}\r\n{lines}"
        self._context = _trust() if request.url.startswith("https:") else None
        self._pool = pool


class HttpConnection:
    """One connection to an endpoint, for one thread at a time, but for `cut`. It fails with `FAILURES`."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        if endpoint.trace:
            self.open = functools.partial(self._traced_open, self.open)  # type: ignore[method-assign]
            self.exchange = functools.partial(self._traced, self.exchange)  # type: ignore[method-assign]
        self._lock = threading.Lock()
        self._socket = self._twin = self._poll = None
        self._is_cut = False
        #: when sending and reading end, in seconds of the monotonic clock
        self.deadline = 0.0
        #: of the last request: the server may have got it; its answer has begun; it was read, and another may follow
        self.sent = self.begun = self.kept = False

    def open(self, deadline):
        """Connect; once."""
        connection = self._endpoint.connection()
        connection._new_conn = functools.partial(self._dial, connection.host, connection.port, deadline)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        self._socket, self._poll = connection.sock, select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def is_dropped(self):
        """Return whether the server has ended the connection, or spoken unasked, since its last answer."""
        return bool(self._poll.poll(0))

    def exchange(self, method, target, body, deadline, most=None):
        """Send a request and return its `HttpResponse`, read to its end: `LIMIT_EXCEEDED` beyond `most` bytes. With
        None its body is yet to be read, by `deadline` or by what is put there meanwhile."""
        self.sent = self.begun = self.kept = False
        self.deadline, endpoint, kind = deadline, self._endpoint, ""
        if body is not None:
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        elif method in ("POST", "PATCH"):
            kind = "Content-Length: 0\r\n"
        data = f"{method} {endpoint.prefix}{target}{endpoint.head}{kind}\r\n".encode("latin-1") + (body or b"")
        try:
            for place in range(0, len(data), PIECE):
                self._limit()
                self.sent = True
                self._socket.sendall(data[place : place + PIECE])
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server may answer before it has read everything
        response = HttpResponse(io.BufferedReader(_Incoming(self)))
        self.begun = True
        if most is not None:
            response.read_all(most)
            self.kept = response.is_kept
        return response

    def _traced_open(self, connect, deadline):
        """Tell of a connection that cannot be made."""
        began = time.monotonic()
        try:
            connect(deadline)
        except BaseException as error:
            self._endpoint.trace(f"connect ms={(time.monotonic() - began) * 1000:.1f} failed={type(error).__name__}")
            raise

    def _traced(self, exchange, method, target, *rest):
        """Tell of an exchange, without what a query says: it may be a text of the user's."""
        began, outcome = time.monotonic(), ""
        try:
            response = exchange(method, target, *rest)
            outcome = f"status={response.status} bytes={len(response.body)}"
            return response
        except BaseException as error:
            outcome = f"failed={type(error).__name__}"
            raise
        finally:
            ms = (time.monotonic() - began) * 1000
            self._endpoint.trace(f"request method={method} path={target.partition('?')[0]} ms={ms:.1f} {outcome}")

    def cut(self):
        """Shut the connection down, now or as soon as there is one. From any thread."""
        with self._lock:
            self._is_cut = True
            if self._twin is not None:
                try:
                    self._twin.shutdown(socket.SHUT_RDWR)
                except OSError:  # not connected yet, or no longer: nothing waits on it
                    pass
        with _looking:
            _looking.notify_all()

    def close(self):
        """Close it: the collector may never come by. Twice is harmless."""
        self._drop_twin()
        if self._socket is not None:
            self._socket.close()

    def _dial(self, host, port, deadline):
        """Return a connected socket. Each address of the host gets its share of the time that is left."""
        addresses = self._look_up(host, port, deadline)
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                with self._lock:
                    self._check()
                    self._twin = sock.dup()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(max((deadline - time.monotonic()) / (len(addresses) - place), 0.001))
                sock.connect(address)
                self._check()  # a connect that `cut` has woken may look like a success
                sock.settimeout(max(deadline - time.monotonic(), 0.001))  # for TLS to be agreed on
                return sock
            except OSError:
                sock.close()
                self._drop_twin()
                if self._is_cut or place == len(addresses) - 1:
                    raise
        raise OSError("the name has no address")

    def _look_up(self, host, port, deadline):
        """Return the addresses of a host. Of one name there is one lookup at a time."""
        try:
            return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except socket.gaierror:  # a name
            pass
        with _looking:
            if (found := _lookups.get((host, port))) is None:
                found = []
                threads.start(functools.partial(_look_up, host, port, found), "plue-lookup")
                _lookups[host, port] = found
            _looking.wait_for(lambda: found or self._is_cut, deadline - time.monotonic())
        self._check()
        if not found:
            raise TimeoutError("timed out")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _check(self):
        if self._is_cut:
            raise ConnectionAbortedError("cut")

    def _limit(self):
        """Have what is asked of the socket next end at the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)

    def _drop_twin(self):
        with self._lock:
            twin, self._twin = self._twin, None
        if twin is not None:
            twin.close()


class _Incoming(io.RawIOBase):
    """What comes over a connection, for a buffered reader."""

    def __init__(self, connection):
        self._connection = connection

    def readable(self):
        return True

    def readinto(self, buffer):
        self._connection._limit()
        return self._connection._socket.recv_into(buffer)


#: The lookups that are under way: where their addresses, or their error, will be, by host and port.
_lookups, _looking = {}, threading.Condition()


def _look_up(host, port, found):
    try:
        outcome = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except Exception as error:  # for those who wait for it
        outcome = error  # type: ignore[assignment]
    with _looking:
        found.append(outcome)
        del _lookups[host, port]
        _looking.notify_all()


def _trust():
    """Return the TLS context of every connection: it trusts what the machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR`
    name other places, as for every user of OpenSSL), and what certifi lists, for machines that have no list."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def explain(cause, method, path, sent, begun=False):
    """Return the `PlueError` for one of `FAILURES`. `sent`: the server may have got the request; `begun`: its answer
    has begun."""
    call, kind, what, remedy = f"{method} {path}", errors.Connection, "the server cannot be reached", _REACH
    reason = getattr(cause, "strerror", None) or ("" if begun else str(cause))
    if lack := LACKS.get(getattr(cause, "errno", None)):
        kind, what, remedy = errors.StoreIo, "no connection to the server can be made", lack
    elif isinstance(cause, TimeoutError):
        kind, what, remedy, reason = errors.Timeout, f"the server did not answer {call} in time", _WAIT, ""
    elif isinstance(cause, socket.gaierror):
        what = "the server's name cannot be resolved"
    elif isinstance(cause, ssl.SSLError) and not sent:
        what, remedy = "no trusted connection to the server", _TRUST
        reason = getattr(cause, "verify_message", None) or cause.reason or reason
    elif begun:
        what = f"the server ended the connection in the middle of the answer to {call}"
    elif sent and isinstance(cause, (ConnectionError, ssl.SSLError)):
        if not isinstance(cause, ConnectionRefusedError):  # that is of a second attempt
            what = f"the server ended the connection without an answer to {call}"
    elif sent and not isinstance(cause, OSError):
        kind, what, remedy, reason = errors.Server, f"what the server answered {call} is not HTTP", _OTHER, ""
    reason = f" ({reason})" if reason else ""
    unknown = (
        "; whether it took effect is not known yet" if sent and method != "GET" and kind is not errors.Server else ""
    )
    return kind(f"{what}{reason}{unknown}", remedy, details={"sent": sent})
