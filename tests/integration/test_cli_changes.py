"""plue-session as it changes sessions: create, rename, tag, delete, share, unshare; and config."""

import json
import os
import shlex
import subprocess

import pytest

from tests import support
from tests.integration.shell import attach, attached, configure, demonstrated, kept, project, shell  # noqa: F401
from tests.opencode.fixtures import isolate, soon


def test_a_session_is_made_and_named_by_its_id(shell):
    made = shell("create").out.removesuffix("\n")
    assert shell.json("info", made)["title"] == "Untitled"
    told = shell.json(
        "create", 'A "title"', "--key", "mine", "--tag", "a", "--tag", "b", "--description", "d", "--parent", made
    )
    assert told == shell.json("info", "mine")
    assert (told["title"], told["tags"], told["description"], told["parentId"]) == ('A "title"', ["a", "b"], "d", made)
    assert "mine" in shell("create", "--key", "mine", code=1).err
    assert "key" in shell("create", "--key", "", code=1).err and len(shell.json("list")) == 2


def test_what_changes_a_session_shows_how_it_is_now(shell):
    made = shell("create", "First", "--key", "mine").out.strip()
    assert shell("rename", "mine", "Second\x1b").out.endswith("  Second\\x1b\n")
    assert shell.json("rename", made, "Third")["title"] == "Third"
    assert shell("tag", made, "a", "b").out == shell("list").out
    assert shell.json("tag", "mine", "c", "--remove", "a")["tags"] == ["b", "c"]
    assert shell.json("info", made)["title"] == "Third"


def test_a_deleted_session_is_gone_with_its_children(shell):
    made, other = (shell("create").out.strip() for _ in range(2))
    shell("create", "--parent", made, "--key", "child")
    assert shell("delete", made).out == f"Deleted {made}.\n"
    assert [info["id"] for info in shell.json("list")] == [other]
    assert shell.json("delete", other) == {"deleted": other} and shell.json("list") == []


@pytest.mark.requirement("P-142")
def test_a_share_is_a_link_with_its_secret_until_it_is_withdrawn(shell, folder):
    shell("create", "--key", "mine")
    done = shell("share", "mine")
    told = shell.json("share", "mine")
    assert done.out == told["link"] + "\n" and told["link"] == f"{told['url']}#{told['secret']}"
    assert done.err.startswith("Whoever has this link gets in, until ")
    assert shell.json("info", "mine")["share"]["url"] == told["url"] and told["secret"] not in shell("info", "mine").out
    assert "share" not in shell.json("unshare", "mine")
    assert shell("unshare", "mine").out == shell("list").out


@pytest.mark.parametrize(
    "arguments",
    [("rename", "../x", "t"), ("tag", "session_1", "t"), ("delete", "nobody"), ("share", ""), ("unshare", "nobody")],
)
def test_what_names_no_session_is_one_line(shell, kept, arguments):
    assert "plue_session_open" in shell(*arguments, code=1).err
    assert shell.json("list") == [kept]


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("info", "x"), ("watch",), ("demo",), ("config",), ("rename", "x", "t"), ("delete", "x"), ("tag", "x")],
)
def test_a_folder_that_is_not_there_is_a_mistake(shell, folder, arguments):
    shell.store = str(folder / "stroe")
    done = shell(*arguments, code=1)
    assert f"there is no folder {shell.store}" in done.err and done.err.count("\n") == 1 and done.out == ""
    assert not (folder / "stroe").exists()


def test_what_makes_a_folder_that_is_not_there_can_be_typed_as_it_is_said(shell, folder):
    shell.store = str(folder / "my stroe")
    words = shlex.split(shell("list", code=1).err.split("`")[1])
    made = support.run([*shell.command("create")[:3], *words[1:]], env=shell.env, cwd=shell.root).out.strip()
    assert [info["id"] for info in shell.json("list")] == [made]


def test_a_folder_that_is_not_utf_8_is_named_by_the_environment(shell, folder):
    name = os.fsencode(folder) + b"/\xff"
    command = [*shell.command("create")[:4], "--data-dir", name]
    assert "PLUE_SESSION_DATA_DIR" in run_bytes(shell, command, 1).stderr.decode()
    shell.env["PLUE_SESSION_DATA_DIR"] = os.fsdecode(name)
    assert run_bytes(shell, command[:-2], 0).stdout.startswith(b"session_") and os.path.isdir(name)


def run_bytes(shell, command, code):
    done = subprocess.run(command, env=shell.env, cwd=shell.root, capture_output=True, timeout=60)
    assert done.returncode == code, done
    return done


def test_create_makes_the_folder(shell, folder):
    shell.store = str(folder / "new" / "one")
    made = shell.json("create")
    assert shell.json("list") == [made] and (folder / "new").stat().st_mode & 0o777 == 0o700


def test_the_configuration_is_shown_without_its_secrets(shell, project, tmp_path):
    attach(shell, tmp_path, "http://127.0.0.1:1", project, "me", "hunter2", store="memory", syncIntervalMs=100)
    told = shell.json("config")
    assert told["backend"] == {
        "kind": "opencode",
        "url": "http://127.0.0.1:1",
        "directory": project,
        "username": "me",
        "password": "(set)",
    }
    assert (told["dataDir"], told["store"], told["syncIntervalMs"]) == (shell.store, "memory", 100)
    lines = shell("config").out.splitlines()
    assert f"dataDir         {shell.store}" in lines and "backend.password (set)" in lines
    spawn = {"command": ["opencode"], "directory": project, "env": {"OPENCODE_SERVER_PASSWORD": "hunter2"}}
    configure(shell, tmp_path, backend={"kind": "opencode", "spawn": spawn}, store="postgresql://me:hunter2@host/db")
    told = shell.json("config")
    assert told["backend"]["spawn"] == {**spawn, "env": {"OPENCODE_SERVER_PASSWORD": "(set)"}}
    assert told["store"] == "(set)"
    configure(shell, tmp_path, syncIntervalMs=100)
    told = shell.json("config")
    configure(shell, tmp_path, **told)
    assert shell.json("config") == told
    configure(shell, tmp_path, stoer="memory")
    assert "stoer" in shell("config", code=1).err


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize("command", ["list", "config", "doctor"])
def test_bad_json_of_a_file_is_named_as_the_files(shell, tmp_path, command):
    file = tmp_path / "my settings.json"
    file.write_text('{"store": "sqlite",\n  "offline" "queue"}')
    done = shell(command, code=1, env={"PLUE_SESSION_CONFIG": str(file)})
    said = done.out if command == "doctor" else done.err
    assert f"{file} (PLUE_SESSION_CONFIG) is not JSON: Expecting ':' delimiter at line 2, column 13" in said
    assert "Correct the file" in said and "Send" not in said


def test_changes_reach_the_server(attached, client, project):
    made = attached("create", "First", "--tag", "here").out.strip()
    assert made.startswith("ses_") and client.get(made, soon(), directory=project).title == "First"
    assert attached("rename", made, "Second").out.endswith("  Second #here\n")
    assert client.get(made, soon(), directory=project).title == "Second"
    attached("delete", made)
    assert client.list(soon(), directory=project) == []


# -- a server that the library would start -----------------------------------------------------------------------------
@pytest.fixture
def spawned(shell, project, opencode, model, tmp_path):
    """Have the library start a server of its own; what is returned tells how many were started."""
    root = tmp_path / "server"
    root.mkdir()
    log = tmp_path / "starts"
    program = tmp_path / "opencode"
    program.write_text(f'#!/bin/sh\necho started >> "{log}"\nexec "{opencode}" "$@"\n')
    program.chmod(0o700)
    spawn = {"command": [str(program)], "directory": project, "env": isolate(root, model)}
    configure(shell, tmp_path, backend={"kind": "opencode", "spawn": spawn})
    return lambda: log.read_text().count("started") if log.exists() else 0


def test_reading_starts_no_server_unless_it_is_asked_to(shell, spawned):
    made = shell("create", "First", "--key", "mine").out.strip()
    assert spawned() == 1
    done = shell("list", "--json")
    (known,) = json.loads(done.out)
    assert known["id"] == made and known["title"] == "First" and known["sync"]["state"] == "stale"
    assert "--fresh" in done.err and done.err.count("\n") == 1
    assert shell.json("info", "mine") == shell.json("info", made) == known
    for nobody in ("nobody", "ses_1"):
        assert shell("info", nobody, code=1).err.endswith("Ask the server: --fresh starts it.\n")
    assert "looks like a path" in shell("info", "../x", code=1).err
    assert spawned() == 1
    (fresh,) = shell.json("list", "--fresh")
    assert spawned() == 2 and (fresh["id"], fresh["sync"]["state"]) == (made, "synced")
    assert shell.json("info", "mine", "--fresh")["title"] == "First" and spawned() == 3


def test_what_is_known_is_read_page_by_page(shell, spawned):
    shell("create", "First")
    shell("create", "Second")
    assert [info["title"] for info in shell.json("list", before="show.PAGE = 1")] == ["Second", "First"]
    assert len(shell("list").out.splitlines()) == 2 and spawned() == 2


def test_a_store_in_memory_knows_nothing_of_a_server_that_does_not_run(shell, project, tmp_path):
    spawn = {"command": ["/nowhere"], "directory": project}
    configure(shell, tmp_path, store="memory", backend={"kind": "opencode", "spawn": spawn})
    assert shell.json("list") == []
    configure(shell, tmp_path, backend={"kind": "opencode", "spawn": spawn})
    assert "/nowhere" in shell("list", "--fresh", code=1).err


@pytest.mark.requirement("P-170")
def test_what_waits_for_a_server_that_is_away_is_listed(shell, project, tmp_path):
    configure(shell, tmp_path, backend={"kind": "opencode", "url": "http://127.0.0.1:9", "directory": project})
    made = shell("create", "Offline").out.strip()
    shell("rename", made, "Renamed")
    created, renamed = shell("pending").out.splitlines()
    assert f"pending   create  {made}" in created and f"pending   update  {made}" in renamed
    told = json.loads(shell("pending", "--json").out)
    assert [each["op"] for each in told["operations"]] == ["create", "update"] and told["conflicts"] == []


def test_nothing_is_pending_without_a_server(shell):
    done = shell("pending")
    assert done.out == "" and "Nothing is pending" in done.err
