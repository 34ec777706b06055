"""Permissions and questions. Sessions go by their number; what is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Ask


class AskWriter(Protocol):
    """Permissions and questions, inside a transaction."""

    def ask(self, number: int, id: str) -> Ask | None:
        """Return the permission or question of the session with this id."""

    def keep_ask(self, ask: Ask) -> None:
        """Store one, in place of the one with its id if there is one."""

    def asks(self, number: int) -> list[Ask]:
        """Return those of the session that are open, in the order in which they were asked."""

    def drop_ended_asks(self, number: int, turn_id: str | None) -> None:
        """Remove those that have ended, but for this turn's."""


class AskReader(Protocol):
    """Permissions and questions as they are committed."""

    def read_ask(self, session_id: str, id: str) -> Ask | None:
        """Return the permission or question of the session with this id."""

    def read_asks(self, session_id: str, kind: str) -> list[Ask]:
        """Return those of this kind that are open, in the order in which they were asked."""

    def open_asks(self) -> list[tuple[str, Ask]]:
        """Return `(session id, ask)` of all sessions' that are open, the first to be due first."""
