"""Requests that end in time: a caller waits for a worker's answer, its own deadline, or whoever cancels it.

Neither requests nor any other blocking client bounds the whole of a request: a name lookup cannot be timed out, and a
server that sends a byte now and then renews every read's deadline. So connections are made by threads of our own
(`worker`), and who gives up leaves: the socket is cut from outside and the worker comes back by itself. On a connection
that was kept, each read ends at the deadline (`connection.TimedSocket`), and nothing is left that cannot be cut: there
the caller's thread sends and reads itself, for to wake another one and to be woken by it takes longer than all else.
"""

import base64
import functools
import threading
import time
from collections import deque
from urllib.parse import quote

from plue_session import errors
from plue_session.adapters.opencode.http_exchange import HttpExchange, closed, unknown
from plue_session.adapters.opencode.worker import OVER, Worker

#: Requests in parallel, each with a kept connection of its own: the server is single-threaded (O-066).
MOST = 8
#: Seconds that `close` waits for workers; one inside a name lookup is left behind.
CLOSING = 0.1


@functools.lru_cache(maxsize=256)
def _encoded(text):
    return quote(text, safe="")


class Transport:
    """A pool of kept connections to one server. Thread-safe.

    Threads are started by the first requests: by library threads, whose blocked signals they inherit (a `send` into a
    closed connection must not kill the host by SIGPIPE).
    """

    def __init__(self, url, username=None, password=None):
        self.base = url.rstrip("/")
        self.headers = headers(username, password)
        self._lock = threading.Lock()
        self._workers, self._idle, self._waiting = [], [], deque()
        self._closed = False
        #: a connection has failed, and nothing was answered since: the server may be just starting
        self.doubted = False

    def target(self, path, query):
        """Return the request target: `path` with `query` (a dict; None values are left out), encoded as UTF-8."""
        given = "&".join([f"{name}={_encoded(str(value))}" for name, value in query.items() if value is not None])
        return f"{path}?{given}" if given else path

    def send(self, method, path, query, body, deadline, cancel=None, resend=False):
        """Send a request and return the `Reply`, whatever its status.

        `deadline` is in seconds of the monotonic clock, `cancel` a `Cancel` or None. With `resend` it is sent once more
        when a kept connection turns out to be dropped: for what may safely happen twice (O-065). Fails with `TIMEOUT`,
        `CONNECTION`, `CLOSED`, the error of `cancel`, `LIMIT_EXCEEDED` (the answer is too large), `SERVER` (it is not
        HTTP) or `IO` (no thread or descriptor is left); the details' `sent` tells whether the server may have got the
        request.
        """
        exchange = HttpExchange(method, self.target(path, query), body, resend, deadline)
        if cancel is not None:
            cancel.check()
        self._submit(exchange)
        if cancel is None:
            self._await(exchange)
        else:

            def wake():
                self._give_up(exchange, cancel.error)

            cancel.watch(wake)
            try:
                self._await(exchange)
            finally:
                cancel.unwatch(wake)
        if exchange.outcome is None:
            self._give_up(
                exchange,
                errors.Timeout(
                    f"the server did not answer {method} {path} in time{unknown(exchange)}",
                    "Try again, or raise requestTimeoutMs.",
                    details={"sent": exchange.sent},
                ),
            )
        if isinstance(exchange.outcome, BaseException):
            raise exchange.outcome
        return exchange.outcome

    def close(self):
        """Cut what is under way (`CLOSED`) and end the threads. Takes at most `CLOSING` seconds. Twice is harmless."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            workers, self._idle = list(self._workers), []
        for exchange in waiting:
            exchange.settle(closed())
        deadline = time.monotonic() + CLOSING
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.thread.join(max(deadline - time.monotonic(), 0))

    @staticmethod
    def _await(exchange):
        if exchange.here:
            exchange.worker.perform_here(exchange)
        exchange.wait(exchange.deadline - time.monotonic())

    def _give_up(self, exchange, error):
        """Settle with `error`, and cut the connection if a worker is at it."""
        if not exchange.settle(error):
            return
        with self._lock:
            if exchange in self._waiting:
                self._waiting.remove(exchange)
        if exchange.worker is not None:
            exchange.worker.cut(exchange)

    def _submit(self, exchange):
        """Hand the exchange to the worker that was busy last, whose connection is warm, or lend that to the caller;
        hand it to a new worker; or let it wait."""
        with self._lock:
            if self._closed:
                raise closed()
            if self._idle:
                worker = self._idle.pop()
            elif (worker := self._another()) is None:
                self._waiting.append(exchange)
                return
            exchange.worker = worker
            exchange.here = worker.kept and not self.doubted
        if not exchange.here:
            worker.take(exchange)

    def _another(self):
        """Return a new worker; None when there are enough, or when no thread can be started: those that there are do
        it. `IO` if there is none."""
        if len(self._workers) == MOST:
            return None
        try:
            self._workers.append(Worker(self))
        except errors.StoreIo:
            if not self._workers:
                raise
            return None
        return self._workers[-1]

    def next(self, worker):
        """Return the exchange that waits longest, or None: then the worker is idle, and may be another's by now.
        `OVER`: end it."""
        with self._lock:
            if self._closed:
                return OVER
            if self._waiting:
                exchange = self._waiting.popleft()
                exchange.worker = worker
                return exchange
            self._idle.append(worker)
            return None

    @property
    def closed(self):
        return self._closed


def headers(username, password):
    """Return the headers of every request; they hold the credentials, if there is a password."""
    made = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "plue-session"}
    if password:
        # OpenCode takes UTF-8 where RFC 7617 leaves the choice; its default username is "opencode" (O-009).
        made["Authorization"] = (
            "Basic "
            + base64.b64encode(f"{username or 'opencode'}:{password}".encode("utf-8", "surrogateescape")).decode()
        )
    return made
