"""Make records from tables of fields: a class whose annotations say what it holds, one line a field.

The type of a field says how a store keeps it: `… | None` may be NULL, `Flag` is 1 or NULL, `Bit` is 1 or 0, `Texts` is
a JSON array. The order of the fields is that of the columns.
"""

from operator import attrgetter

Flag = Bit = bool
#: Strings; each record has a list of its own.
Texts = list

#: What stands in a new record, and what it takes of what it is given.
_DEFAULTS = {"Flag": False, "Bit": False, "Texts": ()}
_TAKEN = {"Texts": "list({})"}


class Field:
    """A line of a table: the name of the field, its type as written, and whether it may be None in a store."""

    __slots__ = ("name", "kind", "optional")

    def __init__(self, name, kind):
        self.name, self.kind, self.optional = name, kind, kind.endswith("| None")


def record(cls):
    """Give a class slots, `__init__`, `copy`, its `FIELDS`, and `VALUES`, which makes a tuple of a record.

    `__init__` takes the fields by name or in order. What has no default is None until it is set; a store takes None for
    optional fields only.
    """
    fields = tuple([Field(name, kind) for name, kind in cls.__annotations__.items()])
    names = [field.name for field in fields]
    body = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__", *names)}

    def make(self, *values, **given):
        """Set the fields, and let a function do so from now on that spells them out: a loop takes ten times as long,
        for each record that is read. Not before it is needed, for it must be compiled."""
        parameters = [f"{each.name}={getattr(cls, each.name, _DEFAULTS.get(each.kind))!r}" for each in fields]
        statements = [f"self.{each.name} = {_TAKEN.get(each.kind, '{}').format(each.name)}" for each in fields]
        exec(f"def __init__(self, {', '.join(parameters)}): {'; '.join(statements)}", {}, body)
        made.__init__ = body["__init__"]
        made.__init__(self, *values, **given)

    body.update(__slots__=names, FIELDS=fields, VALUES=attrgetter(*names), __init__=make, copy=_copy)
    made = type(cls)(cls.__name__, (), body)
    return made


def _copy(self):
    """Return a record with the same values."""
    return self.__class__(*self.VALUES(self))
