"""Each program of c_tests/ runs against the real library: as it is, under valgrind, and with both sides sanitized."""

import copy
import shutil

import pytest

from tests import support

#: What each program proves, and how much of its work (per cent) a slow tool does.
PROGRAMS = {
    "example": (
        ("P-001", "P-003", "P-004", "P-008", "P-011", "P-017", "P-024", "P-070", "P-182", "P-183", "X-014"),
        100,
    ),
    "lifetime": (
        (
            "P-028",
            "P-029",
            "P-030",
            "P-070",
            "P-074",
            "P-079",
            "P-182",
            "X-005",
            "X-006",
            "X-007",
            "X-008",
            "X-013",
            "X-014",
        ),
        20,
    ),
    "handles": (
        (
            "P-002",
            "P-009",
            "P-012",
            "P-015",
            "P-018",
            "P-023",
            "P-025",
            "P-026",
            "P-027",
            "P-060",
            "P-072",
            "P-073",
            "P-076",
            "P-077",
            "P-078",
            "P-079",
            "P-080",
            "P-182",
            "X-004",
        ),
        2,
    ),
    "errors": (
        (
            "P-007",
            "P-011",
            "P-045",
            "P-046",
            "P-132",
            "P-145",
            "P-162",
            "P-163",
            "P-175",
            "P-178",
            "P-182",
            "X-001",
            "X-002",
            "X-003",
            "X-009",
        ),
        5,
    ),
    "functions": (
        (
            "L-080",
            "L-085",
            "L-090",
            "L-093",
            "L-176",
            "L-185",
            "P-004",
            "P-005",
            "P-006",
            "P-007",
            "P-010",
            "P-013",
            "P-016",
            "P-017",
            "P-022",
            "P-026",
            "P-040",
            "P-043",
            "P-047",
            "P-048",
            "P-051",
            "P-064",
            "P-072",
            "P-076",
            "P-091",
            "P-092",
            "P-093",
            "P-098",
            "P-101",
            "P-102",
            "P-130",
            "P-132",
            "P-133",
            "P-143",
            "P-154",
            "A-122",
            "X-009",
        ),
        5,
    ),
    "cleaner": (
        ("R-011", "R-012", "R-013", "R-034", "R-035", "R-055", "R-056", "R-057", "R-058", "R-060", "R-076"),
        20,
    ),
    "callbacks": (("P-130", "P-133", "X-006", "X-012"), 10),
    "farewell": (("P-130", "P-133", "X-006"), 50),
    "instant": (("T-03",), 5),
    "batches": (("P-171", "P-174"), 10),
    "gaps": (("P-130", "P-133"), 20),
    "json": (("X-017", "X-018", "X-021"), 100),
    "depths": (("X-017", "X-018"), 100),
    "observers": (
        (
            "L-160",
            "L-161",
            "L-162",
            "L-163",
            "L-164",
            "L-165",
            "L-166",
            "L-167",
            "L-168",
            "L-169",
            "L-171",
            "L-172",
            "L-173",
            "L-174",
            "L-179",
            "L-180",
            "L-181",
            "L-182",
            "L-184",
            "L-191",
            "P-131",
        ),
        10,
    ),
    "polling": (("P-130", "P-132", "P-133"), 10),
    "waiting": (("X-019", "X-020"), 10),
    "remote": (("P-156", "P-161"), 20),
    "threads": (("P-042", "P-075", "P-077", "P-080", "X-011"), 10),
}

#: What stands in for plue_session/runtime.py.
RUNTIMES = {"remote": "remote.py", "farewell": "telling.py", "instant": "telling.py"}


def cases():
    """Return a parameter set for each program."""
    return [
        pytest.param(name, part, id=name, marks=pytest.mark.requirement(*requirements))
        for name, (requirements, part) in PROGRAMS.items()
    ]


def build(name, kind="plain"):
    """Compile the program against the library that it tests. Some have a runtime of their own beside them."""
    library = support.library(kind)
    if name in RUNTIMES:
        library = with_runtime(library, support.PROGRAMS / RUNTIMES[name])
    return library.compile(support.PROGRAMS / f"{name}.c")


def with_runtime(library, runtime):
    """Return a copy of a library in which this file is plue_session/runtime.py, and that one shipped_runtime.py."""
    other = copy.copy(library)
    other.root = library.root / f"runtime-{runtime.stem}-{support.hash_of([runtime])}"
    with support.alone("runtime"):
        if not other.root.exists():
            made = other.root.with_suffix(".new")
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(library.root / "plue_session", made / "plue_session", symlinks=True)
            (made / "plue_session" / "runtime.py").rename(made / "plue_session" / "shipped_runtime.py")
            shutil.copy2(runtime, made / "plue_session" / "runtime.py")
            made.rename(other.root)
    other.package = other.root / "plue_session"
    other.lib, other.include = other.package / "lib", other.package / "include"
    other.path = other.lib / library.path.name
    return other


@pytest.mark.parametrize("name, part", cases())
def test_program_holds(name, part, folder):
    program = build(name)
    support.run([program], env=support.environment(folder, watched=name != "lifetime", CHECK_SECONDS=2))


#: Only what the library and the program allocate themselves can leak: the interpreter and its modules are never
#: finalized.
SUPPRESSIONS = support.ROOT / "plue_session" / "suppressions"
VALGRIND = (
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--show-leak-kinds=definite",
    "--errors-for-leak-kinds=definite",
    "--fair-sched=yes",
    "--num-callers=30",
    f"--suppressions={SUPPRESSIONS / 'valgrind.supp'}",
)


def under_valgrind(name, part, tmp_path):
    """Memory that is lost or misused fails it. The interpreter is not under test: plue_session/suppressions."""
    valgrind = shutil.which("valgrind")
    assert valgrind, "install valgrind: apt-get install valgrind"
    program = build(name)
    support.run(
        [valgrind, *VALGRIND, program],
        env=support.environment(tmp_path, False, CHECK_PART=max(1, part // 4), CHECK_SECONDS=0.2),
    )


def under_address(name, part, tmp_path):
    """Both the library and the program are built with AddressSanitizer; LeakSanitizer looks at the end."""
    program = build(name, "address")
    environment = support.environment(
        tmp_path,
        False,
        CHECK_PART=part,
        CHECK_SECONDS=1,
        ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1",
        LSAN_OPTIONS=f"suppressions={SUPPRESSIONS / 'lsan.supp'}:print_suppressions=0",
    )
    for last in (False, False, True):
        done = support.run([program], env=environment, code=0 if last else None)
        # LeakSanitizer itself crashes now and then when it looks at a thread that is ending: that says nothing of the
        # program.
        if "LeakSanitizer has encountered a fatal error" not in done.err:
            break
    assert done.returncode == 0, done.out[-4000:] + done.err[-8000:]


def under_thread(name, part, tmp_path):
    """Both are built with ThreadSanitizer: a race of either fails it."""
    program = build(name, "thread")
    support.run(
        [program],
        env=support.environment(tmp_path, False, CHECK_PART=part, CHECK_SECONDS=1, TSAN_OPTIONS=support.TSAN),
    )


TOOLS = {"valgrind": under_valgrind, "address": under_address, "thread": under_thread}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name, part", cases())
def test_program_is_clean(tool, name, part, tmp_path):
    TOOLS[tool](name, part, tmp_path)


def test_header_is_strict_c99(folder):
    program = support.library().compile(
        support.PROGRAMS / "strict.c", "-std=c99", "-pedantic", "-Wstrict-prototypes", "-Wshadow"
    )
    support.run([program], env=support.environment(folder), silent=True)


def test_header_is_cxx11(folder):
    program = support.library().compile(support.PROGRAMS / "strict.c", "-pedantic", "-Wshadow", cxx=True)
    support.run([program], env=support.environment(folder), silent=True)


@pytest.mark.parametrize("suppressions", [SUPPRESSIONS / "tsan.supp", support.PROGRAMS / "tsan.supp"])
def test_what_glibc_frees_for_a_thread_that_has_ended_is_no_race(suppressions, tmp_path):
    """Without the suppression, ThreadSanitizer takes it for one: here with no code of the library at all."""
    source = support.ROOT / "tests" / "integration" / "hosts" / "ended_threads.c"
    compiler = ["cc", "-g", "-fsanitize=thread"]
    support.run([*compiler, "-DMODULE", "-shared", "-fPIC", source, "-o", tmp_path / "module.so"], env=None)
    support.run([*compiler, source, "-o", tmp_path / "program"], env=None)
    options = f"halt_on_error=1:suppressions={suppressions}:print_suppressions=0"
    support.run([tmp_path / "program", tmp_path / "module.so"], env={"TSAN_OPTIONS": options}, silent=True)
