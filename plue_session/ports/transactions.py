"""Transactions: what is changed together."""

from __future__ import annotations

from typing import Protocol


class Transactions(Protocol):
    """One thread at a time is the writer, from `begin` to `commit` or `rollback`."""

    def begin(self) -> None:
        """Wait for the write lock (fair between processes) and begin a transaction."""

    def is_locked(self) -> bool:
        """Return whether `begin` would wait for another process. Never fails."""

    def promise(self) -> None:
        """Have readers on other threads wait until `keep`: a caller is told before the commit of what they would not
        find. Twice is harmless."""

    def keep(self) -> None:
        """Let them go on: the transaction has ended, and is told. Harmless when nothing was promised. Never fails."""

    def commit(self) -> None:
        """Make everything since `begin` durable, then let other processes in. One that fails leaves the transaction
        rolled back."""

    def rollback(self) -> None:
        """Drop everything since `begin`, then let other processes in. Never fails; harmless when nothing was begun."""

    def savepoint(self) -> None:
        """Begin a part that can be undone alone. Parts do not nest."""

    def release(self) -> None:
        """Keep what was done since `savepoint`."""

    def undo(self) -> None:
        """Drop what was done since `savepoint`."""

    def written(self) -> int:
        """Return a number that is another one after any method of the writer side has changed something. Never
        fails."""
