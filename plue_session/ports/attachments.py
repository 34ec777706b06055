"""What is attached to sessions. Sessions go by their number; what is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Attachment


class AttachmentWriter(Protocol):
    """Attachments, inside a transaction."""

    def attachment(self, number: int) -> Attachment | None:
        """Return what is attached to the session."""

    def keep_attachment(self, row: Attachment) -> None:
        """Store it, in place of what was attached before if anything was."""

    def drop_attachment(self, number: int) -> None:
        """Remove it; harmless when there is none."""


class AttachmentReader(Protocol):
    """Attachments as they are committed."""

    def read_attachment(self, session_id: str) -> Attachment | None:
        """Return what is attached to the session."""

    def read_attachments(self) -> list[tuple[str, Attachment]]:
        """Return `(session id, attachment)` of all sessions."""

    def owner(self) -> int:
        """Return the number that stands for this process, > 0, as long as it lives or the store is open."""

    def is_owner_alive(self, owner: int) -> bool:
        """Return whether the process with this number lives, and has the store open."""
