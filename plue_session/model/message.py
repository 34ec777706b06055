"""What was said: messages, their parts, and what they have used."""

from __future__ import annotations

from plue_session.model.fields import Bit, Record


class Message(Record):
    """One message of a session's transcript, without its parts. They are in the order of (`created`, `id`)."""

    number: int  # the session's
    id: str
    role: str  # "user" or "assistant"
    turn_id: str | None
    created: int  # ms
    completed: int | None
    model: str | None  # JSON {"providerId","modelId"}
    error: str | None  # JSON
    usage: str | None  # JSON: tokens and cost


class Part(Record):
    """One part of a message; in the order of their ids."""

    number: int  # the session's
    message_id: str
    id: str
    finished: Bit  # nothing more comes
    body: str  # JSON, as callers get it


class Transcript(Record):
    """What is known of a session's transcript as a whole."""

    number: int  # the session's
    complete: Bit  # all that was said is in the store
    before: str | None  # else the server's cursor for what is older than the oldest here
    todos: str | None  # JSON: the agent's plan; None: not known
