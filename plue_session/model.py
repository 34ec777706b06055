"""The nouns: records that services, rules and stores pass to each other. Plain data, no behaviour beyond copying."""


class Session:
    """One session's record, as the store keeps it. Times are integer milliseconds since the Unix epoch.

    `number` is the store's own never-reused integer (an embedded id is "session_<number>"); `metadata` is JSON object
    text, ready to be spliced; `rev` is the log id of the session's last event; `info` is the ready-made info JSON
    (rules/info.py renders it), without a trailing NUL or newline.

    What follows is of use with a server only and never shown. `remote_updated` is the server's own time of update that
    was last applied here, None when none was; `token` is what a create carried to the server, by which it is found
    there when its answer was lost; `title_defended_at` is when a title was set here over an automatic one, None when
    none was; `unshare_pending` is whether it was withdrawn here and the server is yet to be told; `abort_mark` says
    where the transcript stood when the session was aborted (rules/turns.py); `is_fork` is whether the parent is the
    session that this one is a copy of, which the server does not know and does not delete it with; `imported` is
    whether it was only imported on the server, not made here.
    """

    __slots__ = (
        "number",
        "id",
        "key",
        "parent_id",
        "title",
        "description",
        "tags",
        "metadata",
        "created",
        "updated",
        "archived",
        "ended",
        "version",
        "status",
        "aborted",
        "backend",
        "directory",
        "provider_id",
        "model_id",
        "role",
        "relay_state",
        "relay_messages",
        "relay_active",
        "residency",
        "message_count",
        "artifact_count",
        "share_url",
        "share_expires",
        "remote_updated",
        "token",
        "title_defended_at",
        "unshare_pending",
        "abort_mark",
        "is_fork",
        "imported",
        "rev",
        "info",
    )

    def __init__(
        self,
        number=None,
        id=None,
        key=None,
        parent_id=None,
        title="Untitled",
        description=None,
        tags=None,
        metadata="{}",
        created=None,
        updated=None,
        archived=None,
        ended=None,
        version=None,
        status="active",
        aborted=False,
        backend="embedded",
        directory=None,
        provider_id=None,
        model_id=None,
        role=None,
        relay_state=None,
        relay_messages=0,
        relay_active=None,
        residency=None,
        message_count=0,
        artifact_count=0,
        share_url=None,
        share_expires=None,
        remote_updated=None,
        token=None,
        title_defended_at=None,
        unshare_pending=False,
        abort_mark=None,
        is_fork=False,
        imported=False,
        rev=0,
        info="",
    ):
        # Spelled out: a loop over __slots__ takes ten times as long, for each session that is read.
        self.number, self.id, self.key, self.parent_id, self.title = number, id, key, parent_id, title
        self.description, self.tags, self.metadata = description, [] if tags is None else tags, metadata
        self.created, self.updated, self.archived, self.ended = created, updated, archived, ended
        self.version, self.status, self.aborted, self.backend = version, status, aborted, backend
        self.directory, self.provider_id, self.model_id, self.role = directory, provider_id, model_id, role
        self.relay_state, self.relay_messages, self.relay_active = relay_state, relay_messages, relay_active
        self.residency, self.message_count, self.artifact_count = residency, message_count, artifact_count
        self.share_url, self.share_expires, self.remote_updated, self.token = (
            share_url,
            share_expires,
            remote_updated,
            token,
        )
        (
            self.title_defended_at,
            self.unshare_pending,
            self.abort_mark,
            self.is_fork,
            self.imported,
            self.rev,
            self.info,
        ) = title_defended_at, unshare_pending, abort_mark, is_fork, imported, rev, info

    def copy(self):
        twin = Session(*[getattr(self, name) for name in self.__slots__])
        twin.tags = list(self.tags)
        return twin


class Share:
    """A session's public link. `expires` is in ms or None for never; the secret is derived, never stored."""

    __slots__ = ("session_id", "share_id", "url", "created", "expires")

    def __init__(self, session_id, share_id, url, created, expires):
        self.session_id, self.share_id, self.url, self.created, self.expires = (
            session_id,
            share_id,
            url,
            created,
            expires,
        )


class LogRow:
    """One durable event: its place in the log, whose it is (or None), its number (kind), and its JSON from "timestamp"
    on.

    `tail` is the event's text after the `sequence` value, beginning with a comma: `,"timestamp":…,"data":{…}}`.
    """

    __slots__ = ("id", "session_id", "kind", "time", "tail")

    def __init__(self, id, session_id, kind, time, tail):
        self.id, self.session_id, self.kind, self.time, self.tail = id, session_id, kind, time, tail


class Query:
    """A parsed `query_json`. None means "do not filter"; `after` is the key of the last row of the page before."""

    __slots__ = (
        "status",
        "relay_state",
        "residency",
        "role",
        "key",
        "parent_id",
        "tags",
        "created_after",
        "created_before",
        "updated_after",
        "updated_before",
        "archived",
        "text",
        "sort",
        "descending",
        "limit",
        "after",
    )

    def __init__(self, **fields):
        for name in self.__slots__:
            setattr(self, name, fields.get(name))
        self.tags = self.tags or ()
        self.sort = self.sort or "updated"
        self.descending = bool(self.descending)
        self.limit = self.limit or 100


#: Event kinds by number (c-api.md, section 4). Append only.
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
)
EVENT_NUMBER = {name: number for number, name in enumerate(EVENTS)}
