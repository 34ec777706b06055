"""The way of one call to the server and back: its JSON, or the error that its answer means."""

import base64
import threading
import time

from plue_session import errors
from plue_session.adapters.opencode import shapes
from plue_session.rules import directories
from plue_session.rules.jsontext import dumps

#: Seconds that a 500 waits for the `session.error` that explains it.
EXPLANATION = 0.1


class ApiCall:
    """One server and one directory. Thread-safe.

    `locate(call)` returns the server's URL, waiting for one that is being restarted. `directory` is
    canonical; every request names it, or the session's own (O-011). `heard` is what the event stream says
    (`EventSignal`); `trace` hears of each request, see `Log.trace`.
    """

    def __init__(self, locate, directory, username=None, password=None, heard=None, trace=None):
        self.directory = directories.canonical(directory)
        self._locate, self._headers, self.heard = locate, headers(username, password), heard
        self._trace = trace
        self._lock = threading.Lock()
        self._transport, self._url, self._closed = None, None, False
        self._dated = None, 0.0  # what the server's last answer said the time was, and when it came

    def close(self):
        """Cut what is under way (`CLOSED`), within 100 ms. Twice is harmless."""
        with self._lock:
            self._closed, transport = True, self._transport
        if transport:
            transport.close()

    def admit(self, headers):
        """Have what is sent from now on carry other headers."""
        with self._lock:
            self._headers, self._url = headers, None

    def _exchange(self, method, path, directory, query, body, call, resend, most=None, lasts=False):
        url = self._locate(call)
        with self._lock:
            if self._closed:
                raise errors.Closed("the library was shut down meanwhile", "Call plue_init again.")
            old = None
            if url != self._url:  # our own server has been restarted on another port, or with another password
                from plue_session.adapters.opencode.http import Transport

                old, self._url, self._transport = self._transport, url, Transport(url, self._headers, self._trace)
            transport = self._transport
        if old:
            old.close()
        data = None if body is None else dumps(body).encode()
        reply = transport.send(
            method,
            path,
            {"directory": directories.for_query(directory or self.directory), **query},
            data,
            call,
            resend,
            most,
            lasts,
        )
        self._dated = reply.headers.get("date"), time.time()
        return reply

    def ahead(self):
        """Return by how many ms the server's clock was ahead of ours (behind: less than 0) when it last answered.
        Answers tell seconds: what is less than one counts as none."""
        from email.utils import parsedate_to_datetime

        told, at = self._dated
        try:
            ms = round((parsedate_to_datetime(told).timestamp() + 0.5 - at) * 1000) if told else 0
        except (ValueError, OverflowError):  # no date, or one that no clock shows
            return 0
        return ms if abs(ms) > 1000 else 0

    def _call(
        self,
        method,
        path,
        directory,
        call,
        query=None,
        body=None,
        session=None,
        resend=True,
        empty=False,
        lasts=False,
    ):
        """Send, and return the parsed JSON of a 2xx answer, or None of one without a body, if it may be `empty`
        (O-012). What `lasts` is as for `Transport.send`."""
        began = time.monotonic()
        try:
            reply = self._exchange(method, path, directory, query or {}, body, call, resend, lasts=lasts)
            return (
                None
                if empty and 200 <= reply.status < 300 and not reply.body
                else self._read(f"{method} {path}", reply, session)
            )
        except errors.PlueError as error:
            error.session = error.session or session
            if method != "GET" and is_garbled(error):
                error.cause += "; whether it took effect is not known yet"
            self._explain(error, session, began)
            raise

    def _read(self, call, reply, session):
        try:
            return shapes.parse(self._accept(call, reply, session))
        except ValueError as problem:
            error = shapes.malformed(f"an answer to {call}", str(problem)[:100])
        error.session = session
        raise error

    @staticmethod
    def _accept(call, reply, session):
        """Return the body of a 2xx answer in JSON; raise what any other one means."""
        if not 200 <= reply.status < 300:
            error = shapes.refusal(call, reply.status, reply.type, reply.body[:], reply.headers)
        elif reply.type != "application/json":
            error = shapes.not_json(call, reply.status, reply.type)
        else:
            return reply.body
        error.session = session
        raise error

    def _explain(self, error, session, began):
        """Put the text of `session.error` where the server said no more than 500 (O-014)."""
        if self.heard and session and type(error) is errors.Server and error.details.get("status") == 500:
            text = self.heard.failure(session, began, EXPLANATION)
            if text:
                error.details["reason"] = text = text[: shapes.EXCERPT]
                error.cause = f"{error.cause} ({text})"

    @staticmethod
    def _pause(seconds, call):
        call.within(seconds).wait(threading.Condition(), lambda: None)


def is_garbled(error):
    """Return whether the server has said yes, in a way that cannot be read."""
    return type(error) is errors.Server and 200 <= error.details.get("status", 200) < 300


def headers(username, password):
    """Return the headers of every request; they hold the credentials, if there is a password."""
    made = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "plue-session"}
    if password:
        # OpenCode takes UTF-8 where RFC 7617 leaves the choice; its default username is "opencode" (O-009).
        credentials = f"{username or 'opencode'}:{password}".encode("utf-8", "surrogateescape")
        made["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    return made
