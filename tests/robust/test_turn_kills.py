"""Servers and hosts that are killed in mid-turn: each input that was enqueued is answered once, or ends in a named
state, and no prompt runs twice."""

import json
import random
import threading
import time
import uuid

import pytest

from tests.robust.conftest import TORTURE, patience
from tests.robust.host import Host, eventually, outcome

#: How often servers and hosts are killed.
TIMES = 50 if TORTURE else 5
#: How turns may end that a kill has met.
NAMED = {("finished", None), ("stopped", "incomplete")}
#: What turns are at when the kill comes; the words are those of tests/opencode/fake_llm.py.
ORDERS = "[words=1]", "[words=6] [pause=0.1]", "[words=12] [pause=0.15]"


@pytest.fixture(scope="module", params=["server", "host"])
def victim(request):
    return request.param


class Conversations:
    """Sessions of a host in whose queues inputs were put, and what became of those."""

    def __init__(self, host, count):
        self.mark = uuid.uuid4().hex[:8]
        self.sessions = [
            host.session_get_id(host.session_create_with(json.dumps({"title": "Killed"}))) for _ in range(count)
        ]
        self.said = {}  # text: (session id, input id)

    def enqueue(self, host, random):
        """Put an input with a turn of its own into each queue."""
        for session_id in self.sessions:
            number = len(self.said)
            text = f"{self.mark}-{number}- {random.choice(ORDERS)}"
            given = {"text": text, "id": text, "turnId": f"t{self.mark}{number}"}
            handle = host.session_open(session_id)
            self.said[text] = session_id, json.loads(host.session_enqueue(handle, json.dumps(given)))["inputId"]
            host.session_destroy(handle)

    def ends(self, host):
        """Return how each turn has ended, by what enqueueing it once more says and its turn: {text: (outcome, reason)},
        None for one that has not."""
        found = {}
        for text, (session_id, _) in self.said.items():
            handle = host.session_open(session_id)
            number = text.split("-")[1]
            given = json.dumps({"text": text, "id": text, "turnId": f"t{self.mark}{number}"})
            record = json.loads(host.session_enqueue(handle, given))
            found[text] = None
            if record["state"] == "completed":
                result = json.loads(host.session_run_turn(handle, given, 10_000))
                found[text] = result["outcome"], result.get("reason")
            host.session_destroy(handle)
        return found


@pytest.mark.requirement("T-05", "O-043", "O-048", "O-038")
def test_each_input_is_answered_once_or_ends_in_a_named_state(victim, daemon, folder, model):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rolls = random.Random(seed)
    config = {"dataDir": str(folder), "backend": daemon.backend}
    host = Host(folder, config)
    try:
        talk = Conversations(host, 2)
        for _ in range(TIMES):
            before = len(model.asked)
            talk.enqueue(host, rolls)
            assert eventually(lambda before=before: len(model.asked) > before, patience(40)), host.status()
            threading.Event().wait(rolls.random() * 1.2)
            if victim == "server":
                daemon.kill()
                threading.Event().wait(rolls.random() * 0.2)
                daemon.start()
            else:
                host.kill()
                host = Host(folder, config)
        began = time.monotonic()
        ends = eventually(lambda: all((found := talk.ends(host)).values()) and found, patience(120), 0.5)
        print(f"took {time.monotonic() - began:.1f} s: {ends}")
        assert ends, talk.ends(host)
        assert set(ends.values()) <= NAMED
        times = {text: sum(each == text for each in model.asked) for text in ends}
        assert all(count <= 1 for count in times.values()), times
        assert all(times[text] for text, (outcome, _) in ends.items() if outcome == "finished"), times
    finally:
        host.kill()


@pytest.mark.requirement("L-068")
def test_another_process_on_the_store_goes_on_with_the_turns_of_one_that_dies(daemon, folder, model):
    config = {"dataDir": str(folder), "backend": daemon.backend}
    mark = uuid.uuid4().hex[:8]
    driving = Host(folder, config)
    with Host(folder, config) as other:
        handle = driving.session_create_with('{"title":"Taken over"}')
        session_id = driving.session_get_id(handle)
        other.subscribe()
        mine = other.session_open(session_id)
        text = f"{mark} [words=20] [pause=0.1]"
        driving.session_enqueue(handle, json.dumps({"text": text}))
        assert eventually(lambda: text in model.asked, patience(20))
        # What the other one wants waits for the turn of the first one, which drives.
        waiting = other.start("session_run_turn", mine, json.dumps({"text": f"{mark} second [words=1]"}), 60_000)
        assert eventually(lambda: len(json.loads(other.session_inputs(mine))) == 1)
        driving.kill()
        assert json.loads(waiting.result(patience(30)))["outcome"] == "finished"
        ends = [event["data"] for event in other.heard() if event["type"] == "turn.finished"]
        assert [end["outcome"] for end in ends] == ["finished", "finished"]
        assert sum(mark in each for each in model.asked) == 2


def test_a_process_that_drives_hears_of_what_others_enqueue_and_cancel(daemon, folder, model):
    config = {"dataDir": str(folder), "backend": daemon.backend}
    mark = uuid.uuid4().hex[:8]
    with Host(folder, config) as driving, Host(folder, config) as other:
        handle = driving.session_create_with('{"title":"Together"}')
        mine = other.session_open(driving.session_get_id(handle))
        first = driving.start(
            "session_run_turn", handle, json.dumps({"text": f"{mark} [words=30] [pause=0.1]"}), 60_000
        )
        assert eventually(lambda: any(mark in each for each in model.asked), patience(20))
        second = other.start("session_run_turn", mine, json.dumps({"text": f"{mark} second [words=1]"}), 60_000)
        assert eventually(lambda: len(json.loads(driving.session_inputs(handle))) == 1)
        assert other.session_abort(mine) == 0  # the turn is the other process's
        assert json.loads(first.result())["reason"] == "cancelled"
        assert eventually(lambda: sum(mark in each for each in model.asked) == 2, patience(20))
        assert outcome(second) == "ABORTED"


@pytest.mark.requirement("T-05")
def test_what_is_said_while_the_server_is_away_is_answered_when_it_is_back(daemon, folder, model):
    mark = uuid.uuid4().hex[:8]
    with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        known = host.session_create_with('{"title":"Known"}')
        host.subscribe()
        daemon.kill()
        try:
            assert eventually(lambda: not host.status()["connected"], 20), host.status()
            made = host.session_create_with('{"title":"Made offline"}')
            for handle in known, made:
                host.session_enqueue(handle, json.dumps({"text": f"{mark} [words=1]"}))
        finally:
            daemon.start()
        ends = []

        def ended():
            ends.extend(event["data"] for event in host.heard() if event["type"] == "turn.finished")
            return len(ends) == 2

        assert eventually(ended, patience(40)), host.status()
        assert {end["outcome"] for end in ends} == {"finished"}
        assert sum(mark in each for each in model.asked) == 2
