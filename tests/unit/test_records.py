"""Records are made from tables of fields: a new one is a line and a migration."""

import shutil
import sys

import pytest

from plue_session.model import LogRow, Operation, Query, Session, Share
from tests import support

#: Runs beside a copy of the package whose sessions have a `colour`, `shades` and `is_loud`.
USE = """
import sys
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import Session

def session(number, **fields):
    return Session(number=number, id=f"session_{number}", created=1, updated=1, version="1", info="{}", **fields)

def values(session):
    return session.colour, session.shades, session.is_loud

folder = sys.argv[1]
full = dict(colour="red", shades=["pink", "rose"], is_loud=True)
for store in (SqliteStore(folder, "embedded"), MemoryStore("embedded")):
    store.begin()
    if store.name == "sqlite":
        print(*values(store.load("session_1")))  # of before
    store.insert(session(2))
    store.insert(session(3, **full))
    found = store.load("session_2")
    found.colour, found.shades, found.is_loud = "blue", ["navy"], True
    store.save(found)
    store.commit()
    copied = store.read("session_3").copy()
    assert copied.shades is not store.read("session_3").shades
    print(*values(store.read("session_2")), *values(copied), *values(Session()))
    store.close()
again = SqliteStore(folder, "embedded")
print(*values(again.read("session_2")), *values(again.read("session_3")), again.check())
"""


@pytest.mark.requirement("P-144")
def test_a_new_column_is_one_line_in_the_table_and_a_migration(tmp_path):
    folder, package = str(tmp_path / "data"), tmp_path / "plue_session"
    run = [sys.executable, "-B", "-c"]
    before = (
        "import sys; from plue_session.adapters.sqlite.store import SqliteStore, rows\n"
        "store = SqliteStore(sys.argv[1], 'embedded'); store.begin()\n"
        "store.insert(rows.Session(number=1, id='session_1', created=1, updated=1, version='1', info='{}'))\n"
        "store.commit()"
    )
    support.run([*run, before, folder], cwd=support.ROOT, env={})
    shutil.copytree(support.ROOT / "plue_session", package, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    table = package / "model" / "session.py"
    text, line = table.read_text(), "    token: str | None"
    assert line in text
    table.write_text(text.replace(line, f"    colour: str | None\n    shades: Texts\n    is_loud: Flag\n{line}"))
    files = package / "adapters" / "sqlite" / "files.py"
    text, end = files.read_text(), '.sql",\n)'
    assert text.count(end) == 1
    files.write_text(text.replace(end, '.sql",\n    "9999_colour.sql",\n)'))
    (package / "adapters" / "sqlite" / "migrations" / "9999_colour.sql").write_text(
        "ALTER TABLE session ADD COLUMN colour TEXT;\n"
        "ALTER TABLE session ADD COLUMN shades TEXT NOT NULL DEFAULT '[]';\n"
        "ALTER TABLE session ADD COLUMN is_loud INTEGER;\n"
    )
    done = support.run([*run, USE, folder], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    changed, made, plain = "blue ['navy'] True", "red ['pink', 'rose'] True", "None [] False"
    assert done.out.splitlines() == [plain, *[f"{changed} {made} {plain}"] * 2, f"{changed} {made} []"]


@pytest.mark.parametrize("record", [LogRow, Operation, Query, Session, Share])
def test_a_record_takes_its_fields_by_name_or_in_order_and_has_no_others(record):
    names = list(record.__slots__)
    values = [[str(place)] for place in range(len(names))]
    for made in (record(*values), record(**dict(zip(names, values, strict=True))), record(*values).copy()):
        assert [getattr(made, name) for name in names] == values == list(made.VALUES(made))
    with pytest.raises(AttributeError):
        record().colour = "red"
    with pytest.raises(TypeError):
        record(colour="red")


def test_a_new_record_has_its_own_list_and_plain_values():
    one, other = Session(), Session()
    one.tags.append("a")
    assert other.tags == [] and one.copy().tags == ["a"] and one.copy().tags is not one.tags
    assert [one.title, one.metadata, one.aborted, one.rev, one.key] == ["Untitled", "{}", False, 0, None]
    assert (Query().tags, Query().sort, Query().descending, Query().limit) == ((), "updated", False, 100)
