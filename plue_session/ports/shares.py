"""Public links of sessions, and the key that their secrets are derived from."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Share


class Shares(Protocol):
    """At most one share a session."""

    def share(self, session_id: str) -> Share | None:
        """Return the session's share: to the writer as it is in the transaction, to others as it is committed."""

    def put_share(self, share: Share) -> None:
        """Store or replace the session's share, inside a transaction."""

    def drop_share(self, session_id: str) -> None:
        """Remove the session's share, inside a transaction; harmless when there is none."""


class ShareKey(Protocol):
    """The key. Thread-safe."""

    def load(self) -> bytes:
        """Return its bytes; made when it is first asked for."""
