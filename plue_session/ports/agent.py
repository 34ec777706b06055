"""An agent that runs a session's turns: a process of its own that keeps one conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from plue_session.call import Call


class Ear(Protocol):
    """Who hears what an agent says. Called on the agent's thread, one at a time; must not wait."""

    def hear(self, said: Any, size: int) -> bool:
        """Take one of model/said.py, of about so many bytes. False: there is no room for more; the agent is not read
        until `Agent.go_on`."""


class Agent(Protocol):
    """One process of an agent's, from its start to its end. Thread-safe.

    What asks for an answer returns a ticket at once; `Answered` with that ticket comes to the ear, always: after `Gone`
    nothing more comes, and before it each open ticket has got its error.
    """

    #: what it calls itself, or its command's name
    name: str
    #: of its process, which is its group's; None before it runs and once it is gone
    pid: int | None
    #: whether its end has begun, for whatever reason: it answers nothing that is asked from now on
    is_over: bool

    def start(self, call: Call, running: Callable[[], None] | None = None) -> None:
        """Start the process, call `running()` once it has a `pid`, and greet it. `IO` when the command cannot be run,
        `SERVER` when it ends or answers what it should not (its exit and last words are in the message and the
        details), `TIMEOUT`, `UNSUPPORTED` for a version of the protocol that is not ours, `PROVIDER_AUTH` when it wants
        a login. After a failure it is still to be closed."""

    def open(self, conversation: str | None, call: Call) -> str:
        """Begin a conversation, or (not None) restore the one with this id, and return its id. Errors as of `start`;
        `NOT_FOUND` when the agent does not know it any more, `UNSUPPORTED` when it restores none. What an agent tells
        of a conversation that it restores is no news, and is not heard."""

    def offer(self) -> Any:
        """Return the newest `Offer`."""

    def prompt(self, parts: list) -> int:
        """Say this, as callers give it (`parts` of an input), and return the ticket. `UNSUPPORTED` when the agent takes
        no such part, `INVALID_PARAM` when a file cannot be read: then nothing was sent. Answered with a `Finish`."""

    def choose(self, kind: str, id: str) -> int:
        """Have "model" or "mode" be this one, and return the ticket. Answered with None."""

    def cancel(self) -> None:
        """Ask for the end of the prompt; its answer comes all the same. Harmless without."""

    def answer(self, request: Any, option: str | None) -> None:
        """Answer what it has `Asked` with one of the options, or (None) with its withdrawal. Harmless once it was."""

    def forget(self, call: Call) -> None:
        """Have the agent delete the conversation, where it can; harmless where it cannot."""

    def go_on(self) -> None:
        """Read on: the ear has room."""

    def close(self) -> None:
        """Begin to end the process and all that it has started: its pipes are closed, then TERM, 5 s, KILL. Returns at
        once, and needs nothing that may be lacking. Twice is harmless."""

    def join(self, seconds: float) -> bool:
        """Wait for that end, and return whether nothing is left of it."""
