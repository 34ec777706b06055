"""A conversation that is taken up anew in the same process, for agents that lose step.

After a prompt that was cancelled or has failed, claude-agent-acp (0.23.1) answers the next one at once, with nothing,
and is a prompt behind from then on. Closed and resumed, it is in step again (docs/agents-facts.md).
"""

import threading

from plue_session import errors

#: What agents call themselves that lose step.
NAMES = frozenset({"@zed-industries/claude-agent-acp"})


def renew(ask, offers, conversation, done):
    """Close the conversation and resume it (`conversation` are the parameters of that), with the model and the mode
    that it had. `ask(method, params, answered)` sends a request; `done(error)` is called once, None: it is in step."""
    was = offers.offer()

    def closed(*_):  # what it says to that does not matter: it resumes, or does not
        ask("session/resume", conversation, resumed)

    def resumed(_, result, error):
        if error is not None:
            done(error)
            return
        offers.begin(result)
        now = offers.offer()
        choose([kind for kind in ("mode", "model") if getattr(was, kind) not in (None, getattr(now, kind))])

    def choose(kinds):
        if not kinds:
            done(None)
            return
        kind, id = kinds[0], getattr(was, kinds[0])

        def chosen(_, __, error):
            if error is None:
                offers.choose(kind, id)
            choose(kinds[1:])

        ask(*offers.request(kind, id), chosen)

    ask("session/close", {"sessionId": conversation["sessionId"]}, closed)


class Gate:
    """Sends requests over an `Rpc`; while it is shut, they wait."""

    def __init__(self, rpc):
        self._rpc, self._lock = rpc, threading.Lock()
        self._held = None

    @property
    def is_shut(self):
        return self._held is not None

    def ask(self, method, params, answered):
        """As of `Rpc`."""
        ticket = self._rpc.reserve(answered)
        with self._lock:
            if self._held is not None:
                self._held.append((ticket, method, params))
                return ticket
        self._rpc.send(ticket, method, params)
        return ticket

    def shut(self):
        with self._lock:
            self._held = []

    def open(self, answer):
        """Send what has waited, but what `answer(method)` has an answer for; on the line's thread."""
        with self._lock:
            held, self._held = self._held, None
        for ticket, method, params in held:
            result = answer(method)
            if result is None:
                try:
                    self._rpc.send(ticket, method, params)
                except errors.PlueError:  # the line ends, which answers all
                    continue
            elif (answered := self._rpc.take(ticket)) is not None:
                answered(ticket, result, None)
