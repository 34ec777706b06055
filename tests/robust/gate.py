"""A gate between the library and a real server: it lets requests through, or does to some of them what networks do.

    gate.rules.append((matches, action))    # matches(method, path) -> bool; the first rule that matches counts
    gate.rules.append(once(matches, cut_after))

An action is called with the gate, the client's connection and `forward`, which sends the request on and returns the
server's answer as bytes. It may raise `OSError`: then the connection is closed.
"""

import contextlib
import http.client
import json
import queue
import select
import socket
import threading
import time

#: What belongs to one connection only, and is made anew.
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Gate:
    """Listens on a port of its own. `most` is how many requests were under way at once, the event stream apart."""

    def __init__(self, url):
        self.upstream = url.removeprefix("http://")
        self.rules, self.requests = [], []
        self.asked = queue.Queue()  # (method, path) of each request that a rule held up
        self.released = threading.Event()  # ends what stalls
        self.events = True  # let the event stream through
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._connections = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open = False
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def backend(self, daemon):
        """Return the `backend` of a configuration that reaches `daemon` through this gate."""
        return {**daemon.backend, "url": self.url}

    def clear(self):
        """Let everything through again, and what stalls go home."""
        self.rules.clear()
        self.released.set()
        self.released = threading.Event()

    def cut_all(self):
        """Cut every connection that there is."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self):
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            file = connection.makefile("rb")
            while line := file.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while line := file.readline().strip():
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", 0)))
                path = target.partition("?")[0]
                if path in ("/event", "/global/event"):
                    self._stream(connection, target, headers)
                    break
                self.requests.append((method, path))
                with self._lock:
                    self._now += 1
                    self.most = max(self.most, self._now)
                try:
                    action = next((action for matches, action in list(self.rules) if matches(method, path)), None)

                    def forward():
                        return self._forward(method, target, headers, body)

                    if action is None:
                        connection.sendall(forward())
                    else:
                        self.asked.put((method, path))
                        action(self, connection, forward)
                finally:
                    with self._lock:
                        self._now -= 1
        connection.close()
        with self._lock:
            self._connections.discard(connection)

    def _upstream(self, target, method, headers, body):
        upstream = http.client.HTTPConnection(self.upstream, timeout=60)
        upstream.request(
            method, target, body or None, {name: value for name, value in headers.items() if name not in HOP | {"host"}}
        )
        return upstream, upstream.getresponse()

    def _forward(self, method, target, headers, body):
        upstream, answer = self._upstream(target, method, headers, body)
        data = answer.read()
        upstream.close()
        lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in HOP]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    def _stream(self, connection, target, headers):
        if not self.events:
            return
        upstream, answer = self._upstream(target, "GET", headers, b"")
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            upstream.sock and upstream.sock.settimeout(None)
            while self._open and (data := answer.read1(65536)):
                connection.sendall(data)
        upstream.close()


# -- which requests ----------------------------------------------------------------------------------------------------
def of(method, part=""):
    """Match requests of this method whose path contains `part`; method None: any."""
    return lambda given, path: method in (None, given) and part in path


def once(matches, action):
    """Return a rule that counts for one request."""
    left = [1]

    def first(method, path):
        if not matches(method, path) or not left:
            return False
        left.clear()
        return True

    return first, action


# -- what is done to them ----------------------------------------------------------------------------------------------
def stall(gate, connection, forward):
    """Take the request and never answer; it does not reach the server."""
    _sleep(gate, connection)


def stall_after(gate, connection, forward):
    """Pass the request on and never answer."""
    forward()
    _sleep(gate, connection)


def drip_header(gate, connection, forward):
    """Answer a byte at a time, never to the end of the header."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not gate.released.wait(0.02):
        connection.sendall(b"a")
    raise OSError


def drip_body(gate, connection, forward):
    """Answer a byte at a time, never to the end of the body."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    while not gate.released.wait(0.02):
        connection.sendall(b" ")
    raise OSError


def cut(gate, connection, forward):
    """Close the connection; the request does not reach the server."""
    raise OSError


def cut_after(gate, connection, forward):
    """Pass the request on and close the connection without an answer."""
    forward()
    raise OSError


def cut_inside(gate, connection, forward):
    """Pass the request on and close the connection in the middle of the answer."""
    answer = forward()
    connection.sendall(answer[: len(answer) - max(1, len(answer) // 4)])
    raise OSError


def refuse(status, body=None):
    """Answer with this status instead of passing the request on."""
    data = json.dumps(
        body if body is not None else {"name": "UnknownError", "data": {"message": "refused by the test"}}
    ).encode()

    def action(gate, connection, forward):
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            + data
        )

    return action


def delay(seconds):
    """Pass the request on so much later, if its client is still there: what comes after the change that was made in its
    place would undo that."""

    def action(gate, connection, forward):
        gate.released.wait(seconds)
        if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
            raise OSError("the client has left")
        connection.sendall(forward())

    return action


def _sleep(gate, connection):
    """Wait until the client leaves, or the stall is over."""
    released, deadline = gate.released, time.monotonic() + 60
    connection.settimeout(0.1)
    while time.monotonic() < deadline and not released.is_set():
        try:
            if connection.recv(1) == b"":
                raise OSError
        except TimeoutError:
            pass
    raise OSError
