"""Memory that runs out, that many copy at once, that is given back: programs of c_tests, as they are and sanitized."""

import os

import pytest

from tests import support
from tests.integration.test_c_programs import under_address, under_thread, under_valgrind

TORTURE = os.environ.get("PLUE_TORTURE") == "1"
#: Under valgrind a walk takes a quarter of a minute, and AddressSanitizer finds the same.
TOOLS = (under_address, under_thread, under_valgrind) if TORTURE else (under_address, under_thread)
PROGRAMS = {
    "texts": ("P-182", "X-004"),
    "keys": ("P-182", "X-001", "X-003", "X-023"),
    "copies": ("P-060", "P-076"),
    "memory": ("P-132", "X-001", "X-002", "X-005", "X-007", "X-013"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.requirement(*proven)) for name, proven in PROGRAMS.items()]
)
def test_program_holds(name, folder):
    program = support.library().compile(support.PROGRAMS / f"{name}.c")
    some = {} if TORTURE or name == "copies" else {"CHECK_PART": 25}
    support.run([program], env=support.environment(folder, watched=False, **some))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_is_clean(name, tool, tmp_path):
    tool(name, 100 if TORTURE else 10, tmp_path)


@pytest.mark.requirement("P-182", "X-004", "X-023")
def test_a_host_may_replace_malloc_and_no_more(folder):
    # Sanitizers and valgrind have allocators of their own: this one runs as it is.
    support.run(
        [support.library().compile(support.PROGRAMS / "own_malloc.c")],
        env=support.environment(folder, watched=False),
        silent=True,
    )
