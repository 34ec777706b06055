"""JSON-RPC 2.0 over lines: what we ask and what is asked of us. Which methods there are is not known here."""

import threading

from plue_session import errors
from plue_session.rules.jsontext import MAX_DEPTH, clean, dumps, loads, parse

#: The errors of JSON-RPC, and those of the Agent Client Protocol.
NO_METHOD, BAD_PARAMS, INTERNAL, CANCELLED, NOT_FOUND = -32601, -32602, -32603, -32800, -32002
#: What a handler returns that answers later.
LATER = object()


class Refused(Exception):
    """Why a request of theirs is not served: a code and a text."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


class Rpc:
    """The two ends of a line. Thread-safe; `feed` and `end` are called on one thread.

    `send(line)` takes bytes. `requests` are functions `(params, id)` by their method, which return a result, or `LATER`
    (then `reply` answers), or raise `Refused`; `notices` the same without an id, `ValueError` when they are not what
    they should be. `noise(text)` hears what is no message, or says nothing to us.
    """

    def __init__(self, send, requests, notices, noise):
        self._send, self._requests, self._notices, self._noise = send, requests, notices, noise
        self._lock = threading.Lock()
        self._last, self._open, self._error = 0, {}, None

    def ask(self, method, params, answered):
        """Send a request and return its ticket; `answered(ticket, result, error)` is called once, on the line's thread,
        with the error as they gave it (a dict), or a `PlueError`. Raises what the line has ended with."""
        ticket = self.reserve(answered)
        self.send(ticket, method, params)
        return ticket

    def reserve(self, answered):
        """Return the ticket of a request that is sent later, or answered by `take`. Otherwise as `ask`."""
        with self._lock:
            if self._error:
                raise self._error
            self._last += 1
            self._open[self._last] = answered
            return self._last

    def send(self, ticket, method, params):
        """Send the request of a ticket."""
        try:
            self._say({"id": ticket, "method": method, "params": params})
        except errors.PlueError:
            if self.take(ticket) is not None:  # else the end of the line has answered it
                raise

    def take(self, ticket):
        """Return whom to tell the answer to a ticket, and expect none any more; None: it was answered."""
        with self._lock:
            return self._open.pop(ticket, None)

    def tell(self, method, params):
        """Send a notification."""
        self._say({"method": method, "params": params})

    def reply(self, id, result):
        """Answer a request of theirs that was to be answered `LATER`."""
        self._say({"id": id, "result": result})

    def refuse(self, id, code, text):
        """Answer a request of theirs with an error."""
        self._say({"id": id, "error": {"code": code, "message": text}})

    def end(self, error):
        """Answer all that is open with an error, and all that is asked from now on."""
        with self._lock:
            self._error = error
            waiting = list(self._open.items())
            self._open.clear()
        for ticket, answered in waiting:
            answered(ticket, None, error)

    def _say(self, message):
        self._send(dumps({"jsonrpc": "2.0", **message}).encode("utf-8", "backslashreplace"))

    # -- what they say -----------------------------------------------------------------------------------------------
    def feed(self, line):
        """Take a line."""
        message = _read(line)
        if type(message) is not dict:
            self._make_noise(line)
        elif type(method := message.get("method")) is str:
            if "id" in message:
                self._serve(method, message.get("params"), message["id"])
            else:
                self._hear(method, message.get("params"), line)
        elif type(message.get("id")) is int and ("result" in message or "error" in message):
            ticket = message["id"]
            answered = self.take(ticket)
            if answered is None:
                self._make_noise(line)  # answered twice, or never asked
            elif message.get("error") is not None:
                error = clean(message["error"])
                answered(ticket, None, error if type(error) is dict else {"code": INTERNAL, "message": str(error)})
            else:
                answered(ticket, clean(message.get("result")), None)
        else:
            self._make_noise(line)

    def _serve(self, method, params, id):
        handler = self._requests.get(method)
        try:
            if handler is None:
                raise Refused(NO_METHOD, f"{method} is not offered here")
            if type(params) is not dict:
                raise Refused(BAD_PARAMS, f"the parameters of {method} are no object")
            result = handler(clean(params), id)
        except Refused as refused:
            self.refuse(id, refused.code, refused.text)
            return
        if result is not LATER:
            self.reply(id, result)

    def _hear(self, method, params, line):
        handler = self._notices.get(method)
        try:
            if handler is not None:
                if type(params) is not dict:
                    raise ValueError(method)
                handler(params, len(line))
        except ValueError:
            self._make_noise(line)

    def _make_noise(self, line):
        if text := " ".join(line[:1000].decode("utf-8", "replace").split()):
            self._noise(text if len(text) <= 200 else text[:199] + "…", len(line))


def _read(line):
    """Return the JSON value of a line, or None: it is none. What is not UTF-8 becomes U+FFFD; texts may have lone
    surrogates, half of a character that was cut."""
    text = line.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return None
    try:
        return parse(text, "a line")
    except errors.JsonParse as error:
        return _read_deep(text) if error.cause.endswith(f"deeper than {MAX_DEPTH}") else None
    except errors.InvalidParam:  # a lone surrogate, or a number of too many digits
        return _read_odd(text)


def _read_deep(text):
    """Return what a message that is nested too deep needs to be answered: who asks waits."""
    try:
        message = loads(text)
    except (errors.PlueError, ValueError, RecursionError, StopIteration):
        return None
    if "method" in message:
        return {key: message[key] for key in ("id", "method") if key in message}
    return {"id": message.get("id"), "error": {"code": INTERNAL, "message": "the answer is nested too deep"}}


def _read_odd(text):
    try:
        return loads(text)
    except (errors.PlueError, ValueError):
        return None
