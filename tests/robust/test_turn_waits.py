"""Waits for turns, and who may cancel them, whatever becomes of their sessions and of the way to the server."""

import base64
import json
import uuid

from tests.remote.proxy import Proxy, hang_up
from tests.robust.conftest import patience
from tests.robust.host import Host, eventually, outcome


def through(proxy, daemon, folder):
    return {"dataDir": str(folder), "backend": {**daemon.backend, "url": proxy.url}}


def waiting(host, handle):
    return len(json.loads(host.session_inputs(handle)))


def test_waits_follow_a_session_that_gets_another_id(daemon, folder, model):
    with Proxy(lambda: daemon.url) as proxy, Host(folder, through(proxy, daemon, folder)) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        proxy.down()
        assert eventually(lambda: not host.status()["connected"], patience(20))
        handles = [host.session_create_with('{"title":"Made offline"}') for _ in range(2)]
        waits = []
        for handle in handles:
            for number, text in enumerate(("first [words=200] [pause=0.1]", "second")):
                text = f"{uuid.uuid4().hex} {text}"
                waits.append(host.start("session_run_turn", handle, json.dumps({"text": text}), 60_000))
                assert eventually(lambda at=handle, count=number + 1: waiting(host, at) == count)
        proxy.up()
        cancelled, deleted = handles
        for handle in handles:
            assert eventually(lambda at=handle: "turn" in host.info(at) and waiting(host, at) == 1, patience(30))
        assert host.session_cancel_turns(cancelled) == 2
        assert {json.loads(each.result())["reason"] for each in waits[:2]} == {"cancelled"}
        assert eventually(lambda: host.session_cancel_turns(cancelled) == 0)
        assert host.session_delete(deleted) == 0
        ends = [outcome(each, 10) for each in waits[2:]]  # the turn that ran may be seen to end before
        assert ends[0] in ("OK", "NOT_FOUND") and ends[1] == "NOT_FOUND"


def test_a_process_that_has_lost_its_way_to_the_server_lets_another_drive(daemon, folder, model):
    """Both reach it at the same place, but only one by the right name, which is what the way ends for."""
    mark, lost = uuid.uuid4().hex, []
    right = "Basic " + base64.b64encode(f"{daemon.username}:{daemon.password}".encode()).decode()

    def way(request):
        if request.headers["authorization"] == right:
            return hang_up if lost else None
        request.headers["authorization"] = right
        return None

    with Proxy(lambda: daemon.url) as proxy:
        proxy.rules.append(way)
        config = through(proxy, daemon, folder)
        with Host(folder, config) as driving:
            handle = driving.session_create_with('{"title":"Out of reach"}')
            first = json.loads(driving.session_run_turn(handle, json.dumps({"text": f"{mark} [wait]"}), 0))
            assert eventually(lambda: any(mark in each for each in model.asked), patience(20))
            with Host(folder, {**config, "backend": {**config["backend"], "username": "another"}}) as other:
                mine = other.session_open(driving.session_get_id(handle))
                assert other.info(mine)["turn"]["turnId"] == first["turnId"]
                lost.append(True)
                proxy.cut_all()
                assert eventually(lambda: not driving.status()["connected"], patience(20))
                given = json.dumps({"text": f"{mark} second [words=1]"})
                second = other.start("session_run_turn", mine, given, 60_000)
                assert other.session_abort_turn(mine, first["turnId"]) == 0
                assert json.loads(second.result())["outcome"] == "finished"
                assert sum(mark in each for each in model.asked) == 2


def test_a_turn_asks_little_of_the_server(daemon, folder, model):
    with Proxy(lambda: daemon.url) as proxy, Host(folder, through(proxy, daemon, folder)) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        handle = host.session_create_with('{"title":"Frugal"}')
        given = json.dumps({"text": "[words=2] [pause=0.1]"})
        host.session_run_turn(handle, given, 60_000)
        mark = proxy.mark()
        for _ in range(10):
            assert json.loads(host.session_run_turn(handle, given, 60_000))["outcome"] == "finished"
        asked = proxy.since(mark)
        assert sum(each.endswith("/prompt_async") for each in asked) == 10
        assert len(asked) < 85, asked
