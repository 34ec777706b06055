"""What a turn asks and waits for: permissions and questions."""

from __future__ import annotations

from plue_session.model.fields import Record

PERMISSION, QUESTION = "permission", "question"


class Ask(Record):
    """One permission or question, open until `ended` says by whom it was: host, deadline, abort or other."""

    number: int  # the session's
    id: str
    kind: str
    turn_id: str | None
    message_id: str | None
    body: str  # JSON, as it is listed
    asked: int  # ms
    deadline: int  # ms
    answer: str | None  # JSON: what one of ours answers, from before that is sent (rules/asks.py)
    ended: str | None
