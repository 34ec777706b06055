"""The outbox: changes that show here already, and that the server is yet to be told, in order.

A change is put in the transaction that makes it show, and dropped in the one that records what the server says of it.
Whoever sends one, outside any transaction, sees by `drop_outgoing` whether somebody has dropped it meanwhile.
"""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Outgoing


class OutboxWriter(Protocol):
    """The outbox, inside a transaction."""

    def put_outgoing(self, row: Outgoing) -> int:
        """Store a change behind all others and return its id, a new one."""

    def outgoing(self, session_id: str) -> list[Outgoing]:
        """Return the changes of one session, in order (copies)."""

    def has_room(self, most: int) -> bool:
        """Return whether fewer than `most` changes of all sessions wait; as fast with many as with few."""

    def has_outgoing(self, row: Outgoing) -> bool:
        """Return whether a change is still there, of the session that it names."""

    def keep_outgoing(self, row: Outgoing) -> None:
        """Store what has become of a change: all but its session, op and time; harmless when it is gone."""

    def drop_outgoing(self, id: int) -> bool:
        """Remove a change, and return whether it was there."""

    def drop_outgoing_of(self, session_id: str) -> None:
        """Remove all changes of the session."""

    def rename(self, old: str, new: str) -> None:
        """Give a session, and all that names it but its children's records, the server's id in place of its own."""


class OutboxReader(Protocol):
    """The outbox as it is committed."""

    def all_outgoing(self, limit: int) -> list[Outgoing]:
        """Return the first changes of all sessions, in the order in which they were made."""

    def next_outgoing(self, session_id: str) -> Outgoing | None:
        """Return the pending change of the session that is to be sent next: the first, or the last if it is a delete,
        which makes the others needless. None: there is none."""

    def is_being_deleted(self, session_id: str) -> bool:
        """Return whether a delete waits whose `base` names the session in its "family"."""

    def due_outgoing(self) -> list[tuple[str, int]]:
        """Return the sessions of which changes wait that can be sent, each with when the first of them is due, those
        first whose first change is the oldest. What cannot is a child whose parent is yet to be made, and an erased
        session whose ancestor's delete waits."""

    def count_outgoing(self, state: str | None = None) -> int:
        """Return how many there are, in this state or in all."""

    def id_of_alias(self, alias: str) -> str | None:
        """Return the id of the session that this is an alias of."""

    def begin_replay(self) -> bool:
        """Return whether this process is the one, of all on the store, that sends what the outbox holds: nobody was, or
        it was before. Its end ends that, too."""

    def end_replay(self) -> None:
        """Let another process be it. Harmless without. Never fails."""
