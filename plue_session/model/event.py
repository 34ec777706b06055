"""Events: a row of the log, and the kinds there are."""

from __future__ import annotations

from plue_session.model.fields import Record


class LogRow(Record):
    """One durable event: its place in the log, and its JSON from "timestamp" on."""

    id: int
    session_id: str | None
    kind: int  # its number in EVENTS
    time: int
    tail: str  # what follows the `sequence` value, beginning with a comma: `,"timestamp":…,"data":{…}}`


#: Event kinds by number: they are part of the ABI. Append only.
EVENTS = (
    "session.created",
    "session.updated",
    "session.deleted",
    "message.created",
    "message.updated",
    "message.part.updated",
    "provider.changed",
    "config.changed",
    "error",
    "library.initialized",
    "library.shutdown",
    "session.shared",
    "session.unshared",
    "session.state_changed",
    "session.completed",
    "turn.started",
    "turn.activity",
    "turn.finished",
    "queue.changed",
    "artifact.added",
    "artifact.deleted",
    "resource.changed",
    "relay.changed",
    "sync.state",
    "sync.conflict",
    "operation.progress",
    "operation.completed",
    "operation.failed",
    "operation.cancelled",
    "permission.asked",
    "permission.replied",
    "hook.failed",
    "log",
    "gap",
    "question.asked",
    "question.replied",
    "todo.updated",
)
EVENT_NUMBER = {name: number for number, name in enumerate(EVENTS)}
