"""What stands between the library and the real server: it counts what is asked, and does to it what a test wants.

    proxy.rules.append(refuse("POST", "/session"))    # a function of the request: None, or what happens instead

What happens instead is bytes, or a function `(proxy, connection, request)` that sends what it likes;
`proxy.forward(request)` asks the server. A connection on which something goes wrong is closed.

    proxy.disturbance = Disturbance(seed)             # what it does to event streams from now on
"""

import contextlib
import http.client
import json
import random
import re
import socket
import threading
from urllib.parse import urlsplit

from tests.opencode.stub import reply

#: The paths of event streams.
STREAMS = ("/event", "/global/event")


class Request:
    """What was asked: `path` is without the query."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.path = target.partition("?")[0]

    def __repr__(self):
        return f"{self.method} {self.path}"


class Proxy:
    """Listens on a port of its own; each connection is served by a thread. `url` may be a function, for a server that
    comes back elsewhere. `tls`: the context of a server, for https."""

    def __init__(self, url, tls=None):
        self._url, self._tls = url if callable(url) else lambda: url, tls
        self.disturbance = None
        self.requests, self.rules = [], []
        self._connections, self._streams, self._lock = set(), set(), threading.Lock()
        self._listener, self.port = None, 0
        self.up()
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    # -- coming and going ----------------------------------------------------------------------------------------------
    def up(self):
        """Be there, at the port of before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def down(self):
        """Be away: nobody listens, and who was connected no longer is."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_streams(self):
        """End every event stream."""
        self.cut(self._streams)

    def cut_all(self):
        """End every connection; new ones may come."""
        self.cut(self._connections)

    def cut(self, connections):
        with self._lock:
            connections = list(connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def streams(self):
        return len(self._streams)

    def tell(self, kind, **properties):
        """Say something in every event stream, as if the server had said it."""
        event = json.dumps({"id": "evt_forged", "type": kind, "properties": properties})
        with self._lock:
            for connection in self._streams:
                connection.sendall(f"data: {event}\n\n".encode())

    # -- what was asked ------------------------------------------------------------------------------------------------
    def mark(self):
        return len(self.requests)

    def since(self, mark):
        """What was asked since, as "METHOD /path"; not the event streams."""
        return [str(request) for request in self.requests[mark:] if request.path not in STREAMS]

    # -- serving -------------------------------------------------------------------------------------------------------
    def forward(self, request):
        """Ask the server, and return the bytes of its answer."""
        status, kind, headers, body = self.ask(request)
        return reply(status, body, kind, headers)

    def ask(self, request):
        """Ask the server, and return the status, the media type, further headers and the body."""
        connection = self._connect(60)
        try:
            connection.request(request.method, request.target, request.body or None, request.headers)
            answer = connection.getresponse()
            body = answer.read()
            kept = [
                f"{name}: {value}"
                for name, value in answer.getheaders()
                if name.lower() in ("x-next-cursor", "www-authenticate")
            ]
            return answer.status, answer.headers.get("content-type", ""), kept, body
        finally:
            connection.close()

    def _connect(self, timeout=None):
        place = urlsplit(self._url())
        return http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)

    def _listen(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        if self._tls:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # who does not trust us leaves
                return
        with self._lock:
            self._connections.add(connection)
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            file = connection.makefile("rb")
            while line := file.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while line := file.readline().strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                request = Request(method, target, headers, file.read(int(headers.get("content-length", 0))))
                self.requests.append(request)
                answer = next((answer for rule in list(self.rules) if (answer := rule(request)) is not None), None)
                if callable(answer):
                    answer(self, connection, request)
                elif answer is not None:
                    connection.sendall(answer)
                elif request.path in STREAMS:
                    self._stream(connection, request)
                else:
                    connection.sendall(self.forward(request))
        with self._lock:
            self._connections.discard(connection)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _stream(self, connection, request):
        """Hand the event stream on, until either side ends it. What the client ends is noticed with the next event."""
        server = self._connect()

        def send(data):
            with self._lock, contextlib.suppress(OSError):
                if connection in self._streams:
                    connection.sendall(data)

        with self._lock:
            self._streams.add(connection)
        try:
            server.request("GET", request.target, headers=request.headers)
            answer = server.getresponse()
            connection.sendall(
                f"HTTP/1.1 {answer.status} X\r\nContent-Type: {answer.headers.get('content-type')}\r\n".encode()
                + b"Connection: close\r\n\r\n"
            )
            rest = b""
            while data := answer.read1(65536):
                whole, end, rest = (rest + data).rpartition(b"\n\n")  # whole events: others may come between them
                if self.disturbance is None:
                    with self._lock:
                        connection.sendall(whole + end)
                elif end:
                    for event in whole.split(b"\n\n"):
                        self.disturbance(event + b"\n\n", send)
        finally:
            with self._lock:
                self._streams.discard(connection)
            server.close()


class Disturbance:
    """Drops, doubles and delays events, each by chance, so that they come in another order, too. What says how the
    stream itself is passes untouched. `done()` waits until nothing is delayed any more."""

    def __init__(self, seed, drop=0.2, double=0.2, delay=0.3, seconds=0.3):
        self._random, self._chances, self._seconds = random.Random(seed), (drop, double, delay), seconds
        self._timers = []

    def __call__(self, event, send):
        drop, double, delay = (self._random.random() < chance for chance in self._chances)
        if b'"server.' in event:
            drop = double = delay = False
        if not (drop or delay):
            send(event)
        if double or delay and not drop:
            timer = threading.Timer(self._random.uniform(0, self._seconds), send, [event])
            timer.start()
            self._timers.append(timer)  # only now: `done` may not wait for one that has not begun

    def done(self):
        for timer in self._timers:
            timer.join()


# -- rules -------------------------------------------------------------------------------------------------------------
def answering(method, path, answer, times=None):
    """Return a rule that answers what is asked so (`path` is a pattern of the whole path), so many times or always."""
    pattern, left = re.compile(path), [times]

    def rule(request):
        if request.method != method or not pattern.fullmatch(request.path) or left[0] == 0:
            return None
        if left[0] is not None:
            left[0] -= 1
        return answer

    return rule


def without_sequences(request):
    """Be an older server: without numbers, and with the events of one directory at a time."""
    return reply(404, b"") if request.path in ("/sync/history", "/global/event") else None


def lose(proxy, connection, request):
    """Have the server do it, and lose its answer."""
    proxy.forward(request)
    raise OSError


def hang_up(proxy, connection, request):
    """Close the connection without asking the server."""
    raise OSError


def stall(proxy, connection, request):
    """Never answer, until the client leaves."""
    connection.settimeout(30)
    connection.recv(1)
    raise OSError


class Gate:
    """Hold requests until they may pass: `arrived` tells that one is there, `open()` lets it and all later ones go
    on."""

    def __init__(self, method, path, after=False):
        self._rule, self._after = answering(method, path, self._hold), after
        self.arrived, self._opened = threading.Event(), threading.Event()

    def __call__(self, request):
        return self._rule(request)

    def open(self):
        self._opened.set()

    def _hold(self, proxy, connection, request):
        """Hold the request, or (`after`) its answer."""
        answer = proxy.forward(request) if self._after else None
        self.arrived.set()
        self._opened.wait(30)
        connection.sendall(answer or proxy.forward(request))


class Sharing:
    """A rule that makes the server one that shares, which the real one does only with the internet: `links` are those
    it has given.

    What it `tells` of each share and of its end in the event stream: nothing, the state "after" it, or the one "before"
    it as well. The server's own events of the session must have come by then.
    """

    def __init__(self, tells=()):
        self.links, self._given, self._tells = {}, 0, tells

    def __call__(self, request):
        if request.path.endswith("/share"):
            return self._share
        return self._show if request.path.startswith("/session") and request.method != "DELETE" else None

    def _share(self, proxy, connection, request):
        session_id = request.path.split("/")[2]
        asked = Request("GET", request.target.replace("/share", "", 1), request.headers, b"")
        before = self._read(proxy, asked)[2]
        if request.method == "POST":
            self._given += 1
            self.links.setdefault(session_id, f"https://share.example/{self._given}")
        else:
            self.links.pop(session_id, None)
        status, kind, session = self._read(proxy, asked)
        for state in self._tells:
            proxy.tell("session.updated", sessionID=session_id, info=before if state == "before" else session)
        connection.sendall(reply(status, session, kind))

    def _read(self, proxy, request):
        status, kind, _, body = proxy.ask(request)
        data = json.loads(body)
        for session in data if type(data) is list else [data]:
            if type(session) is dict and session.get("id") in self.links:
                session["share"] = {"url": self.links[session["id"]]}
        return status, kind, data

    def _show(self, proxy, connection, request):
        status, kind, data = self._read(proxy, request)
        connection.sendall(reply(status, data, kind))
