"""Conversations in a terminal with a real OpenCode: examples/chat.c, chat.zig and chat.py, and plue-session chat."""

import base64
import itertools
import json
import os
import pty
import queue
import subprocess

import pytest

from tests import support
from tests.integration.chats import PATIENCE, PROGRAMS, Chat, commands  # noqa: F401
from tests.opencode.fixtures import soon

_numbers = itertools.count(1)


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


# -- the command alone -------------------------------------------------------------------------------------------------
QUESTIONS = [
    {"header": "Style", "question": "Tabs?", "options": [{"label": "Yes", "description": "8"}, {"label": "No"}]},
    {"header": "Names", "question": "Which?", "multiple": True, "options": [{"label": "a"}, {"label": "b"}]},
]


def asking(questions):
    """Return the order to the model to ask these."""
    for question in questions:
        for option in question["options"]:
            option.setdefault("description", "none")
    return f"[tool64=question:{base64.b64encode(json.dumps({'questions': questions}).encode()).decode()}]"


def test_questions_are_asked_one_by_one_and_answered_together(chat, client, repository):
    talk = chat("plue-session")
    talk.say(f"{asking(QUESTIONS)} [words=2]")
    place = talk.shows("(a number, or your own answer; nothing rejects it)")
    assert "Tabs?\n  1. Yes: 8\n  2. No: none\n" in talk.said
    talk.say("2")
    place = talk.shows("(numbers, separated by commas", place)
    talk.say("1,2")
    talk.shows("word1", place)
    talk.close()
    talk.ends()
    parts = [part for _, inside in client.messages(talk.session, soon(), directory=repository)[0] for part in inside]
    assert 'Tabs?"="No"' in json.dumps([str(part) for part in parts]).replace("\\", "")


def test_a_question_that_gets_no_answer_is_rejected(chat):
    talk = chat("plue-session")
    talk.say(f"{asking(QUESTIONS[:1])} [words=2]")
    talk.shows("nothing rejects it)")
    talk.say("")
    talk.close()
    talk.ends(None)
    assert "question error" in talk.said


def test_events_are_printed_as_json(chat):
    talk = chat("plue-session", "--json")
    talk.say("[bash=echo hello] [words=2]")
    talk.shows('"permission.asked"')
    talk.say("once")
    talk.close()
    assert "May it?" in talk.ends()
    kinds = [json.loads(line)["type"] for line in talk.said.splitlines()]
    assert kinds.count("turn.started") == kinds.count("turn.finished") == kinds.count("permission.replied") == 1


def test_the_model_is_named_by_provider_and_name(chat, model):
    talk = chat("plue-session", "--model", "fake/fake-model")
    talk.say("[words=2]")
    talk.shows("word1")
    talk.close()
    talk.ends()
    other = chat("plue-session", "--model", "fake/none")
    other.say("[words=2]")
    other.shows("! ")
    other.close()
    other.ends(1)
    assert "does not name both" in chat("plue-session", "--model", "fake").ends(2)


def test_a_turn_that_fails_says_why_and_what_to_do(chat):
    talk = chat("plue-session")
    talk.say("[status=401]")
    talk.close()
    talk.ends(1)
    assert "! stopped, provider_error: refused with 401" in talk.said and "Log in to the provider" in talk.said


def test_in_a_terminal_ctrl_c_ends_the_turn_and_the_next_one_leaves(chat, model):
    ours, theirs = pty.openpty()
    talk = chat("plue-session", stdin=theirs, controls=True)
    os.close(theirs)
    try:
        talk.shows("> ")
        os.write(ours, b"[wait] for me\n")
        place = talk.shows("word0")
        os.write(ours, b"\x03")
        place = talk.shows("! stopped, cancelled", place)
        talk.shows("> ", place)
        os.write(ours, b"\x03")
        assert "Ctrl-C ends a turn" in talk.ends(130)
    finally:
        os.close(ours)


def test_without_a_model_the_command_says_so(plain, folder, tmp_path, commands):
    shell = [*commands("plue-session")[:3]]
    env = support.environment(folder, PYTHONPATH=plain.root)
    made = support.run([*shell, "create"], env=env, cwd=tmp_path).out.strip()
    typed = tmp_path / "typed"
    typed.write_text("hello\n")
    with typed.open() as stdin:
        done = support.run([*shell, "chat", made], env=env, cwd=tmp_path, code=1, stdin=stdin)
    assert "plue-session chat: " in done.err and "no model" in done.err
