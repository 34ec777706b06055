"""Requests that end in time, over connections that are kept for the next ones.

The caller's thread does it all: to wake another one, and to be woken by it, takes longer than all else. Every wait ends
at its deadline, and whoever cancels its call, or closes the transport, cuts its connection.
"""

import functools
import threading
import time
from collections import deque
from urllib.parse import quote

from plue_session import errors
from plue_session.adapters.opencode.http_connection import FAILURES, Endpoint, HttpConnection, explain

#: Requests in parallel, each over a connection of its own: the server is single-threaded (O-066). Those that last are
#: not among them.
MOST = 8
#: Bytes of the largest answer: some 150,000 sessions.
MAX_ANSWER = 64_000_000
#: Seconds that a server in doubt has to say that it is well; twice as many the next time.
WELL = 0.25


class Transport:
    """A pool of kept connections to one server; each request carries `headers`, and `trace` hears of each.
    Thread-safe."""

    def __init__(self, url, headers, trace=None):
        self._endpoint = Endpoint(url, headers, trace)
        self._lock = threading.Lock()
        self._free, self._idle, self._lent, self._waiting = MOST, [], set(), deque()
        self._closed = False
        #: a connection has failed, and nothing was answered since: the server may be just starting
        self.doubted = False

    def send(self, method, path, query, body, call, resend=False, most=None, lasts=False):
        """Send a request and return its `HttpResponse`, read to its end, whatever its status. `query` is a dict; None
        values are left out.

        With `resend` it is sent once more when a kept connection turns out to be dropped: for what may safely happen
        twice (O-065). One that `lasts`, for it is answered at the end of what it begins, has a connection of its own
        and takes nobody's place: how many there may be is for its callers to say.

        Fails with `TIMEOUT`, `CONNECTION`, `CLOSED`, the error that the call is cancelled with, `LIMIT_EXCEEDED` (the
        answer has more than `most` bytes), `SERVER` (it is not HTTP) or `IO` (no thread or descriptor is left); the
        details' `sent` tells whether the server may have got the request.
        """
        call.check()
        target, sent, patience = _target(path, query), False, WELL
        while True:
            connection, was_kept, asked, keep = None, False, False, False
            try:
                connection = self._take(call, lasts)
                was_kept = connection.kept
                call.watch(connection.cut)
                if self.doubted:
                    # One that is just starting accepts connections, and never answers what is asked on them (O-002).
                    limit = min(call.deadline, time.monotonic() + patience)
                    connection.open(limit)
                    connection.exchange("GET", "/global/health", None, limit, MAX_ANSWER)
                    self.doubted = False
                    if not connection.kept:
                        continue
                elif not was_kept:
                    connection.open(call.deadline)
                asked = True
                reply = connection.exchange(method, target, body, call.deadline, most or MAX_ANSWER)
                keep = connection.kept
                return reply
            except FAILURES as error:
                sent = sent or asked and connection.sent
                problem = explain(error, method, path, sent, asked and connection.begun)
                if connection is not None:
                    self.doubted = True
            finally:
                if connection is not None:
                    call.unwatch(connection.cut)
                    self._give_back(connection, keep and call.error is None, lasts)  # else it may still be cut
            if self._closed:
                raise closed()
            call.check()
            if time.monotonic() >= call.deadline:
                raise problem
            if asked and was_kept and resend:
                resend = False
            elif not asked and type(problem) is errors.Timeout:  # to the question whether it is well
                patience *= 2
            else:
                raise problem

    def close(self):
        """Cut what is under way (`CLOSED`); returns at once. Twice is harmless."""
        with self._lock:
            self._closed = True
            idle, waiting, lent = self._idle, self._waiting, list(self._lent)
            self._idle, self._waiting = [], deque()
        for place in waiting:
            place.set()
        for connection in lent:
            connection.cut()
        for connection in idle:
            connection.close()

    def _take(self, call, lasts):
        """Return the connection that was used last, or a new one, as soon as there are fewer than `MOST` in use. Who
        waits longest is next. What `lasts` gets a new one at once."""
        place = None
        with self._lock:
            if lasts:
                pass
            elif self._free:
                self._free -= 1
            else:
                self._waiting.append(place := threading.Event())
        if place is not None:
            self._wait(place, call)
        with self._lock:
            if self._closed:
                raise closed()
            while self._idle and not lasts:
                connection = self._idle.pop()
                if not self.doubted and not connection.is_dropped():
                    break
                connection.close()
            else:
                connection = HttpConnection(self._endpoint)
            self._lent.add(connection)
            return connection

    def _wait(self, place, call):
        call.watch(place.set)
        place.wait(max(call.deadline - time.monotonic(), 0))
        call.unwatch(place.set)
        with self._lock:
            if place not in self._waiting:  # it is our turn, or nobody's any more
                return
            self._waiting.remove(place)
        raise TimeoutError

    def _give_back(self, connection, keep, lasts):
        with self._lock:
            self._lent.discard(connection)
            place = self._waiting.popleft() if self._waiting and not lasts else None
            self._free += place is None and not lasts
            keep = keep and not lasts and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        if place is not None:
            place.set()


@functools.lru_cache(maxsize=256)
def _encoded(text):
    return quote(text, safe="")


def _target(path, query):
    given = "&".join([f"{name}={_encoded(str(value))}" for name, value in query.items() if value is not None])
    return f"{path}?{given}" if given else path


def closed():
    """Return the error of what is cut by `Transport.close`."""
    return errors.Closed("the connection to the server was closed meanwhile", "Call plue_init again.")
