"""What the documents show of a server: the example, as its first lines say to build and run it, and the
configurations."""

import json
import re

import pytest

from plue_session import config
from plue_session.rules import relay
from tests import support
from tests.opencode.fixtures import soon


def test_the_opencode_example_works_on_a_server_that_runs(plain, server, client, folder, tmp_path):
    program = plain.compile(support.ROOT / "examples" / "opencode.c")
    env = support.environment(
        folder, OPENCODE_SERVER_USERNAME=server.username, OPENCODE_SERVER_PASSWORD=server.password
    )
    done = support.run([program, server.place[0]], env=env, cwd=tmp_path)
    said = [line.partition(": ") for line in done.out.splitlines()]
    events = [json.loads(text) for what, _, text in said if what == "event"]
    (info,) = (json.loads(text) for what, _, text in said if what == "info")
    assert [event["type"] for event in events if event.get("sessionId") == info["id"]] == [
        "session.created",
        "session.updated",
        "session.deleted",
    ]
    assert info["title"] == "My Coding Session" and info["directory"] == str(tmp_path.resolve()) and done.err == ""
    assert client.list(soon(), directory=str(tmp_path)) == []


def test_the_opencode_example_says_that_there_is_no_server(plain, folder, tmp_path):
    program = plain.compile(support.ROOT / "examples" / "opencode.c")
    (tmp_path / "impatient.json").write_text('{"requestTimeoutMs": 100}')
    env = support.environment(folder, PLUE_SESSION_CONFIG=tmp_path / "impatient.json")
    done = support.run([program, "http://127.0.0.1:9"], env=env, cwd=tmp_path, code=1)
    assert "cannot be reached" in done.err and done.out == ""


def test_the_first_program_of_the_readme_prints_what_a_model_says(plain, server, model, folder, tmp_path):
    text = (support.ROOT / "README.md").read_text().partition("```c\n")[2].partition("```")[0]
    (tmp_path / "readme.c").write_text(text)
    question = "What is in this folder?"
    assert question in text
    model.orders[question] = "[say=There is a parser. It is small.]"
    program = plain.compile(tmp_path / "readme.c")
    env = support.environment(
        folder,
        PLUE_OPENCODE_URL=server.place[0],
        OPENCODE_SERVER_USERNAME=server.username,
        OPENCODE_SERVER_PASSWORD=server.password,
    )
    done = support.run([program], env=env, cwd=tmp_path, timeout=60)
    assert (done.out, done.err) == (f"{question}\nThere is a parser. It is small.\n", "")
    done = support.run([program], env=support.environment(folder), cwd=tmp_path, code=1)
    assert "the embedded backend has no model" in done.err


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_the_configurations_that_the_documents_show_are_ones(document, tmp_path):
    shown = re.findall(r"```json\n(.*?)```", (support.ROOT / document).read_text(), re.DOTALL)
    kinds = [config.load(text.replace("/home/me/project", str(tmp_path)), {}).backend.spawn is None for text in shown]
    assert kinds == [True, False]


@pytest.mark.requirement("R-001")
def test_the_life_cycle_that_the_guide_prints_is_the_one_that_holds():
    text = (support.ROOT / "docs" / "guide.md").read_text().partition("### How it lives\n")[2]
    head, _, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.partition("\n\n`")[0].splitlines()
        if line.startswith("|")
    ]
    assert tuple(head[1:]) == relay.EVENTS and tuple(row[0] for row in rows) == relay.STATES
    printed = {
        row[0]: {event: cell for event, cell in zip(head[1:], row[1:], strict=True) if cell != "–"} for row in rows
    }
    assert printed == relay.NEXT
