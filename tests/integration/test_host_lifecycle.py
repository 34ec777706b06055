"""Hosts that start and stop the library at bad moments, with odd threads, or twice:
c_tests/{claims,lifecycle,scheduling,starved}.c."""

import shutil
import signal

import pytest

from tests import support


def host(library, name, folder, *arguments, code=0, **options):
    program = library.compile(support.PROGRAMS / f"{name}.c")
    return support.run(
        [program, *arguments],
        env=support.environment(folder, watched=False),
        code=code,
        silent=code == 0,
        timeout=120,
        **options,
    )


@pytest.fixture
def copies(plain, tmp_path):
    """Two files of the library in one folder, as a package has them, the second under a name of its own."""
    other = plain.lib / "another-name.so"
    if not other.exists():
        shutil.copy2(plain.path, f"{other}.new")
        (plain.lib / "another-name.so.new").rename(other)
    return plain.path, other


@pytest.mark.requirement("X-023")
@pytest.mark.parametrize("how", ["race", "mute", "alternate"])
def test_of_two_copies_one_runs(plain, copies, folder, how):
    host(plain, "claims", folder, *copies, how)


@pytest.mark.requirement("X-023")
@pytest.mark.parametrize("delay", [*range(0, 24000, 2000), 30000, 40000])
def test_a_handler_that_is_installed_while_the_library_starts_stays(plain, folder, delay):
    host(plain, "lifecycle", folder, "handles_interrupts", str(delay))


@pytest.mark.requirement("X-023")
@pytest.mark.parametrize("delay", [0, 5000, 10000, 20000, 60000])
def test_a_host_without_a_handler_is_ended_by_sigint(plain, folder, delay):
    host(plain, "lifecycle", folder, "is_interrupted", str(delay), code=-signal.SIGINT)


@pytest.mark.requirement("X-006")
def test_shutdown_ends_in_time_beside_threads_that_start_and_stop(plain, folder):
    host(plain, "lifecycle", folder, "stops_beside_starts")


@pytest.mark.requirement("X-009")
def test_a_configuration_may_have_64_mib(plain, folder):
    host(plain, "lifecycle", folder, "is_told_too_much")


@pytest.mark.requirement("X-023")
@pytest.mark.parametrize("policy", ["fifo", "idle"])
def test_threads_of_the_library_are_as_the_process_was(plain, folder, policy):
    host(plain, "scheduling", folder, policy)


@pytest.mark.requirement("X-023")
def test_no_failed_allocation_anywhere_ends_the_host(plain, folder):
    host(plain, "starved", folder)


@pytest.mark.requirement("X-007")
@pytest.mark.parametrize("backend", ["embedded", "opencode"])
def test_the_lack_of_threads_is_told_and_nothing_stays_open(plain, folder, backend):
    host(plain, "lifecycle", folder, "lacks_threads", backend)


@pytest.mark.requirement("X-023")
def test_small_default_stacks_are_not_the_librarys(plain, folder):
    host(plain, "lifecycle", folder, "has_small_stacks")
