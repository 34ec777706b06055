"""A command of any kind is guarded, and kept running: nothing of it is OpenCode's."""

import os
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.child.child import Child
from plue_session.adapters.child.guard import Command, Guarded
from tests.opencode.fixtures import soon


def command(script, folder):
    return Command(
        ["sh", "-c", script],
        str(folder),
        {"PATH": os.environ["PATH"]},
        name="the agent",
        does="answer",
        key="agents",
        install="Install it",
    )


class Lines:
    """Ready with the first line that says so; "bad" is none."""

    def __init__(self):
        self._text = b""

    def feed(self, data):
        self._text += data
        first, found, _ = self._text.partition(b"\n")
        if found and first == b"bad":
            raise errors.Server("the agent says bad", "Say good.")
        return first.decode() if found else None


def test_the_guard_can_be_used_alone(guard, tmp_path):
    running = Guarded(command("echo out; echo err >&2; exit 7", tmp_path), guard)
    until = time.monotonic() + 10
    while not running.gone and time.monotonic() < until:
        running.listen()
        threading.Event().wait(0.01)
    assert (running.exit, os.read(running.stdout, 100), os.read(running.stderr, 100)) == (
        "exit code 7",
        b"out\n",
        b"err\n",
    )
    running.stop()
    running.close()
    running.close()


def test_a_command_is_ready_with_what_it_says_and_started_anew_when_it_ends(guard, tmp_path):
    told, back = [], threading.Event()

    def change(value):
        told.append(value)
        if len(told) == 3:
            back.set()

    script = "echo $$; while [ ! -e told ]; do sleep 0.02; done; rm told"
    child = Child(command(script, tmp_path), Lines, on_change=change, program=guard, back_off=(0.02, 0.1))
    first = child.start(soon())
    assert first == str(child.pid)
    (tmp_path / "told").touch()
    assert back.wait(10) and told == [first, None, child.wait(soon())] and child.starts == 2
    child.stop()
    with pytest.raises(errors.Closed, match="the agent was stopped"):
        child.wait(soon())


@pytest.mark.parametrize(
    "script, kind, text",
    [
        ("echo no >&2; exit 3", errors.Server, "the agent ended before it answered .exit code 3.; its last words: no"),
        ("echo bad; exec sleep 60", errors.Server, "the agent says bad"),
        ("exec sleep 60", errors.Timeout, "the agent does not answer in time"),
    ],
)
def test_a_command_that_gets_not_ready_says_why_in_its_own_words(guard, tmp_path, script, kind, text):
    child = Child(command(script, tmp_path), Lines, program=guard)
    with pytest.raises(kind, match=text):
        child.start(soon(1))
    child.stop()


def test_a_command_that_is_not_there_is_named_with_its_key(guard, tmp_path):
    missing = command("", tmp_path)._replace(words=["/nonexistent/agent"])
    child = Child(missing, Lines, program=guard)
    with pytest.raises(errors.StoreIo, match="command /nonexistent/agent cannot be run") as caught:
        child.start(soon())
    assert caught.value.remedy == "Install it, or name its program in agents.command."
    child.stop()


def test_arguments_and_an_environment_that_are_too_long_are_no_missing_guard(guard, tmp_path):
    long = command("", tmp_path)._replace(words=["agent", *["x" * 100_000] * 40])
    with pytest.raises(errors.StoreIo, match="command agent cannot be run: its arguments and environment are too long"):
        Guarded(long, guard)


def test_a_command_can_be_talked_to_and_hears_the_end(guard, tmp_path):
    running = Guarded(command("cat; echo over", tmp_path), guard, talks=True, delays=(4000, 500))
    try:
        assert running.stdin > 2 and not os.get_blocking(running.stdin) and not os.get_inheritable(running.stdin)
        os.write(running.stdin, b"hello\n")
        assert os.read(running.stdout, 100) == b"hello\n"
        os.close(running.stdin)
        running.stdin = None
        assert os.read(running.stdout, 100) == b"over\n"
    finally:
        running.close()


def test_delays_are_the_commands_own(guard, tmp_path):
    running = Guarded(command("trap '' TERM; echo up; while :; do sleep 1; done", tmp_path), guard, delays=(50, 50))
    assert os.read(running.stdout, 100) == b"up\n"
    began = time.monotonic()
    running.stop()
    while not running.gone and time.monotonic() < began + 10:
        running.listen()
        threading.Event().wait(0.01)
    assert running.exit == "signal 9"
    running.close()
