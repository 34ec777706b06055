"""The records of sessions. What is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Any, Protocol

from plue_session.model import Observed, Query, Session


class SessionWriter(Protocol):
    """The records, inside a transaction."""

    def load(self, session_id: str) -> Session | None:
        """Return the session with this id."""

    def load_by_key(self, key: str) -> Session | None:
        """Return the session with this key."""

    def load_by_role(self, role: str) -> Session | None:
        """Return the session that holds this role and whose relay state is not CLEANED."""

    def load_by_token(self, token: str) -> Session | None:
        """Return the session whose create carried this token. Of several (a server may have copied one session's
        metadata to another) the one created first."""

    def children(self, session_id: str) -> list[str]:
        """Return the ids of the sessions whose parent is `session_id`, oldest first, but for those that are its
        forks."""

    def active_count(self) -> int:
        """Return how many sessions made here (not imported) are not final (status active or suspended)."""

    def next_number(self, now_ms: int) -> int:
        """Return `max(now_ms, the largest number ever used + 1)`. Numbers are not reused, also after `erase`."""

    def insert(self, session: Session) -> None:
        """Store a new record under `session.number`; a duplicate id, key or live role is `errors.AlreadyExists`."""

    def save(self, session: Session) -> frozenset[str]:
        """Replace the record with this `id` (which exists), and return the names of the fields that differ."""

    def erase(self, session_id: str) -> None:
        """Remove the record, its share, and its events from the log. Its pending operations stay (see
        OperationWriter)."""


class SessionReader(Protocol):
    """The records as they are committed."""

    def info(self, session_id: str) -> tuple[int, str] | None:
        """Return `(rev, info text)` of the session, or None."""

    def read(self, session_id: str) -> Session | None:
        """Return the session with this id."""

    def read_children(self, session_id: str) -> list[str]:
        """Return what `children` returns the writer."""

    def id_of_key(self, key: str) -> str | None:
        """Return the id of the session with this key, or None."""

    def ids(self) -> list[tuple[str, str | None]]:
        """Return `(id, directory)` of all sessions, in any order."""

    def observe(self, session_id: str, now: int, limit: int, small: int) -> Observed | None:
        """Return how a session stands as of one moment, with its newest `limit` messages; parts of one that have more
        than `small` bytes together are left out. None: there is no such session."""

    def observe_all(self) -> tuple[int, list[str]]:
        """Return `(newest log id of all scopes, the info of each session)` as of one moment, in the order of
        `infos`."""

    def infos(self) -> bytes:
        """Return the info of all sessions, with commas between them, in UTF-8, by (created, number) ascending. Bytes,
        not text: a long list is neither decoded nor encoded on its way from the store to the caller."""

    def infos_apart(self) -> Any:
        """As `infos`, in a buffer whose memory goes with it. It takes a little longer, and leaves nothing with the
        allocator."""

    def page(self, query: Query) -> tuple[list[str], tuple | None]:
        """Return `(list of info texts, next)`: at most `query.limit` sessions that match, in order; `next` is the
        `(sort value, number)` to pass as `query.after` for the next page, or None when this is the last one.
        Costs the same however many sessions there are, if no filter discards most of them."""

    def count(self, query: Query) -> int:
        """Return how many sessions match; sort, limit and after are ignored."""
