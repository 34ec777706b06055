"""Pending operations: what must still be sent to a server, or done later, and survives the process.

An operation is known by its kind and its name (`Operation.name`), of which there is one at a time. Each `put_operation`
gives an id that no other ever has: whoever carries one out, outside any transaction, names that id when it is done or
has failed, and so does not end what was put meanwhile.

Operations outlive the record of their session: a delete is still to be sent when the record is gone. Whoever erases a
session drops what only made sense with it (`drop_operations_of`) and then puts what is left to do; whoever carries out
an operation whose session is gone decides what that means.
"""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Operation


class OperationWriter(Protocol):
    """The operations, inside a transaction. While none is pending, all but `put_operation` change nothing on disk."""

    def put_operation(self, operation: Operation) -> int:
        """Store an operation and return its id, a new one. It takes the place of the one of the same kind and name, if
        there is one, and is due when the earlier of the two is."""

    def operation(self, kind: str, name: str) -> Operation | None:
        """Return the operation of this kind and name (a copy), or None."""

    def retry_operation(self, id: int, due: int) -> None:
        """Count a try that failed, and let the next one be at `due`; harmless when the operation is gone."""

    def drop_operation(self, kind: str, name: str, id: int | None = None) -> None:
        """Remove the operation of this kind and name, with `id` only if it still is that one; harmless when there is
        none."""

    def drop_operations_of(self, session_id: str) -> None:
        """Remove all operations about the session."""


class OperationReader(Protocol):
    """The operations as they are committed."""

    def operations(self, due: int | None = None, limit: int = 100) -> list[Operation]:
        """Return at most `limit` operations, the first to be due first; with `due`, those due by then."""

    def count_operations(self, kind: str | None = None) -> int:
        """Return how many there are, of this kind or of all."""
