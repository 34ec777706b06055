"""plue-session doctor: what is wrong with library, store and server, and how to mend it."""

import json
import os
import shlex
import signal
import sqlite3
import sys

import pytest

from plue_session.adapters.sql import queries
from plue_session.adapters.sqlite import files
from tests import support
from tests.integration.mounts import mounted
from tests.integration.shell import answering, attach, attached, configure, demonstrated, kept, project, shell  # noqa: F401
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply


# -- doctor ------------------------------------------------------------------------------------------------------------
def findings(shell, code, **options):
    return {finding["check"]: finding for finding in shell.json("doctor", code=code, **options)["findings"]}


def test_doctor_finds_a_used_store_well(shell, kept):
    found = findings(shell, 0)
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert (
        f"sessions 1, schema {len(files.MIGRATIONS)}," in found["store"]["text"]
        and "nobody else" in found["share key"]["text"]
    )
    assert found["server"]["text"].startswith("none") and "PLUE_OPENCODE_URL" in found["server"]["text"]
    assert shell("doctor").out.endswith("All is well.\n")


def test_doctor_says_what_chose_the_data_directory(shell, folder):
    assert findings(shell, 0)["dataDir"]["text"] == f"{folder}, by the configuration"
    for name, place, rule in (
        ("PLUE_SESSION_DATA_DIR", folder, "PLUE_SESSION_DATA_DIR"),
        ("XDG_DATA_HOME", folder / "plue_session", "XDG_DATA_HOME"),
    ):
        told = support.run(
            [sys.executable, "-m", "plue_session.cli", "doctor"],
            env={**shell.env, name: str(folder)},
            cwd=shell.root,
        )
        assert f"dataDir    {place}, by {rule}\n" in told.out


@pytest.mark.requirement("T-09")
def test_doctor_says_that_a_file_system_is_read_only(shell, tmp_path):
    with mounted(tmp_path, "ro") as disk:
        shell.store = str(disk)
        found = findings(shell, 1)["data"]
        assert found["state"] == "problem" and found["remedy"].startswith("Mount the file system to be written to")


def test_doctor_makes_what_a_start_makes_and_says_so(shell, folder):
    shell.store = str(folder / "new" / "store")
    found = findings(shell, 0)
    assert found["data"]["state"] == "note" and "it is made now, as a start makes it" in found["data"]["text"]
    assert found["store"]["text"].startswith("none yet") and list(found)[-1] == "start"
    assert "was started" in found["start"]["text"] and (folder / "new" / "store" / "sessions.db").exists()
    assert shell.json("list") == []


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize("place", ["/etc/passwd/x", "/proc/nope", "below", "read-only"])
def test_doctor_says_that_a_folder_cannot_be_made(shell, folder, tmp_path, place):
    with mounted(tmp_path, "ro") as disk:
        shell.store = {"below": str(folder / "new"), "read-only": str(disk / "new")}.get(place, place)
        folder.chmod(0o500)
        # root may write everywhere, but for what its bounding set lacks
        shell.prefix = ["setpriv", "--bounding-set", "-dac_override"] if place == "below" else []
        found = findings(shell, 1)
        assert found["data"]["state"] == "problem" and found["data"]["remedy"] and "start" not in found
        done = shell("create", code=1)
        assert found["data"]["text"] in done.err and found["data"]["remedy"] in done.err
        folder.chmod(0o700)


def test_doctor_lets_the_owner_in_as_a_start_does(shell, kept, folder):
    folder.chmod(0o600)
    shell.prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    assert findings(shell, 0)["data"]["state"] == "ok" and shell.json("list") == [kept]


@pytest.mark.requirement("T-09")
def test_doctor_says_why_a_start_fails_that_it_foresaw_nothing_of(shell, kept, folder, tmp_path):
    log = tmp_path / "none" / "log"
    configure(shell, tmp_path, log={"file": str(log)})
    found = findings(shell, 1)
    assert found["start"]["state"] == "problem" and str(log) in found["start"]["text"] and found["start"]["remedy"]
    configure(shell, tmp_path, store="postgresql://host/db")
    assert "PostgreSQL" in findings(shell, 1)["start"]["text"]


@pytest.mark.requirement("P-147")
def test_the_remedy_for_a_damaged_store_works_as_it_is_written(shell, kept, folder):
    shell.store = str(folder.rename(folder.parent / "my store"))
    with open(os.path.join(shell.store, "sessions.db"), "wb") as file:
        file.write(b"What is this? " * 400)
    for said in (findings(shell, 1)["store"]["remedy"], shell("list", code=1).err):
        assert f"`plue-session doctor --new-store --data-dir '{shell.store}'`" in said
    words = shlex.split(said.split("`")[1])
    done = support.run([*shell.command("doctor")[:3], *words[1:]], env=shell.env, cwd=shell.root)
    assert "Moved the damaged store" in done.out and shell.json("list") == []


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize(
    "harm, says",
    [
        (lambda path: path.write_bytes(b"What is this? " * 400), "is damaged"),
        (
            lambda path: sqlite3.connect(path).execute("PRAGMA application_id = 1").connection.close(),
            "is not a store of this library",
        ),
        (lambda path: path.unlink(), "is missing or empty, yet"),
        (
            lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
            "has schema version 99",
        ),
    ],
    ids=["noise", "foreign", "missing", "newer"],
)
def test_doctor_names_what_is_wrong_with_a_store(shell, kept, folder, harm, says):
    harm(folder / "sessions.db")
    if says == "is missing or empty, yet":
        (folder / "sessions.db-wal").write_bytes(b"x")
    found = findings(shell, 1)["store"]
    assert found["state"] == "problem" and says in found["text"] and found["remedy"]
    assert "start" not in findings(shell, 1)
    assert "1 problem found." in shell("doctor", code=1).out


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize(
    "lay, says",
    [
        (lambda folder: (folder / "sessions.db").write_bytes(b""), None),
        (lambda folder: (folder / "sessions.db-wal").write_bytes(b""), None),
        (lambda folder: (folder / "sessions.db-wal").write_bytes(b"x"), "is missing or empty, yet"),
        (lambda folder: (folder / "sessions.db").symlink_to("/nowhere/sessions.db"), "is no file, nor a link to one"),
        (lambda folder: os.mkfifo(folder / "sessions.db"), "is no file, nor a link to one"),
        (lambda folder: (folder / "sessions.db").mkdir(), "is no file, nor a link to one"),
        (lambda folder: (folder / "sessions.db-shm").mkdir(), "is no file, nor a link to one"),
    ],
    ids=["empty", "empty wal", "wal", "link", "fifo", "folder", "shm folder"],
)
def test_doctor_and_a_start_agree_on_what_is_a_store(shell, folder, lay, says):
    folder.mkdir(mode=0o700, exist_ok=True)
    lay(folder)
    there = {path.name: path.lstat().st_ino for path in folder.glob("sessions.db*")}
    found = findings(shell, 1 if says else 0)
    if says:
        assert says in found["store"]["text"] and found["store"]["remedy"] and "start" not in found
        assert found["store"]["text"] in shell("create", code=1).err
        assert {path.name: path.lstat().st_ino for path in folder.glob("sessions.db*")} == there
    else:
        assert found["store"]["text"].startswith("none yet") and shell.json("list") == []


@pytest.mark.requirement("T-09")
def test_doctor_sees_that_a_store_can_be_read_only_and_its_remedy_works(shell, kept, folder):
    shell.store = str(folder.rename(folder.parent / "my store"))
    path = os.path.join(shell.store, "sessions.db")
    os.chmod(path, 0o444)
    shell.prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    found = findings(shell, 1)["store"]
    assert "is not readable and writable" in found["text"] and found["remedy"].startswith("Run: ")
    support.run(["sh", "-c", found["remedy"].removeprefix("Run: ")], env=shell.env)
    assert findings(shell, 0)["store"]["state"] == "ok"
    support.run(["mount", "--bind", path, path], env=os.environ)
    try:
        support.run(["mount", "-o", "remount,bind,ro", path], env=os.environ)
        found = findings(shell, 1)["store"]
        assert found["state"] == "problem" and found["remedy"].startswith("Mount the file system")
    finally:
        support.run(["umount", path], env=os.environ)


@pytest.mark.requirement("T-09")
def test_who_does_not_own_a_folder_is_not_told_to_change_it(shell, folder):
    folder.chmod(0o755)
    # Any other user; who may read everywhere, for the interpreter may be in root's home.
    shell.prefix = "setpriv --reuid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
    shell.prefix = shell.prefix.split()
    shell.unwatched()
    found = findings(shell, 1)["data"]
    assert "chmod" not in found["remedy"] and "owner, user 0" in found["remedy"]
    err = shell("create", code=1).err
    assert "cannot open" in err and "Permission denied" in err and "Put it back" not in err


def test_doctor_has_no_folder_closed_that_is_not_the_stores_own(shell, kept, folder):
    folder.chmod(0o755)
    assert "chmod 700" in findings(shell, 0)["data"]["remedy"]
    (folder / "letters").mkdir()
    found = findings(shell, 0)["data"]
    assert found["state"] == "note" and "chmod" not in found["remedy"]


def test_doctor_says_what_a_path_is_and_moves_no_cursor_with_it(shell, folder):
    folder.mkdir(mode=0o700, exist_ok=True)
    shell.store = str(folder / "red\x1b[31m\nline")
    assert "red\\x1b[31m\\nline" in (out := shell("doctor").out) and "\x1b" not in out
    shell.store = str(folder / "link")
    (folder / "link").symlink_to("/nowhere/at/all")
    assert "is no folder, nor a link to one" in findings(shell, 1)["data"]["text"]


@pytest.mark.requirement("T-09")
def test_doctor_moves_no_store_aside_that_a_newer_library_has_written(shell, kept, folder):
    with sqlite3.connect(folder / "sessions.db") as database:
        database.executescript("ALTER TABLE session RENAME TO session_2; DROP TABLE log; PRAGMA user_version = 99;")
    database.close()
    found = findings(shell, 1)["store"]
    assert (
        found["state"] == "problem"
        and "Update the library" in found["remedy"]
        and "new-store" not in found["text"] + found["remedy"]
    )
    assert "Update the library" in shell("doctor", "--new-store", code=1).err
    assert not list(folder.glob("*.corrupt-*"))


def test_doctor_names_the_other_problems(shell, kept, folder, tmp_path):
    (folder / "share.key").chmod(0o644)
    folder.chmod(0o755)
    found = findings(shell, 1)
    assert "chmod 600" in found["share key"]["remedy"] and found["data"]["state"] == "note"
    found = findings(shell, 1, env={"PLUE_SESSION_CONFIG": "/nowhere"})
    assert "PLUE_SESSION_CONFIG" in found["config"]["text"] and "store" not in found
    shell.store = str(folder / "share.key")
    assert "is no folder, nor a link to one" in findings(shell, 1)["data"]["text"]
    before = f"host.library_path = lambda: {str(tmp_path / 'none.so')!r}"
    assert "there is no library" in findings(shell, 1, before=before)["library"]["text"]
    before = 'sys.modules["_cffi_backend"] = None'
    assert "pip install" in findings(shell, 1, before=before)["cffi"]["remedy"]


def test_doctor_tells_old_from_new(shell, kept, folder):
    (folder / "sessions.db").unlink()
    old = "\n".join(queries.read(files.FOLDER, f"migrations/{name}") for name in files.MIGRATIONS[:5])
    with sqlite3.connect(folder / "sessions.db") as database:
        database.executescript(f"PRAGMA application_id = {files.APPLICATION_ID}; {old}; PRAGMA user_version = 5;")
    database.close()
    assert f"a start brings it up to {len(files.MIGRATIONS)}" in findings(shell, 0)["store"]["text"]
    assert (
        "has version 0.1.0, the package around it 9"
        in findings(shell, 1, before='doctor.__version__ = "9"')["library"]["text"]
    )
    few = findings(shell, 0, before="doctor.LITTLE_SPACE = 1 << 60")["space"]
    assert few["state"] == "note" and "Free some space" in few["remedy"]
    assert "cannot be read" in findings(shell, 1, before="doctor.os.access = lambda *_: False")["data"]["text"]
    assert "none yet; a start makes it" in findings(shell, 0, before='doctor.files.DATABASE = "x.db"')["store"]["text"]


def test_doctor_without_a_file_to_check(shell, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text('{"store": "memory"}')
    assert "store" not in findings(shell, 0, env={"PLUE_SESSION_CONFIG": str(settings)})
    assert "not a file" in shell("doctor", "--new-store", code=1, env={"PLUE_SESSION_CONFIG": str(settings)}).err


def test_doctor_says_why_the_library_does_not_start(shell):
    before = "def refuse(**config): raise host.Failure('plue_init: no Python 3.9 runtime. Install it.')\n"
    before += "doctor.Host = refuse"
    assert findings(shell, 1, before=before)["start"]["text"].startswith("plue_init: no Python")


def test_doctor_finds_damage_that_opening_does_not(shell, kept, folder):
    with sqlite3.connect(folder / "sessions.db") as database:
        database.execute("UPDATE session SET info = '{'")
    database.close()
    assert "not JSON" in findings(shell, 1)["store"]["text"]


def test_doctor_sees_who_uses_the_store(shell, kept):
    watching = shell.start("watch")
    assert f"process {watching.pid} (python" in findings(shell, 0)["in use"]["text"]
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=60)
    assert findings(shell, 0)["in use"]["state"] == "ok"


def test_a_damaged_store_is_moved_aside_and_a_new_one_begins(shell, kept, folder):
    noise = b"What is this? " * 400
    (folder / "sessions.db").write_bytes(noise)
    assert "plue-session doctor --new-store" in shell("list", code=1).err
    moved = shell.json("doctor", "--new-store")["movedTo"]
    assert os.path.dirname(moved) == str(folder) and ".corrupt-" in moved
    with open(moved, "rb") as file:
        assert file.read() == noise
    assert shell.json("list") == []
    (folder / "sessions.db").write_bytes(noise)
    assert "Moved the damaged store to" in shell("doctor", "--new-store").out


def test_no_store_is_moved_that_is_sound_in_use_or_not_there(shell, kept, folder):
    assert "is sound; nothing was moved" in shell("doctor", "--new-store", code=1).err
    watching = shell.start("watch")
    with sqlite3.connect(folder / "sessions.db") as database:
        database.execute("UPDATE session SET info = '{'")
    database.close()
    assert "is open. End every process that uses it" in shell("doctor", "--new-store", code=1).err
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=60)
    assert shell.json("doctor", "--new-store")["damage"].endswith("{")
    assert "there is no store" in shell("doctor", "--new-store", code=1).err
    shell.store = str(folder / "nothing")
    assert "there is no store" in shell("doctor", "--new-store", code=1).err
    done = shell("doctor", "--new-store", code=1, env={"PLUE_SESSION_CONFIG": "/nowhere"})
    assert done.err.count("\n") == 1


# -- doctor, with a server ---------------------------------------------------------------------------------------------
def test_doctor_finds_a_server_well(attached, client, server, project):
    client.create("found", soon(), directory=project)
    done = attached("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(done.out)["findings"]}
    assert (
        found["server"]["text"] == f"OpenCode 1.18.33 at {server.place[0]}"
        and found["sessions"]["text"] == f"1 of {project}"
    )
    assert "they arrive" in found["events"]["text"] and "with a password, as opencode" == found["access"]["text"]
    assert {found[check]["state"] for check in ("server", "access", "sessions", "events")} == {"ok"}
    assert server.password not in done.out + done.err


def test_doctor_names_refused_credentials_without_showing_them(shell, server, project, tmp_path):
    for given, says in (
        ({"password": "not this one"}, "refuses the configured username and password"),
        ({}, "it wants a password, and none"),
    ):
        attach(shell, tmp_path, server.place[0], project, **given)
        done = shell("doctor", code=1)
        assert says in done.out and "OPENCODE_SERVER_PASSWORD" in done.out and "not this one" not in done.out + done.err
        assert "1 problem found." in done.out


def test_doctor_names_a_server_that_is_not_there_and_how_to_start_it(shell, project, tmp_path):
    with Stub() as stub:
        pass
    attach(shell, tmp_path, stub.url, project)
    found = findings(shell, 1)
    assert (
        "cannot be reached" in found["server"]["text"]
        and f"opencode serve --hostname 127.0.0.1 --port {stub.port}" in found["server"]["remedy"]
    )
    assert "store" in found and "events" not in found


def test_doctor_notes_a_strange_version_an_open_door_and_silence(shell, project, tmp_path):
    with Stub(answering({"/global/health": {"healthy": True, "version": "9.0"}})) as stub:
        stub.well = False
        attach(shell, tmp_path, stub.url, project)
        found = findings(shell, 0, before="server.EVENTS = 0.3")
    assert "OpenCode 9.0" in found["server"]["text"] and "knows 1.18.x" in found["server"]["text"]
    assert "run commands" in found["access"]["text"] and "syncIntervalMs" in found["events"]["text"]
    assert {found[check]["state"] for check in ("server", "access", "events")} == {"note"} and found["requests"][
        "state"
    ] == "ok"


def test_doctor_says_what_a_server_does_that_is_none(shell, project, tmp_path):
    with Stub(answering({"/session": {"a": "page"}})) as stub:
        attach(shell, tmp_path, stub.url, project)
        found = findings(shell, 1)
        assert "plue_session_list" in found["server"]["text"] and found["server"]["remedy"]
    with Stub(lambda method, target: reply(200, b"<html>", "text/html")) as stub:
        stub.well = False
        attach(shell, tmp_path, stub.url, project)
        found = findings(shell, 1)["server"]
        assert "not JSON" in found["text"] and "opencode serve" not in found["remedy"]


def test_doctor_says_why_a_server_cannot_be_spawned(shell, project, tmp_path):
    def spawn(**given):
        configure(shell, tmp_path, backend={"kind": "opencode", "spawn": {"directory": project, **given}})

    spawn(env={"PATH": "/nowhere:/nothing"})
    found = findings(shell, 1)["server"]["text"]
    assert "opencode cannot be run: No such file" in found and "npm install -g opencode-ai" in found
    spawn(command=["/etc/passwd"])
    assert "/etc/passwd cannot be run: Permission denied" in findings(shell, 1)["server"]["text"]
    spawn(command=["sh", "-c", "echo The port is taken. >&2; exit 3"])
    found = findings(shell, 1)["server"]
    assert "exit code 3" in found["text"] and "The port is taken." in found["text"]
    assert f"cd {project} && sh" in found["remedy"] and found["remedy"].endswith(" serve")
    spawn(command=["false", "serve", "--port", "4999"], env={"TOKEN": "hunter2"})
    remedy = findings(shell, 1)["server"]["remedy"]
    assert "&& false serve --port 4999, with" in remedy and "(TOKEN)" in remedy and "hunter2" not in remedy
    assert "pip install 'requests" in findings(shell, 1, before="sys.modules['requests'] = None")["requests"]["remedy"]
