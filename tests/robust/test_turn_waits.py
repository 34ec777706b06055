"""Waits for turns, and who may cancel them, whatever becomes of their sessions and of the way to the server."""

import json
import uuid

from tests.remote.proxy import Proxy
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
        assert [outcome(each, 10) for each in waits[2:]] == ["NOT_FOUND", "NOT_FOUND"]
