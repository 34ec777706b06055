"""Records are made from tables of fields: a class whose annotations say what it holds, one line a field.

The type of a field says how a store keeps it: `… | None` may be NULL, `Flag` is 1 or NULL, `Bit` is 1 or 0, `Texts` is
a JSON array. The order of the fields is that of the columns.
"""

from operator import attrgetter

Flag = bool
Bit = bool
#: Strings; each record has a list of its own.
Texts = list

#: What stands in a new record, and what it takes of what it is given.
_DEFAULTS = {"Flag": False, "Bit": False, "Texts": ()}
_TAKEN = {"Texts": "list({})"}


class Field:
    """A line of a table: name, type as written, what stands in a new record, and whether a store takes None for it."""

    __slots__ = ("name", "kind", "default", "optional")

    def __init__(self, name, kind, default):
        self.name, self.kind, self.default, self.optional = name, kind, default, kind.endswith("| None")


class Table(type):
    """The type of the classes of records: makes slots, FIELDS and VALUES of their annotations."""

    def __new__(cls, name, bases, body):
        table = body.get("__annotations__", {}) if bases else {}
        if table:
            fields = [Field(name, kind, body.pop(name, _DEFAULTS.get(kind))) for name, kind in table.items()]
            body.update(FIELDS=tuple(fields), VALUES=attrgetter(*table))
        return super().__new__(cls, name, bases, {**body, "__slots__": tuple(table)})


class Record(metaclass=Table):
    """What records have in common: values by name or in order to begin with, and a copy.

    What has no default is None until it is set; a store takes None for optional fields only.
    """

    FIELDS: tuple[Field, ...] = ()
    __slots__: tuple[str, ...]
    VALUES: attrgetter  # makes a tuple of a record

    def __init__(self, *values, **given):
        """Set the fields, and let a function do so from now on that spells them out: a loop would take ten times as
        long, for each record that is read. It is compiled now, for a start has no time for it."""
        made, scope = type(self), {}
        parameters = [f"{each.name}={each.default!r}" for each in self.FIELDS]
        statements = [f"self.{each.name} = {_TAKEN.get(each.kind, '{}').format(each.name)}" for each in self.FIELDS]
        exec(f"def __init__(self, {', '.join(parameters)}): {'; '.join(statements)}", {}, scope)
        made.__init__ = scope["__init__"]  # type: ignore[method-assign]
        made.__init__(self, *values, **given)

    def copy(self):
        """Return a record with the same values."""
        return type(self)(*self.VALUES(self))
