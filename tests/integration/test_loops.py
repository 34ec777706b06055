"""The examples of event loops, built and run as their first comments say: what happens on another thread, and in
another process, is seen, and they end cleanly."""

import os
import re
import subprocess
import sys

import pytest

from tests import support
from tests.peers import Peer

LOOPS = support.ROOT / "examples" / "loops"
#: How each is run: as its comment says, or what that builds.
PROGRAMS = {"poll.c": "./poll", "glib.c": "./glib", "uv.c": "./uv", "reader.py": "", "poll.zig": "./poll"}
ENDS = re.compile(r"(\d+) events, (\d+) wake-ups")


def build(name):
    """Return the command in an example's first comment."""
    comment = (LOOPS / name).read_text().partition("Alone,")[0]
    (command,) = re.findall(r"^\W*(eval .*|python .*)$", comment, re.MULTILINE)
    return command


@pytest.fixture(scope="module")
def made(plain, tmp_path_factory):
    """`made(name)` builds an example and returns how it is started, and where and with what."""
    place = tmp_path_factory.mktemp("loops")
    commands = place / "bin"
    commands.mkdir()
    zig = support.ROOT / ".tools" / "bin" / "python"
    for command, words in {
        "plue-session-config": [sys.executable, "-m", "plue_session.config_tool"],
        "python": [sys.executable],
        "zig": [zig, "-m", "ziglang"],
    }.items():
        program = commands / command
        program.write_text(f'#!/bin/sh\nexec {" ".join(map(str, words))} "$@"\n')
        program.chmod(0o700)
    cache = str(support.CHECKED / "zig-cache")
    env = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(plain.root),
        "HOME": str(place),
        "ZIG_GLOBAL_CACHE_DIR": cache,
        "ZIG_LOCAL_CACHE_DIR": cache,
    }
    built = {}

    def make(name):
        if name not in built:
            folder = place / name.replace(".", "-")
            folder.mkdir()
            for each in (name, "loop.h"):
                (folder / each).write_bytes((LOOPS / each).read_bytes())
            if PROGRAMS[name]:
                support.run(["sh", "-euc", build(name)], env=env, cwd=folder)
            built[name] = ["sh", "-c", f'exec {PROGRAMS[name] or build(name)} "$@"', "sh"], folder
        command, folder = built[name]
        return command, {"cwd": folder}, env

    return make


def test_every_example_of_a_loop_is_run():
    assert {path.name for path in LOOPS.iterdir()} == {*PROGRAMS, "loop.h"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_sees_what_another_thread_does(made, folder, name):
    command, where, env = made(name)
    done = support.run(command, env={**env, **support.environment(folder)}, timeout=60, **where)
    *told, last = done.out.splitlines()
    assert told == ["watching", "session.created", "session.updated", "session.deleted"] and done.err == ""
    events, wakeups = map(int, ENDS.fullmatch(last).groups())
    assert events == 3 and 1 <= wakeups <= 2 * events


def test_a_loop_does_not_spin_while_who_has_woken_it_waits_for_the_processor(made, tmp_path):
    """On one processor the loop runs before the thread that has just woken it: it was woken thousands of times."""
    command, where, env = made("poll.c")
    one = min(os.sched_getaffinity(0))
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir(mode=0o700)
        done = support.run(
            command,
            env={**env, **support.environment(folder)},
            timeout=60,
            preexec_fn=lambda: os.sched_setaffinity(0, {one}),
            **where,
        )
        events, wakeups = map(int, ENDS.fullmatch(done.out.splitlines()[-1]).groups())
        assert events == 3 and wakeups <= 2 * events


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_sees_what_another_process_does(plain, made, folder, name):
    command, where, env = made(name)
    running = subprocess.Popen(
        [*command, "wait"],
        env={**env, **support.environment(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **where,
    )
    try:
        assert running.stdout.readline() == "watching\n"
        with Peer(plain, folder) as peer:
            session = peer.session_create(None)
            assert running.stdout.readline() == "session.created\n"
            peer.session_update_title(session, "By another process")
            assert running.stdout.readline() == "session.updated\n"
            peer.session_delete(session)
            out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    told, last = out.splitlines()
    assert (running.returncode, err, told) == (0, "", "session.deleted")
    events, wakeups = map(int, ENDS.fullmatch(last).groups())
    assert events == 3 and 1 <= wakeups <= 2 * events
