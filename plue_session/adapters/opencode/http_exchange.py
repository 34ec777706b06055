"""One request and its answer, from whoever asks to whoever performs it."""

import threading

from plue_session import errors


class Reply:
    """An answer: `status`, `type` (media type in lower case), `headers`, `body` (bytes; a long one may be a `mmap`,
    whose slices are)."""

    __slots__ = ("status", "type", "headers", "body")

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.type = headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpExchange:
    """One request on its way, settled once: by who performs it, or by whoever gives up first. `sent`: the server may
    have got it; `again`: and this is the second attempt; `here`: its caller performs it."""

    __slots__ = (
        "method",
        "target",
        "body",
        "resend",
        "deadline",
        "sent",
        "again",
        "worker",
        "here",
        "outcome",
        "_lock",
        "_done",
    )

    def __init__(self, method, target, body, resend, deadline):
        self.method, self.target, self.body, self.resend, self.deadline = method, target, body, resend, deadline
        self.sent, self.again, self.worker, self.here, self.outcome = False, False, None, False, None
        self._lock, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()

    def settle(self, outcome):
        """Set the outcome, a `Reply` or an error; returns whether it was the first."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
        self._done.release()
        return True

    def wait(self, seconds):
        """Wait until it is settled, at most so long; returns whether it is."""
        return self._done.acquire(timeout=max(seconds, 0))


def unknown(exchange):
    """Say that a change may have been made, if it may: the end of a message about an exchange without an answer."""
    return "; whether it took effect is not known yet" if exchange.method != "GET" and exchange.sent else ""


def closed():
    """Return the error of what is cut by `Transport.close`."""
    return errors.Closed("the connection to the server was closed meanwhile", "Call plue_init again.")
