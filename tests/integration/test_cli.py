"""plue-session as people and scripts use it: in a process of its own, over the real library."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests import support
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub, reply


class Shell:
    """Runs the command in a folder whose store it uses."""

    def __init__(self, root, folder, temporary):
        self.root, self.store = root, str(folder)
        self.env = {**os.environ, "TMPDIR": str(temporary)}
        self.started = []

    def command(self, *arguments, before=""):
        """Return the command; `before` is Python that runs in front of it."""
        start = ["-m", "plue_session.cli"]
        if before:
            start = ["-c", f"import sys\nfrom plue_session.cli import commands, demo, doctor, host, locks, look, server\n{before}\n"
                           "sys.exit(commands.main())"]
        return [sys.executable, *start, *arguments, *(["--data-dir", self.store] if arguments[0][0] != "-" else [])]

    def __call__(self, *arguments, code=0, before="", env=()):
        """Run to the end; failures say one line on stderr, and never more."""
        done = support.run(self.command(*arguments, before=before), env={**self.env, **dict(env)}, cwd=self.root, code=code, timeout=60)
        assert "Traceback" not in done.err
        if code == 1 and arguments[0] != "doctor":
            assert done.err.splitlines()[-1].startswith(f"plue-session {arguments[0]}: ")
        return done

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options).out)

    def start(self, *arguments):
        """Start a command that goes on; returns once it watches."""
        process = subprocess.Popen(self.command(*arguments), env=self.env, cwd=self.root, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(process)
        line = process.stderr.readline()
        assert line.startswith("Watching ") and line.endswith(f"{self.store}; Ctrl-C ends.\n")
        process.watches = line[len("Watching "):]
        return process


@pytest.fixture
def shell(plain, folder, tmp_path):
    made = Shell(plain.root, folder, tmp_path)
    yield made
    for process in made.started:
        process.kill()  # one that has ended does not mind
        process.communicate()


@pytest.fixture(scope="module")
def demonstrated(plain, tmp_path_factory):
    """A store in which the demo left a session, to be copied, and the session's info."""
    folder = tmp_path_factory.mktemp("demonstrated")
    folder.chmod(0o700)
    shell = Shell(plain.root, folder, folder.parent)
    shell("demo", "--keep")
    return folder, shell.json("list")[0]


@pytest.fixture
def kept(folder, demonstrated):
    """The info of a session that the demo left in the store."""
    shutil.copytree(demonstrated[0], folder, dirs_exist_ok=True)
    return demonstrated[1]


@pytest.fixture
def project(tmp_path):
    """A directory of the server's, without sessions yet."""
    path = tmp_path / "project"
    path.mkdir()
    return str(path.resolve())


def configure(shell, tmp_path, **config):
    """Have the command find this configuration."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(config))
    shell.env["PLUE_SESSION_CONFIG"] = str(file)


def attach(shell, tmp_path, url, directory, username=None, password=None, **config):
    """Have the command find a server."""
    given = {"kind": "opencode", "url": url, "directory": directory, "username": username, "password": password}
    configure(shell, tmp_path, backend={key: value for key, value in given.items() if value is not None}, **config)


@pytest.fixture
def attached(shell, server, project, tmp_path):
    """The shell, whose sessions are the real server's."""
    attach(shell, tmp_path, server.place[0], project, server.username, server.password)
    return shell


# -- demo --------------------------------------------------------------------------------------------------------------
def test_demo_tells_its_way_and_leaves_nothing(shell, tmp_path):
    own = support.run([sys.executable, "-m", "plue_session.cli", "demo"], env=shell.env, cwd=shell.root)
    for word in ("Created a session: session_", "Renamed it", "Shared it: http", "a wrong one is refused (ACCESS_DENIED)",
                 "Deleted the session", "Heard 5 events", "session.deleted", "is gone."):
        assert word in own.out
    assert own.err == "" and not list(tmp_path.glob("plue-session-demo-*"))


def test_demo_keeps_the_store_that_it_made_if_told_so(shell, tmp_path):
    done = support.run([sys.executable, "-m", "plue_session.cli", "demo", "--keep"], env=shell.env, cwd=shell.root)
    made, = tmp_path.glob("plue-session-demo-*")
    assert f"plue-session list --data-dir {made}" in done.out and (made / "sessions.db").exists()


def test_demo_as_json_is_one_object_without_a_secret(shell):
    told = shell.json("demo")
    assert [step["step"] for step in told["steps"]] == ["start", "create", "rename", "query", "share", "validate", "delete", "events"]
    assert [event["type"].partition(".")[2] for event in told["events"]] == ["created", "updated", "updated", "shared", "deleted"]
    assert "secret" not in json.dumps(told["events"]) and "#" not in told["steps"][4]["url"]


def test_demo_in_a_store_in_use_takes_only_its_own_away(shell, kept):
    shell("demo")
    assert shell.json("list") == [kept]


@pytest.mark.parametrize("flags, kinds", [((), ("created", "updated", "updated", "deleted")), (("--keep",), ("created", "updated", "updated"))])
def test_demo_on_a_server_runs_no_turn_and_shares_nothing(attached, client, model, project, flags, kinds):
    asked = model.started.qsize()
    told = attached.json("demo", *flags)
    assert tuple(event["type"].partition(".")[2] for event in told["events"]) == kinds
    assert told["steps"][0]["appInfo"]["backend"] == "opencode" and told["steps"][1]["info"]["id"].startswith("ses_")
    left = client.list(soon(), directory=project)
    assert [(session.title, session.share_url) for session in left] == [("My Coding Session", None)] * len(flags)
    assert all(client.messages(session.id, soon(), directory=project)[0] == [] for session in left)
    assert model.started.qsize() == asked and "internet" in told["steps"][4]["text"]


# -- list, info --------------------------------------------------------------------------------------------------------
def test_list_and_info_agree(shell, kept):
    line = shell("list").out
    assert line.startswith(kept["id"]) and line.endswith("My Coding Session #demo #first\n")
    assert shell.json("info", kept["id"]) == kept
    shown = shell("info", kept["id"]).out
    assert "title           My Coding Session\n" in shown and "share.url       http" in shown and "secret" not in shown


def test_an_empty_store_is_no_error(shell):
    done = shell("list")
    assert done.out == "" and done.err == "There are no sessions.\n"
    assert shell.json("list") == []


def test_list_reads_page_by_page(shell):
    for _ in range(3):
        shell("demo", "--keep")
    listed = shell.json("list", before="look.PAGE = 2")
    assert len(listed) == 3 and listed == sorted(listed, key=lambda info: -info["time"]["updated"])
    assert len(shell("list", before="look.PAGE = 1").out.splitlines()) == 3


def test_what_a_title_holds_does_not_move_the_cursor(shell):
    shell("demo", "--keep", before=r'demo.TITLE = "red\x1b[31m Coding \u00e4\n"')
    line = shell("list").out
    assert "red\\x1b[31m Coding ä\\n" in line and line.count("\n") == 1
    assert shell("list", env={"PYTHONIOENCODING": "ascii"}).out.count("\\xe4") == 1


@pytest.mark.parametrize("arguments", [("info", "nobody"), ("info", "../x"), ("info", "session_1")])
def test_a_failure_is_one_line(shell, arguments):
    done = shell(*arguments, code=1)
    assert done.err.count("\n") == 1 and "plue_session_open" in done.err and done.out == ""


def test_a_store_that_cannot_be_opened_is_one_line(shell):
    shell.store = "/proc/nothing"
    assert shell("list", code=1).err.startswith("plue-session list: plue_init: cannot create the folder /proc/nothing")


def test_a_full_disk_is_one_line(shell, kept):
    with open("/dev/full", "w") as full:
        done = support.run(shell.command("list"), env=shell.env, cwd=shell.root, code=1, stdout=full)
    assert done.err == "plue-session list: No space left on device. Check the place, its permissions and the free space.\n"


def test_a_reader_that_leaves_is_silence(shell, kept):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = support.run(shell.command("list"), env=shell.env, cwd=shell.root, code=141, stdout=writing)
    finally:
        os.close(writing)
    assert done.err == ""


def test_a_missing_or_broken_library_is_one_line(shell, tmp_path):
    place = tmp_path / "libplue_session.so"
    patch = f"host.library_path = lambda: {str(place)!r}"
    assert "there is no library at" in shell("list", code=1, before=patch).err
    place.write_bytes(b"no library")
    assert "the library cannot be loaded" in shell("list", code=1, before=patch).err


def test_an_interrupted_command_ends_with_130(shell, kept):
    before = "def interrupt(host): raise KeyboardInterrupt\nlook._pages = interrupt"
    assert shell("list", code=130, before=before).err == ""


def test_wrong_usage_is_exit_2(shell):
    for arguments in ((), ("fly",), ("info",), ("watch", "--count", "0"), ("watch", "--timeout", "soon")):
        done = support.run([sys.executable, "-m", "plue_session.cli", *arguments], env=shell.env, cwd=shell.root, code=2)
        assert done.err.startswith("usage: plue-session") and done.out == ""


def test_version(shell):
    assert shell("--version").out == "plue-session 0.1.0\n"


def test_list_and_info_show_what_is_on_the_server(attached, client, project, tmp_path):
    made = [client.create(str(number), soon(), directory=project, title=f"Title {number}").id for number in range(2)]
    client.create("elsewhere", soon(), title="Elsewhere")
    assert {info["id"]: info["title"] for info in attached.json("list")} == {made[0]: "Title 0", made[1]: "Title 1"}
    client.update(made[0], soon(), directory=project, title="Renamed")
    shown = attached.json("info", made[0])
    assert shown["title"] == "Renamed" and shown["sync"]["state"] == "synced" and shown["directory"] == project
    client.delete(made[1], soon(), directory=project)
    assert [info["title"] for info in attached.json("list")] == ["Renamed"]


def test_list_and_info_show_what_was_last_known_while_the_server_is_away(shell, project, tmp_path):
    session = {"id": "ses_1", "title": "Here", "version": "1.18.33", "directory": project, "time": {"created": 1000, "updated": 2000}}
    with Stub(answering({"/session": [session]})) as stub:
        attach(shell, tmp_path, stub.url, project)
        assert shell.json("list")[0]["sync"]["state"] == "synced"
    done = shell("list", "--json")
    assert "cannot be reached" in done.err and done.err.endswith("This is what was last known.\n") and done.err.count("\n") == 1
    assert [(info["title"], info["sync"]["state"]) for info in json.loads(done.out)] == [("Here", "stale")]
    assert "sync.state      stale\n" in shell("info", "ses_1").out


def answering(answers):
    """Return what a healthy server without a password answers, beside these: {path: JSON}."""
    known = {"/session": [], "/session/status": {}, **answers}
    return lambda method, target: reply(200, known[target.partition("?")[0]]) if target.partition("?")[0] in known else reply(404, b"{}")


# -- watch -------------------------------------------------------------------------------------------------------------
def test_watch_shows_what_another_process_does(shell):
    watching = shell.start("watch", "--json", "--count", "4", "--timeout", "60")
    told = shell.json("demo", "--keep")
    heard = [json.loads(line) for line in watching.communicate(timeout=60)[0].splitlines()]
    assert [event["cursor"] for event in heard] == [event["cursor"] for event in told["events"]] and watching.returncode == 0


def test_watch_as_text_is_a_line_per_event(shell):
    watching = shell.start("watch", "--count", "2", "--timeout", "60")
    shell("demo")
    first, second = watching.communicate(timeout=60)[0].splitlines()
    assert "session.created" in first and second.endswith('{"title": "My Coding Session"}')


def test_an_interrupted_watch_ends_quietly_with_130_as_the_help_says(shell):
    assert "130 interrupted" in shell("watch", "--help").out
    watching = shell.start("watch")
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=60) == ("", "") and watching.returncode == 130


def test_watch_ends_when_the_time_is_up(shell):
    assert shell("watch", "--timeout", "0.05").out == ""
    done = shell("watch", "--timeout", "0.05", "--count", "1", code=1)
    assert done.err.endswith("0 of 1 events came within 0.05 s. Wait longer (--timeout).\n")


def test_watch_shows_what_other_clients_of_the_server_do(attached, client, server, project, tmp_path):
    watching = attached.start("watch", "--count", "3", "--timeout", "60", "--json")
    attached.store = str(tmp_path / "another store")
    plain = attached.start("watch", "--count", "3", "--timeout", "60")
    assert watching.watches.startswith(f"{server.place[0]} and ")

    def heard():
        event, line = json.loads(watching.stdout.readline()), plain.stdout.readline()
        assert f"  {event['type']}  " in line and event["sessionId"] in line
        return event["type"], event["sessionId"], line.partition("{")[2]
    made = client.create("watched", soon(), directory=project, title="First").id
    assert heard() == ("session.created", made, "")
    client.update(made, soon(), directory=project, title="Second")
    assert heard() == ("session.updated", made, '"title": "Second"}\n')
    client.delete(made, soon(), directory=project)
    assert heard() == ("session.deleted", made, "")
    assert [process.wait(60) for process in (watching, plain)] == [0, 0]


def test_watch_tells_when_the_server_goes_away(shell, project, tmp_path):
    with Stub(answering({})) as stub:
        attach(shell, tmp_path, stub.url, project, syncIntervalMs=100)
        watching = shell.start("watch", "--json", "--count", "1", "--timeout", "60")
    event = json.loads(watching.communicate(timeout=60)[0])
    assert event["type"] == "sync.state" and event["data"]["connected"] is False and "cannot be reached" in event["data"]["reason"]
    assert " (away: the server cannot be reached" in shell.start("watch", "--timeout", "0.1").watches


# -- doctor ------------------------------------------------------------------------------------------------------------
def findings(shell, code, **options):
    return {finding["check"]: finding for finding in shell.json("doctor", code=code, **options)["findings"]}


def test_doctor_finds_a_used_store_well(shell, kept):
    found = findings(shell, 0)
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert "sessions 1, schema 3" in found["store"]["text"] and "nobody else" in found["share key"]["text"]
    assert found["server"]["text"].startswith("none") and "PLUE_OPENCODE_URL" in found["server"]["text"]
    assert shell("doctor").out.endswith("All is well.\n")


def test_doctor_makes_nothing(shell, folder):
    assert findings(shell, 0)["store"]["text"].startswith("none yet")
    assert list(folder.iterdir()) == []
    shell.store = str(folder / "new")
    assert findings(shell, 0)["data"]["state"] == "note" and not (folder / "new").exists()


@pytest.mark.requirement("T-09")
@pytest.mark.parametrize("harm, says", [
    (lambda path: path.write_bytes(b"What is this? " * 400), "is damaged"),
    (lambda path: sqlite3.connect(path).execute("PRAGMA application_id = 1").connection.close(), "is not a store of this library"),
    (lambda path: path.unlink(), "it is missing, yet"),
    (lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(), "has schema version 99"),
    (lambda path: path.write_bytes(b""), "nothing was overwritten"),
], ids=["noise", "foreign", "missing", "newer", "empty"])
def test_doctor_names_what_is_wrong_with_a_store(shell, kept, folder, harm, says):
    harm(folder / "sessions.db")
    if says == "it is missing, yet":
        (folder / "sessions.db-wal").write_bytes(b"x")
    found = findings(shell, 1)["store"]
    assert found["state"] == "problem" and says in found["text"] and found["remedy"]
    assert "1 problem found." in shell("doctor", code=1).out


def test_doctor_names_the_other_problems(shell, kept, folder, tmp_path):
    (folder / "share.key").chmod(0o644)
    folder.chmod(0o755)
    found = findings(shell, 1)
    assert "chmod 600" in found["share key"]["remedy"] and found["data"]["state"] == "note"
    found = findings(shell, 1, env={"PLUE_SESSION_CONFIG": "/nowhere"})
    assert "PLUE_SESSION_CONFIG" in found["config"]["text"] and "store" not in found
    shell.store = str(folder / "share.key")
    assert "is not a folder" in findings(shell, 1)["data"]["text"]
    before = f"host.library_path = lambda: {str(tmp_path / 'none.so')!r}"
    assert "there is no library" in findings(shell, 1, before=before)["library"]["text"]
    before = 'sys.modules["_cffi_backend"] = None'
    assert "pip install" in findings(shell, 1, before=before)["cffi"]["remedy"]


def test_doctor_tells_old_from_new(shell, kept, tmp_path):
    newer = 'doctor.files.MIGRATIONS += ("0002_next.sql",)'
    assert "brought up to" in findings(shell, 0, before=newer)["store"]["text"]
    assert "has version 0.1.0, the package around it 9" in findings(shell, 1, before='doctor.__version__ = "9"')["library"]["text"]
    assert "Free some space" in findings(shell, 1, before="doctor.LITTLE_SPACE = 1 << 60")["space"]["remedy"]
    assert "cannot be read" in findings(shell, 1, before="doctor.os.access = lambda *_: False")["data"]["text"]
    assert "none yet; the library makes it" in findings(shell, 0, before='doctor.files.DATABASE = "x.db"')["store"]["text"]


def test_doctor_without_a_file_to_look_at(shell, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text('{"store": "memory"}')
    assert "store" not in findings(shell, 0, env={"PLUE_SESSION_CONFIG": str(settings)})
    assert "not a file" in shell("doctor", "--new-store", code=1, env={"PLUE_SESSION_CONFIG": str(settings)}).err


def test_doctor_says_why_the_library_does_not_start(shell):
    before = "def refuse(**config): raise host.Failure('plue_init: no Python 3.9 runtime. Install it.')\ndoctor.Host = refuse"
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
    assert found["server"]["text"] == f"OpenCode 1.18.33 at {server.place[0]}" and found["sessions"]["text"] == f"1 of {project}"
    assert "they arrive" in found["events"]["text"] and "with a password, as opencode" == found["access"]["text"]
    assert {found[check]["state"] for check in ("server", "access", "sessions", "events")} == {"ok"}
    assert server.password not in done.out + done.err


def test_doctor_names_refused_credentials_without_showing_them(shell, server, project, tmp_path):
    for given, says in (({"password": "not this one"}, "refuses the configured username and password"), ({}, "it wants a password, and none")):
        attach(shell, tmp_path, server.place[0], project, **given)
        done = shell("doctor", code=1)
        assert says in done.out and "OPENCODE_SERVER_PASSWORD" in done.out and "not this one" not in done.out + done.err
        assert "1 problem found." in done.out


def test_doctor_names_a_server_that_is_not_there_and_how_to_start_it(shell, project, tmp_path):
    with Stub() as stub:
        pass
    attach(shell, tmp_path, stub.url, project)
    found = findings(shell, 1)
    assert "cannot be reached" in found["server"]["text"] and f"opencode serve --hostname 127.0.0.1 --port {stub.port}" in found["server"]["remedy"]
    assert "store" in found and "events" not in found


def test_doctor_notes_a_strange_version_an_open_door_and_silence(shell, project, tmp_path):
    with Stub(answering({"/global/health": {"healthy": True, "version": "9.0"}})) as stub:
        stub.well = False
        attach(shell, tmp_path, stub.url, project)
        found = findings(shell, 0, before="server.EVENTS = 0.3")
    assert "OpenCode 9.0" in found["server"]["text"] and "knows 1.18.x" in found["server"]["text"]
    assert "run commands" in found["access"]["text"] and "syncIntervalMs" in found["events"]["text"]
    assert {found[check]["state"] for check in ("server", "access", "events")} == {"note"} and found["requests"]["state"] == "ok"


def test_doctor_says_what_a_server_does_that_is_none(shell, project, tmp_path):
    with Stub(answering({"/session": {"a": "page"}})) as stub:
        attach(shell, tmp_path, stub.url, project)
        found = findings(shell, 1)
        assert "plue_session_list" in found["server"]["text"] and found["server"]["remedy"]
    with Stub(lambda method, target: reply(200, b"<html>", "text/html")) as stub:
        stub.well = False
        attach(shell, tmp_path, stub.url, project)
        assert "not JSON" in findings(shell, 1)["server"]["text"]


def test_doctor_says_why_a_server_cannot_be_spawned(shell, project, tmp_path):
    def spawn(**given):
        configure(shell, tmp_path, backend={"kind": "opencode", "spawn": {"directory": project, **given}})
    spawn(env={"PATH": "/nowhere:/nothing"})
    found = findings(shell, 1)["command"]
    assert "looked in PATH (/nowhere:/nothing)" in found["text"] and "npm install -g opencode-ai" in found["remedy"]
    spawn(command=["sh", "-c", "echo The port is taken. >&2; exit 3"])
    found = findings(shell, 1)
    assert found["command"]["text"].endswith("/sh") and found["guard"]["text"].endswith("/lib/plue-session-guard")
    assert "exit code 3" in found["server"]["text"] and "The port is taken." in found["server"]["text"] and f"cd {project} && sh" in found["server"]["remedy"]
    spawn(command=["./bin/opencode"])
    found = findings(shell, 1, before="server.guard.PROGRAM, sys.modules['requests'] = '/nowhere', None")
    assert f"looked in {project}/./bin" in found["command"]["text"] and "not executable" in found["guard"]["text"]
    assert "pip install 'requests" in found["requests"]["remedy"]
