"""A change that the server is yet to be told."""

from __future__ import annotations

from plue_session.model.fields import Record

#: What becomes of one: it waits for the server, or for the host to settle a conflict.
PENDING, CONFLICT = "pending", "conflict"


class Outgoing(Record):
    """One row of the outbox: a change that shows here already. Those of a session are sent in the order of their
    ids."""

    id: int  # given by the store, and never again
    session_id: str
    op: str  # "create", "update", "delete" or "unshare"
    arguments: str = "{}"  # JSON: what is asked for
    base: str = "{}"  # JSON: what was there before, to roll back to and to tell conflicts by
    state: str = PENDING
    attempts: int = 0  # how often it was sent in vain
    due: int = 0  # ms: not to be sent before
    since: int
    error: str | None  # why it was in vain the last time, or what it is in conflict with

    @property
    def name(self):
        """Its id, as callers know it."""
        return f"op_{self.id}"
