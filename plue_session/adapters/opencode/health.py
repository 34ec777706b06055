"""Whether a server is there. Asked on a new connection each time, and not for long (O-002).

Before OpenCode says that it listens, its socket accepts connections for up to a second and never answers what is asked on
them: a kept connection, or a patient wait, would be lost.
"""

import http.client
import time
from urllib.parse import urlsplit

from plue_session import errors
from plue_session.adapters.opencode import shapes
from plue_session.adapters.opencode.connection import Wire, prefix, tls_context, untrusted

#: Seconds that one try of `await_health` takes at most.
TRY = 0.25


def probe(url, headers, seconds):
    """Return the version of a healthy server, or raise what is wrong: `CONNECTION`, `TIMEOUT`, `ACCESS_DENIED`, `SERVER`.

    OpenCode: GET /global/health. A name lookup that hangs is not bounded by `seconds`.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    wire = Wire()
    connection = None
    try:
        until = time.monotonic() + seconds
        sock = wire.connect(parts.hostname, parts.port or (443 if secure else 80), until)
        if secure:
            sock = tls_context().wrap_socket(sock, server_hostname=parts.hostname)
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
        connection.sock = sock
        sock.settimeout(max(until - time.monotonic(), 0.001))
        connection.request("GET", prefix(url) + "/global/health", headers=headers)
        answer = connection.getresponse()
        body = answer.read(65536)
    except TimeoutError:
        raise errors.Timeout("the server does not answer", "See that it runs and that backend.url names it.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a URL that cannot be one
        raise untrusted(error) or errors.Connection(f"the server cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})",
                                "See that it runs and that backend.url names it.") from None
    finally:
        if connection:
            connection.close()
        wire.release()
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not 200 <= answer.status < 300:
        raise shapes.refusal("GET /global/health", answer.status, kind, body)
    try:
        data = shapes.parse(body)
    except ValueError as error:
        if kind == "application/json":
            raise shapes.malformed("an answer to GET /global/health", str(error)[:100]) from None
        raise shapes.not_json("GET /global/health", answer.status, kind) from None
    if type(data) is not dict or data.get("healthy") is not True:
        raise shapes.malformed("an answer to GET /global/health", 'it does not say "healthy": true')
    return shapes.clean(str(data.get("version", "")))


def await_health(url, headers, until, stop):
    """Return the version as soon as the server is healthy; `stop` is a `threading.Event` that ends the wait (`CLOSED`).

    Fails at `until` (monotonic seconds) with what the tries met, at once with `ACCESS_DENIED`.
    """
    failure = None
    while True:
        try:
            return probe(url, headers, min(TRY, max(until - time.monotonic(), 0.01)))
        except errors.AccessDenied:
            raise
        except errors.PlueError as error:
            if failure is None or type(error) is not errors.Timeout:  # the last try may have had no time to learn anything
                failure = error
            if time.monotonic() >= until:
                raise failure from None
        if stop.wait(min(0.05, max(until - time.monotonic(), 0))):
            raise errors.Closed("the library was shut down meanwhile", "Call plue_init again.")
