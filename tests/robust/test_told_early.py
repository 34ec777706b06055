"""A call on a real server returns before its commit has ended: hosts that die at every moment around that."""

import json
import signal
import subprocess

import pytest

from tests import support
from tests.robust.conftest import TORTURE
from tests.robust.gate import Gate, of, once, stall, stall_after
from tests.robust.host import Host, eventually

#: How often a host of each kind dies.
TIMES = 40 if TORTURE else 4
OPTIONS = {"tags": ["a"], "description": "D", "metadata": {"n": 1}}


def settings(folder, backend):
    return {"dataDir": str(folder), "backend": backend, "requestTimeoutMs": 10_000}


def by_id(host):
    host.session_sync(20_000)
    return {each["id"]: each for each in host.list()}


@pytest.mark.requirement("P-071", "P-143", "P-146")
def test_a_host_that_dies_as_soon_as_a_call_returns_has_lost_nothing(daemon, folder, other):
    program = support.library().compile(support.PROGRAMS / "acknowledged.c")
    config, before = settings(folder, daemon.backend), set(other.titles())

    def acknowledged(*arguments):
        ended = subprocess.run(
            [program, json.dumps(config), *arguments],
            env=support.environment(folder),
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()

    for number in range(TIMES):
        options = {**OPTIONS, "title": f"T{number}"}
        acknowledged("create", json.dumps(options))
        with Host(folder, config) as host:
            (made,) = [each for each in by_id(host).values() if each["title"] == f"T{number}"]
            assert {name: made[name] for name in options} == options and "imported" not in made
            gone = host.session_get_id(host.session_create(None))
        acknowledged("rename", made["id"], "Renamed")
        acknowledged("delete", gone)
        with Host(folder, config) as host:
            shown = by_id(host)
            assert shown[made["id"]]["title"] == "Renamed" == other.titles()[made["id"]]
            assert gone not in shown and gone not in other.titles()
            assert shown.keys() - before == other.titles().keys() - before
            assert len(shown.keys() - before) == number + 1
            assert host.session_open(made["id"])


@pytest.mark.requirement("P-143", "P-176")
@pytest.mark.parametrize("lost", [stall, stall_after], ids=lambda each: each.__name__)
def test_a_host_that_dies_before_the_answer_makes_one_session_or_none(daemon, folder, other, lost):
    """What was not sent is not made, and its key is free; what was sent is found whole."""
    before = set(other.titles())
    with Gate(daemon.url) as gate:
        config = settings(folder, gate.backend(daemon))
        for number in range(TIMES):
            options = {**OPTIONS, "title": f"T{number}", "key": f"k{number}"}
            with Host(folder, config) as host:
                assert eventually(lambda host=host: host.status()["server"]["events"])
                gate.rules.append(once(of("POST", "/session"), lost))
                host.start("session_create_with", json.dumps(options))
                gate.asked.get(timeout=10)
                if lost is stall_after:
                    made = number + 1
                    assert eventually(lambda made=made: len(set(other.titles()) - before) == made)
                host.kill()
            gate.clear()
            with Host(folder, config) as host:
                found = [each for each in by_id(host).values() if each.get("key") == f"k{number}"]
                assert len(found) == (lost is stall_after)
                if not found:
                    host.session_create_with(json.dumps(options))
                    found = [each for each in by_id(host).values() if each.get("key") == f"k{number}"]
                assert {name: found[0][name] for name in options} == options and "imported" not in found[0]
                assert len(set(other.titles()) - before) == number + 1
