"""What the documents show of a server: the example, as its first lines say to build and run it, and the
configurations."""

import json
import re

import pytest

from plue_session import config
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


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_the_configurations_that_the_documents_show_are_ones(document, tmp_path):
    shown = re.findall(r"```json\n(.*?)```", (support.ROOT / document).read_text(), re.DOTALL)
    kinds = [config.load(text.replace("/home/me/project", str(tmp_path)), {}).backend.spawn is None for text in shown]
    assert kinds == [True, False]
