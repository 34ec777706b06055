"""Hosts in other languages: Zig by translate-c, Python by ctypes, the right one and wrong ones."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests import support

HOSTS = Path(__file__).parent / "hosts"
#: Pythons that the library was not built for, as far as this machine has them.
OTHERS = [
    path
    for path in (Path.home() / ".pyenv" / "versions").glob("3.1*/bin/python3")
    if not path.parts[-3].startswith("{}.{}.".format(*sys.version_info))
]


TORTURE = os.environ.get("PLUE_TORTURE") == "1"


def zig(version):
    """The compiler that `make .tools/.zig` installs; others lie beside it: pip install --target .tools/zig-0.17
    ziglang==0.17.*"""
    tools = support.ROOT / ".tools"
    beside = tools / f"zig-{version}"
    if beside.exists():
        return [sys.executable, "-m", "ziglang"], {**os.environ, "PYTHONPATH": str(beside)}
    assert version == "0.15" and (tools / ".zig").exists(), (
        f"no Zig {version}: make .tools/.zig, or pip install --target {beside} ziglang=={version}.*"
    )
    return [str(tools / "bin" / "python"), "-m", "ziglang"], dict(os.environ)


@pytest.mark.requirement("X-014", "X-016")
@pytest.mark.parametrize("version", ["0.15", *(["0.16", "0.17"] if TORTURE else [])])
def test_zig_program_keeps_a_session(plain, folder, tmp_path, version):
    command, env = zig(version)
    env["ZIG_GLOBAL_CACHE_DIR"] = env["ZIG_LOCAL_CACHE_DIR"] = str(support.CHECKED / "zig-cache")
    translated = support.run(
        [*command, "translate-c", "-lc", f"-I{plain.include}", plain.include / "plue_session.h"], env=env
    )
    (tmp_path / "c.zig").write_text(translated.out)
    (tmp_path / "host.zig").write_bytes((support.PROGRAMS / "host.zig").read_bytes())
    support.run(
        [
            *command,
            "build-exe",
            "host.zig",
            "-lc",
            f"-I{plain.include}",
            f"-L{plain.lib}",
            "-lplue_session",
            "-rpath",
            plain.lib,
            "-femit-bin=host",
        ],
        env=env,
        cwd=tmp_path,
    )
    support.run([tmp_path / "host"], env=support.environment(folder), silent=True)


@pytest.mark.requirement("X-011", "X-012", "X-014", "X-016")
@pytest.mark.parametrize("kind", ["cdll", "pydll"])
def test_python_program_keeps_a_session(plain, folder, kind):
    """Also when ctypes keeps the interpreter lock during calls: callbacks and library threads need it."""
    done = support.run(
        [sys.executable, "-I", HOSTS / "ctypes_host.py", plain.path, kind, folder],
        env=support.environment(folder),
        timeout=60,
    )
    assert json.loads(done.out) == {
        "code": 0,
        "title": "Ä \U0001f40d",
        "secret": 43,
        "titles": 41,
        "first": "library.initialized",
        "remaining": 0,
        "version": "0.1.0",
    }
    assert done.err == ""


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.parts[-3])
def test_another_python_gets_a_clean_error(plain, folder, python):
    done = support.run(
        [python, "-I", HOSTS / "ctypes_host.py", plain.path, "cdll", folder],
        env=support.environment(folder),
        timeout=20,
    )
    said = json.loads(done.out)
    assert said["code"] == -26 and said["alive"] == 45 and said["interruptible"]
    assert (
        "{}.{}".format(*sys.version_info) in said["error"]
        and ".".join(python.parts[-3].split(".")[:2]) in said["error"]
    )
    assert done.err == ""


def test_other_pythons_are_there_to_be_tried():
    assert OTHERS, "install another Python (pyenv install 3.12) to see that the library refuses it"


@pytest.mark.requirement("X-014")
def test_smallest_python_program_ends(plain, folder):
    """Whoever imports threading first is its main thread, for which Python waits at exit: that must not be a thread of
    ours."""
    done = support.run(
        [sys.executable, "-I", HOSTS / "smallest_host.py", plain.path, folder],
        env=support.environment(folder),
        timeout=20,
    )
    assert done.out == "ended\n" and done.err == ""


@pytest.mark.requirement("X-014")
def test_python_program_with_a_sub_interpreter_lives(plain, folder):
    done = support.run(
        [sys.executable, "-I", HOSTS / "subinterpreter_host.py", plain.path, folder],
        env=support.environment(folder),
        timeout=20,
    )
    assert done.out == "lived\n"


@pytest.mark.requirement("L-178")
def test_what_was_not_told_is_made_up_for_also_when_another_scope_has_the_newest_row(plain, folder):
    """The queue that is filled from the log never gets that row: whoever filled it went on for ever."""
    env = support.environment(folder, PYTHONPATH=str(plain.package.parent))
    done = support.run(
        [sys.executable, HOSTS / "missed_host.py", folder], env=env, cwd=plain.package.parent, timeout=60
    )
    first, last = map(json.loads, done.out.splitlines())
    assert first == {"heard": ["session.updated"], "busy": False}
    assert last == ["session.updated", "session.updated", "library.shutdown"] and done.err == ""


TWICE = """
import ctypes, os, sys
from plue_session.prototypes import ERRORS, load
first, second = load(), load(os.path.join(os.path.dirname(sys.argv[1]), "libplue_session.so"))
assert first.plue_init(b'{"store":"memory"}') == 0, first.plue_get_last_error()
assert second.plue_init(b'{"store":"memory"}') == -1
assert ERRORS[second.plue_get_last_error_code()] == "RUNTIME"
assert b"libplue_session.so.0" in second.plue_get_last_error()
first.plue_shutdown()
assert second.plue_init(b'{"store":"memory"}') == 0, second.plue_get_last_error()
second.plue_shutdown()
"""


@pytest.mark.requirement("P-070")
def test_a_process_that_has_loaded_both_files_of_a_package_gets_one_library(plain, folder):
    env = support.environment(folder, PYTHONPATH=str(plain.package.parent))
    support.run(
        [sys.executable, "-c", TWICE, plain.package / "lib" / "libplue_session.so.0"],
        env=env,
        cwd=plain.package.parent,
        silent=True,
        timeout=60,
    )
