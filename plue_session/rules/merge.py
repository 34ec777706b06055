"""What the server says of a session, brought into our record of it."""

from functools import cache
from itertools import compress
from operator import attrgetter, ne

from plue_session.model import Session
from plue_session.rules import info
from plue_session.rules.jsontext import dumps, loads
from plue_session.rules.patches import same

#: Ms for which a title set here over an automatic one is defended; after that no first turn makes titles any more
#: (O-027).
DEFENDED_MS = 120_000


def adopt(remote, number, version):
    """Return the record of a session that the server has and we do not; `version` is for servers that tell none."""
    return Session(
        number=number,
        id=remote.id,
        parent_id=remote.parent_id,
        title=remote.title,
        metadata=dumps(remote.metadata),
        created=remote.created,
        updated=max(remote.updated, remote.created),
        archived=remote.archived,
        version=remote.version or version,
        backend="opencode",
        directory=remote.directory,
        share_url=remote.share_url,
        remote_updated=remote.updated,
        token=remote.token,
        imported=True,
    )


def is_defended(session, now):
    """Return whether the title was set here over an automatic one, so lately that the server may still replace it."""
    return session.title_defended_at is not None and now - session.title_defended_at < DEFENDED_MS


def merge(session, remote, share, keep_title=False, heard=False):
    """Bring `session` to what `remote` says and return the events that tell of it, as `(kind, data)`; none if nobody
    can see a change.

    An event (`heard`) that is older than what was merged last is ignored. One of the same age counts, because a rename
    does not make a session younger (P-122, O-024). An answer counts whatever its age: a server's clock may be set back.
    What the server does not know stays: key, tags, description, binding, the parent of a fork. `share` is the session's
    local `Share` or None; the server's link comes first.
    """
    if heard and session.remote_updated is not None and remote.updated < session.remote_updated:
        return []
    session.remote_updated = remote.updated
    before, shared = visible(session), (session.share_url, session.share_expires)
    if not keep_title:
        session.title = remote.title
    session.parent_id = remote.parent_id or session.parent_id
    session.directory = remote.directory or session.directory
    session.version = remote.version or session.version
    session.archived = remote.archived
    metadata = dumps(remote.metadata)
    if metadata != session.metadata and not same(loads(session.metadata), remote.metadata, _equal):
        session.metadata = metadata
    session.updated = max(session.updated, remote.updated)
    if remote.share_url is None:
        session.unshare_pending = False  # the server knows
    if remote.share_url is not None and not session.unshare_pending:
        session.share_url, session.share_expires = remote.share_url, None
    elif share is not None:
        session.share_url, session.share_expires = share.url, share.expires
    else:
        session.share_url = session.share_expires = None
    events = []
    now_shared = session.share_url, session.share_expires
    if now_shared != shared and now_shared[0] is not None:
        events.append(("session.shared", {"id": session.id, "url": session.share_url}))
    elif now_shared != shared:
        events.append(("session.unshared", {"id": session.id}))
    after = visible(session)
    if after != before and not (
        events and after[1:] == before[1:]
    ):  # a share makes the session younger, and tells so itself
        data = {"id": session.id}
        if after[1] != before[1]:
            data["title"] = session.title
        data["fields"] = _fields(tuple(map(ne, before, after)))
        events.insert(0, ("session.updated", data))
    return events


def _equal(one, other):
    """Compare as a server does that keeps numbers as doubles."""
    if type(one) in (int, float) and type(other) in (int, float):
        return one == other or abs(one) < 1 << 1023 and float(one) == float(other)
    return type(one) is type(other) and one == other


#: What the server decides of the info, but for the share.
VISIBLE = ("updated", "title", "parent_id", "directory", "version", "archived", "metadata")
visible = attrgetter(*VISIBLE)


@cache
def _fields(changed):
    """Return the keys of the info that show these of `VISIBLE`."""
    return info.keys(tuple(compress(VISIBLE, changed)))
