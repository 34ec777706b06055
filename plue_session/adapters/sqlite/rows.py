"""Sessions as rows: which column holds what, and statements that name no more columns than they must.

Python's sqlite3 spends its time per column read and per value bound, most of all for None, and SQLite rewrites every
index of which a column is named. So an insert leaves out what is NULL and an update names what has changed.
"""

from operator import itemgetter

from plue_session.model import Session
from plue_session.rules.jsontext import dumps, loads

COLUMNS = (
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
    "title_fold",
    "search",
)
NUMBER, TAGS, STATUS, IMPORTED, INFO = (
    COLUMNS.index(name) for name in ("number", "tags", "status", "imported", "info")
)

_TITLE, _DESCRIPTION, _FOLD, _SEARCH = (
    COLUMNS.index(name) for name in ("title", "description", "title_fold", "search")
)
#: What an id of the store's own begins with; its number follows.
_MADE = "session_"
_EVERY = range(len(COLUMNS))
#: Places of the columns that may be NULL, and of those that never are.
_OPTIONAL = tuple(
    [
        COLUMNS.index(name)
        for name in (
            "key",
            "parent_id",
            "description",
            "archived",
            "ended",
            "version",
            "directory",
            "provider_id",
            "model_id",
            "role",
            "relay_state",
            "relay_active",
            "residency",
            "share_url",
            "share_expires",
            "remote_updated",
            "token",
            "title_defended_at",
            "unshare_pending",
            "abort_mark",
            "is_fork",
            "imported",
        )
    ]
)
_REQUIRED = tuple([place for place in _EVERY if place not in _OPTIONAL])
_required = itemgetter(*_REQUIRED)
_new = Session.__new__
_inserts, _updates = {}, {}


def row(session, old=None):
    """Return the session as a tuple in the order of COLUMNS; `old` is its row before, whose folded texts may still
    fit."""
    s = session
    title, description = s.title, s.description
    if old is not None and old[_TITLE] == title and old[_DESCRIPTION] == description:
        fold, search = old[_FOLD], old[_SEARCH]
    else:
        fold, search = title.casefold(), description.casefold() if description else ""
    return (
        s.number,
        s.id,
        s.key,
        s.parent_id,
        title,
        description,
        dumps(s.tags) if s.tags else "[]",
        s.metadata,
        s.created,
        s.updated,
        s.archived,
        s.ended,
        s.version,
        s.status,
        1 if s.aborted else 0,
        s.backend,
        s.directory,
        s.provider_id,
        s.model_id,
        s.role,
        s.relay_state,
        s.relay_messages,
        s.relay_active,
        s.residency,
        s.message_count,
        s.artifact_count,
        s.share_url,
        s.share_expires,
        s.remote_updated,
        s.token,
        s.title_defended_at,
        1 if s.unshare_pending else None,
        s.abort_mark,
        1 if s.is_fork else None,
        1 if s.imported else None,
        s.rev,
        s.info,
        fold,
        search,
    )


def session(row):
    """Return a new Session of a row."""
    s = _new(Session)
    (
        s.number,
        s.id,
        s.key,
        s.parent_id,
        s.title,
        s.description,
        tags,
        s.metadata,
        s.created,
        s.updated,
        s.archived,
        s.ended,
        s.version,
        s.status,
        aborted,
        s.backend,
        s.directory,
        s.provider_id,
        s.model_id,
        s.role,
        s.relay_state,
        s.relay_messages,
        s.relay_active,
        s.residency,
        s.message_count,
        s.artifact_count,
        s.share_url,
        s.share_expires,
        s.remote_updated,
        s.token,
        s.title_defended_at,
        unshare_pending,
        s.abort_mark,
        is_fork,
        imported,
        s.rev,
        s.info,
        _,
        _,
    ) = row
    s.tags = tags_of(tags)
    s.aborted, s.unshare_pending, s.is_fork, s.imported = (
        aborted == 1,
        unshare_pending == 1,
        is_fork == 1,
        imported == 1,
    )
    return s


def number_in(session_id):
    """Return the number that an id is made of, None if there is none."""
    number = session_id[len(_MADE) :]
    return int(number) if session_id.startswith(_MADE) and number.isdecimal() and len(number) <= 18 else None


def tags_of(text):
    """Return the list that the column `tags` holds."""
    return [] if text == "[]" else loads(text)


def insert(new, scope):
    """Return `(sql, values)` that insert a row."""
    given = tuple([place for place in _OPTIONAL if new[place] is not None])
    sql = _inserts.get(given)
    if sql is None:
        names = ", ".join(COLUMNS[place] for place in (*_REQUIRED, *given))
        sql = _inserts[given] = (
            f"INSERT INTO session (scope, {names}) VALUES (?{', ?' * (len(_REQUIRED) + len(given))})"
        )
    return sql, (scope, *_required(new), *[new[place] for place in given])


def update(old, new):
    """Return `(sql, values)` that make row `new` of row `old`, or None when they are the same."""
    changed = tuple([place for place in _EVERY if new[place] != old[place]])
    if not changed:
        return None
    sql = _updates.get(changed)
    if sql is None:
        sql = _updates[changed] = (
            f"UPDATE session SET {', '.join(COLUMNS[place] + ' = ?' for place in changed)} WHERE number = ?"
        )
    return sql, [*[new[place] for place in changed], old[NUMBER]]
