"""Sessions as rows: which column holds what, and statements that name no more columns than they must.

Python's sqlite3 spends its time per column read and per value bound, most of all for None, and SQLite rewrites every
index of which a column is named. So an insert leaves out what is NULL and an update names what has changed.
"""

from itertools import compress, repeat
from operator import is_not, itemgetter, ne

from plue_session.model import Session
from plue_session.rules.jsontext import dumps, loads

#: The fields, and what searching and sorting by title compare: the case-folded title and description.
COLUMNS = (*Session.__slots__, "title_fold", "search")
NUMBER, TAGS, STATUS, IMPORTED, INFO, _TITLE, _DESCRIPTION = (
    COLUMNS.index(name) for name in ("number", "tags", "status", "imported", "info", "title", "description")
)
#: What an id of the store's own begins with; its number follows.
_MADE = "session_"
_inserts: dict = {}
_updates: dict = {}

#: How the types of fields whose columns hold something else are written and read.
_WRITTEN = {"Flag": "1 if s.{} else None", "Bit": "1 if s.{} else 0", "Texts": 'dumps(s.{0}) if s.{0} else "[]"'}
_READ = {"Flag": "{} == 1", "Bit": "{} == 1", "Texts": '[] if {0} == "[]" else loads({0})'}


def number_in(session_id):
    """Return the number that an id is made of, None if there is none."""
    number = session_id[len(_MADE) :]
    return int(number) if session_id.startswith(_MADE) and number.isdecimal() and len(number) <= 18 else None


def insert(new, scope):
    """Return `(sql, values)` that insert a row."""
    given = tuple(map(is_not, new, repeat(None)))
    known = _inserts.get(given)
    if known is None:
        names = ["scope", *compress(COLUMNS, given)]
        sql = f"INSERT INTO session ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        known = _inserts[given] = sql, itemgetter(*compress(range(len(COLUMNS)), given))
    sql, values = known
    return sql, (scope, *values(new))


def update(old, new):
    """Return `(sql, values)` that make row `new` of row `old`, and the names of the columns that differ; None when they
    are the same."""
    changed = tuple(map(ne, new, old))
    if not any(changed):
        return None
    known = _updates.get(changed)
    if known is None:
        names = frozenset(compress(COLUMNS, changed))
        settings = ", ".join([f"{name} = ?" for name in compress(COLUMNS, changed)])
        places = *compress(range(len(COLUMNS)), changed), NUMBER
        known = _updates[changed] = f"UPDATE session SET {settings} WHERE number = ?", itemgetter(*places), names
    sql, values, names = known
    return (sql, values(new)), names


def _conversions():
    """Make `row(session, old=None)`, a session as a tuple in the order of COLUMNS (`old` is its row before, whose
    folded texts may still fit), and `session(row)`, of the table of fields: spelled out, for they run in each change
    and each read."""
    written, targets, read = [], [], []
    for field in Session.FIELDS:
        written.append(_WRITTEN.get(field.kind, "s.{}").format(field.name))
        if field.kind in _READ:
            targets.append(field.name)
            read.append(f"s.{field.name} = {_READ[field.kind].format(field.name)}")
        else:
            targets.append(f"s.{field.name}")
    made = {"Session": Session, "new": Session.__new__, "dumps": dumps, "loads": loads}
    exec(
        "def row(s, old=None):\n"
        f" kept = old and old[{_TITLE}] == s.title and old[{_DESCRIPTION}] == s.description\n"
        " folded = old[-2:] if kept else (s.title.casefold(), (s.description or '').casefold())\n"
        f" return {', '.join(written)}, *folded\n"
        f"def session(row):\n s = new(Session); {', '.join(targets)}, _, _ = row; {'; '.join(read)}; return s",
        made,
    )
    return made["row"], made["session"]


row, session = _conversions()
