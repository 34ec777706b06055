"""plue-session as people and scripts use it: in a process of its own, over the real library."""

import json
import os
import re
import signal
import sys

import pytest

from tests import support
from tests.integration.shell import answering, attach, attached, demonstrated, kept, project, shell  # noqa: F401
from tests.opencode.fixtures import soon
from tests.opencode.stub import Stub


# -- demo --------------------------------------------------------------------------------------------------------------
def test_demo_tells_its_way_and_leaves_nothing(shell, tmp_path):
    own = support.run([sys.executable, "-m", "plue_session.cli", "demo"], env=shell.env, cwd=shell.root)
    for word in (
        "Created a session: session_",
        "Renamed it",
        "Shared it: http",
        "a wrong one is refused (ACCESS_DENIED)",
        "Deleted the session",
        "Heard 5 events",
        "session.deleted",
        "is gone.",
    ):
        assert word in own.out
    assert own.err == "" and not list(tmp_path.glob("plue-session-demo-*"))


def test_demo_keeps_the_store_that_it_made_if_told_so(shell, tmp_path):
    done = support.run([sys.executable, "-m", "plue_session.cli", "demo", "--keep"], env=shell.env, cwd=shell.root)
    (made,) = tmp_path.glob("plue-session-demo-*")
    assert f"plue-session list --data-dir {made}`" in done.out and (made / "sessions.db").exists()
    told = re.search(r"`plue-session (info \S+ --data-dir \S+)` shows it", done.out)[1].split()
    assert "My Coding Session" in support.run([*shell.command("info")[:3], *told], env=shell.env, cwd=shell.root).out


def test_demo_as_json_is_one_object_without_a_secret(shell):
    told = shell.json("demo")
    assert [step["step"] for step in told["steps"]] == [
        "start",
        "create",
        "rename",
        "query",
        "share",
        "validate",
        "delete",
        "events",
    ]
    assert [event["type"].partition(".")[2] for event in told["events"]] == [
        "created",
        "updated",
        "updated",
        "shared",
        "deleted",
    ]
    assert "secret" not in json.dumps(told["events"]) and "#" not in told["steps"][4]["url"]


def test_demo_in_a_store_in_use_takes_only_its_own_away(shell, kept):
    shell("demo")
    assert shell.json("list") == [kept]


@pytest.mark.parametrize(
    "flags, kinds",
    [((), ("created", "updated", "updated", "deleted")), (("--keep",), ("created", "updated", "updated"))],
)
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
def test_a_closed_stdout_is_no_crash(shell, kept):
    done = support.run(["sh", "-c", '"$@" >&-', "sh", *shell.command("list")], env=shell.env, cwd=shell.root)
    assert done.err == ""


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
    listed = shell.json("list", before="show.PAGE = 2")
    assert len(listed) == 3 and listed == sorted(listed, key=lambda info: -info["time"]["updated"])
    assert len(shell("list", before="show.PAGE = 1").out.splitlines()) == 3


def test_what_a_title_holds_does_not_move_the_cursor(shell):
    shell("demo", "--keep", before=r'demo.TITLE = "red\x1b[31m Coding \u00e4\n"')
    line = shell("list").out
    assert "red\\x1b[31m Coding ä\\n" in line and line.count("\n") == 1
    assert shell("list", env={"PYTHONIOENCODING": "ascii"}).out.count("\\xe4") == 1


@pytest.mark.parametrize("arguments", [("info", "nobody"), ("info", "../x"), ("info", "session_1")])
def test_a_failure_is_one_line(shell, arguments):
    done = shell(*arguments, code=1)
    assert done.err.count("\n") == 1 and "plue_session_open" in done.err and done.out == ""
    assert "get_or_create" not in done.err  # which is no command


def test_a_store_that_cannot_be_opened_is_one_line(shell):
    shell.store = "/proc/nothing"
    done = shell("create", code=1)
    assert done.err.startswith("plue-session create: plue_init: cannot create the folder /proc/nothing")


def test_a_full_disk_is_one_line(shell, kept):
    with open("/dev/full", "w") as full:
        done = support.run(shell.command("list"), env=shell.env, cwd=shell.root, code=1, stdout=full)
    assert (
        done.err == "plue-session list: No space left on device. Check the place, its permissions and the free space.\n"
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_into_a_full_disk_is_one_line(shell, option):
    shell.env.pop("PYTHONUNBUFFERED", None)  # argparse lets a write fail
    with open("/dev/full", "w") as full:
        done = support.run(shell.command(option), env=shell.env, cwd=shell.root, code=1, stdout=full)
    assert done.err.startswith("plue-session: No space left on device.") and done.err.count("\n") == 1


@pytest.mark.parametrize(
    "env",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
    ids=["encoding", "locale"],
)
def test_json_is_json_in_any_encoding(shell, env):
    made = shell.json("create", "Müller ☃", "--tag", "ä", env=env)
    assert (made["title"], made["tags"]) == ("Müller ☃", ["ä"]) and shell.json("list", env=env) == [made]


def test_a_limit_of_a_file_is_told_with_what_helps(shell):
    shell.unwatched()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    err = shell("create", code=1, before=limit).err
    assert "File too large" in err and "ulimit -f" in err


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


def test_wrong_usage_is_exit_2(shell):
    for arguments in (
        (),
        ("fly",),
        ("info",),
        ("rename", "x"),
        ("delete",),
        ("watch", "--count", "0"),
        ("watch", "--timeout", "soon"),
        ("watch", "--timeout", "inf"),
        ("watch", "--timeout", "nan"),
        ("watch", "--timeout", "1e300"),
    ):
        done = support.run(
            [sys.executable, "-m", "plue_session.cli", *arguments], env=shell.env, cwd=shell.root, code=2
        )
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
    session = {
        "id": "ses_1",
        "title": "Here",
        "version": "1.18.33",
        "directory": project,
        "time": {"created": 1000, "updated": 2000},
    }
    with Stub(answering({"/session": [session]})) as stub:
        attach(shell, tmp_path, stub.url, project)
        assert shell.json("list")[0]["sync"]["state"] == "synced"
    done = shell("list", "--json")
    assert (
        "cannot be reached" in done.err
        and done.err.endswith("This is what was last known.\n")
        and done.err.count("\n") == 1
    )
    assert [(info["title"], info["sync"]["state"]) for info in json.loads(done.out)] == [("Here", "stale")]
    assert "sync.state      stale\n" in shell("info", "ses_1").out


# -- watch -------------------------------------------------------------------------------------------------------------
def test_watch_shows_what_another_process_does(shell):
    watching = shell.start("watch", "--json", "--count", "4", "--timeout", "60")
    told = shell.json("demo", "--keep")
    heard = [json.loads(line) for line in watching.communicate(timeout=60)[0].splitlines()]
    assert [event["cursor"] for event in heard] == [
        event["cursor"] for event in told["events"]
    ] and watching.returncode == 0


def place_in(err):
    """Return the cursor that a watch has named at its end."""
    return err.splitlines()[-1].removeprefix("To go on from here: plue-session watch --from ")


def test_a_watch_goes_on_where_another_one_has_ended(shell):
    watching = shell.start("watch", "--count", "1", "--timeout", "60")
    ids = [shell("create", str(number)).out.strip() for number in range(4)]
    cursor, told = place_in(watching.communicate(timeout=60)[1]), []
    for count in (2, 1):
        done = shell("watch", "--json", "--from", cursor, "--count", str(count), "--timeout", "60")
        told += map(json.loads, done.out.splitlines())
        cursor = place_in(done.err)
        assert cursor == told[-1]["cursor"]
    assert [event["sessionId"] for event in told] == ids[1:]
    assert shell("watch", "--from", cursor, "--timeout", "0.5").out == ""


def test_a_watch_from_what_is_no_more_begins_with_how_things_stand(shell):
    shell("create", "One")
    (gap,) = shell("watch", "--from", "1.00000000.1.*", "--count", "1", "--timeout", "60").out.splitlines()
    assert " gap " in gap and '{"reason": "unavailable", "sessions": 1}' in gap
    assert "the cursor is malformed" in shell("watch", "--from", "x", code=1).err


def test_watch_as_text_is_a_line_per_event(shell):
    watching = shell.start("watch", "--count", "2", "--timeout", "60")
    shell("demo", "--keep")  # a delete would take along what is not read yet
    first, second = watching.communicate(timeout=60)[0].splitlines()
    assert "session.created" in first and '{"title": "My Coding Session", "fields": ["title", ' in second


def test_an_interrupted_watch_says_where_to_go_on_and_ends_with_130_as_the_help_says(shell):
    assert "130 interrupted" in shell("watch", "--help").out
    watching = shell.start("watch")
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert out == "" and err.count("\n") == 1 and place_in(err) and watching.returncode == 130


def test_watch_ends_when_the_time_is_up(shell):
    assert shell("watch", "--timeout", "0.05").out == ""
    done = shell("watch", "--timeout", "0.05", "--count", "1", code=1)
    assert done.err.endswith("0 of 1 events came within 0.05 s. Wait longer (--timeout).\n")


def test_watch_shows_what_other_clients_of_the_server_do(attached, client, server, project, tmp_path):
    watching = attached.start("watch", "--count", "3", "--timeout", "60", "--json")
    attached.store = str(tmp_path / "another store")
    os.mkdir(attached.store)
    plain = attached.start("watch", "--count", "3", "--timeout", "60")
    assert watching.watches.startswith(f"{server.place[0]} and ")

    def heard():
        event, line = json.loads(watching.stdout.readline()), plain.stdout.readline()
        assert f"  {event['type']}  " in line and event["sessionId"] in line
        return event["type"], event["sessionId"], line.partition("{")[2]

    made = client.create("watched", soon(), directory=project, title="First").id
    assert heard() == ("session.created", made, "")
    client.update(made, soon(), directory=project, title="Second")
    assert heard() == ("session.updated", made, '"title": "Second", "fields": ["title"]}\n')
    client.delete(made, soon(), directory=project)
    assert heard() == ("session.deleted", made, "")
    assert [process.wait(60) for process in (watching, plain)] == [0, 0]


def test_watch_tells_when_the_server_goes_away(shell, project, tmp_path):
    with Stub(answering({})) as stub:
        attach(shell, tmp_path, stub.url, project, syncIntervalMs=100)
        watching = shell.start("watch", "--json", "--count", "1", "--timeout", "60")
    event = json.loads(watching.communicate(timeout=60)[0])
    assert event["type"] == "sync.state" and event["data"]["connected"] is False
    # The stub may go away before a question comes, or while one is being answered.
    assert "cannot be reached" in event["data"]["reason"] or "ended the connection" in event["data"]["reason"]
    assert " (away: the server cannot be reached" in shell.start("watch", "--timeout", "0.1").watches
