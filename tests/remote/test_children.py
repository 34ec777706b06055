"""Nobody but us waits for what we start: a host that waits for all of its children meets neither guard nor server, also
where it is the one that inherits them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import support
from tests.opencode.stub import Stub, reply

HOST, LEAVER = (Path(__file__).parent / name for name in ("parent.py", "leaver.py"))


def answer(method, target):
    return reply(200, []) if target.startswith("/session?") else reply(404)


@pytest.fixture
def command(plain, tmp_path):
    """`command(kind)`: how to run parent.py."""
    with Stub(answer) as stub:

        def make(kind):
            unshare_pending = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"] if kind == "init" else []
            return [
                *unshare_pending,
                sys.executable,
                HOST,
                plain.path,
                plain.package / "prototypes.py",
                stub.url,
                tmp_path,
                kind,
            ]

        yield make


def environment(folder, **more):
    return support.environment(folder, watched=False, PATH=os.environ["PATH"], **more)


@pytest.mark.parametrize("kind", ["plain", "subreaper", "init"])
def test_a_host_that_waits_for_its_children_meets_none_of_ours(command, tmp_path, kind):
    """There was a zombie for each start, and a living child that the host did not make."""
    said = json.loads(support.run(command(kind), env=environment(tmp_path)).out)
    assert said["met"] == [] and said["signals"] == 0
    assert said["sets"] == [0 if kind == "plain" else 1] * 6  # the keeper, which waitpid(-1) does not tell of


@pytest.mark.requirement("O-007", "X-023")
@pytest.mark.parametrize("kind", ["plain", "subreaper"])
def test_a_killed_host_that_inherits_leaves_nothing_either(command, tmp_path, kind):
    with subprocess.Popen(
        [str(part) for part in command(kind)],
        env=environment(tmp_path, stay=1),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as host:
        said = json.loads(host.stdout.readline())
        keepers = [
            int(pid)
            for task in os.listdir(f"/proc/{host.pid}/task")
            for pid in Path(f"/proc/{host.pid}/task/{task}/children").read_text().split()
        ]
        os.killpg(host.pid, signal.SIGKILL)
    assert len(keepers) == (kind == "subreaper")
    until = time.monotonic() + 10
    while any(map(runs, [*keepers, *said.values()])):
        assert time.monotonic() < until
        threading.Event().wait(0.02)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_host_that_inherits_leaves_a_server_to_others_and_meets_nobody(plain, tmp_path):
    """What it has of the guard stays until that ends, and is not waited for; then it is seen to."""
    with Stub(answer) as stub:

        def begin():
            words = [sys.executable, LEAVER, plain.path, plain.package / "prototypes.py", stub.url, tmp_path]
            return subprocess.Popen(
                [str(word) for word in words],
                env=environment(tmp_path),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

        def tell(host, word):
            host.stdin.write(word + "\n")
            host.stdin.flush()
            return json.loads(host.stdout.readline())

        with begin() as first, begin() as second:
            try:
                assert tell(first, "init")["silent"] == "somebody"
                assert tell(second, "init")["silent"] == "nobody"  # it has started nothing
                left = tell(first, "shutdown")
                assert left["took"] < 2 and (left["usual"], left["silent"]) == ("nobody", "somebody")
                assert tell(second, "shutdown")["silent"] == "nobody"
                assert tell(first, "init")["usual"] == "nobody"
                ended = tell(first, "shutdown")
                assert (ended["usual"], ended["silent"]) == ("nobody", "nobody")
            finally:
                first.kill()
                second.kill()


@pytest.mark.parametrize("build", support.BUILDS)
def test_a_c_host_that_inherits_meets_none_of_them(build, tmp_path):
    program = support.library(build).compile(support.PROGRAMS / "children.c")
    options = {
        "address": {"ASAN_OPTIONS": "detect_leaks=0"},
        "thread": {"TSAN_OPTIONS": support.TSAN},
    }.get(build, {})
    with Stub(answer) as stub:
        support.run([program, stub.url, tmp_path], env=environment(tmp_path, **options), silent=True)
