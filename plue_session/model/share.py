"""A session's public link."""

from __future__ import annotations

from plue_session.model.fields import Record


class Share(Record):
    """A session's public link. The secret is derived from `share_id`, and never stored."""

    session_id: str
    share_id: str
    url: str
    created: int  # ms
    expires: int | None  # ms; None: never
