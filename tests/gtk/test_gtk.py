"""examples/gtk: a window of sessions and turns, with a real OpenCode. How fast it is, benchmarks/gtk.py measures."""

import base64
import json
import os
import re

import pytest

from tests import support
from tests.gtk.window import Window, build, display
from tests.opencode.fixtures import soon

PLAN = [
    {"content": "Read the parser", "status": "completed", "priority": "high"},
    {"content": "Write a test that fails", "status": "in_progress", "priority": "high"},
    {"content": "Mend it", "status": "pending", "priority": "medium"},
]
QUESTION = {
    "header": "Style",
    "question": "Tabs or spaces?",
    "options": [{"label": "Spaces", "description": "four"}, {"label": "Tabs", "description": "one"}],
}


def tool(name, **arguments):
    """Return the order to the model to call a tool."""
    return f"[tool64={name}:{base64.b64encode(json.dumps(arguments).encode()).decode()}]"


@pytest.fixture(scope="session")
def plain():
    return support.library("plain")


@pytest.fixture(scope="module")
def built(plain, tmp_path_factory):
    return build(plain, tmp_path_factory.mktemp("gtk"))


@pytest.fixture
def window(built, server, repository, tmp_path):
    """A window on the real server's sessions."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    env = support.environment(
        folder,
        watched=False,
        PLUE_OPENCODE_URL=server.place[0],
        OPENCODE_SERVER_USERNAME=server.username,
        OPENCODE_SERVER_PASSWORD=server.password,
    )
    with display() as screen:
        made = Window(*built, screen, env, repository)
        yield made
        made.kill()


def test_the_driver_measures_every_call_that_the_window_makes(built):
    """What it does not name would not be measured."""
    program, driver = (support.run(["nm", "-D", path], env=os.environ).out for path in built)
    called = set(re.findall(r"U (plue_\w+)", program))
    assert called and called <= set(re.findall(r"T (plue_\w+)", driver))


def test_the_build_is_the_one_that_the_first_comment_shows():
    shown = (support.ROOT / "examples" / "gtk" / "main.c").read_text()
    assert 'eval "cc *.c -o chat $(plue-session-config --cflags --libs) $(pkg-config --cflags --libs gtk4)"' in shown


def test_a_window_shows_turns_and_lets_one_answer_and_stop_them(window, client, repository, model):
    client.create("gtk", soon(), title="A session of another program")
    window.shows("A session of another program")
    window.do("click New session")
    window.shows("The session's model")
    window.do("choose 1")  # as soon as it is open, and its choices are here
    window.shows("fake/fake-model")
    window.do("type Please say [words=3]")
    window.shows("Please say", "word0 word1 word2")

    window.do(f"type Allowed? [bash=echo hello from {os.getpid()}] [words=2]")
    window.do("click Allow once")
    window.shows("bash, completed")
    window.hides("Allow once")

    window.do(f"type {tool('question', questions=[QUESTION])} [words=1]")
    window.shows("Tabs or spaces?")
    window.do("click Spaces")
    window.do("click Answer")
    window.hides("Spaces: four")
    window.shows("question, completed")

    window.do("choose 0")
    window.do("type [wait] for ever")
    window.shows("for ever\nword0")
    window.do("click Stop")
    window.shows("Stopped: cancelled")
    window.do("type [words=2] after it")
    window.shows("after it\nword0 word1")
    assert "CRITICAL" not in window.end()


def test_a_window_shows_the_plan_and_what_was_said_before_it_was_opened(window, client, model, tmp_path):
    """The picture that it makes is the documents', docs/window.png."""
    for title in ("Move the lexer to UTF-8", "Nightly builds fail on aarch64", "Empty input breaks the parser"):
        made = client.create("gtk", soon(), title=title)
    model.orders.update(
        {
            "Why does the parser fail on empty input?": tool("todowrite", todos=PLAN)
            + "[say=It asks the lexer for a first token before it knows that there is one. I have written a plan: "
            "first a test that shows the failure, then a parser that returns an empty program.]",
            "Please go on.": "[bash=git status --short][say=Nothing has changed yet. I shall write the test now.]",
        }
    )
    window.shows(made.title)
    window.do("open 0")
    window.do("type Why does the parser fail on empty input?")
    window.shows("returns an empty program.", "✔ Read the parser", "▶ Write a test that fails", "○ Mend it")
    window.do("click New session")
    window.hides("returns an empty program.")
    window.await_item(made.title)
    window.shows("returns an empty program.", "✔ Read the parser")
    window.do("type Please go on.")
    window.shows("git status --short", "Allow once")
    picture = tmp_path / "window.png"
    window.do(f"picture {picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    window.do("click Always allow")
    window.shows("I shall write the test now.")
    window.end()
