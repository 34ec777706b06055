"""Named SQL: read once from files of `-- name: xyz` sections, so that SQL can be read and reviewed as SQL.

The columns of a table come from its fields: `{share}` stands for their names, `{share?}` for as many values, `{share=}`
for taking over what could not be inserted.
"""

import os

from plue_session.adapters.sql import rows
from plue_session.model import LogRow, Operation, Outgoing, Share

_TABLES = {
    "session": rows.COLUMNS,
    "share": Share.__slots__,
    "log": LogRow.__slots__,
    "operation": Operation.__slots__,
    "outbox": Outgoing.__slots__,
}


def read(folder, name):
    """Return the text of a file of the package, also when that is in a zip archive."""
    return __loader__.get_data(os.path.join(folder, name)).decode()  # type: ignore[name-defined]


def load(folder):
    """Return `{name: statement}` of the queries that all databases share, and of those in `folder`."""
    return parse(read(os.path.dirname(__file__), "queries.sql") + "\n" + read(folder, "queries.sql"))


def parse(text):
    """Return `{name: statement}` of the sections in `text`; comments and the final semicolon are dropped."""
    for table, columns in _TABLES.items():
        text = text.replace(f"{{{table}}}", ", ".join(columns))
        text = text.replace(f"{{{table}?}}", ", ".join("?" * len(columns)))
        text = text.replace(f"{{{table}=}}", ", ".join(f"{name} = excluded.{name}" for name in columns))
    statements = {}
    for section in text.split("\n-- name: ")[1:]:
        name, _, body = section.partition("\n")
        lines = [line.strip() for line in body.splitlines()]
        statement = " ".join(line for line in lines if line and not line.startswith("--"))
        if name in statements or not statement.endswith(";"):
            raise ValueError(f"query {name!r} is there twice, or does not end with a semicolon")
        statements[name] = statement[:-1]
    return statements
