"""The info JSON of a session, as plue_session_get_info() describes it: what handles, lists, queries and events show.
And what rows of the log tell."""

from plue_session.model import EVENT_NUMBER
from plue_session.rules.jsontext import loads, quote

DELETED = EVENT_NUMBER["session.deleted"]

#: How an info ends, by what is known of the server's side of the session.
_LOST = ',"isLost":true'
_LOCAL, _SYNCED, _STALE = (f',"sync":{{"state":"{state}","pending":0}}}}' for state in ("local", "synced", "stale"))
#: What stands between an id and its alias.
_ALIAS = '","aliases":["'


def render(session):
    """Write the session's info as JSON text. Absent optional values are left out; it never holds a secret.

    Runs in every change, hence the hand-built text: an encoder would cost five times as much. Ids, states and the
    metadata (already JSON) come from validated sources and are spliced as they are; all other text is quoted.
    """
    s = session
    aliases = f',"aliases":["session_{s.number}"]' if s.aliased else ""
    text = f'{{"id":"{s.id}"{aliases},"title":{quote(s.title)}'
    if s.parent_id is not None:
        text += f',"parentId":"{s.parent_id}"'
    text += f',"time":{{"created":{s.created},"updated":{s.updated}'
    if s.archived is not None:
        text += f',"archived":{s.archived}'
    if s.ended is not None:
        text += f',"ended":{s.ended}'
    text += "}"
    if s.share_url is not None:
        expires = "" if s.share_expires is None else f',"expiresAt":{s.share_expires}'
        text += f',"share":{{"url":{quote(s.share_url)}{expires}}}'
    text += f',"version":{quote(s.version)}'
    if s.key is not None:
        text += f',"key":{quote(s.key)}'
    if s.description is not None:
        text += f',"description":{quote(s.description)}'
    tags = ",".join(map(quote, s.tags)) if s.tags else ""
    text += (
        f',"tags":[{tags}],"metadata":{s.metadata},"status":"{s.status}"'
        f',"aborted":{"true" if s.aborted else "false"},"backend":"{s.backend}"'
    )
    if s.directory is not None:
        text += f',"directory":{quote(s.directory)}'
    if s.provider_id is not None:
        text += f',"provider":{{"providerId":{quote(s.provider_id)},"modelId":{quote(s.model_id)}}}'
    if s.role is not None:
        text += f',"role":{quote(s.role)}'
    if s.relay_state is not None:
        worktree = "" if s.relay_worktree is None else f',"worktree":{quote(s.relay_worktree)}'
        text += (
            f',"relay":{{"state":"{s.relay_state}"{worktree},"messageCount":{s.relay_messages}'
            f',"lastActive":{s.relay_active}{_LOST if s.relay_lost else ""}}}'
        )
    if s.residency is not None:
        text += f',"residency":"{s.residency}"'
    if s.turn is not None:
        text += f',"turn":{s.turn}'
    return (
        f'{text},"messageCount":{s.message_count},"artifactCount":{s.artifact_count}'
        f"{_LOCAL if s.backend == 'embedded' else _SYNCED if s.outbox is None else _unsent(s.outbox)}"
    )


def _unsent(outbox):
    pending, conflicts = outbox.split()
    return f',"sync":{{"state":"{"pending" if conflicts == "0" else "conflict"}","pending":{pending}}}}}'


def told_data(row):
    """Return the data of an event, of its row of the log."""
    return loads(row.tail[row.tail.index('"data":') + 7 : -1])


def tells_alias(row):
    """Return whether an event tells that a session got the server's id in place of its own. Quotation marks in texts
    are escaped: no title looks like that."""
    return _ALIAS[1:] in row.tail


def alias_told(rows):
    """Return the alias that the end of a session tells, of the rows of the log that tell of the session; None if
    none."""
    for row in rows:
        _, found, rest = row.tail.partition(_ALIAS[1:])
        if found and row.kind == DELETED:
            return rest[: rest.index('"')]
    return None


def alias(session_id, info):
    """Return the id that this session had before the server gave it its own, as its info shows; None if none."""
    begin = f'{{"id":"{session_id}{_ALIAS}'
    return info[len(begin) : info.index('"', len(begin))] if info.startswith(begin) else None


#: The key that shows a field. `share` has events of its own.
_SHOWN = {
    "aliased": "aliases",
    "title": "title",
    "parent_id": "parentId",
    "updated": "time.updated",
    "archived": "time.archived",
    "ended": "time.ended",
    "version": "version",
    "key": "key",
    "description": "description",
    "tags": "tags",
    "metadata": "metadata",
    "status": "status",
    "aborted": "aborted",
    "directory": "directory",
    "provider_id": "provider",
    "model_id": "provider",
    "role": "role",
    "relay_state": "relay",
    "relay_messages": "relay",
    "relay_active": "relay",
    "relay_worktree": "relay",
    "relay_lost": "relay",
    "residency": "residency",
    "turn": "turn",
    "message_count": "messageCount",
    "artifact_count": "artifactCount",
    "outbox": "sync",
}


def keys(changed):
    """Return the keys of the info that show these fields, in its order."""
    return list(dict.fromkeys([key for name, key in _SHOWN.items() if name in changed]))


def stale(info):
    """Return the info of a session whose server is away: the same, but for the sync state."""
    return info[: -len(_SYNCED)] + _STALE if info.endswith(_SYNCED) else info
