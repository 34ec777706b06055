"""The threads that connect, each with its one kept connection, which a caller may borrow."""

import threading
import time

from plue_session import errors, threads
from plue_session.adapters.opencode.connection import Wire
from plue_session.adapters.opencode.http_exchange import HttpExchange, closed

#: Bytes of the largest answer: some 150,000 sessions.
MAX_ANSWER = 64_000_000
#: Seconds that a server in doubt has to say that it is well; twice as many the next time.
WELL = 0.25
#: What a worker does next when there is nothing more to do, ever.
OVER = object()


class _Elsewhere(Exception):
    """What is to be done is not for the caller's thread: the kept connection is no more."""


class Worker:
    """A thread with one kept connection, which a caller may use while the thread idles. `cut` may be called from any
    thread. `IO` when no thread can be started."""

    def __init__(self, transport):
        self._transport, self._plain = (
            transport,
            transport.base.startswith("http:"),
        )  # reads of TLS have no deadline of their own
        self._lock = threading.Lock()
        self._given, self._exchange, self._wire = None, None, Wire()
        self._wake = threading.Semaphore(0)
        self._http_connection = None
        #: an answer was read to its end: most likely its connection waits for the next request
        self.kept = False
        self._dialled = False  # connected for what is performed now
        self.thread = threads.start(self._run, "plue-http")

    def take(self, exchange):
        """Be given work while idle."""
        self._given = exchange
        self._wake.release()
        if self._transport.closed:  # the thread may have ended before it saw this
            exchange.settle(closed())

    def perform_here(self, exchange):
        """Serve an exchange on its caller's thread, while the worker's own idles; to connect is left to that."""
        try:
            self._serve(exchange)
        except _Elsewhere:
            exchange.here = False
            self.take(exchange)
            return
        following = self._transport.next(self)
        if following is OVER:
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
        self._cut_off()
        self._wake.release()

    def _cut_off(self):
        with self._lock:
            if self._exchange is not None:
                self._exchange.settle(closed())
            self._wire.cut()

    def _run(self):
        while True:
            self._wake.acquire()
            exchange, self._given = self._given, None
            if exchange is None:  # woken by `end`
                break
            while exchange is not None and exchange is not OVER:
                self._serve(exchange)
                exchange = self._transport.next(self)
            if exchange is OVER:
                break
        self._hang_up()

    def _hang_up(self):
        """Close the connection, whoever may still use it; twice is harmless."""
        self._cut_off()
        self._wire.release()
        if self._http_connection is not None:
            self._http_connection.close()

    def _serve(self, exchange):
        with self._lock:
            self._exchange = exchange
        # Who gave up before this line finds no exchange of its own to cut: then there is nothing to begin.
        if exchange.outcome is None:
            if self._transport.closed:
                exchange.settle(closed())
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
        if exchange.here:
            raise _Elsewhere
        self._wire.release()
        wire = Wire()
        with self._lock:
            self._wire = wire
        if exchange.outcome is not None:
            raise ConnectionAbortedError("cut")
        sock = wire.connect(connection.host, connection.port, exchange.deadline)
        self._dialled = True
        return sock

    def _perform(self, exchange):
        from plue_session.adapters.opencode import http_connection

        transport = self._transport
        if self._http_connection is None:
            self._http_connection = http_connection.HttpConnection(self.dial, transport.base, transport.headers)
        again = exchange.resend
        while True:
            exchange.sent = exchange.again
            try:
                self._dialled, self.kept = transport.doubted, False
                if self._dialled:
                    self._assure(exchange, http_connection)
                reply = self._http_connection.perform(exchange, MAX_ANSWER)
                self.kept = self._plain
                return reply
            except errors.LimitExceeded:
                self._wire.cut()
                raise
            except http_connection.Dropped as error:
                # it is closed, but for its twin: the server would not hear of it before the next request
                self._wire.cut()
                transport.doubted = True
                if again and not self._dialled and exchange.outcome is None and time.monotonic() < exchange.deadline:
                    exchange.resend, exchange.again, again = False, True, False
                    if exchange.here:
                        raise _Elsewhere from None
                    continue
                raise error.translated(exchange) from None

    def _assure(self, exchange, http_connection):
        """Ask on new connections whether the server is well, until it answers anything: one that is just starting
        accepts connections, never answers what is asked on them, and takes it from the next (O-001, O-002). `Dropped`
        when it cannot be reached, or not in time."""
        transport, patience = self._transport, WELL
        while True:
            question = HttpExchange(
                "GET", "/global/health", None, False, min(exchange.deadline, time.monotonic() + patience)
            )
            try:
                self._http_connection.perform(question, MAX_ANSWER)
            except http_connection.Dropped as error:
                is_silent = isinstance(error.translated(question), errors.Timeout)
                if not is_silent or exchange.outcome is not None or time.monotonic() >= exchange.deadline:
                    raise
                patience *= 2
            else:
                transport.doubted = False
                return
