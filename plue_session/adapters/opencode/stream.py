"""The server's event stream, followed for as long as the library runs.

Two threads: one reads and cuts, and never waits for anybody, because the server buffers without limit for a slow reader
(O-060); the other applies. The stream has no ids and no replay (O-058), so each connection begins with a snapshot:
subscribe, wait for `server.connected`, snapshot by GET, then apply what was heard meanwhile and from then on.

Only `/global/event` has the numbers of the sessions' sequences, beside what it tells of all directories. `/event` is of
one; `/api/event` numbers each event, too, but ends at the first of a type that it does not know, such as
`session.status` (all measured on 1.18.33).
"""

import random
import threading
import time
from collections import deque
from itertools import islice, takewhile
from urllib.parse import quote

from plue_session import errors, threads
from plue_session.adapters.opencode import events, shapes
from plue_session.call import Call
from plue_session.rules import directories, sse

#: Seconds without a byte after which the stream is dead: the server's heart beats every 10 (O-059).
SILENCE = 30.0
#: Seconds that connecting may take, and then the beginning of the answer: a server that is just starting never gives
#: one (O-001).
CONNECT, ANSWER = 10.0, 5.0
#: Seconds that `/global/event` has to subscribe after it has said that it is connected: it loses what happens meanwhile
#: (1 to 36 ms measured, also beside a busy server). `/event` subscribes first.
SUBSCRIBING = 0.1
#: Seconds before the first reconnect and before the later ones: each connect makes the server grow (O-059).
BACK_OFF = 1.0, 30.0
#: Events, and their bytes, that may wait for being applied; beyond that a new snapshot is cheaper than they are.
MOST_WAITING, MOST_BYTES = 20_000, 64_000_000
#: Events that are handed on together, for one commit. Half of them the server tells twice: a queue has room for the
#: rest.
GROUP = 1536
#: Seconds that `stop` waits for the threads.
STOPPING = 0.1

_AGAIN = events.Change("again")  # what was heard is incomplete: snapshot


def _is_event(item):
    return type(item) is bytes


class Stream:
    """Follows what happens in one directory. Start it from a library thread: its threads inherit the blocked signals.

    Called on the applying thread, one at a time: `snapshot()` reads the server's state by GET and raises when it
    cannot, which costs the connection; `apply(changes)` takes `events.Change`s as they came; `on_state(error)` hears
    None when the stream is connected and its snapshot applied, and the error when it is lost, once each.
    `locate(call)` returns the server's URL.

    With `sequences(call)`, which tells whether the server has them, changes carry their numbers where it does. Of
    sessions in other directories those are told that `knows(session_id)`.
    """

    def __init__(
        self,
        locate,
        directory,
        headers,
        snapshot,
        apply,
        on_state,
        *,
        sequences=None,
        knows=None,
        trace=None,
        back_off=BACK_OFF,
        silence=SILENCE,
    ):
        self._locate, self._directory = locate, directory
        self.admit(headers)
        self._snapshot, self._apply, self._on_state = snapshot, apply, on_state
        self._sequences, self._knows, self._trace = sequences, knows, trace
        self._everywhere = sequences is not None  # follow all directories
        self.numbered = False  # changes carry numbers, where there are any
        self._back_off, self._silence = back_off, silence
        self._changed = threading.Condition()
        self._waiting, self._bytes = deque(), 0
        self._cut = lambda: None  # there is no connection yet
        self._stopping = self._hurry = False
        self.connected = self._told = self._gone = False
        self.hears = False  # a connection is there and being read
        self._threads = []

    def start(self):
        """Begin to connect. Returns at once."""
        for work, name in ((self._work, "plue-apply"), (self._read, "plue-stream")):
            self._threads.append(threads.start(work, name))

    def stop(self):
        """End both threads, cutting the connection; waits at most 100 ms. Twice is harmless."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._cut()
        deadline = time.monotonic() + STOPPING
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def admit(self, headers):
        """Have the connections from now on carry these headers."""
        self._headers = {**headers, "Accept": "text/event-stream"}

    def hurry(self):
        """Connect now instead of waiting: the server is back. How that ends is told even if it changes nothing."""
        with self._changed:
            self._hurry, self._told = True, False
            self._changed.notify_all()

    def lose(self, error):
        """Hear that our own server is gone: that is told also where the loss of the connection was. Returns at once."""
        self._gone = error
        self._put(error)

    # -- reading -------------------------------------------------------------------------------------------------------
    def _read(self):
        delay, longest = self._back_off
        while not self._stopping:
            began = time.monotonic()
            try:
                self._follow()
                error = errors.Connection("the server ended the event stream", "It is connected again by itself.")
            except errors.PlueError as failure:
                if self._everywhere and isinstance(failure, (errors.Server, errors.NotFound)):  # an older server
                    self._everywhere = False
                    continue
                error = failure
            except Exception as failure:  # a defect is told like any other loss, and does not end the following
                error = errors.known(failure)
            self._put(error)
            self._everywhere = self._sequences is not None
            if time.monotonic() - began > self._silence:
                delay = self._back_off[0]
            self._pause(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, longest)

    def _pause(self, seconds):
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._hurry, seconds)
            self._hurry = False

    def _follow(self):
        """Read one connection to its end. OpenCode: GET /global/event, GET /event."""
        from plue_session.adapters.opencode.http_connection import FAILURES, Endpoint, HttpConnection, explain

        url = self._locate(Call(time.monotonic() + CONNECT))
        connection = HttpConnection(Endpoint(url, self._headers, self._trace))
        with self._changed:
            if self._stopping:
                return
            self._cut = connection.cut
        here = f"/event?directory={quote(directories.for_query(self._directory), safe='')}"
        target = "/global/event" if self._everywhere else here
        try:
            connection.open(time.monotonic() + CONNECT)
            limit = time.monotonic() + min(ANSWER, self._silence)
            self._listen(connection, connection.exchange("GET", target, None, limit))
        except FAILURES as error:
            if not connection.begun:
                raise explain(error, "GET", "/event", connection.sent) from None
            raise errors.Connection(
                f"the event stream broke ({getattr(error, 'strerror', None) or type(error).__name__})",
                "It is connected again by itself.",
            ) from None
        finally:
            self.hears = False
            connection.close()

    def _listen(self, connection, answer):
        if answer.status != 200:
            raise shapes.refusal("GET /event", answer.status, answer.type, answer.read(), answer.headers)
        if answer.type != "text/event-stream":
            raise shapes.not_json("GET /event", answer.status, answer.type)
        self.hears = True
        parser = sse.Parser()
        while True:
            connection.deadline = time.monotonic() + self._silence
            if not (data := answer.read()):
                return
            # One that is too long is not kept: what it said is looked for.
            if events := parser.feed(data):
                self._put(*[_AGAIN if event is None else event for event in events])

    def _put(self, *items):
        """Leave something to be applied; never waits. Too much of it is replaced by a snapshot."""
        with self._changed:
            for item in items:
                if _is_event(item):
                    self._bytes += len(item)
                    if len(self._waiting) >= MOST_WAITING or self._bytes > MOST_BYTES:
                        self._waiting.clear()
                        self._bytes, item = 0, _AGAIN
                if item is not _AGAIN or not self._waiting or self._waiting[-1] is not _AGAIN:
                    self._waiting.append(item)
            self._changed.notify_all()

    # -- applying ------------------------------------------------------------------------------------------------------
    def _work(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                items = self._next_items()
            try:
                if isinstance(items[0], errors.PlueError):
                    self._tell(items[0])
                else:
                    self._take(items)
            except Exception as error:  # a defect above must not end the following for ever: begin anew
                self._lose(errors.known(error))

    def _next_items(self):
        """Take what is handed on together: events, or something else alone."""
        waiting = self._waiting
        events = list(takewhile(_is_event, islice(waiting, GROUP)))
        self._bytes -= sum(map(len, events))
        return [waiting.popleft() for _ in range(len(events) or 1)]

    def _take(self, items):
        """Hand on what was heard, in order and together, with a snapshot where it has a gap."""
        changes = []
        for item in items:
            change = item if item is _AGAIN else events.read(item, self.numbered)
            if change is None or not self._is_covered(change):
                continue
            if change.kind in ("again", "connected", "disposed"):
                if changes:
                    self._apply(changes)
                changes = []
                if change.kind == "connected":
                    self._begin()
                self._snapshot()
                self._tell(None)
            if change.kind not in ("again", "connected", "heartbeat"):
                changes.append(change)
        if changes:
            self._apply(changes)

    def _begin(self):
        """See what this connection has to tell. Until then, what the last one had is the best guess."""
        numbered = False
        if self._everywhere:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, SUBSCRIBING)
            numbered = self._sequences(Call(time.monotonic() + CONNECT))
        self.numbered = numbered

    def _is_covered(self, change):
        """Return whether a change is of our directory, or of one of our sessions. The server names a session's own
        directory, whichever the request named that changed it (measured)."""
        if change.directory in (None, self._directory):
            return True
        return change.session_id is not None and self._knows is not None and self._knows(change.session_id)

    def _lose(self, error):
        """Give the connection up: without its snapshot, or after a gap, what follows has no beginning."""
        self._cut()
        try:
            self._tell(error)
        except Exception:  # the defect is in who is told, and there is nobody else: it is told again next time
            return

    def _tell(self, error):
        """Tell of a change of state; a server that stays away is told of once, and the end of our own."""
        if (error is None) != self.connected or not self._told or error is self._gone:
            self.connected, self._told = error is None, True  # before, for `hurry` may come meanwhile
            try:
                self._on_state(error)
            except Exception:
                self._told = False
                raise
