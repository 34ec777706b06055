"""The publisher: where committed changes are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from plue_session.model import LogRow


class Publisher(Protocol):
    """The C side's snapshots and event queues. Called by one thread at a time."""

    def known(self, session_id: str) -> bool:
        """Return whether anybody holds a handle to this session."""

    def known_ids(self) -> Iterable[str]:
        """Return the ids of all sessions that somebody holds a handle to."""

    def snapshot(self, session_id: str, rev: int, info: str, revive: bool = False) -> None:
        """Replace the session's info for all its handles, unless theirs has a larger `rev`; those of its alias, which
        the info names, are its handles, too. `revive`: it was gone, and is there again."""

    def gone(self, session_id: str, before: str | None = None) -> None:
        """The session was deleted: its handles answer NOT_FOUND for ever, and those of the alias `before`, too."""

    def publish(self, rows: list[LogRow], store_id: str) -> None:
        """Hand events to every queue that is not behind, with cursors of that store; rows come in the order of their
        ids."""

    def transient(self, kind: int, session_id: str | None, tail: str, cursor: str) -> bool:
        """Hand an event that is not stored to every queue; False: there is no memory for it."""

    def turns(self, session_id: str, count: int) -> None:
        """So many turns of the session are this process's: begun by it, or waited for. Any thread."""

    def skip(self, log_id: int) -> None:
        """The log went on to `log_id` with rows of other scopes."""

    def lost(self, log_id: int) -> None:
        """The log went on to `log_id` in a way that cannot be told event by event: every queue is behind."""

    # -- with a server -------------------------------------------------------------------------------------------------
    def fresh(self, session_id: str) -> None:
        """What handles show of the session was confirmed by the server just now."""

    def away(self, flag: bool) -> None:
        """The server is away: what handles show is "stale", until it is back. Any thread."""

    def adopt(self) -> None:
        """The calling thread, which is none of the boundary's, publishes from now on, for as long as the library
        runs."""
