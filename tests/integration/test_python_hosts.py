"""Hosts that are Python, at their worst: hosts/*.py through ctypes, c_tests/finalized.c with a Python of its own."""

import fcntl
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests import support

HOSTS = Path(__file__).parent / "hosts"


def host(plain, name, folder, *arguments, timeout=60):
    """Not measured: coverage cannot start in a sub-interpreter, and says so."""
    done = support.run(
        [sys.executable, "-I", HOSTS / f"{name}.py", plain.path, folder, *arguments],
        env=support.environment(folder, watched=False),
        timeout=timeout,
    )
    assert done.err == ""
    return done.out


@pytest.mark.requirement("X-023")
def test_a_host_may_inspect_capsules(plain, folder):
    assert host(plain, "capsule_host", folder) == "started\n"


@pytest.mark.requirement("X-023")
def test_the_hosts_path_stays_as_the_host_sets_it(plain, folder):
    assert host(plain, "path_host", folder) == "kept True\n"


@pytest.mark.requirement("X-024")
def test_a_lock_that_another_thread_holds_costs_a_call_its_own_time(plain, folder):
    """The call cannot return before ctypes has the lock back: that is the host's time. What it says is that its own was
    over."""
    said = json.loads(host(plain, "locked_host", folder, "other", "2.5", "call"))
    assert (said["result"], said["code"], said["again"]) == (-1, -8, 0)


@pytest.mark.requirement("X-024")
def test_a_lock_that_another_thread_holds_does_not_keep_init_for_ever(plain, folder):
    said = json.loads(host(plain, "locked_host", folder, "other", "34", "init", timeout=120))
    assert (said["result"], said["code"], said["again"]) == (-1, -8, 0) and said["took"] < 45


@pytest.mark.requirement("X-024")
def test_a_sub_interpreter_that_holds_the_lock_is_refused_at_once(plain, folder):
    assert host(plain, "locked_host", folder, "sub") == "refused\n"


@pytest.mark.requirement("X-024")
def test_a_call_while_the_interpreter_ends_is_refused_at_once(plain, folder):
    assert host(plain, "ending_host", folder) == "None -26 at once\n"


@pytest.fixture(scope="module")
def finalizing(plain):
    """A program with the Python that the library uses, linked as its own."""
    get = sysconfig.get_config_var
    return plain.compile(
        support.PROGRAMS / "finalized.c",
        f"-I{sysconfig.get_path('include')}",
        f"-L{get('LIBDIR')}",
        "-Wl,--no-as-needed",
        f"-lpython{get('LDVERSION')}",
        f"-Wl,-rpath,{get('LIBDIR')}",
    )


def embedding(folder):
    return support.environment(folder, watched=False, PYTHONHOME=sys.base_prefix)


@pytest.mark.requirement("X-024")
def test_a_host_that_ends_its_python_is_told_so(finalizing, folder):
    support.run([finalizing], env=embedding(folder), timeout=60, silent=True)


@pytest.mark.requirement("X-024")
def test_a_call_that_waits_when_the_host_ends_its_python_is_told_so(finalizing, folder):
    process = subprocess.Popen(
        [finalizing, "wait"],
        env=embedding(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "locked?\n"
        with open(os.path.join(folder, "sessions.lock"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            out, err = process.communicate("yes\n", timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", "")
