"""Processes with one store and one configuration have one server between them: the real one, and real processes."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from plue_session.adapters.opencode.client import Client
from tests import support
from tests.opencode.fixtures import soon
from tests.robust.conftest import TORTURE, patience
from tests.robust.host import Host, alive, eventually, processes_with

TIMES = 10 if TORTURE else 2


def config(folder, spawned, **more):
    return {"dataDir": str(folder), "backend": spawned, **more}


def where(host):
    return json.loads(host.get_app_info())["server"]


def up(host, *others):
    """Wait until the host has a server, another one than `others`, and return where that is."""
    return eventually(lambda: (at := where(host))["running"] and at.get("pid") not in (None, *others) and at, 30)


def shared_files(folder):
    return sorted(path for path in Path(folder).iterdir() if path.name.startswith("server-"))


def servers(mark):
    """Return the pids of the servers that run: each leads a group that its guard has made."""
    return [
        pid
        for pid in processes_with(mark)
        if os.getpgid(pid) == pid and not Path(f"/proc/{pid}/comm").read_text().startswith("plue-session-gu")
    ]


def test_a_second_process_attaches_to_the_server_of_the_first(spawned, folder, mark):
    with Host(folder, config(folder, spawned)) as first:
        began = up(first)
        with Host(folder, config(folder, spawned)) as second:
            assert up(second) == began and len(servers(mark)) == 1
            session = first.session_create(None)
            session_id = first.session_get_id(session)
            other = second.session_open(session_id)
            second.session_update_title(other, "By the second")
            assert eventually(lambda: first.info(session)["title"] == "By the second", 2)
            file = next(path for path in shared_files(folder) if path.suffix == ".json")
            told = json.loads(file.read_text())
            assert stat.S_IMODE(file.stat().st_mode) == 0o600 and told["url"] == began["url"]
            client = Client(lambda call: told["url"], spawned["spawn"]["directory"], told["username"], told["password"])
            assert client.get(session_id, soon()).title == "By the second"
            client.close()
            first.shutdown()
            second.session_update_title(other, "By the second alone")
            assert second.info(other)["title"] == "By the second alone" and where(second) == began
            shutdown = second.start("shutdown")
            shutdown.result()
            assert not alive(began["pid"]) and shutdown.took < 7 and not shared_files(folder)


def test_processes_that_start_at_once_have_one_server(spawned, folder, mark):
    hosts = [Host(folder) for _ in range(4)]
    try:
        starts = [host.start("init", json.dumps(config(folder, spawned))) for host in hosts]
        for start in starts:
            start.result(60)
        assert len({up(host)["pid"] for host in hosts}) == 1 and len(servers(mark)) == 1
        ids = {host.session_get_id(host.session_get_or_create("one")) for host in hosts}
        assert len(ids) == 1
    finally:
        for host in hosts:
            host.kill()
    assert eventually(lambda: not processes_with(mark), 10)
    assert not shared_files(folder)


@pytest.mark.requirement("O-007")
@pytest.mark.parametrize("number", range(TIMES))
def test_the_first_may_be_killed_and_the_second_goes_on(spawned, folder, mark, number):
    with Host(folder, config(folder, spawned)) as first:
        began = up(first)
        with Host(folder, config(folder, spawned)) as second:
            session = second.session_create(None)
            for _ in range(3):
                first.start("session_create", None)  # it is killed meanwhile
            first.kill()
            second.session_update_title(session, "Still there")
            assert where(second) == began and second.info(session)["title"] == "Still there"
    assert eventually(lambda: not processes_with(mark), 10)


@pytest.mark.requirement("O-001", "O-065")
@pytest.mark.parametrize("victim", ["server", "guard"])
def test_one_that_dies_is_started_again_once_and_all_go_on(spawned, folder, mark, victim):
    hosts = [Host(folder, config(folder, spawned)) for _ in range(3)]
    try:
        sessions = [host.session_create(None) for host in hosts]
        before = [up(host) for host in hosts][0]
        for number in range(TIMES):
            pid = before["pid"]
            if victim == "guard":
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(pid, signal.SIGKILL)
            now = [up(host, before["pid"]) for host in hosts]
            assert all(now) and len({at["pid"] for at in now}) == 1 and len(servers(mark)) == 1
            for host, session in zip(hosts, sessions, strict=True):
                assert eventually(lambda host=host: host.status()["server"]["events"], patience(20))
                host.session_update_title(session, f"After {number}")
            before = now[0]
    finally:
        for host in hosts:
            host.kill()
    assert eventually(lambda: not processes_with(mark), 10)


def test_a_newcomer_that_starts_it_again_gives_the_others_its_password(spawned, folder, mark):
    """They cannot: they are stopped until it runs."""
    with Host(folder, config(folder, spawned)) as first:
        session = first.session_create(None)
        before = up(first)
        password = json.loads(shared_files(folder)[0].read_text())["password"]
        first.signal(signal.SIGSTOP)
        try:
            os.kill(before["pid"], signal.SIGKILL)
            assert eventually(lambda: not shared_files(folder))
            with Host(folder, config(folder, spawned)) as second:
                at = up(second)
                assert json.loads(shared_files(folder)[0].read_text())["password"] != password
                first.signal(signal.SIGCONT)
                assert up(first, before["pid"]) == at
                first.session_update_title(session, "With another password")
                assert eventually(lambda: first.status()["server"]["events"], patience(20))
                assert second.info(second.session_open(first.session_get_id(session)))["title"].startswith("With")
        finally:
            first.signal(signal.SIGCONT)


def test_another_configuration_has_another_server(spawned, folder, tmp_path, mark):
    """Another command, directory, environment or store; and each store in memory its own."""
    project = tmp_path / "project"
    project.mkdir()
    spawn = spawned["spawn"]
    others = [
        {"command": ["env", spawn["command"][0]]},
        {"directory": str(project)},
        {"env": {**spawn["env"], "OTHER": "1"}},
    ]
    configs = [config(folder, {**spawned, "spawn": {**spawn, **other}}) for other in others]
    configs += [config(folder, spawned), config(folder, spawned, store="memory")]
    with Host(folder, config(folder, spawned)) as first:
        shared = []
        for each in configs:  # one after the other: five servers at once are much for a small machine
            with Host(folder, each) as host:
                shared.append(up(first)["pid"] == up(host)["pid"])
    assert shared == [False, False, False, True, False]


def test_a_forked_child_of_either_keeps_nothing_alive(spawned, folder, mark):
    with Host(folder, config(folder, spawned)) as first, Host(folder, config(folder, spawned)) as second:
        pid = up(first)["pid"]
        children = [json.loads(host.start("fork", alone=False).result())["pid"] for host in (first, second)]
        try:
            first.kill()
            assert alive(pid) and where(second)["pid"] == pid
            second.kill()
            assert eventually(lambda: not alive(pid), 10) and all(map(alive, children))
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_the_doctor_and_the_commands_use_the_server_of_an_app_that_runs(spawned, opencode, folder, tmp_path, mark):
    log, program = tmp_path / "starts", tmp_path / "opencode"
    program.write_text(f'#!/bin/sh\necho started >> "{log}"\nexec "{opencode}" "$@"\n')
    program.chmod(0o700)
    spawned["spawn"]["command"] = [str(program)]
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"backend": spawned}))
    env = support.environment(folder, PLUE_SESSION_CONFIG=settings)

    def command(*words):
        library = support.library("plain")
        return support.run(
            [sys.executable, "-m", "plue_session.cli", *words, "--data-dir", folder],
            env=env,
            cwd=library.root,
            timeout=90,
        )

    with Host(folder, config(folder, spawned)) as app:
        session = app.session_create(None)
        before = up(app)
        made = command("create", "Elsewhere").out.strip()
        assert app.info(app.session_open(made))["title"] == "Elsewhere"
        assert {info["id"] for info in json.loads(command("list", "--json").out)} == {
            made,
            app.session_get_id(session),
        }
        assert json.loads(command("list", "--json").out)[0]["sync"]["state"] == "synced"
        done = command("doctor")
        assert "which another program with this configuration runs" in done.out and "All is well." in done.out
        password = json.loads(shared_files(folder)[0].read_text())["password"]
        assert password not in done.out + done.err
        assert log.read_text().count("started") == 1 and where(app) == before
    assert eventually(lambda: not processes_with(mark), 10)
    command("create", "Alone")
    assert log.read_text().count("started") == 2
