"""Conversations in a terminal with a real OpenCode: examples/chat.c, chat.zig and chat.py, and plue-session chat."""

import itertools
import json
import os
import pty
import queue
import signal
import subprocess
import sys
import threading

import pytest

from tests import support
from tests.languages.programs import zig
from tests.opencode.fixtures import soon

EXAMPLES = support.ROOT / "examples"
PROGRAMS = ("chat.c", "chat.zig", "chat.py", "plue-session")
#: Seconds within which what must be shown is shown, on a machine that is busy.
PATIENCE = 20
_numbers = itertools.count(1)


class Chat:
    """One that runs; `said` is what it has printed."""

    def __init__(self, command, env, cwd, stdin=subprocess.PIPE):
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
        )
        self.said, self._more = "", threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while text := os.read(self._process.stdout.fileno(), 65536):
            with self._more:
                self.said += text.decode("utf-8", "replace")
                self._more.notify_all()

    def say(self, *lines):
        self._process.stdin.write("".join(line + "\n" for line in lines).encode())
        self._process.stdin.flush()

    def close(self):
        """End the input."""
        self._process.stdin.close()

    def shows(self, text, after=0):
        """Wait until this is printed; return the place after it."""
        with self._more:
            assert self._more.wait_for(lambda: text in self.said[after:], PATIENCE), (text, self.said[after:])
            return self.said.index(text, after) + len(text)

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def ends(self, code=0):
        ended = self._process.wait(PATIENCE)
        assert code is None or ended == code, (self.said, self._process.stderr.read())
        self._reader.join(PATIENCE)
        err = self._process.stderr.read().decode()
        assert "Traceback" not in err
        return err

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


@pytest.fixture(scope="module")
def commands(plain, tmp_path_factory):
    """`commands(name)` builds a program and returns how it is started."""
    folder = tmp_path_factory.mktemp("chat")

    def command(name):
        if name == "chat.c":
            return [plain.compile(EXAMPLES / name)]
        if name == "chat.zig":
            return [zig(plain, EXAMPLES / name, folder / "chat")]
        return [sys.executable, *([EXAMPLES / name] if name == "chat.py" else ["-m", "plue_session.cli", "chat"])]

    return command


@pytest.fixture
def chat(commands, plain, server, client, repository, folder):
    """`chat(name)` starts a program on a new session of the real server, whose id is `chat.session`."""
    started = []

    def start(name, *words, **how):
        session = client.create(f"chat-{os.getpid()}-{next(_numbers)}", soon(), title="Chat").id
        env = support.environment(
            folder,
            PLUE_OPENCODE_URL=server.place[0],
            OPENCODE_SERVER_USERNAME=server.username,
            OPENCODE_SERVER_PASSWORD=server.password,
            PYTHONPATH=plain.root,
        )
        started.append(Chat([*commands(name), session, *words], env, repository, **how))
        started[-1].session = session
        return started[-1]

    yield start
    for each in started:
        each.kill()


def drain(told):
    while True:
        try:
            told.get_nowait()
        except queue.Empty:
            return


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_turn_is_shown_as_it_comes_and_ended_by_ctrl_c(chat, model, name):
    drain(model.ended)
    talk = chat(name)
    talk.say(f"[wait] {name}")
    place = talk.shows("word0")
    assert model.ended.empty()  # the model is still at it
    talk.interrupt()
    assert model.ended.get(timeout=PATIENCE) == (f"[wait] {name}", "left")
    place = talk.shows("cancelled", place)
    talk.say("[words=4]")
    talk.shows("word0 word1 word2 word3", place)
    talk.close()
    talk.ends()


@pytest.mark.parametrize("name", PROGRAMS)
def test_ctrl_c_between_two_turns_ends_the_program(chat, name):
    talk = chat(name)
    talk.say("[words=2]")
    talk.shows("word1")
    talk.say("[words=3]")  # its end is seen: the next turn has begun
    talk.shows("word2")
    while talk._process.poll() is None:  # the turn's end may be a moment away: then it ends that
        talk.interrupt()
        try:
            talk._process.wait(1)
        except subprocess.TimeoutExpired:
            continue
    talk.ends(130 if name == "plue-session" else 0)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reply", ["once", "reject"])
def test_a_permission_is_asked_for_and_answered(chat, repository, name, reply):
    made = os.path.join(repository, f"made-by-{name}-{reply}")
    talk = chat(name)
    talk.say(f"[bash=touch {made}] [words=3]")
    place = talk.shows("May it?")
    assert not os.path.exists(made)
    talk.say(reply)
    talk.shows("bash", place)
    if reply == "once":
        talk.shows("word2", place)
    talk.close()
    talk.ends(None if reply == "reject" and name == "plue-session" else 0)
    assert os.path.exists(made) == (reply == "once")


@pytest.mark.parametrize("name", PROGRAMS)
def test_lines_of_a_pipe_are_turns_one_after_the_other(chat, client, repository, name):
    talk = chat(name)
    talk.say("[words=1] first", "[words=2] second")
    talk.close()
    talk.ends()
    messages, _ = client.messages(talk.session, soon(), directory=repository)
    assert [message.role for message, _ in messages] == ["user", "assistant"] * 2
