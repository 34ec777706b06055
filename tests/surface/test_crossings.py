"""Every way in which a value can cross the boundary, and how queues are refilled: a library is built that has functions
for this alone (extended/)."""

import sys

import pytest

from tests import support
from tests.integration.test_c_programs import SUPPRESSIONS

HERE = support.ROOT / "tests" / "surface"
OPTIONS = {
    "plain": {},
    "address": {
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
        "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS / 'lsan.supp'}:print_suppressions=0",
    },
    "thread": {"TSAN_OPTIONS": support.TSAN},
}


def extended(build="plain"):
    return support.library(build, HERE / "extended")


@pytest.mark.requirement("P-080", "X-008")
@pytest.mark.parametrize("build", support.BUILDS)
def test_values_cross_both_ways_and_what_is_wrong_is_refused(build, tmp_path):
    program = extended(build).compile(HERE / "crossings.c")
    more = OPTIONS[build] | ({} if build == "plain" else {"CHECK_PART": "10"})
    support.run([program], env=support.environment(tmp_path, False, **more), silent=True)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("failed", marks=pytest.mark.requirement("L-170")),
        pytest.param("apart", marks=pytest.mark.requirement("L-169")),
        pytest.param("again", marks=pytest.mark.requirement("L-169")),
        pytest.param("saturated", marks=pytest.mark.requirement("L-183")),
        "renamed",
        pytest.param("asleep", marks=pytest.mark.requirement("T-02", "P-177")),
        pytest.param("named", marks=pytest.mark.requirement("T-02", "P-177")),
    ],
)
def test_observers_end_with_one_error_count_as_far_as_they_can_and_follow_their_session(how, tmp_path):
    library = extended()
    support.run([sys.executable, HERE / "refills.py", library.root, how], env=support.environment(tmp_path, False))


@pytest.mark.requirement("P-133", "L-169")
@pytest.mark.parametrize("how", ["share", "join", "full", "far", "trimmed", "sessions"])
def test_queues_that_are_behind_are_refilled(how, tmp_path):
    """What each of these shows, refills.py says."""
    library = extended()
    support.run([sys.executable, HERE / "refills.py", library.root, how], env=support.environment(tmp_path, False))
