"""What a server has logged of its sessions, each event with its number in the session's sequence (O-078)."""

import time

from plue_session import errors
from plue_session.adapters.opencode import events, shapes

#: Sessions that may be named in one question: 950 work, 1,000 are a 500 (expression depth; measured).
NAMES = 900
#: Bytes of the longest answer that is read: of more, reading the sessions themselves is cheaper.
MOST = 8_000_000
#: A number that no sequence reaches: of a session that is named with it nothing is answered.
NOTHING = (1 << 53) - 1
#: Seconds for which a server with more sessions than `NAMES` is not asked again how many it has.
CROWDED = 60.0
#: Statuses of a route that is not there, or fails at its own.
_MISSING = (404, 405, 500, 501)


class History:
    """The log of one server, asked for through its `Client`. Thread-safe."""

    def __init__(self, client):
        self._client = client
        self._crowded_until = 0.0

    def is_there(self, call):
        """Return whether the server numbers what happens to a session.

        OpenCode: POST /sync/history. One that has it refuses a list with 400, in JSON and within 1 ms; others have no
        such route.
        """
        reply = self._client._exchange("POST", "/sync/history", None, {}, [], call, True)
        if reply.status not in (200, 400, *_MISSING):
            self._client._accept("POST /sync/history", reply, None)
        return reply.status in (200, 400) and reply.type == "application/json"

    def read(self, known, call):
        """Return `{session id: [Change, …]}`: all that came after the number that `known` has for each session (-1:
        all there is), in order. None when that cannot be had, and the sessions are to be read instead.

        The server answers the whole history of each session that is not named, in every directory, and has all of it in
        memory before it sends a byte: of a database of 200 MB it was silent for 4 s, and grew by 1.3 GB (measured). So
        all others are named, too. OpenCode: GET /experimental/session, POST /sync/history.
        """
        if len(known) > NAMES or time.monotonic() < self._crowded_until:
            return None
        query = {"directory": None, "archived": "true", "limit": NAMES + 1}
        sessions = self._ask("GET", "/experimental/session", query, None, call)
        if sessions is None:
            return None
        numbers = {each.get("id"): NOTHING for each in sessions if type(each) is dict} | known
        if len(numbers) > NAMES:
            self._crowded_until = time.monotonic() + CROWDED
            return None
        body = {session_id: number for session_id, number in numbers.items() if number >= 0}
        rows = self._ask("POST", "/sync/history", {}, body, call)
        if rows is None:
            return None
        found = {session_id: [] for session_id in known}
        for row in rows:
            change = events.read_numbered(row, "aggregate_id") if type(row) is dict else None
            if change is not None and change.session_id in found:
                found[change.session_id].append(change)
        for changes in found.values():
            changes.sort(key=lambda change: change.seq)
        return found

    def _ask(self, method, path, query, body, call):
        """Return the list that is answered; None where there is none, or one that is too long."""
        try:
            reply = self._client._exchange(method, path, None, query, body, call, True, MOST)
        except errors.LimitExceeded:  # cut, without being read to its end
            return None
        if reply.status in _MISSING:
            return None
        answer = self._client._read(f"{method} {path}", reply, None)
        return shapes.expect(list, answer, f"an answer to {method} {path}")
