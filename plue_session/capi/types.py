"""How one value crosses the boundary: its C type, its ctypes type, and what a shim does with it.

`emit.py` reads all of it at build time; the running library asks for the `check` and `slot` of parameters and the
`kind` of results.
"""

from plue_session.rules import parameters

#: What the header defines: a type's text in C, and its spelling for ctypes if it is none of those it has.
DEFINED = {
    "plue_session_t": (
        """\
/* A handle to a session: opaque, never an address, never reused. */
typedef struct plue_session *plue_session_t;

/* Reserved values with a meaning of their own for functions that say so; all others answer BAD_HANDLE to them. */
#define PLUE_ALL_SESSIONS ((plue_session_t)(uintptr_t)1)
#define PLUE_CURRENT_SESSION ((plue_session_t)(uintptr_t)2)
""",
        None,
    ),
    "plue_session_observer_t": (
        """\
/* A handle to an observer: opaque, never an address, never reused. */
typedef struct plue_session_observer *plue_session_observer_t;
""",
        None,
    ),
    "plue_event_callback": (
        """\
/* What a subscription calls: the event's number (PLUE_EVENT_*), its JSON, and the user_data of the subscription. */
typedef void (*plue_event_callback)(uint8_t type, const char *event_json, void *user_data);
""",
        "CFUNCTYPE(None, c_uint8, c_char_p, c_void_p)",
    ),
    "plue_session_cleaner": (
        """\
/* What cleans up after a session whose agent has ended: gets its info; 0 = it is done. */
typedef int (*plue_session_cleaner)(const char *session_json, void *user_data);
""",
        "CFUNCTYPE(c_int, c_char_p, c_void_p)",
    ),
}
#: What handles stand for, in the order that both sides number it by. Of the first kind the C side knows the id, the
#: second are its own; the others stand for objects of the Python half (held.py).
KINDS = ["session", "observer"]


class Crossing:
    """`c` and `ctypes` spell the type, or, with `{name}`, the whole parameter, which may be two in C.

    Of a parameter, `take` is what a shim does with it, and `slot` is where it then is in a request: "session", "session
    or all", "text", "bytes", "number" (a time in ms), "value" (any other number) or "held" (the object behind a
    handle).
    `check(text, name)` makes of a text what the services take, or refuses it; `slow`: that may take long, as the disk
    does. Of a result, `run` ends the shim and makes it, `kind` is what Python returns ("text", "array", "maybe",
    "bytes", "session", "observer", "status", "count", or for an object the place in KINDS of its handle), and `room`
    the crossing of the pointers that it is stored through. A text that is `required` is not
    NULL.
    """

    __slots__ = ("c", "ctypes", "take", "run", "kind", "check", "slow", "slot", "room", "required")

    def __init__(self, c, ctypes, **more):
        self.c, self.ctypes = c, ctypes
        for name in self.__slots__[2:]:
            setattr(self, name, more.get(name))

    def declare(self, name):
        return self.c.format(name=name) if "{" in self.c else self.c + ("" if self.c.endswith("*") else " ") + name


def text(check, slow=False, required=1):
    """Return the crossing of text."""
    take = f'core_take_text(&call, "{{name}}", {{name}}, {required});'
    return Crossing("const char *", "c_char_p", take=take, slot="text", check=check, slow=slow, required=required)


def optional(check, slow=False):
    """Return the crossing of text that may be NULL."""
    return text(check, slow, 0)


def number(c):
    """Return the crossing of a number that is 0 when a call fails."""
    take = "call.value = {name};"
    return Crossing(c, "c_" + c[:-2], take=take, slot="value", run="core_run_number", kind="count")


def held(kind, c):
    """Return the crossing of a handle to an object of the Python half, or of a new one to the object returned."""
    place = KINDS.index(kind)
    take = f"core_take_handle(&call, {place}, (uintptr_t){{name}});"
    return Crossing(c, "c_void_p", take=take, slot="held", run="core_run_handle", kind=place)


def owned(kind, run="core_run_text"):
    """Return the crossing of text that is the caller's to free."""
    return Crossing("char *", "c_void_p", run=run, kind=kind)


TYPES = {
    # parameters
    "SessionHandle": Crossing("plue_session_t", "c_void_p", take="core_take_session(&call, {name});", slot="session"),
    "SessionOrAll": Crossing(
        "plue_session_t", "c_void_p", take="core_take_session_or_all(&call, {name});", slot="session or all"
    ),
    "Observer": Crossing("plue_session_observer_t", "c_void_p"),
    "Cursor": optional(parameters.cursor),
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
    "Operations": text(parameters.plain),  # `rules.steps` checks them
    "Input": text(parameters.input),
    "MessageQuery": optional(parameters.message_query),
    "DiffQuery": optional(parameters.diff_query),
    "AskId": text(parameters.ask),
    "Reply": text(parameters.reply),
    "Answers": optional(parameters.answers),
    "Agent": text(parameters.agent, slow=True),
    "Role": text(parameters.role),
    "Reason": optional(parameters.reason),
    "MetricsFormat": text(parameters.metrics_format),
    "Targets": text(parameters.targets),
    "Target": text(parameters.target),
    "Bytes": Crossing(
        "const void *{name}, size_t length",
        "c_void_p, c_size_t",
        take='core_take_bytes(&call, "{name}", {name}, length);',
        slot="bytes",
        check=parameters.plain,
    ),
    "Milliseconds": Crossing("int", "c_int", take='core_take_timeout(&call, "{name}", {name});', slot="number"),
    "Owned": Crossing("char *", "c_void_p"),
    "Memory": Crossing("void *", "c_void_p"),
    "EventCallback": Crossing("plue_event_callback", "plue_event_callback"),
    "UserData": Crossing("void *", "c_void_p"),
    "Cleaner": Crossing("plue_session_cleaner", "plue_session_cleaner"),
    "Word": Crossing("const char *", "c_char_p"),
    "Json": Crossing("const char *", "c_char_p"),
    "JsonVisit": Crossing(
        "int (*{name})(const char *element_json, void *user_data)", "CFUNCTYPE(c_int, c_char_p, c_void_p)"
    ),
    # parameters and results
    "Identifier": number("uint32_t"),
    "Number": number("uint64_t"),
    "Whole": Crossing("int64_t", "c_int64"),
    "Ratio": Crossing("double", "c_double"),
    "Code": Crossing("int", "c_int"),
    # results
    "NewSession": Crossing("plue_session_t", "c_void_p", run="core_run_handle", kind="session"),
    "NewObserver": Crossing("plue_session_observer_t", "c_void_p", run="core_run_handle", kind="observer"),
    "OwnedText": owned("text"),
    "OwnedArray": owned("array"),  # of its elements with commas
    "MaybeText": owned("maybe", "core_run_maybe_text"),  # None: NULL, and no error
    "OwnedBytes": Crossing(
        "int",
        "c_int",
        run="core_run_bytes",
        kind="bytes",
        room=Crossing(
            "void **{name}, size_t *length",
            "POINTER(c_void_p), POINTER(c_size_t)",
            take="core_take_room(&call, {name}, length);",
        ),
    ),
    "StaticText": Crossing("const char *", "c_char_p"),
    "Status": Crossing("int", "c_int", run="core_run_count", kind="status"),
    "Count": Crossing("int", "c_int", run="core_run_count", kind="count"),
    "Nothing": Crossing("void", "None"),
}
