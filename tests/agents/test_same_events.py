"""A turn through OpenCode's HTTP, and the same one, of the same model, through `opencode acp`: observers are told the
same kinds of events in the same order."""

import base64
import json
import os
import sys

import pytest

from tests import support
from tests.opencode.fixtures import isolate
from tests.remote.hosts import Host

FAKE = support.ROOT / "tests" / "agents" / "fake_agent.py"
#: What is not of the turn: OpenCode gives its sessions titles when it likes, and its messages more than one write.
ASIDE = {"session.updated", "turn.activity"}


@pytest.fixture(scope="module")
def plain():
    return support.library("plain")


def plan(*contents):
    """Return the order to the model to write this plan."""
    todos = [{"content": each, "status": "pending", "priority": "high"} for each in contents]
    return f"[tool64=todowrite:{base64.b64encode(json.dumps({'todos': todos}).encode()).decode()}]"


TURNS = {
    "words": "[words=3]",
    "thoughts": "[think=2][words=3]",
    "tool": "[bash=echo hello][words=2]",
    "plan": f"{plan('read', 'write')}[words=2]",
    "failure": "[status=401]",
    "cancel": "[wait]",
}


#: What the fake agent does in such a turn: OpenCode tells over ACP of the tool that makes a plan, not of the plan.
AS_TOLD = {"plan": "[tool=todowrite][done][plan=2][words=2]"}


def folded(found):
    """Return kinds without what differs by what is underneath: OpenCode has a message for each of a turn's steps, and
    one without parts for a turn that fails at once, while an agent's message is all that it says."""
    begun, ended = ("message.created", "assistant"), ("message.updated", "")
    parts = [kind for kind in found if kind[0] == "message.part.updated" and kind[1].startswith("assistant")]
    first, last = found.index(begun) if parts else None, len(found) - 1 - found[::-1].index(ended) if parts else None
    return [kind for place, kind in enumerate(found) if kind not in (begun, ended) or place in (first, last)]


def kinds(host, session, text):
    """Run a turn, and return the kinds of its events, each as far as it is the same with any agent; pieces of text are
    folded into the part that they end in, and a part that is told of again without a difference is told once."""
    observer = host.call("session_observe", session, None)
    host.call("session_enqueue", session, json.dumps({"text": text}))
    roles, found = {}, []
    while True:
        said = host.call("session_observer_next", observer, 25000)
        assert said is not None, found
        event = json.loads(said)
        kind, data = event["type"], event["data"]
        if kind in ASIDE:
            continue
        if kind == "message.created":
            roles[data["id"]] = data["role"]
            what = data["role"]
        elif kind == "message.part.updated":
            if "delta" in data:
                if text == TURNS["cancel"]:
                    host.call("session_cancel_turns", session)
                continue
            tool = data["part"].get("tool", {})
            what = " ".join(filter(None, [roles[data["messageId"]], data["part"]["type"], tool.get("state")]))
        elif kind == "permission.asked":
            host.call("session_reply_permission", session, data["id"], "once")
            what = ""
        elif kind == "turn.finished":
            what = " ".join([data["outcome"], data.get("reason", ""), data.get("error", {}).get("code", "")])
        elif kind == "queue.changed":
            what = " ".join(sorted(each["state"] for each in data["inputs"])) if "inputs" in data else data["change"]
        else:
            what = ""
        if not found or found[-1] != (kind, what):
            found.append((kind, what))
        if kind == "turn.finished":
            break
    host.call("session_observer_close", observer)
    return found


@pytest.fixture(scope="module")
def over_http(plain, server, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("http")
    place = {"url": server.place[0], "username": server.username, "password": server.password}
    backend = {"kind": "opencode", **place, "directory": repository}
    with Host(plain, folder, dataDir=str(folder), backend=backend) as host:
        yield host


@pytest.fixture(scope="module")
def over_acp(plain, opencode, model, repository, tmp_path_factory):
    folder, root = tmp_path_factory.mktemp("acp"), tmp_path_factory.mktemp("opencode-acp")
    with Host(plain, folder, dataDir=str(folder), requestTimeoutMs=60000) as host:
        host.fake = {"kind": "acp", "command": [sys.executable, "-S", str(FAKE)], "worktree": repository}
        environment = {"PATH": os.environ["PATH"], **isolate(root, model)}
        host.agent = {**host.fake, "command": [opencode, "acp"], "env": environment}
        yield host


@pytest.mark.requirement("O-076")
@pytest.mark.parametrize("name", TURNS)
def test_a_turn_is_told_the_same_over_http_and_over_acp(over_http, over_acp, name):
    there = over_http.call("session_create", None)
    agent = over_acp.fake if name in AS_TOLD else over_acp.agent
    here = over_acp.call("session_create_with", json.dumps({"agent": agent}))
    expected = kinds(over_http, there, TURNS[name])
    found = kinds(over_acp, here, AS_TOLD.get(name, TURNS[name]))
    over_acp.call("session_delete", here)
    assert folded(found) == folded(expected)
