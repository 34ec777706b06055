"""Whole turns of four real agents through the library, each with a fake model: no account, no network.

What each does by itself is in docs/agents-facts.md and shown by test_facts.py.
"""

import dataclasses
import json
import os
import signal
import subprocess
import time

import pytest

from tests import support
from tests.agents import agents
from tests.agents.agents import contents
from tests.remote.hosts import Failed, Host

#: An answer that an agent is in the midst of for long enough.
LONG = "[words=400] [pause=0.05]"


@dataclasses.dataclass
class Attached:
    """A session with an agent, in a host."""

    host: Host
    agent: agents.Agent
    session: object

    def run(self, text):
        """Have a turn be run; return what that returns."""
        return json.loads(self.session.run_turn(json.dumps({"text": text}), 60_000))

    def begin(self, text):
        """Have a turn be run until its answer has begun; return its id and the mark before it."""
        mark = self.host.mark()
        turn = json.loads(self.session.run_turn(json.dumps({"text": text}), 0))["turnId"]
        self.delta(mark)
        return turn, mark

    def delta(self, mark):
        """Wait until a piece of the model's answer is told."""
        agents.until(lambda: any("word0" in each.get("delta", "") for each in self.told(mark, "message.part.updated")))

    def asked(self, text):
        """Have a turn be run until it asks for leave; return that, the turn's id and the mark before it."""
        mark = self.host.mark()
        turn = json.loads(self.session.run_turn(json.dumps({"text": text}), 0))["turnId"]
        return self.host.wait_for("permission.asked", self.session.id, mark), turn, mark

    def finished(self, turn, mark):
        return self.host.wait_for("turn.finished", self.session.id, mark, turnId=turn)

    def told(self, mark, kind):
        return [data for each, data in self.host.since(mark, self.session.id) if each == kind]

    def texts(self):
        """What was said, as (role, text), without the notices that agents add."""
        said = []
        for message in json.loads(self.session.messages(None))["messages"]:
            parts = [part["text"] for part in message["parts"] if part["type"] == "text"]
            said.append((message["role"], "".join(parts).replace(agents.NOTICE, "")))
        return [each for each in said if each[1]]

    def state(self):
        return self.session.info()["relay"]["state"]

    def attach(self, **more):
        given = self.agent.given(**more)
        self.session.relay_attach(json.dumps({"worktree": given.pop("worktree"), "agent": given}))


@pytest.fixture(scope="module")
def library():
    return support.library("plain")


@pytest.fixture(scope="module")
def host(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with Host(library, folder, dataDir=str(folder)) as made:
        yield made


@pytest.fixture(scope="module", params=agents.KINDS)
def attached(request, host, models, installed, tmp_path_factory):
    """A session with an agent for several tests: what they leave must not matter to the next one."""
    agent = agents.KINDS[request.param](tmp_path_factory.mktemp(request.param), models)
    made = Attached(host, agent, host.create_with(agent=agent.given()))
    yield made
    made.session.delete()


@pytest.fixture
def fresh(host, agent):
    """As `attached`, for one test, which may end the agent."""
    return Attached(host, agent, host.create_with(agent=agent.given()))


def test_a_turn_is_streamed_to_its_end(attached, models):
    before, mark = contents(attached.agent.worktree), attached.host.mark()
    assert attached.state() == "ACTIVE"
    result = attached.run("hello [words=6] [pause=0.1]")
    assert result["outcome"] == "finished", result
    pieces = attached.told(mark, "message.part.updated")
    deltas = [each["delta"] for each in pieces if "delta" in each]
    whole = [each["part"]["text"] for each in pieces if each.get("part", {}).get("type") == "text"]
    assert len(deltas) > 2 and "".join(whole).endswith("word0 word1 word2 word3 word4 word5 ")
    assert "".join(deltas).endswith("word5 ")
    assert attached.texts()[-2:] == [
        ("user", "hello [words=6] [pause=0.1]"),
        ("assistant", "word0 word1 word2 word3 word4 word5 "),
    ]
    if attached.agent.used:
        tokens = json.loads(attached.session.usage())["tokens"]
        assert (tokens["input"], tokens["output"]) >= attached.agent.used
    choices = json.loads(attached.session.choices())
    assert choices["models"] and choices["agents"]
    assert contents(attached.agent.worktree) == before
