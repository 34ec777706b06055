"""Turns. Sessions go by their number; what is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Turn


class TurnWriter(Protocol):
    """Turns, inside a transaction."""

    def add_turn(self, turn: Turn) -> int:
        """Store a new turn and return its `seq`."""

    def keep_turn(self, turn: Turn) -> None:
        """Replace the turn with this `seq`."""

    def turn(self, number: int, id: str) -> Turn | None:
        """Return the turn of the session with this id."""

    def turn_of_message(self, number: int, message_id: str) -> Turn | None:
        """Return the turn that answers this message of the user's."""

    def open_turn(self, number: int) -> Turn | None:
        """Return the session's turn that has not ended."""


class TurnReader(Protocol):
    """Turns as they are committed."""

    def read_turn(self, session_id: str, id: str) -> Turn | None:
        """Return the turn of the session with this id, or of the user's message with this id."""

    def read_turns(self, session_id: str) -> list[Turn]:
        """Return the session's turns in order."""

    def read_open_turn(self, session_id: str) -> Turn | None:
        """Return the session's turn that has not ended."""

    def read_open_turns(self) -> list[tuple[str, Turn]]:
        """Return `(session id, turn)` of all that have not ended."""

    def begin_drive(self) -> bool:
        """Return whether this process is the one, of all on the store, that runs turns: nobody was, or it was before.
        Its end ends that, too."""

    def end_drive(self) -> None:
        """Let another process be it. Harmless without. Never fails."""
