"""The example programs, unchanged, with their sessions on a real server: attached by URL, and spawned."""

import json
import os

import pytest

from tests import support
from tests.opencode.fixtures import soon

FIRST = support.ROOT / "examples" / "first.c"
EXAMPLE = support.PROGRAMS / "example.c"


@pytest.mark.requirement("P-183", "P-181", "P-001", "P-003", "P-008", "P-024")
@pytest.mark.parametrize("source", [FIRST, EXAMPLE], ids=lambda source: source.stem)
def test_an_example_runs_unchanged_on_a_server_that_the_environment_names(plain, server, client, tmp_path, source):
    before = {each.id for each in client.list(soon())}
    here = tmp_path / "project"
    here.mkdir()
    done = support.run(
        [plain.compile(source)],
        cwd=here,
        env=support.environment(
            tmp_path,
            PLUE_OPENCODE_URL=server.url(soon()),
            OPENCODE_SERVER_USERNAME=server.username,
            OPENCODE_SERVER_PASSWORD=server.password,
        ),
    )
    info, share = (json.loads(line.partition(": ")[2]) for line in done.out.splitlines()[:2])
    assert (
        info["id"].startswith("ses_")
        and info["backend"] == "opencode"
        and info["directory"] == str(here)
        and info["title"].startswith("New session - ")
    )
    assert share["secret"] and share["link"] == f"{share['url']}#{share['secret']}" and done.err == ""
    left = {each.id: each.title for each in client.list(soon(), directory=str(here))}
    assert left == ({info["id"]: "My Coding Session"} if source is FIRST else {})
    assert {each.id for each in client.list(soon())} == before


@pytest.mark.requirement("P-183")
def test_an_example_runs_unchanged_on_a_server_that_a_configuration_file_names(
    plain, server, client, repository, tmp_path
):
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "backend": {
                    "kind": "opencode",
                    "url": server.url(soon()),
                    "directory": repository,
                    "username": server.username,
                }
            }
        )
    )
    done = support.run(
        [plain.compile(FIRST)],
        env=support.environment(tmp_path, PLUE_SESSION_CONFIG=config, OPENCODE_SERVER_PASSWORD=server.password),
    )
    info = json.loads(done.out.splitlines()[0].partition(": ")[2])
    assert client.get(info["id"], soon()).title == "My Coding Session" and info["directory"] == repository


@pytest.mark.requirement("P-183", "P-181", "O-006", "O-064", "P-132")
def test_an_example_runs_unchanged_on_a_server_of_its_own_which_ends_with_it(
    plain, quiet, client, opencode, isolated, repository, tmp_path
):
    config, mark = tmp_path / "config.json", quiet.mark()
    config.write_text(
        json.dumps(
            {
                "backend": {
                    "kind": "opencode",
                    "spawn": {
                        "command": [opencode],
                        "directory": repository,
                        "env": {**isolated, "OPENCODE_TEST_MARK": str(tmp_path)},
                    },
                }
            }
        )
    )
    done = support.run([plain.compile(FIRST)], cwd="/", env=support.environment(tmp_path, PLUE_SESSION_CONFIG=config))
    info = json.loads(done.out.splitlines()[0].partition(": ")[2])
    assert info["id"].startswith("ses_") and info["directory"] == repository and done.err == ""
    assert not alive_with(f"OPENCODE_TEST_MARK={tmp_path}")
    # Its database is that of our server, whose clients hear nothing of it, and find it by looking.
    quiet.fence(client)
    assert quiet.since(mark) == []
    quiet.call("session_sync", 10_000)
    quiet.fence(client)
    assert (
        quiet.since(mark) == [("session.created", {"id": info["id"]})]
        and quiet.list()[info["id"]]["title"] == "My Coding Session"
    )


def alive_with(variable):
    """The ids of the processes that have this in their environment."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if name.isdigit() and variable.encode() in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found
