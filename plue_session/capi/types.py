"""How one value crosses the boundary: its C type, its ctypes type, and what a shim does with it.

`emit.py` reads all of it at build time; the running library asks for the `check` of parameters and the `kind` of
results.
"""

from plue_session.rules import parameters


class Crossing:
    """`c` and `ctypes` spell the type; `take` is the shim's call for a parameter, `run` the one that ends the shim and
    makes the result; `failure` is what a failed call returns. `check(text, name)` makes of a text what the services
    take, or refuses it; `slow`: that may take long, as the disk does."""

    __slots__ = ("c", "ctypes", "take", "run", "failure", "kind", "check", "slow")

    def __init__(self, c, ctypes, take=None, run=None, failure=None, kind=None, check=None, slow=False):
        self.c, self.ctypes, self.take, self.run, self.failure, self.kind, self.check, self.slow = (
            c,
            ctypes,
            take,
            run,
            failure,
            kind,
            check,
            slow,
        )

    def declare(self, name):
        return self.c + ("" if self.c.endswith("*") else " ") + name


def text(check, slow=False):
    """Return the crossing of text that must not be NULL."""
    return Crossing(
        "const char *", "c_char_p", take='core_take_text(&call, "{name}", {name}, 1);', check=check, slow=slow
    )


def optional(check, slow=False):
    """Return the crossing of text that may be NULL."""
    return Crossing(
        "const char *", "c_char_p", take='core_take_text(&call, "{name}", {name}, 0);', check=check, slow=slow
    )


TYPES = {
    # parameters
    "SessionHandle": Crossing("plue_session_t", "c_void_p", take="core_take_session(&call, {name});"),
    "Text": text(parameters.plain),
    "Configuration": optional(parameters.plain),  # `config.load` checks it
    "ParentId": optional(parameters.parent),
    "SessionId": text(parameters.session_id),
    "Key": text(parameters.key),
    "IdOrKey": text(parameters.id_or_key),
    "MessageId": optional(parameters.message),
    "TurnId": text(parameters.turn),
    "Name": text(parameters.filled),
    "Options": optional(parameters.options, slow=True),
    "Query": optional(parameters.query),
    "Patch": text(parameters.patch),
    "Milliseconds": Crossing("int", "c_int", take='core_take_timeout(&call, "{name}", {name});'),
    "Owned": Crossing("char *", "c_void_p"),
    "Memory": Crossing("void *", "c_void_p"),
    "EventCallback": Crossing("plue_event_callback", "plue_event_callback"),
    "UserData": Crossing("void *", "c_void_p"),
    "Identifier": Crossing("uint32_t", "c_uint32", failure="0"),
    # results
    "NewSession": Crossing("plue_session_t", "c_void_p", run="core_run_session", failure="NULL", kind="session"),
    "OwnedText": Crossing("char *", "c_void_p", run="core_run_text", failure="NULL", kind="text"),
    "OwnedArray": Crossing(
        "char *", "c_void_p", run="core_run_text", failure="NULL", kind="array"
    ),  # of its elements with commas
    "StaticText": Crossing("const char *", "c_char_p", failure="NULL"),
    "Status": Crossing("int", "c_int", run="core_run_status", failure="-1", kind="status"),
    "Count": Crossing("int", "c_int", run="core_run_count", failure="-1", kind="count"),
    "Code": Crossing("int", "c_int", failure="0"),
    "Nothing": Crossing("void", "None"),
}
