"""Each program of c_tests/ runs against the real library: as it is, under valgrind, and with both sides sanitized."""

import shutil

import pytest

from tests import support

#: What each program proves, and how much of its work (per cent) a slow tool does.
PROGRAMS = {
    "example": (("P-001", "P-003", "P-004", "P-008", "P-011", "P-017", "P-024", "P-070", "P-182", "P-183", "X-014"), 100),
    "lifetime": (("P-028", "P-029", "P-030", "P-070", "P-074", "P-079", "P-182", "X-005", "X-006", "X-007", "X-008", "X-013", "X-014"), 20),
    "handles": (("P-002", "P-009", "P-012", "P-015", "P-018", "P-023", "P-025", "P-026", "P-027", "P-060", "P-072", "P-073", "P-076",
                 "P-077", "P-078", "P-079", "P-080", "P-178", "P-182", "X-004"), 2),
    "errors": (("P-007", "P-011", "P-031", "P-045", "P-046", "P-095", "P-132", "P-145", "P-162", "P-163", "P-175", "P-182", "X-001",
                "X-002", "X-003", "X-009"), 5),
    "functions": (("P-004", "P-005", "P-006", "P-007", "P-010", "P-013", "P-014", "P-016", "P-017", "P-020", "P-022", "P-026", "P-040",
                   "P-041", "P-043", "P-044", "P-047", "P-048", "P-049", "P-051", "P-064", "P-065", "P-072", "P-076", "P-091", "P-092",
                   "P-093", "P-094", "P-095", "P-098", "P-100", "P-101", "P-102", "P-120", "P-130", "P-131", "P-132", "P-133", "P-143",
                   "P-146", "P-154", "A-122", "X-009"), 5),
    "events": (("P-130", "P-131", "P-132", "P-133", "X-006", "X-012"), 10),
    "threads": (("P-042", "P-075", "P-077", "P-080", "X-011"), 10),
}


def cases():
    """Return a parameter set for each program."""
    return [pytest.param(name, part, id=name, marks=pytest.mark.requirement(*requirements)) for name, (requirements, part) in PROGRAMS.items()]


@pytest.mark.parametrize("name, part", cases())
def test_program_holds(name, part, folder):
    program = support.library().compile(support.PROGRAMS / f"{name}.c")
    support.run([program], env=support.environment(folder, watched=name != "lifetime", CHECK_SECONDS=2))


@pytest.mark.parametrize("name, part", cases())
def test_program_is_clean_under_valgrind(name, part, folder):
    """Memory that is lost or misused fails it. The interpreter is not under test: c_tests/valgrind.supp."""
    program = support.library().compile(support.PROGRAMS / f"{name}.c")
    valgrind = shutil.which("valgrind")
    assert valgrind, "install valgrind: apt-get install valgrind"
    support.run([valgrind, "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
                 "--fair-sched=yes", "--num-callers=30", "--gen-suppressions=all", f"--suppressions={support.PROGRAMS / 'valgrind.supp'}", program],
                env=support.environment(folder, False, CHECK_PART=max(1, part // 2), CHECK_SECONDS=1))


#: Only what the library and the program allocate themselves can leak: the interpreter and its modules are never finalized.
LEAKS = "leak:libpython3\nleak:_cffi_backend\nleak:_sqlite3\nleak:libcrypto\n"


@pytest.mark.parametrize("name, part", cases())
def test_program_is_clean_under_address_sanitizer(name, part, folder, tmp_path):
    program = support.library("address").compile(support.PROGRAMS / f"{name}.c")
    (tmp_path / "leaks").write_text(LEAKS)
    support.run([program], env=support.environment(
        folder, False, CHECK_PART=part, CHECK_SECONDS=1, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
        LSAN_OPTIONS=f"suppressions={tmp_path / 'leaks'}:print_suppressions=0"))


@pytest.mark.parametrize("name, part", cases())
def test_program_is_clean_under_thread_sanitizer(name, part, folder):
    program = support.library("thread").compile(support.PROGRAMS / f"{name}.c")
    support.run([program], env=support.environment(folder, False, CHECK_PART=part, CHECK_SECONDS=1, TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"))


def test_header_is_strict_c99(folder):
    program = support.library().compile(support.PROGRAMS / "strict.c", "-std=c99", "-pedantic", "-Wstrict-prototypes", "-Wshadow")
    support.run([program], env=support.environment(folder), silent=True)


def test_header_is_cxx11(folder):
    program = support.library().compile(support.PROGRAMS / "strict.c", "-pedantic", "-Wshadow", cxx=True)
    support.run([program], env=support.environment(folder), silent=True)
