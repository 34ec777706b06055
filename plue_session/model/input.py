"""What is to be said in a session, and who has taken it."""

from __future__ import annotations

from plue_session.model.fields import Bit, Record

#: States of an input.
PENDING, DEFERRED, ACCEPTED = "pending_active", "deferred_next_turn", "accepted"
ENDED = CANCELLED, COMPLETED = "cancelled", "completed"


class Input(Record):
    """One input of a session's queue. Those of a session are taken in the order of `seq`."""

    seq: int  # the log's id of the event that tells of it: it rises, and is never given again
    number: int  # the session's
    source_key: str | None
    ingress: str = '"nextTurn"'  # JSON: "nextTurn" or {"activeTurn":{"turnId","boundary"}}
    state: str = DEFERRED
    enqueued: int  # ms
    content: str  # JSON, its keys sorted: what is to be said, as it was given
    alone: Bit  # it shares its turn with no other
    wanted: str | None  # the id that its turn is to have
    claim_id: int | None
    turn_id: str | None  # the turn that has taken it

    @property
    def name(self):
        """Its id, as callers know it."""
        return f"input_{self.seq}"


class Claim(Record):
    """Inputs that somebody has taken, and until when they are his. A later claim has a larger id: the fencing token."""

    id: int  # given by the store, and never again
    number: int  # the session's
    owner: str
    turn_id: str
    expires: int  # ms
