"""Whether a server is there. Asked on a new connection each time.

Before OpenCode says that it listens, its socket accepts connections for up to a second and never answers what is asked
on them (O-002): a kept connection, or a patient wait, would be lost. A server may be slow, too. So who waits for one
asks again after a while, and goes on waiting for what was asked before.
"""

import threading
import time

from plue_session import errors, threads
from plue_session.adapters.opencode import shapes

#: Seconds that a first try has before there is a second beside it; twice as many the next time.
TRY = 0.25
#: Seconds between two tries that are refused, and that are answered: it may be a gateway that counts them.
PAUSE, ANSWERED = 0.05, 0.5
#: Bytes of the largest answer.
MOST = 65_536


def probe(url, headers, seconds, trace=None):
    """Return the version of a healthy server, or raise what is wrong: `CONNECTION`, `TIMEOUT`, `ACCESS_DENIED`,
    `SERVER`.

    OpenCode: GET /global/health.
    """
    return _ask(_connection(url, headers, trace), seconds)


def _connection(url, headers, trace):
    from plue_session.adapters.opencode.http_connection import Endpoint, HttpConnection

    return HttpConnection(Endpoint(url, headers, trace))


def _ask(connection, seconds):
    from plue_session.adapters.opencode.http_connection import FAILURES, explain

    deadline = time.monotonic() + seconds
    try:
        connection.open(deadline)
        reply = connection.exchange("GET", "/global/health", None, deadline, MOST)
    except FAILURES as error:
        raise explain(error, "GET", "/global/health", connection.sent, connection.begun) from None
    finally:
        connection.close()
    if not 200 <= reply.status < 300:
        raise shapes.refusal("GET /global/health", reply.status, reply.type, reply.body, reply.headers)
    try:
        data = shapes.parse(reply.body)
    except ValueError as error:
        if reply.type == "application/json":
            raise shapes.malformed("an answer to GET /global/health", str(error)[:100]) from None
        raise shapes.not_json("GET /global/health", reply.status, reply.type) from None
    if type(data) is not dict or data.get("healthy") is not True:
        raise shapes.malformed("an answer to GET /global/health", 'it does not say "healthy": true')
    return shapes.clean(str(data.get("version", "")))


class Waiting:
    """Waits for a server to be well, once. `close` ends that, from any thread. Each try has a thread."""

    def __init__(self, headers, trace=None):
        self._headers, self._trace = headers, trace
        self._changed = threading.Condition()
        self._outcomes, self._asked = [], set()
        self._closed = False

    def wait(self, url, deadline):
        """Return the version as soon as the server is healthy. Fails at `deadline` (monotonic seconds) with what the
        tries met, at once with `ACCESS_DENIED` and with what we lack ourselves (`IO`), and with `CLOSED` once
        closed."""
        failure, gap, due = None, TRY, 0.0
        try:
            while True:
                with self._changed:
                    seconds = min(due, deadline) - time.monotonic()
                    self._changed.wait_for(lambda: self._closed or self._outcomes, seconds)
                    now = time.monotonic()
                    if self._closed:
                        raise errors.Closed("the library was shut down meanwhile", "Call plue_init again.")
                    outcomes, self._outcomes = self._outcomes, []
                for outcome in outcomes:
                    if not isinstance(outcome, errors.PlueError):
                        return outcome
                    if not isinstance(
                        outcome, (errors.Connection, errors.Timeout, errors.Server, errors.LimitExceeded)
                    ):
                        raise outcome
                    if failure is None or not isinstance(
                        outcome, errors.Timeout
                    ):  # the last one may have had no time to learn anything
                        failure = outcome
                    gap, due = TRY, min(due, now + (ANSWERED if outcome.details.get("status") else PAUSE))
                if now >= deadline:
                    raise failure or errors.Timeout(
                        "the server does not answer", "See that it runs and that backend.url names it."
                    )
                if now >= due:
                    self._begin(url, deadline - now)
                    gap, due = gap * 2, now + gap
        finally:
            self._cut()

    def close(self):
        """End the wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _begin(self, url, seconds):
        connection = _connection(url, self._headers, self._trace)

        def ask():
            try:
                outcome = _ask(connection, seconds)
            except Exception as error:  # a defect, too: else the server would be taken for mute
                outcome = errors.known(error)
            with self._changed:
                self._outcomes.append(outcome)
                self._asked.discard(connection)
                self._changed.notify_all()

        with self._changed:
            self._asked.add(connection)
        try:
            threads.start(ask, "plue-health")
        except errors.StoreIo:
            with self._changed:
                self._asked.remove(connection)
                if not self._asked:  # else those that have begun may yet be answered
                    raise

    def _cut(self):
        with self._changed:
            asked = list(self._asked)
        for connection in asked:
            connection.cut()
