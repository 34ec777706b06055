"""One TCP connection that any thread may cut, from the first address that is tried to the last byte.

Whoever blocks in `connect`, `recv` or `send` is woken by `cut` alone: closing a descriptor that another thread waits on
does not wake it, and its number may be someone else's by then. Hence a twin of the socket, for shutting down.
"""

import errno
import socket
import sys
import threading
import time
from urllib.parse import quote, urlsplit

from plue_session import errors

#: What the system says when this process, or the machine, has no more to give: it is not the server's fault.
LACKS = {
    errno.EMFILE: "Close some files, or raise the limit (ulimit -n).",
    errno.ENFILE: "Close some files: the machine has no more.",
    errno.ENOMEM: "Free some memory.",
    errno.ENOBUFS: "Free some memory, or close some connections.",
}


class TimedSocket(socket.socket):
    """A socket whose reads end, all together, at `deadline` (seconds of the monotonic clock; None: never), however
    often a byte comes."""

    deadline = None

    def recv_into(self, *arguments):
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.settimeout(left)
        return super().recv_into(*arguments)


class Wire:
    """A connection to be; `connect` may be called once. Thread-safe where it says so."""

    def __init__(self):
        self._lock = threading.Lock()
        self._twin = None
        self._cut = False

    def connect(self, host, port, deadline):
        """Return a connected `TimedSocket`, or raise `OSError`. `deadline` is in seconds of the monotonic clock.

        Each address of the host gets its share of the time that is left. The name lookup cannot be bounded or woken:
        who must not wait for it waits on another thread.
        """
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            seconds = (deadline - time.monotonic()) / (len(addresses) - place)
            sock = TimedSocket(family, kind, protocol)
            try:
                self._hold(sock)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(max(seconds, 0.001))
                sock.connect(address)
                if self._cut:  # a connect that `cut` has woken may look like a success
                    raise ConnectionAbortedError("cut")
                return sock
            except OSError:
                sock.close()
                self.release()
                if self._cut or place == len(addresses) - 1:
                    raise
        raise OSError("the name has no address")

    def _hold(self, sock):
        with self._lock:
            if self._cut:
                raise ConnectionAbortedError("cut")
            self._twin = sock.dup()

    def cut(self):
        """Shut the connection down, now or as soon as there is one. From any thread."""
        with self._lock:
            self._cut = True
            if self._twin is not None:
                try:
                    self._twin.shutdown(socket.SHUT_RDWR)
                except OSError:  # not connected yet, or no longer: nothing waits on it
                    pass

    def release(self):
        """Let go of the socket; its user closes it. Twice is harmless. From any thread."""
        with self._lock:
            twin, self._twin = self._twin, None
        if twin is not None:
            twin.close()


def prefix(url):
    """Return the path of a server's URL as it begins each request: what no URL may hold is encoded, nothing else
    changed."""
    return quote(urlsplit(url).path.rstrip("/"), safe="/%:@!$&'()*+,;=~")


def tls_context():
    """Return the TLS context of every connection to a server: it trusts what the machine trusts (`SSL_CERT_FILE` and
    `SSL_CERT_DIR` name other places, as for every user of OpenSSL), and what certifi lists, for machines that have no
    list."""
    import ssl

    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def lack(error):
    """Return the `PlueError` for an error that says what we lack ourselves; None for any other."""
    remedy = LACKS.get(getattr(error, "errno", None)) if isinstance(error, OSError) else None
    return errors.StoreIo(f"no connection to the server can be made: {error.strerror}", remedy) if remedy else None


def untrusted(error, details=None):
    """Return the `PlueError` for an error of TLS's; None for any other."""
    ssl = sys.modules.get("ssl")  # takes long to import, and where it is not there, it has not failed
    if ssl is None or not isinstance(error, ssl.SSLError):
        return None
    why = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
    return errors.Connection(
        f"no trusted connection to the server ({why})",
        "See that backend.url names a server whose certificate this machine trusts.",
        details=details,
    )
