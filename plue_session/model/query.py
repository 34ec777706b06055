"""What is asked for: which sessions, in which order."""

from __future__ import annotations

from plue_session.model.fields import Record


class Query(Record):
    """A parsed `query_json`. None means "do not filter"."""

    status: tuple | None
    relay_state: tuple | None
    residency: tuple | None
    role: str | None
    key: str | None
    parent_id: str | None
    tags: tuple = ()
    created_after: int | None
    created_before: int | None
    updated_after: int | None
    updated_before: int | None
    archived: bool | None
    text: str | None
    sort: str = "updated"
    descending: bool = False
    limit: int = 100
    after: tuple | None  # (sort value, number) of the last row of the page before
