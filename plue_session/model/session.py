"""A session's record."""

from __future__ import annotations

from plue_session.model.fields import Bit, Flag, Record, Texts


class Session(Record):
    """One session, as the store keeps it. Times are integer milliseconds since the Unix epoch."""

    number: int  # the store's own, never reused; an embedded id is "session_<number>"
    id: str
    key: str | None
    parent_id: str | None
    title: str = "Untitled"
    description: str | None
    tags: Texts
    metadata: str = "{}"  # a JSON object, ready to be spliced
    created: int
    updated: int
    archived: int | None
    ended: int | None
    version: str | None
    status: str = "active"
    aborted: Bit
    backend: str = "embedded"
    directory: str | None
    provider_id: str | None
    model_id: str | None
    role: str | None
    relay_state: str | None
    relay_messages: int = 0
    relay_active: int | None
    relay_worktree: str | None
    relay_agent: str | None  # what is attached: "host" or "acp"
    relay_lost: Flag  # it is ACTIVE, and its agent has gone
    residency: str | None
    message_count: int = 0
    artifact_count: int = 0
    share_url: str | None
    share_expires: int | None
    # Of use with a server only, and never shown:
    remote_updated: int | None  # the server's time of the update that was last applied here
    remote_seq: int | None  # how far the server's sequence was applied here: a mark (rules/sequences.py)
    token: str | None  # what a create carried to the server; finds the session there when the answer was lost
    title_defended_at: int | None  # when a title was set here over an automatic one
    unshare_pending: Flag  # the share was withdrawn here, and the server is yet to be told
    abort_mark: str | None  # where the transcript stood when the session was aborted (rules/turns.py)
    is_fork: Flag  # a copy of its parent; the server does not know that, and does not delete it with the parent
    imported: Flag  # found on the server, not made here
    aliased: Flag  # the server's id came later: "session_<number>" is an alias of it
    outbox: str | None  # while changes are in the outbox: how many wait, and how many are in conflict
    beneath: str | None  # and what the server has of what they change (rules/outbox.py)
    turn: str | None  # the turn that runs: JSON, as the info shows it
    held_until: int | None  # an abort is under way, and until then (ms) no prompt of ours is sent
    # For readers:
    rev: int = 0  # the log id of the session's last event
    revision: int = 0  # how many durable events it has had
    info: str = ""  # the ready-made info JSON (rules/info.py), without a trailing NUL or newline
