"""Sessions as rows: which column holds what, and statements that name no more columns than they must.

Python's sqlite3 spends its time per column read and per value bound, most of all for None, and SQLite rewrites every
index of which a column is named. So an insert leaves out what is NULL and an update names what has changed.
"""

from operator import itemgetter

from plue_session.model import Session
from plue_session.rules.jsontext import dumps, loads

#: The fields, and what searching and sorting by title compare: the case-folded title and description.
COLUMNS = (*Session.__slots__, "title_fold", "search")
NUMBER, TAGS, STATUS, IMPORTED, INFO, _TITLE, _DESCRIPTION = (
    COLUMNS.index(name) for name in ("number", "tags", "status", "imported", "info", "title", "description")
)
#: What an id of the store's own begins with; its number follows.
_MADE = "session_"
#: Places of the columns that may be NULL, and of those that never are.
_OPTIONAL = tuple([place for place, field in enumerate(Session.FIELDS) if field.optional or field.kind == "Flag"])
_REQUIRED = tuple([place for place in range(len(COLUMNS)) if place not in _OPTIONAL])
_inserts: dict = {}
_updates: dict = {}

#: How the types of fields whose columns hold something else are written and read.
_WRITTEN = {"Flag": "1 if s.{} else None", "Bit": "1 if s.{} else 0", "Texts": 'dumps(s.{0}) if s.{0} else "[]"'}
_READ = {"Flag": "{} == 1", "Bit": "{} == 1", "Texts": "tags_of({})"}


def row(session, old=None):
    """Return the session as a tuple in the order of COLUMNS; `old` is its row before, whose folded texts may still
    fit."""
    title, description = session.title, session.description
    if old is not None and old[_TITLE] == title and old[_DESCRIPTION] == description:
        return _row(session, old[-2], old[-1])
    return _row(session, title.casefold(), description.casefold() if description else "")


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
    known = _inserts.get(given)
    if known is None:
        places = *_REQUIRED, *given
        names = ", ".join(COLUMNS[place] for place in places)
        sql = f"INSERT INTO session (scope, {names}) VALUES (?{', ?' * len(places)})"
        known = _inserts[given] = sql, itemgetter(*places)
    sql, values = known
    return sql, (scope, *values(new))


def update(old, new):
    """Return `(sql, values)` that make row `new` of row `old`, or None when they are the same."""
    changed = tuple([place for place, value in enumerate(new) if value != old[place]])
    if not changed:
        return None
    sql = _updates.get(changed)
    if sql is None:
        sql = _updates[changed] = (
            f"UPDATE session SET {', '.join(COLUMNS[place] + ' = ?' for place in changed)} WHERE number = ?"
        )
    return sql, [*[new[place] for place in changed], old[NUMBER]]


def _conversions():
    """Make `_row(session, fold, search)` and `session(row)` of the table of fields: spelled out, for they run in each
    change and each read."""
    written, targets, read = [], [], []
    for field in Session.FIELDS:
        written.append(_WRITTEN.get(field.kind, "s.{}").format(field.name))
        if field.kind in _READ:
            targets.append(field.name)
            read.append(f"s.{field.name} = {_READ[field.kind].format(field.name)}")
        else:
            targets.append(f"s.{field.name}")
    made = {"Session": Session, "new": Session.__new__, "dumps": dumps, "tags_of": tags_of}
    exec(
        f"def row(s, fold, search): return {', '.join(written)}, fold, search\n"
        f"def session(row):\n s = new(Session); {', '.join(targets)}, _, _ = row; {'; '.join(read)}; return s",
        made,
    )
    return made["row"], made["session"]


_row, session = _conversions()
