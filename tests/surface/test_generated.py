"""One table makes header, prototypes, exports and reference: they agree with it, with each other and with the
library."""

import ctypes
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import plue_session
from plue_session import errors, model, prototypes
from plue_session.capi import emit
from tests import support

HEADER = support.ROOT / "include" / "plue_session.h"
NAMES = [function.name for function in emit.functions()]


@pytest.fixture(scope="module")
def library():
    return support.library("plain")


def test_what_is_committed_is_what_the_table_says(capsys):
    assert emit.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_stale_output_is_named_and_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(emit, "ROOT", str(tmp_path))
    for path in emit.COMMITTED:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "include/plue_session.h").write_text("old")
    assert emit.main(["--check"]) == 1
    assert "run `make header`: include/plue_session.h, include/module.modulemap" in capsys.readouterr().out
    assert (tmp_path / "include/plue_session.h").read_text() == "old"
    assert emit.main([]) == 0 and emit.main(["--check"]) == 0
    assert (tmp_path / "include/plue_session.h").read_text() == emit.header()


def test_nothing_that_is_said_of_a_function_is_left_as_it_was_written():
    """An indentation that is wrong has fields be prose."""
    for function in emit.functions():
        assert not emit.FIELD.search(function.prose), function.name


def test_a_call_that_waits_for_an_agent_is_said_to():
    """With no server, too: "as local" holds for what needs nothing but that."""
    takes = {function.name: function.takes for function in emit.functions()}
    for name in ("plue_session_relay_attach", "plue_session_create_with"):
        assert "ready" in takes[name] and "Embedded backend: as local" not in takes[name], name


@pytest.mark.requirement("X-010")
def test_the_library_exports_the_table_and_nothing_else(library):
    listed = support.run(["nm", "-D", "--defined-only", library.path], env=None).out
    assert sorted(line.split()[-1] for line in listed.splitlines()) == sorted(NAMES)


@pytest.mark.requirement("P-001")
@pytest.mark.parametrize(
    "command",
    [
        ["gcc", "-xc", "-std=c99", "-pedantic"],
        ["gcc", "-xc", "-std=c11", "-pedantic", "-Wc++-compat"],
        ["g++", "-xc++", "-std=c++11", "-pedantic"],
        ["g++", "-xc++", "-std=c++20", "-Wold-style-cast", "-Wno-old-style-cast"],
    ],
    ids=["C99", "C11", "C++11", "C++20"],
)
def test_the_header_compiles_alone_without_a_warning(command, tmp_path):
    source = tmp_path / "alone.c"
    source.write_text('#include "plue_session.h"\n#include "plue_session.h"\nint main(void) { return PLUE_OK; }\n')
    support.run([*command, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{HEADER.parent}", source], env=None)


def test_the_header_declares_each_function_once_in_the_order_of_the_table():
    assert re.findall(r"^PLUE_API .*?(plue_\w+)\(", HEADER.read_text(), re.M) == NAMES


def test_prototypes_fit_the_library(library):
    loaded = prototypes.load(str(library.path))
    assert loaded.plue_get_version().decode() == plue_session.__version__
    assert list(prototypes.PROTOTYPES) == NAMES
    assert prototypes.take(loaded, None) is None
    assert prototypes.take(loaded, loaded.plue_json_quote(b'a"b')) == '"a\\"b"'


def test_prototypes_load_by_default_what_is_beside_them(library):
    done = support.run(
        [sys.executable, "-c", "from plue_session.prototypes import load; print(load().plue_get_version().decode())"],
        env=None,
        cwd=library.root,
    )
    assert done.out.strip() == plue_session.__version__


def test_numbers_are_told_alike_everywhere():
    text = HEADER.read_text()
    defined = {name: int(number) for name, number in re.findall(r"#define PLUE_ERROR_(\w+) +\((-\d+)\)", text)}
    assert defined == {error.name: error.number for error in errors.ALL}
    assert prototypes.ERRORS == {error.number: error.name for error in errors.ALL}
    events = re.findall(r"#define PLUE_EVENT_(\w+) (\d+)", text)
    assert [(name.upper().replace(".", "_"), str(number)) for number, name in enumerate(model.EVENTS)] == events
    assert f"#define PLUE_API_VERSION {emit.API_VERSION}\n" in text


#: As the contract numbers them: other programs are written against it.
EVENTS = """session.created 0, session.updated 1, session.deleted 2, message.created 3, message.updated 4,
message.part.updated 5, provider.changed 6, config.changed 7, error 8, library.initialized 9, library.shutdown 10,
session.shared 11, session.unshared 12, session.state_changed 13, session.completed 14, turn.started 15,
turn.activity 16, turn.finished 17, queue.changed 18, artifact.added 19, artifact.deleted 20, resource.changed 21,
relay.changed 22, sync.state 23, sync.conflict 24, operation.progress 25, operation.completed 26, operation.failed 27,
operation.cancelled 28, permission.asked 29, permission.replied 30, hook.failed 31, log 32, gap 33, question.asked 34,
question.replied 35, todo.updated 36"""


@pytest.mark.requirement("L-175")
def test_events_have_the_numbers_of_the_contract():
    numbers = {name: int(number) for name, number in (each.split() for each in EVENTS.split(","))}
    assert dict(model.EVENT_NUMBER) == numbers


@pytest.mark.requirement("X-021")
def test_the_library_names_its_errors_and_its_version_as_the_header_does(library):
    loaded, text = prototypes.load(str(library.path)), HEADER.read_text()
    defined = {int(number): name for name, number in re.findall(r"#define PLUE_ERROR_(\w+) +\((-\d+)\)", text)}
    known = {**defined, 0: "OK"}
    for code in [*range(-150, 50), -(2**31), 2**31 - 1]:
        assert loaded.plue_error_name(code).decode() == known.get(code, "UNKNOWN"), code
    major, minor, patch = map(int, loaded.plue_get_version().decode().split("."))
    (number,) = re.findall(r"#define PLUE_VERSION_NUMBER (\d+)\n", text)
    assert loaded.plue_version_number() == int(number) == 10000 * major + 100 * minor + patch


def test_every_function_is_documented_with_time_and_in_the_reference_and_the_changelog():
    reference, changes = (support.ROOT / path for path in ("docs/reference.md", "CHANGELOG.md"))
    for function in emit.functions():
        assert function.prose and function.time, function.name
        assert f"### `{function.name}`" in reference.read_text(), function.name
        assert f"`{function.name}`" in changes.read_text(), f"{function.name} is not in the table of CHANGELOG.md"


def test_a_documented_parameter_must_exist():
    def plue_wrong(runtime, title: "Text") -> "Status":  # noqa: F821 (names of capi/types.py)
        """Do it.

        :param heading: it is called title.
        """

    with pytest.raises(SystemExit, match="plue_wrong: documents a parameter it does not have"):
        emit.Function(
            "plue_wrong",
            plue_wrong,
            {"time": "local", "executor": "read", "away": "read", "shim": True, "turn": False, "late": None},
        )


def test_emit_needs_the_standard_library_alone():
    code = "import sys; sys.modules.update(cffi=None, requests=None, _cffi_backend=None)\n"
    code += "import plue_session.capi.emit as e; e.shims()"
    support.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(support.ROOT)!r})\n{code}"], env={}
    )


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages(plue_session.__path__, "plue_session.")
        if not module.name.endswith("__main__") and ".lib" not in module.name
    ],
)
def test_every_module_can_be_imported_first(name):
    """No module needs another one to have been imported before; this one has them all in the report on coverage."""
    assert importlib.import_module(name)


def test_the_embedded_backend_runs_without_the_network_stack_and_what_is_slow_to_import(library, tmp_path):
    code = (
        "import sys\nfrom plue_session.prototypes import load\nplue = load()\nassert plue.plue_init(None) == 0\n"
        "plue.plue_session_create_share(plue.plue_session_create(None))\nplue.plue_shutdown()\n"
        "print(*sorted({'requests', 'urllib3', 'ssl', 'asyncio', 'http', 'logging', 'typing'} & set(sys.modules)))"
    )
    env = {"PLUE_SESSION_DATA_DIR": str(tmp_path)}
    assert support.run([sys.executable, "-c", code], env=env, cwd=library.root).out == "\n"


def test_imports_point_one_way():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([sys.executable, linter, "--no-cache"], cwd=support.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout


def test_the_callback_type_is_the_headers():
    assert prototypes.plue_event_callback._argtypes_ == (ctypes.c_uint8, ctypes.c_char_p, ctypes.c_void_p)
    assert (
        "typedef void (*plue_event_callback)(uint8_t type, const char *event_json, void *user_data);"
        in HEADER.read_text()
    )


def test_the_header_tells_what_works_from_what_is_reserved():
    text, _, reserved = HEADER.read_text().partition(" * Reserved.\n")

    def listed(what):
        return set(
            re.search(rf"{what}: (.*?)\.\n", reserved.replace("\n * ", "\n"), re.S)[1].replace("\n", " ").split(", ")
        )

    told = set(re.findall(r"^ \*   (\w[\w.]*)  +\{", text.partition("What `data` holds")[2], re.M))
    unsent = listed("Events that nothing sends")
    assert told | unsent == set(model.EVENTS) and not told & unsent
    failed = set(re.findall(r"\b[A-Z_]{2,}\b", re.sub("^#define .*", "", text, flags=re.M)))
    unmet = listed("Errors that nothing fails with")
    assert failed | unmet | {"UNKNOWN"} >= {error.name for error in errors.ALL} and not failed & unmet
    paths = [path for path in (support.ROOT / "plue_session").rglob("*.[pc]*") if path.suffix in (".py", ".c")]
    apart = {"event.py", "errors.py", "prototypes.py", "events.py", "table.py"}  # tables, and the server's own events
    code = "\n".join(path.read_text() for path in paths if path.name not in apart)
    used = [f'"{name}"' for name in unsent if "." in name] + [f"PLUE_ERROR_{name}" for name in unmet]
    used += [f"errors.{name.title().replace('_', '')}" for name in unmet]
    assert not [name for name in used if name in code]


@pytest.mark.requirement("L-071")
def test_there_are_no_functions_for_tools_commands_triggers_and_processes():
    text = HEADER.read_text()
    named = {word for name in re.findall(r"\bplue_\w+(?=\()", text) for word in re.split(r"[_\d]+", name)}
    assert not named & {"tool", "tools", "command", "commands", "trigger", "triggers", "process", "processes"}
    assert {"turn", "turns", "inputs"} <= named
