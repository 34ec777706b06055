"""What processes on one store tell each other beside it, for which no commit is worth while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Channel(Protocol):
    """Short messages to those processes that listen. Thread-safe; nothing waits, and a message for which a listener has
    no room is not delivered to it. Failures are told by what is returned, none is raised."""

    #: bytes that a message may have
    most: int

    def listeners(self) -> list[str]:
        """Return the names of the other processes that listen now. A process that listens anew has another name."""

    def send(self, listener: str, message: bytes) -> bool:
        """Hand a message to a listener; return whether it got it."""

    def listen(self, hear: Callable[[bytes], None]) -> bool:
        """Have `hear(message)` called on a thread of the channel's, until `leave`; return whether that can be done.
        Harmless when it is done already."""

    def leave(self) -> None:
        """Listen no more. Harmless without."""

    def close(self) -> None:
        """Give up all of it. Twice is harmless."""
