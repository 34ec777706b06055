"""Named SQL: read once from files of `-- name: xyz` sections, so that SQL can be read and reviewed as SQL.

The columns of a table come from its fields: `{share}` stands for their names, `{share.}` for these with the table's,
`{share?}` for as many values, `{share=}` for taking over what could not be inserted. `{bare_input}` are those of
inputs with "" in place of the content.
"""

import os

from plue_session.adapters.sql import rows
from plue_session.model import (
    Ask,
    Attachment,
    Claim,
    Input,
    LogRow,
    Message,
    Operation,
    Outgoing,
    Part,
    Share,
    Transcript,
    Turn,
)

_TABLES = {
    "session": rows.COLUMNS,
    "share": Share.__slots__,
    "log": LogRow.__slots__,
    "operation": Operation.__slots__,
    "outbox": Outgoing.__slots__,
    "input": Input.__slots__,
    "claim": Claim.__slots__,
    "turn": Turn.__slots__,
    "message": Message.__slots__,
    "part": Part.__slots__,
    "transcript": Transcript.__slots__,
    "ask": Ask.__slots__,
    "attachment": Attachment.__slots__,
}
#: The files of what all databases share.
_SHARED = "queries.sql", "turns.sql", "agents.sql"
#: Stands for {of_session}.
_NUMBER = (
    "(SELECT number FROM session WHERE (number = ?3 AND scope = ?1 AND id = ?2)"
    " OR (scope = ?1 AND id = ?2 AND id <> 'session_' || number))"
)


def read(folder, name):
    """Return the text of a file of the package, also when that is in a zip archive."""
    return __loader__.get_data(os.path.join(folder, name)).decode()  # type: ignore[name-defined]


def load(folder):
    """Return `{name: statement}` of the queries that all databases share, and of those in `folder`."""
    here = os.path.dirname(__file__)
    return parse("\n".join([*(read(here, name) for name in _SHARED), read(folder, "queries.sql")]))


def parse(text):
    """Return `{name: statement}` of the sections in `text`; comments and the final semicolon are dropped."""
    for table, columns in _TABLES.items():
        text = text.replace(f"{{{table}}}", ", ".join(columns))
        text = text.replace(f"{{{table}.}}", ", ".join(f"{table}.{name}" for name in columns))
        text = text.replace(f"{{{table}?}}", ", ".join("?" * len(columns)))
        text = text.replace(f"{{{table}=}}", ", ".join(f"{name} = excluded.{name}" for name in columns))
    text = text.replace("{bare_input}", ", ".join("''" if name == "content" else name for name in Input.__slots__))
    text, statements = text.replace("{of_session}", _NUMBER), {}
    for section in text.split("\n-- name: ")[1:]:
        name, _, body = section.partition("\n")
        lines = [line.strip() for line in body.splitlines()]
        statement = " ".join(line for line in lines if line and not line.startswith("--"))
        if name in statements or not statement.endswith(";"):
            raise ValueError(f"query {name!r} is there twice, or does not end with a semicolon")
        statements[name] = statement[:-1]
    return statements
