"""A server that does what a real one will not do on demand: stalls, drips, cuts, lies, speaks no HTTP.

    with Stub() as stub:
        stub.answers.append(reply(200, b"{}"))    # the next request gets this
        Client(stub.url, …)

An answer is bytes, or a function of the connection; what was asked is in `stub.requests` as (method, target, headers,
body).
"""

import contextlib
import json
import queue
import socket
import threading


def reply(status, body=b"", content_type="application/json", headers=(), length=None):
    """Return the bytes of an answer; `length` lies about the body's."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Stub:
    """Listens on a port of its own; each connection is served by a thread, request by request. `tls`: the context of a
    server."""

    def __init__(self, default=None, tls=None):
        self.answers, self.requests, self.connections = [], [], []
        self.default = default
        self.well = True  # say so when asked for /global/health, beside everything else
        self.asked = queue.Queue()  # one item per request, for tests that wait for it
        self.ended = queue.Queue()  # one item per connection that the client has ended
        self.released = threading.Event()  # ends what stalls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        self._tls = tls
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def refuse(self):
        """Take no connection from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._tls:
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, ValueError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
            file = connection.makefile("rb")
            while line := file.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while line := file.readline().strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", 0)))
                if self.well and target == "/global/health":
                    connection.sendall(reply(200, {"healthy": True}))
                    continue
                self.requests.append((method, target, headers, body))
                answer = (
                    self.answers.pop(0)
                    if self.answers
                    else self.default(method, target)
                    if self.default
                    else reply(500)
                )
                self.asked.put((method, target))
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)
        self.ended.put(connection)

    # -- answers that are more than bytes ------------------------------------------------------------------------------
    def stall(self, before=b""):
        """Send `before` and then nothing, until the client leaves or the test ends."""

        def answer(connection):
            connection.sendall(before)
            connection.settimeout(30)
            connection.recv(1)
            raise OSError

        return answer

    def drip(self, data, every=0.02):
        """Send a byte at a time, for ever: each renews a read's deadline."""

        def answer(connection):
            connection.sendall(data)
            while not self.released.wait(every):
                connection.sendall(b" ")

        return answer

    @staticmethod
    def hang_up(before=b""):
        """Send `before` and close."""

        def answer(connection):
            connection.sendall(before)
            connection.shutdown(socket.SHUT_RDWR)
            raise OSError

        return answer
