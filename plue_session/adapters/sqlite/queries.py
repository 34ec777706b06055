"""Named SQL: read once from a file of `-- name: xyz` sections, so that SQL can be read, run and reviewed as SQL."""

import os


def read(name):
    """Return the text of a file that lies beside this module, also when the package is in a zip archive."""
    return __spec__.loader.get_data(os.path.join(os.path.dirname(__file__), name)).decode()


def parse(text):
    """Return `{name: statement}` of the sections in `text`; comments and the final semicolon are dropped."""
    statements = {}
    for section in text.split("\n-- name: ")[1:]:
        name, _, body = section.partition("\n")
        lines = [line.strip() for line in body.splitlines()]
        statement = " ".join(line for line in lines if line and not line.startswith("--"))
        if name in statements or not statement.endswith(";"):
            raise ValueError(f"query {name!r} is there twice, or does not end with a semicolon")
        statements[name] = statement[:-1]
    return statements
