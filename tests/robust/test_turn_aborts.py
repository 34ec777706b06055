"""Aborts at any moment of a turn of ours: each ends it for certain and soon, nothing runs on, and the next input is
unharmed."""

import json
import random
import threading
import time
import uuid

import pytest

from tests.opencode.fixtures import isolate, soon
from tests.robust.conftest import TORTURE, Other, patience
from tests.robust.daemon import Daemon
from tests.robust.host import Host, eventually

#: How many turns are aborted.
TIMES = 200 if TORTURE else 20
#: What a turn is at when the abort comes: what it is to do, and what is waited for.
MOMENTS = {
    "before": ("[words=4] [pause=0.1]", lambda host, turn: None),
    "soon": ("[words=4] [pause=0.1]", lambda host, turn: threading.Event().wait(turn.random() * 0.2)),
    "streaming": ("[words=40] [pause=0.1]", lambda host, turn: turn.until(lambda: turn.text in turn.model.asked)),
    "asking": ("[bash=sleep 20]", lambda host, turn: turn.until(turn.permissions)),
    "tool": ("[bash=sleep 20]", lambda host, turn: turn.allow()),
    "retry": ("[status=500]", lambda host, turn: turn.until(lambda: turn.state() == "retrying")),
    "end": ("[words=1]", lambda host, turn: threading.Event().wait(0.1 + turn.random() * 0.4)),
}


@pytest.fixture(scope="module")
def host(daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        handle = host.session_create_with('{"title":"Warm"}')
        assert json.loads(host.session_run_turn(handle, '{"text":"warm [words=1]"}', 60_000))["outcome"] == "finished"
        yield host


class Turn:
    """One turn, in short words."""

    def __init__(self, host, handle, model, order, rolls):
        self.host, self.handle, self.model, self.random = host, handle, model, rolls.random
        self.text = f"{uuid.uuid4().hex} {order}"
        started = json.loads(host.session_run_turn(handle, json.dumps({"text": self.text}), 0))
        self.id, self.input = started["turnId"], started["inputId"]
        self.is_over = None
        self.until(
            lambda: "turn" in host.info(handle) or self.result()
        )  # until it is taken it is in the queue, and stays

    def until(self, condition):
        assert eventually(condition, patience(20), 0.01), (self.text, self.host.info(self.handle))

    def permissions(self):
        return json.loads(self.host.session_permissions(self.handle))

    def allow(self):
        self.until(self.permissions)
        assert self.host.session_reply_permission(self.handle, self.permissions()[0]["id"], "once") == 0
        threading.Event().wait(self.random() * 0.3)

    def state(self):
        return self.host.info(self.handle).get("turn", {}).get("state")

    def result(self):
        """Return how it has ended."""
        for event in self.host.heard():
            if event["type"] == "turn.finished" and event["data"]["turnId"] == self.id:
                self.is_over = event["data"]["outcome"], event["data"].get("reason")
        return self.is_over


@pytest.mark.requirement("T-01", "P-020", "P-151", "P-153", "P-155", "L-064", "L-097", "O-033", "O-035", "O-037")
def test_an_abort_at_any_moment_ends_the_turn_and_harms_no_other(host, other, model):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rolls = random.Random(seed)
    host.subscribe()
    handle = host.session_create_with('{"title":"Aborted"}')
    session_id, slowest = host.session_get_id(handle), {}
    for number in range(TIMES):
        moment = list(MOMENTS)[number % len(MOMENTS)] if number < len(MOMENTS) else rolls.choice(list(MOMENTS))
        order, reach = MOMENTS[moment]
        host.heard()
        turn = Turn(host, handle, model, order, rolls)
        reach(host, turn)
        began = time.monotonic()
        assert host.session_abort(handle) == 0
        took = time.monotonic() - began
        slowest[moment] = max(slowest.get(moment, 0.0), took)
        # What must hold when it returns, without waiting any more:
        assert "turn" not in host.info(handle) and not turn.permissions(), moment
        assert not other.busy(session_id)
        count = model.asked.count(turn.text)
        ended = eventually(turn.result, 5)
        assert ended == ("stopped", "cancelled") if moment not in ("end", "soon") else ended, (moment, ended)
        after = Turn(host, handle, model, "[words=1]", rolls)
        assert eventually(after.result, patience(20), 0.01) == ("finished", None), moment
        assert model.asked.count(turn.text) == count <= (3 if moment == "retry" else 2) and took < patience(2), moment
        assert not host.info(handle)["aborted"]
    print(f"slowest: {slowest}")


@pytest.mark.requirement("O-068")
def test_a_cold_server_survives_an_abort_before_its_first_turn_has_begun(opencode, model, repository, tmp_path):
    for number, after in enumerate((0.0, 0.02, 0.1, 0.5, 1.0)):
        root = tmp_path / f"server{number}"
        root.mkdir()
        daemon = Daemon(opencode, repository, isolate(root, model))
        try:
            folder = root / "store"
            folder.mkdir(mode=0o700)
            with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
                assert eventually(lambda host=host: host.status()["server"]["events"], 30)
                host.subscribe()
                handle, rolls = host.session_create_with('{"title":"Cold"}'), random.Random(number)
                turn = Turn(host, handle, model, "[words=40] [pause=0.1]", rolls)
                threading.Event().wait(after)
                began = time.monotonic()
                assert host.session_abort(handle) == 0
                assert time.monotonic() - began < patience(15)
                assert eventually(turn.result, 5) == ("stopped", "cancelled")
                second = Turn(host, handle, model, "[words=1]", rolls)
                assert eventually(second.result, patience(30)) == ("finished", None)
        finally:
            daemon.kill()


@pytest.mark.requirement("O-068")
def test_a_prompt_that_the_server_stores_and_never_runs_ends_in_a_named_state(opencode, model, repository, tmp_path):
    """Another client has aborted the first prompt of a server before its message began: it runs none any more."""
    root = tmp_path / "server"
    root.mkdir()
    daemon = Daemon(opencode, repository, isolate(root, model))
    client = Other.of(daemon, repository)
    try:
        folder = root / "store"
        folder.mkdir(mode=0o700)
        with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
            assert eventually(lambda: host.status()["server"]["events"], 30)
            host.subscribe()
            handle = host.session_create_with('{"title":"Cold"}')
            other = client.create()
            client.prompt(other, "poison")
            client._client.stop_turn(other, soon(10))
            began = time.monotonic()
            turn = Turn(host, handle, model, "[words=1]", random.Random(1))
            ended = eventually(turn.result, 40)
            print(f"{ended} after {time.monotonic() - began:.1f} s")
            assert ended in {("finished", None), ("stopped", "submitted_error")}
            assert time.monotonic() - began < 30
            daemon.kill()
            daemon.start()
            second = Turn(host, handle, model, "[words=1]", random.Random(1))
            assert eventually(second.result, 40) == ("finished", None)
    finally:
        client.close()
        daemon.kill()
