"""Turns: what was said, answered by the model."""

from __future__ import annotations

from plue_session.model.fields import Record

#: States of a turn: its prompt may have been sent or not; it runs; it waits for an answer to a permission or a
#: question; the server tries the model again.
CLAIMED, RUNNING, WAITING, RETRYING, ENDED = "claimed", "running", "waiting", "retrying", "ended"


class Turn(Record):
    """One turn of a session."""

    seq: int  # given by the store, in the order of their beginning
    number: int  # the session's
    id: str
    message_id: str | None  # of the user's message that it answers
    state: str = CLAIMED
    inputs: str = "[]"  # JSON: ids of the inputs that it answers; none for another client's
    claim_id: int | None
    cancelled: int | None  # ms: when its end was asked for
    outcome: str | None
    reason: str | None
    error: str | None  # JSON
    started: int  # ms
    ended: int | None
