"""Turn the surface table into everything that names a symbol, so that no symbol is typed twice.

    python -m plue_session.capi.emit            rewrite the committed outputs
    python -m plue_session.capi.emit --check    fail if they differ from what the table says

Committed: the public header, the Swift module map, ctypes prototypes, the reference page. For the build only
(`sources()`): shims, declarations for cffi, the export list. Standard library only.
"""

import inspect
import itertools
import os
import re
import sys
import textwrap

from plue_session import __version__
from plue_session.capi.surface import RESERVED, TABLE, TIMES, fingerprint
from plue_session.capi.types import DEFINED, KINDS, TYPES
from plue_session.errors import ALL as ERRORS
from plue_session.model import EVENTS
from plue_session.rules import relay
from plue_session.rules.parameters import plain

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CAPI = os.path.dirname(os.path.abspath(__file__))
#: Append-only ABI: the number behind libplue_session.so. and behind PLUE_API_VERSION's last digits.
ABI = 0
MAJOR, MINOR, PATCH = map(int, __version__.split("."))
API_VERSION = 100 * MAJOR + MINOR
VERSION_NUMBER = 10000 * MAJOR + 100 * MINOR + PATCH
FIELD = re.compile(r":(param \w+|returns|errors|opencode|takes):")


class Function:
    """One row of the table, read for printing."""

    def __init__(self, name, function, attributes):
        signature = inspect.signature(function)
        self.name, self.module = name, function.__module__
        for attribute, value in attributes.items():
            setattr(self, attribute, value)
        self.parameters = [(p.name, TYPES[p.annotation]) for p in signature.parameters.values() if p.name != "runtime"]
        self.result = TYPES[signature.return_annotation]
        if self.result.room:
            self.parameters.append(("data", self.result.room))
        prose, self.fields = _split(inspect.getdoc(function))
        self.prose = prose.replace("@RELAY@", relay_table())
        self.takes = self.fields.pop("takes", TIMES[attributes["time"]])
        documented = {key.split()[1] for key in self.fields if key.startswith("param ")}
        documented.difference_update(re.findall(r"\w+", self.prototype()))
        if documented:
            raise SystemExit(f"{name}: documents a parameter it does not have: {documented}")

    def checked(self):
        """Return when a reader checks the texts of a call: "AT_ONCE", "NEVER": any will do, or "WAITING": if the call
        is kept waiting."""
        crossings = [crossing for _, crossing in self.parameters if crossing.check not in (None, plain)]
        return "AT_ONCE" if any(crossing.slow for crossing in crossings) else "WAITING" if crossings else "NEVER"

    def prototype(self):
        parameters = ", ".join(crossing.declare(name) for name, crossing in self.parameters) or "void"
        return f"{self.result.declare(self.name)}({parameters})"


def relay_table():
    """Return the relay's states, as prose has them: which follows a state (the line) by an event (the column)."""
    rows = [["", *relay.EVENTS]]
    rows += [[state, *(relay.NEXT[state].get(event, "-") for event in relay.EVENTS)] for state in relay.STATES]
    return "\n".join("  " + "".join(f"{cell:<13}" for cell in row).rstrip() for row in rows)


def functions():
    return [Function(name, *row) for name, row in TABLE.items()]


def operations():
    """The functions that Python answers, in the order that both sides number them by."""
    return [function for function in functions() if function.executor]


def sections():
    """Yield the text above each part of the header, and its functions."""
    for module, section in itertools.groupby(functions(), lambda function: function.module):
        yield inspect.getdoc(sys.modules[module]), list(section)
    yield RESERVED, []


def _split(doc):
    """Separate prose from the `:field:` entries at the end."""
    prose, fields, current = [], {}, None
    for line in doc.splitlines():
        match = FIELD.match(line)
        if match:
            current = match.group(1)
            fields[current] = line[match.end() :].strip()
        elif current:
            fields[current] += " " + line.strip()
        else:
            prose.append(line)
    return "\n".join(prose).strip(), fields


# -- the header --------------------------------------------------------------------------------------------------------
def header():
    out = [_HEADER_TOP.format(version=__version__, api=API_VERSION, number=VERSION_NUMBER)]
    out.append(
        "/* Error codes. Append-only; retryable ones may succeed when the same call is made again. */\n"
        "#define PLUE_OK 0"
    )
    for error in ERRORS:
        retry = " Retryable." if error.retryable else ""
        name, value = f"PLUE_ERROR_{error.name}", f"({error.number})"
        out.append(f"#define {name:<32} {value:<5} /* {error.about}{retry} */")
    out.append("\n/* Events, by number; see the section Events. Append-only. */")
    for number, name in enumerate(EVENTS):
        out.append(f"#define PLUE_EVENT_{name.upper().replace('.', '_')} {number}")
    out += ["", *(text for text, _ in DEFINED.values())]
    for doc, section in sections():
        out.append(_comment(doc, banner=True))
        out += map(_describe, section)
    out.append(_HEADER_END)
    return "\n".join(out) + "\n"


def _describe(function):
    lines = [function.prose, ""]
    for key, text in function.fields.items():
        lines.append(_LINES.fill(f"{_LABELS.get(key, '@' + key)} {text}"))
    lines.append(_LINES.fill("Takes: " + function.takes))
    return _comment("\n".join(lines)) + f"\nPLUE_API {function.prototype()};\n"


_LABELS = {"returns": "@return", "errors": "Errors:", "opencode": "OpenCode:"}
_LINES = textwrap.TextWrapper(108, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)


def _comment(text, banner=False):
    opening = "/* " + "=" * 72 if banner else "/**"
    closing = " * " + "=" * 72 + " */\n" if banner else " */"
    return "\n".join([opening, *((" * " + line).rstrip() for line in text.splitlines()), closing])


_HEADER_TOP = """/*
 * plue_session {version}: AI-coding sessions for native programs.
 *
 * Generated from plue_session/capi/surface by `make header`; do not edit. MIT licence.
 *
 *     plue_init(NULL);
 *     plue_session_t session = plue_session_create(NULL);
 *     char *info = plue_session_get_info(session);
 *     puts(info);
 *     plue_free_json(info);
 *     plue_session_destroy(session);
 *     plue_shutdown();
 *
 * Results.  A function that returns a pointer returns NULL on failure; one that returns int returns 0 on success and -1
 *   on failure, unless it returns a count (>= 0). What went wrong is in plue_get_last_error(), per thread. Beside the
 *   errors that a function lists, each may fail with NOT_INITIALIZED (but for those that say that they work at any time),
 *   FORKED or IO (no memory), and one that is not instant
 *   with CLOSED (the library shut down meanwhile), QUEUE_FULL (4096 calls wait already), BUSY (its time was up before it
 *   began: nothing was changed) or TIMEOUT (its time was up after it began: the session's state tells what became of it;
 *   with a server also before it began: the message tells which).
 * Text.     UTF-8, NUL-terminated. Parameters are copied; each may have 64 MiB (else LIMIT_EXCEEDED). `char *` results are
 *   yours: free them with plue_free_json(), plue_free_string() or plue_free(), which are the same. `const char *` results
 *   belong to the library.
 * Threads.  Every function may be called from any thread at any time. None is a cancellation point: a thread that is cancelled
 *   (pthread_cancel, deferred) ends its call first.
 * Time.     Each function says how long it may take: instant, local, remote, waits.
 * Process.  The library never exits the process, prints, or changes its signal handlers, locale, environment or
 *   working directory. In a forked child (fork, _Fork, clone) every function fails with FORKED until exec, but for
 *   those that say that they work there. Its threads have the process's own scheduling, whoever calls. Of two copies
 *   in one process one runs, the other gets RUNTIME. In a host that is Python itself calls fail with RUNTIME once
 *   its interpreter is finalized, and from a sub-interpreter that holds the lock. More: docs/guide.md, "The process
 *   it runs in".
 * JSON.     Keys are camelCase, times are milliseconds since the Unix epoch, absent values are omitted. In what you pass, an
 *   unknown key is an error; in what you get, ignore keys that you do not know: later versions add some. Read it with
 *   plue_json_text() and its like; plue_json_quote() makes a JSON string of any text.
 */
#ifndef PLUE_SESSION_H
#define PLUE_SESSION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#ifndef PLUE_API
#if defined(__GNUC__) || defined(__clang__)
#define PLUE_API __attribute__((visibility("default")))
#else
#define PLUE_API
#endif
#endif

/* 100 * major + minor: functions and numbers are only ever added. */
#define PLUE_API_VERSION {api}
/* 10000 * major + 100 * minor + patch, of this header; plue_version_number() is the library's. */
#define PLUE_VERSION_NUMBER {number}
"""

_HEADER_END = """#ifdef __cplusplus
}
#endif

#endif /* PLUE_SESSION_H */"""

MODULE_MAP = """module PlueSession {
    header "plue_session.h"
    link "plue_session"
    export *
}
"""


# -- ctypes, reference -------------------------------------------------------------------------------------------------
def prototypes():
    out = [f"{name} = {spelled}" for name, (_, spelled) in DEFINED.items() if spelled]
    out += ["\nERRORS = {", *(f'    {error.number}: "{error.name}",' for error in ERRORS)]
    out.append("}\n\nPROTOTYPES = {")
    for function in functions():
        parameters = ", ".join(crossing.ctypes for _, crossing in function.parameters)
        out.append(f'    "{function.name}": ({function.result.ctypes}, [{parameters}]),')
    out.append(_CTYPES_END.replace("@ABI@", str(ABI)))
    names = {"CDLL", "string_at", *re.findall(r"\b(?:c_\w+|CFUNCTYPE|POINTER)\b", "\n".join(out))}
    return "\n".join([_CTYPES_TOP + ", ".join(sorted(names)), "", *out])


_CTYPES_TOP = '''"""ctypes prototypes of libplue_session. Generated by plue_session.capi.emit; do not edit.

    from plue_session.prototypes import load
    plue = load()
    plue.plue_init(None)

Results of type `char *` arrive as an address: read them with `take(plue, address)`, which copies and frees.
"""

import os
from ctypes import '''

_CTYPES_END = '''}


def load(path=None):
    """Load the library (by default the one installed with this package) and declare every function on it."""
    library = CDLL(path or os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "libplue_session.so.@ABI@"))
    for name, (result, parameters) in PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
    return library


def take(library, address):
    """Copy the text of a `char *` result, free it, and return it as `str`; None for NULL."""
    if not address:
        return None
    try:
        return string_at(address).decode()
    finally:
        library.plue_free_string(address)
'''


def _markdown(prose):
    """Return prose in which what is laid out by hand, indented lines and objects, stands in blocks of code."""
    out, block = [], False
    for line in prose.splitlines():
        code = line.startswith(("  ", "{")) or block and line.startswith('"')
        if code != block:
            out += ["", "```"] if code else ["```", ""]
            block = code
        out.append(line)
    return "\n".join(out + ["```"] * block)


def reference():
    out = [
        "# Reference",
        "",
        "Generated from `plue_session/capi/surface` by `make header`; do not edit. The same text as in "
        "`include/plue_session.h`.",
        "",
    ]
    for doc, section in sections():
        title, _, rest = doc.partition("\n")
        out += [f"## {title.rstrip('.')}", "", _markdown(rest.strip()), ""]
        for function in section:
            prototype = f"```c\n{function.prototype()};\n```"
            out += [f"### `{function.name}`", "", prototype, "", _markdown(function.prose), ""]
            out += [f"- **{key.replace('param ', '')}**: {text}" for key, text in function.fields.items()]
            out += [f"- **takes**: {function.takes}", ""]
    out += ["## Errors", "", "| Number | Name | Retryable | Meaning |", "|---|---|---|---|"]
    out += [f"| {e.number} | `PLUE_ERROR_{e.name}` | {'yes' if e.retryable else ''} | {e.about} |" for e in ERRORS]
    out += ["", "## Event numbers", "", "| Number | Type |", "|---|---|"]
    out += [f"| {number} | `{name}` |" for number, name in enumerate(EVENTS)]
    return "\n".join(out) + "\n"


# -- for the build -----------------------------------------------------------------------------------------------------
def tables():
    """C text: operation numbers and names, executors, the error table, version and fingerprint."""
    ops = operations()
    out = [
        "/* Generated by plue_session.capi.emit; do not edit. */",
        f'#define CORE_VERSION "{__version__}"',
        f"#define CORE_ABI {ABI}",
        f'#define CORE_FINGERPRINT "{fingerprint()}"',
        "enum core_operation {",
    ]
    out += [f"    CORE_OP_{f.name.upper()}," for f in ops] + ["    CORE_OP_COUNT", "};"]
    out.append("enum core_checked { CORE_CHECKED_NEVER, CORE_CHECKED_WAITING, CORE_CHECKED_AT_ONCE };")
    out.append(_OPERATIONS)
    for f in ops:
        places = f"CORE_EXECUTOR_{f.executor.upper()}, CORE_EXECUTOR_{f.away.upper()}, CORE_CHECKED_{f.checked()}"
        late = f'"{f.late}"' if f.late else "NULL"
        flags = int(f.exclusive), int(f.result.kind == "session")
        out.append(f'    {{"{f.name}", {places}, {flags[0]}, {flags[1]}, {late}, {int(f.waits_here)}}},')
    out += ["};"]
    out += ["static const char *const core_kinds[] = {", *(f'    "{kind}",' for kind in KINDS), "};"]
    out.append("static const struct { int number; const char *name; int retryable; } core_errors[] = {")
    out += [f'    {{{e.number}, "{e.name}", {int(e.retryable)}}},' for e in ERRORS] + ["};"]
    out += [*_relay_tables(), ""]
    return "\n".join(out)


def _relay_tables():
    """C text: states, events, and what follows, as places in the states; -1: it is refused."""
    states = list(relay.STATES)
    names = {"states": states, "events": relay.EVENTS, "reasons": [relay.REASONS[state] for state in states]}
    out = [f"enum {{ CORE_RELAY_STATES = {len(states)}, CORE_RELAY_EVENTS = {len(relay.EVENTS)} }};"]
    for name, texts in names.items():
        out += [f"static const char *const core_relay_{name}[] = {{", *(f'    "{text}",' for text in texts), "};"]
    out.append("static const signed char core_relay_next[CORE_RELAY_STATES][CORE_RELAY_EVENTS] = {")
    for state in states:
        places = [
            states.index(relay.NEXT[state][event]) if event in relay.NEXT[state] else -1 for event in relay.EVENTS
        ]
        out.append(f"    {{{', '.join(map(str, places))}}},")
    out.append("};")
    out.append(f'#define CORE_RELAY_UNKNOWN_STATE "{relay.UNKNOWN_STATE}"')
    out.append(f'#define CORE_RELAY_UNKNOWN_EVENT "{relay.UNKNOWN_EVENT}"')
    bounded = relay.REFUSAL.replace("%s", "%.200s")  # what a caller has passed may be long
    return [*out, f'#define CORE_RELAY_REFUSAL "{bounded}. {relay.REMEDY}"']


_OPERATIONS = """static const struct {
    const char *name;
    int executor, away;
    enum core_checked checked;
    int exclusive, opens;
    const char *late;
    int waits_here; /* without a server, too */
} core_operations[] = {"""


def shims():
    """C text: one public function per operation: check, hand to Python, copy out."""
    out = ["/* Generated by plue_session.capi.emit; do not edit. */"]
    for f in operations():
        if f.shim:
            lines = [f"core_call call = core_begin(CORE_OP_{f.name.upper()});"]
            lines += [crossing.take.format(name=name) for name, crossing in f.parameters]
            lines += ["core_interrupt(&call);"] * f.interrupts + [f"return {f.result.run}(&call);", ""]
            out.append(f"{f.prototype()}\n{{\n    " + "\n    ".join(lines).rstrip(" ") + "}\n")
    return "\n".join(out)


def declarations():
    """What Python may call or read of the C side: the parts of core.h between the cdef marks."""
    parts = re.findall(r"/\* <cdef> \*/\n(.*?)/\* </cdef> \*/", _source("core.h"), re.S)
    return "\n".join(re.sub(r"^#.*$", "", part, flags=re.M) for part in parts)


def bootstrap():
    """C text: bootstrap.py as a string."""
    lines = _source("bootstrap.py").splitlines()
    quoted = "\n".join('    "' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"' for line in lines)
    return f"/* Generated by plue_session.capi.emit; do not edit. */\nstatic const char core_bootstrap[] =\n{quoted};\n"


def embedded():
    """Python text: what cffi runs in the interpreter when it starts."""
    return _source("embedded.py") + "\n\nbegin()\n"


def _source(name):
    with open(os.path.join(CAPI, name), encoding="utf-8") as file:
        return file.read()


def exports():
    names = " ".join(f"{function.name};" for function in functions())
    return f"{{ global: {names} local: *; }};\n"


COMMITTED = {
    "include/plue_session.h": header,
    "include/module.modulemap": lambda: MODULE_MAP,
    "plue_session/prototypes.py": prototypes,
    "docs/reference.md": reference,
}


def main(arguments):
    stale, check = [], "--check" in arguments
    for path, make in COMMITTED.items():
        full = os.path.join(ROOT, path)
        new = make()
        if not os.path.exists(full) or _source(full) != new:
            stale.append(path)
            if not check:
                with open(full, "w", encoding="utf-8") as file:
                    file.write(new)
    if stale:
        print("differs from the surface table, run `make header`:" if check else "wrote", ", ".join(stale))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
