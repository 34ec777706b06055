"""Transcripts. Sessions go by their number; what is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Message, Part, Transcript


class MessageWriter(Protocol):
    """Transcripts, inside a transaction."""

    def message(self, number: int, id: str) -> Message | None:
        """Return the message of the session with this id."""

    def keep_message(self, message: Message) -> None:
        """Store a message, in place of the one with its id if there is one."""

    def drop_message(self, number: int, id: str) -> None:
        """Remove a message and its parts; harmless when there is none."""

    def messages_of_turn(self, number: int, turn_id: str) -> list[Message]:
        """Return the messages of a turn, in order."""

    def parts(self, number: int, message_id: str) -> list[Part]:
        """Return the parts of a message, in order."""

    def part(self, number: int, message_id: str, id: str) -> Part | None:
        """Return one part of a message."""

    def keep_part(self, part: Part) -> None:
        """Store a part, in place of the one with its id if there is one."""

    def drop_part(self, number: int, message_id: str, id: str) -> None:
        """Remove a part; harmless when there is none."""

    def transcript(self, number: int) -> Transcript | None:
        """Return what is known of the transcript as a whole."""

    def keep_transcript(self, transcript: Transcript) -> None:
        """Store that."""

    def usage_of(self, number: int, model: str) -> str | None:
        """Return what the messages of a model have used, as JSON."""

    def keep_usage(self, number: int, model: str, sums: str) -> None:
        """Store that."""


class MessageReader(Protocol):
    """Transcripts as they are committed."""

    def read_messages(
        self, session_id: str, limit: int, before: tuple[int, str] | None = None, parts: bool = True
    ) -> list[tuple[Message, list[Part]]]:
        """Return at most `limit` messages, the newest ones before `(created, id)`, oldest first; without `parts` the
        lists are empty. Costs the same however many there are."""

    def read_message(self, session_id: str, id: str) -> Message | None:
        """Return the message of the session with this id."""

    def read_turn_messages(self, session_id: str, turn_id: str) -> list[tuple[Message, list[Part]]]:
        """Return the messages of a turn, in order."""

    def read_transcript(self, session_id: str) -> Transcript | None:
        """Return what is known of the transcript as a whole."""

    def read_usage(self, session_id: str) -> list[tuple[str, str]]:
        """Return `(model, sums)` of the session, as JSON."""
