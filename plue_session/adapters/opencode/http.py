"""Requests that end in time: a caller waits for a worker's answer, its own deadline, or whoever cancels it.

Neither requests nor any other blocking client bounds the whole of a request: a name lookup cannot be timed out, and a
server that sends a byte now and then renews every read's deadline. So connections are made by threads of this module, and
who gives up leaves: the socket is cut from outside and the worker comes back by itself. On a connection that was kept, each
read ends at the deadline (`connection.TimedSocket`), and nothing is left that cannot be cut: there the caller's thread sends and reads
itself, for to wake another one and to be woken by it takes longer than all else.
"""

import base64
import functools
import threading
import time
from collections import deque
from urllib.parse import quote

from plue_session import errors
from plue_session.adapters.opencode.connection import Wire

#: Requests in parallel, each with a kept connection of its own: the server is single-threaded (O-066).
MOST = 8
#: Bytes of the largest answer: some 150,000 sessions.
MAX_ANSWER = 64_000_000
#: Seconds that `close` waits for workers; one inside a name lookup is left behind.
CLOSING = 0.1
#: Seconds that a server in doubt has to say that it is well; twice as many the next time.
WELL = 0.25


class Reply:
    """An answer: `status`, `type` (media type in lower case), `headers`, `body` (bytes)."""

    __slots__ = ("status", "type", "headers", "body")

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.type = headers.get("content-type", "").partition(";")[0].strip().lower()


class Exchange:
    """One request on its way, settled once: by who performs it, or by whoever gives up first. `sent`: the server may have got it;
    `again`: and this is the second attempt; `here`: its caller performs it."""

    __slots__ = ("method", "target", "body", "resend", "until", "sent", "again", "worker", "here", "outcome", "_lock", "_done")

    def __init__(self, method, target, body, resend, until):
        self.method, self.target, self.body, self.resend, self.until = method, target, body, resend, until
        self.sent, self.again, self.worker, self.here, self.outcome = False, False, None, False, None
        self._lock, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()

    def settle(self, outcome):
        """Set the outcome, a `Reply` or an error; returns whether it was the first."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
        self._done.release()
        return True

    def wait(self, seconds):
        """Wait until it is settled, at most so long; returns whether it is."""
        return self._done.acquire(timeout=max(seconds, 0))


@functools.lru_cache(maxsize=256)
def _encoded(text):
    return quote(text, safe="")


#: What a worker does next when there is nothing more to do, ever.
_OVER = object()


class _Elsewhere(Exception):
    """What is to be done is not for the caller's thread: the kept connection is no more."""


class Transport:
    """A pool of kept connections to one server. Thread-safe.

    Threads are started by the first requests: by library threads, whose blocked signals they inherit (a `send` into a
    closed connection must not kill the host by SIGPIPE). `requests` is imported by the first worker, not before.
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

    def send(self, method, path, query, body, until, cancel=None, resend=False):
        """Send a request and return the `Reply`, whatever its status.

        `until` is in seconds of the monotonic clock, `cancel` a `Cancel` or None. With `resend` it is sent once more when a
        kept connection turns out to be dropped: for what may safely happen twice (O-065). Fails with `TIMEOUT`,
        `CONNECTION`, `CLOSED`, the error of `cancel`, `LIMIT_EXCEEDED` (the answer is too large) or `SERVER` (it is not
        HTTP); the details' `sent` tells whether the server may have got the request.
        """
        exchange = Exchange(method, self.target(path, query), body, resend, until)
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
            self._give_up(exchange, errors.Timeout(
                f"the server did not answer {method} {path} in time{unknown(exchange)}", "Try again, or raise requestTimeoutMs.",
                details={"sent": exchange.sent}))
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
            exchange.settle(_closed())
        until = time.monotonic() + CLOSING
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.thread.join(max(until - time.monotonic(), 0))

    @staticmethod
    def _await(exchange):
        if exchange.here:
            exchange.worker.perform_here(exchange)
        exchange.wait(exchange.until - time.monotonic())

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
        """Hand the exchange to the worker that was busy last, whose connection is warm, or lend that to the caller; hand it to a
        new worker; or let it wait."""
        with self._lock:
            if self._closed:
                raise _closed()
            if self._idle:
                worker = self._idle.pop()
            elif len(self._workers) < MOST:
                worker = Worker(self)
                self._workers.append(worker)
            else:
                self._waiting.append(exchange)
                return
            exchange.worker = worker
            exchange.here = worker.kept and not self.doubted
        if not exchange.here:
            worker.take(exchange)

    def next(self, worker):
        """Return the exchange that waits longest, or None: then the worker is idle, and may be another's by now. `_OVER`: end it."""
        with self._lock:
            if self._closed:
                return _OVER
            if self._waiting:
                exchange = self._waiting.popleft()
                exchange.worker = worker
                return exchange
            self._idle.append(worker)
            return None

    @property
    def closed(self):
        return self._closed


class Worker:
    """A thread with one kept connection, which a caller may use while the thread idles. `cut` may be called from any thread."""

    def __init__(self, transport):
        self._transport, self._plain = transport, transport.base.startswith("http:")  # reads of TLS have no deadline of their own
        self._lock = threading.Lock()
        self._given, self._exchange, self._wire = None, None, Wire()
        self._wake = threading.Semaphore(0)
        self._carrier = None
        #: an answer was read to its end: most likely its connection waits for the next request
        self.kept = False
        self._dialled = self._asking = False  # connected for what is performed now; to ask whether the server is well
        self.thread = threading.Thread(target=self._run, name="plue-opencode-http", daemon=True)
        self.thread.start()

    def take(self, exchange):
        """Be given work while idle."""
        self._given = exchange
        self._wake.release()
        if self._transport.closed:  # the thread may have ended before it saw this
            exchange.settle(_closed())

    def perform_here(self, exchange):
        """Serve an exchange on its caller's thread, while the worker's own idles; to connect is left to that."""
        try:
            self._serve(exchange)
        except _Elsewhere:
            exchange.here = False
            self.take(exchange)
            return
        following = self._transport.next(self)
        if following is _OVER:
            self._hang_up()
        elif following is not None:
            self.take(following)

    def cut(self, exchange):
        """Cut the connection if it serves `exchange`."""
        with self._lock:
            if self._exchange is exchange:
                self._wire.cut()

    def end(self):
        """End the thread, cutting what it does."""
        with self._lock:
            if self._exchange is not None:
                self._exchange.settle(_closed())
            self._wire.cut()
        self._wake.release()

    def _run(self):
        while True:
            self._wake.acquire()
            exchange, self._given = self._given, None
            if exchange is None:  # woken by `end`
                break
            while exchange is not None and exchange is not _OVER:
                self._serve(exchange)
                exchange = self._transport.next(self)
            if exchange is _OVER:
                break
        self._hang_up()

    def _hang_up(self):
        """Close the connection, whoever may still use it; twice is harmless."""
        with self._lock:
            if self._exchange is not None:
                self._exchange.settle(_closed())
            self._wire.cut()
        self._wire.release()
        if self._carrier is not None:
            self._carrier.close()

    def _serve(self, exchange):
        with self._lock:
            self._exchange = exchange
        # Who gave up before this line finds no exchange of its own to cut: then there is nothing to begin.
        if exchange.outcome is None:
            if self._transport.closed:
                exchange.settle(_closed())
            else:
                try:
                    exchange.settle(self._perform(exchange))
                except _Elsewhere:
                    with self._lock:
                        self._exchange = None
                    raise
                except BaseException as error:  # nothing may keep its caller waiting
                    exchange.settle(error)
        with self._lock:
            self._exchange = None

    def dial(self, connection):
        """Connect for urllib3; the connection it makes is the worker's only one."""
        exchange = self._exchange
        exchange.sent = exchange.again
        if exchange.here:
            raise _Elsewhere
        self._wire.release()
        wire = Wire()
        with self._lock:
            self._wire = wire
        if exchange.outcome is not None:
            raise ConnectionAbortedError("cut")
        sock = wire.connect(connection.host, connection.port, exchange.until)
        self._dialled, exchange.sent = True, exchange.again or not self._asking
        return sock

    def _perform(self, exchange):
        from plue_session.adapters.opencode import carrier
        transport = self._transport
        if self._carrier is None:
            self._carrier = carrier.Carrier(self.dial, transport.base, transport.headers)
        again = exchange.resend
        while True:
            try:
                self._dialled, self.kept = transport.doubted, False
                if self._dialled:
                    self._assure(exchange, carrier)
                exchange.sent = True
                reply = self._carrier.perform(exchange, MAX_ANSWER)
                self.kept = self._plain
                return reply
            except errors.LimitExceeded:
                self._wire.cut()
                raise
            except carrier.Dropped as error:
                self._wire.cut()  # it is closed, but for its twin: the server would not hear of it before the next request
                transport.doubted = True
                if again and not self._dialled and exchange.outcome is None and time.monotonic() < exchange.until:
                    exchange.resend, exchange.again, again = False, True, False
                    if exchange.here:
                        raise _Elsewhere from None
                    continue
                raise error.translated(exchange) from None

    def _assure(self, exchange, carrier):
        """Ask on new connections whether the server is well, until it answers anything: one that is just starting accepts connections,
        never answers what is asked on them, and takes it from the next (O-001, O-002). `Dropped` when it cannot be reached, or not in time."""
        transport, patience = self._transport, WELL
        self._asking = True
        try:
            while True:
                question = Exchange("GET", "/global/health", None, False, min(exchange.until, time.monotonic() + patience))
                try:
                    self._carrier.perform(question, MAX_ANSWER)
                except carrier.Dropped as error:
                    is_silent = isinstance(error.translated(question), errors.Timeout)
                    if not is_silent or exchange.outcome is not None or time.monotonic() >= exchange.until:
                        raise
                    patience *= 2
                else:
                    transport.doubted = False
                    return
        finally:
            self._asking = False


def headers(username, password):
    """Return the headers of every request; they hold the credentials, if there is a password."""
    made = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "plue-session"}
    if password:
        # OpenCode takes UTF-8 where RFC 7617 leaves the choice; its default username is "opencode" (O-009).
        made["Authorization"] = "Basic " + base64.b64encode(f"{username or 'opencode'}:{password}".encode()).decode()
    return made


def unknown(exchange):
    """Say that a change may have been made, if it may: the end of a message about an exchange without an answer."""
    return "; whether it took effect is not known yet" if exchange.method != "GET" and exchange.sent else ""


def _closed():
    return errors.Closed("the connection to the server was closed meanwhile", "Call plue_init again.")
