"""Whole turns of four real agents through the library, each with a fake model: no account, no network.

What each does by itself is in docs/agents-facts.md and shown by test_facts.py.
"""

import base64
import dataclasses
import json

import pytest

from tests import support
from tests.real_agents import real
from tests.real_agents.real import contents
from tests.remote.hosts import Failed, Host

#: An answer that an agent is in the midst of for long enough.
LONG = "[words=400] [pause=0.05]"


@dataclasses.dataclass
class Attached:
    """A session with an agent, in a host."""

    host: Host
    agent: real.Agent
    session: object

    def run(self, text, **more):
        """Have a turn be run; return what that returns."""
        return json.loads(self.session.run_turn(json.dumps({"text": text, **more}), 60_000))

    def begin(self, text):
        """Have a turn be run until its answer has begun; return its id and the mark before it."""
        mark = self.host.mark()
        turn = json.loads(self.session.run_turn(json.dumps({"text": text}), 0))["turnId"]
        self.delta(mark)
        return turn, mark

    def delta(self, mark):
        """Wait until a piece of the model's answer is told."""
        real.until(lambda: any("word0" in each.get("delta", "") for each in self.told(mark, "message.part.updated")))

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
            said.append((message["role"], "".join(parts).replace(real.NOTICE, "")))
        return [each for each in said if each[1]]

    def tools(self, turn):
        """The tools that a turn has used."""
        messages = json.loads(self.session.messages(None))["messages"]
        parts = [part for message in messages if message.get("turnId") == turn for part in message["parts"]]
        return [part["tool"] for part in parts if part["type"] == "tool"]

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


@pytest.fixture(scope="module", params=real.KINDS)
def lasting(request, host, models, installed, tmp_path_factory):
    """A session with an agent for several tests: what they leave must not matter to the next one."""
    agent = real.KINDS[request.param](tmp_path_factory.mktemp(request.param), models)
    made = Attached(host, agent, host.create_with(agent=agent.given()))
    yield made
    before = contents(agent.worktree)
    made.session.delete()
    real.until(lambda: not agent.processes())
    assert contents(agent.worktree) == before


@pytest.fixture
def fresh(host, agent):
    """As `lasting`, for one test, which may end the agent."""
    made = step_by_step(host, agent)
    yield made
    made.session.delete()


def step_by_step(host, agent):
    """Attach an agent to a session by the calls that create_with {"agent"} puts together."""
    made = Attached(host, agent, host.create_with(role=f"role of {agent.root}"))
    made.session.relay_spawn()
    made.attach()
    return made


@pytest.mark.requirement("R-026", "T-10")
def test_a_turn_is_streamed_to_its_end(lasting, models):
    before, mark = contents(lasting.agent.worktree), lasting.host.mark()
    assert lasting.state() == "ACTIVE"
    result = lasting.run("hello [words=6] [pause=0.1]")
    assert result["outcome"] == "finished", result
    pieces = lasting.told(mark, "message.part.updated")
    deltas = [each["delta"] for each in pieces if "delta" in each]
    whole = [each["part"]["text"] for each in pieces if each.get("part", {}).get("type") == "text"]
    assert len(deltas) > 2 and "".join(whole).endswith("word0 word1 word2 word3 word4 word5 ")
    assert "".join(deltas).endswith("word5 ")
    assert lasting.texts()[-2:] == [
        ("user", "hello [words=6] [pause=0.1]"),
        ("assistant", "word0 word1 word2 word3 word4 word5 "),
    ]
    if lasting.agent.used:
        tokens = json.loads(lasting.session.usage())["tokens"]
        assert (tokens["input"], tokens["output"]) >= lasting.agent.used
    assert contents(lasting.agent.worktree) == before


@pytest.mark.requirement("R-026")
def test_a_tool_is_used_with_leave_and_not_without(lasting):
    made, never = lasting.agent.worktree / "made.txt", lasting.agent.worktree / "never.txt"
    asked, turn, mark = lasting.asked("make [bash=echo made > made.txt]")
    assert not made.exists()
    assert [each["id"] for each in json.loads(lasting.session.permissions())] == [asked["id"]]
    assert asked["turnId"] == turn and set(asked["replies"]) == {"once", "always", "reject"}
    lasting.session.reply_permission(asked["id"], "once")
    assert lasting.finished(turn, mark)["outcome"] == "finished"
    assert made.read_text() == "made\n"
    assert lasting.told(mark, "permission.replied") == [{"id": asked["id"], "reply": "once", "by": "host"}]
    assert lasting.tools(turn)[-1]["state"] == "completed"
    asked, turn, mark = lasting.asked("make no more [bash=echo made > never.txt]")
    lasting.session.reply_permission(asked["id"], "reject")
    ended = lasting.finished(turn, mark)
    if lasting.agent.rejected == "end_turn":
        assert ended["outcome"] == "finished"
    else:
        assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled")
    assert lasting.told(mark, "permission.replied") == [{"id": asked["id"], "reply": "reject", "by": "host"}]
    assert not never.exists() and json.loads(lasting.session.permissions()) == []
    assert {each["state"] for each in lasting.tools(turn)} <= {"error"}
    made.unlink()


@pytest.mark.requirement("O-076")
@pytest.mark.parametrize("lasting", ["claude", "codex"], indirect=True)  # the others tell a plan as a tool's call
def test_a_plan_is_todos(lasting):
    tool, key, name, more = lasting.agent.plan
    told = [{name: "one", "status": "completed", **more}, {name: "two", "status": "in_progress", **more}]
    mark = lasting.host.mark()
    order = base64.b64encode(json.dumps({key: told}).encode()).decode()
    assert lasting.run(f"plan [tool64={tool}:{order}]")["outcome"] == "finished"
    todos = json.loads(lasting.session.todos())
    assert [(each["content"], each["status"]) for each in todos] == [("one", "completed"), ("two", "in_progress")]
    assert lasting.told(mark, "todo.updated") == [{"todos": todos}]


def test_a_mode_is_chosen_and_what_is_not_offered_is_refused(lasting):
    choices = json.loads(lasting.session.choices())
    assert choices["models"] and len(choices["agents"]) > 1
    names = [each["name"] for each in choices["agents"]]
    for name in (names[-1], names[0]):
        assert lasting.run("choose [say=fine ]", agent=name)["outcome"] == "finished"
    result = lasting.run("choose [say=never ]", agent="none of them")
    assert (result["outcome"], result["error"]["code"]) == ("stopped", "PROVIDER_INIT")
    assert names[-1] in result["error"]["remedy"]


@pytest.mark.requirement("O-071", "P-152", "T-10")
def test_a_turn_is_aborted_and_the_next_one_is_itself(lasting):
    before = contents(lasting.agent.worktree)
    for number in range(2):
        turn, mark = lasting.begin(f"long {number} {LONG}")
        lasting.session.abort()
        ended = lasting.finished(turn, mark)
        assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled")
        role, text = lasting.texts()[-1]
        assert role == "assistant" and text.startswith("word0 ") and "word399" not in text
        result = lasting.run(f"another {number} [say=this and that {number} ]")
        assert result["outcome"] == "finished"
        assert lasting.texts()[-1] == ("assistant", f"this and that {number} ")
    assert contents(lasting.agent.worktree) == before


@pytest.mark.requirement("P-152")
@pytest.mark.parametrize("order", ["[hang]", "[status=500]"])  # the latter is tried again, by all
def test_a_turn_without_an_answer_is_aborted(lasting, models, order):
    mark, text = lasting.host.mark(), f"mute {lasting.agent} {order}"
    turn = json.loads(lasting.session.run_turn(json.dumps({"text": text}), 0))["turnId"]
    real.until(lambda: any(each.startswith(text) for each in models.asked))  # OpenCode adds to it in another mode
    lasting.session.abort()
    ended = lasting.finished(turn, mark)
    assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled")
    assert lasting.run("and now [say=so ]")["outcome"] == "finished"
    assert lasting.texts()[-1] == ("assistant", "so ")


@pytest.mark.requirement("O-071", "P-152")
def test_an_abort_takes_back_what_was_asked(lasting):
    asked, turn, mark = lasting.asked("ask [bash=echo made > never.txt]")
    lasting.session.abort()
    ended = lasting.finished(turn, mark)
    assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled")
    assert [each["by"] for each in lasting.told(mark, "permission.replied")] == ["abort"]
    assert lasting.run("after that [say=fine ]")["outcome"] == "finished"
    assert lasting.texts()[-1] == ("assistant", "fine ")
    assert not (lasting.agent.worktree / "never.txt").exists()


@pytest.mark.requirement("P-152")
def test_an_abort_reaches_a_tool_that_runs(lasting):
    asked, turn, mark = lasting.asked("sleep [bash=touch begun; sleep 600; touch never.txt]")
    lasting.session.reply_permission(asked["id"], "once")
    real.until((lasting.agent.worktree / "begun").exists)
    lasting.session.abort()
    ended = lasting.finished(turn, mark)
    assert (ended["outcome"], ended["reason"]) == ("stopped", "cancelled")
    assert {each["state"] for each in lasting.tools(turn)} <= {"completed", "error"}
    (lasting.agent.worktree / "begun").unlink()


@pytest.mark.requirement("O-073")
def test_a_provider_that_refuses_ends_the_turn(lasting):
    result = lasting.run("refuse [status=400]")
    assert (result["outcome"], result["reason"]) == ("stopped", "provider_error")
    assert "refused with 400" in result["error"]["message"] and result["error"]["remedy"]
    assert lasting.run("and on [say=well then ]")["outcome"] == "finished"
    assert lasting.texts()[-1] == ("assistant", "well then ")


@pytest.mark.requirement("R-077", "O-072")
def test_an_agent_that_is_killed_is_attached_again_with_its_conversation(fresh, models):
    fresh.run("first [say=one two ]")
    real.until(lambda: fresh.agent.has_kept("one two"))
    turn, mark = fresh.begin(f"second {LONG}")
    fresh.agent.kill()
    ended = fresh.finished(turn, mark)
    assert ended["outcome"] == "stopped" and ended["error"]["remedy"]
    assert fresh.state() == "ACTIVE"
    before = fresh.texts()
    assert before[:3] == [("user", "first [say=one two ]"), ("assistant", "one two "), ("user", f"second {LONG}")]
    fresh.agent.age()
    fresh.attach()
    assert fresh.run("third [say=three ]")["outcome"] == "finished"
    assert fresh.texts() == [*before, ("user", "third [say=three ]"), ("assistant", "three ")]
    assert "first [say=one two ]" in models.remembered["third [say=three ]"]


@pytest.mark.requirement("O-073")
def test_a_conversation_that_is_lost_is_not_replaced_in_silence(fresh):
    fresh.run("first [say=one ]")
    fresh.agent.kill()
    real.until(lambda: not fresh.agent.processes())
    fresh.agent.forget()
    with pytest.raises(Failed) as failed:
        real.until(lambda: is_attached_again(fresh))
    assert failed.value.code == "NOT_FOUND" and "restore" in str(failed.value)
    fresh.attach(restore=False)
    assert fresh.run("second [say=two ]")["outcome"] == "finished"
    assert [text for _, text in fresh.texts()] == ["first [say=one ]", "one ", "second [say=two ]", "two "]


@pytest.mark.requirement("O-070")
@pytest.mark.parametrize("agent", ["opencode"], indirect=True)
def test_a_start_has_a_deadline_and_leaves_nothing(host, agent):
    made = Attached(host, agent, host.create_with(role=f"role of {agent.root}"))
    made.session.relay_spawn()
    with pytest.raises(Failed) as failed:
        made.attach(startMs=300)  # it takes 2 s
    assert failed.value.code == "TIMEOUT" and made.state() == "SPAWNING"
    real.until(lambda: not agent.processes())
    made.attach()
    assert made.state() == "ACTIVE"
    made.session.delete()


def is_attached_again(attached):
    """Attach it again once its loss was noticed, of which nothing tells; return whether that was so."""
    try:
        attached.attach()
    except Failed as failed:
        if failed.code != "INVALID_TRANSITION":
            raise
        return False
    return True


@pytest.mark.requirement("R-033", "R-072", "O-074", "T-10")
def test_nothing_is_left_after_clean(fresh):
    before = contents(fresh.agent.worktree)
    asked, turn, mark = fresh.asked("sleep [bash=sleep 600 & exec sleep 600]")
    fresh.session.reply_permission(asked["id"], "once")
    real.until(lambda: any("sleep 600" in each for each in fresh.agent.processes().values()))
    fresh.host.call("session_relay_terminate", fresh.session.id, "done")
    fresh.host.call("session_relay_clean", fresh.session.id)
    assert fresh.agent.processes() == {} and fresh.state() == "CLEANED"
    assert fresh.finished(turn, mark)["outcome"] == "stopped"
    assert contents(fresh.agent.worktree) == before


@pytest.mark.requirement("R-077", "O-072", "T-04")
def test_the_host_is_killed_and_another_one_goes_on(agent, library, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with Host(library, folder, dataDir=str(folder)) as first:
        had = step_by_step(first, agent)
        had.run("first [say=one two ]")
        real.until(lambda: agent.has_kept("one two"))
        had.begin(f"second {LONG}")
        id = had.session.id
        first.kill()
    real.until(lambda: not agent.processes(), 10)
    agent.age()
    with Host(library, folder, dataDir=str(folder)) as second:
        now = Attached(second, agent, second.open(id))
        now.attach()
        before = now.texts()
        assert before[:3] == [("user", "first [say=one two ]"), ("assistant", "one two "), ("user", f"second {LONG}")]
        assert now.run("third [say=three ]")["outcome"] == "finished"
        assert now.texts() == [*before, ("user", "third [say=three ]"), ("assistant", "three ")]
    real.until(lambda: not agent.processes(), 10)


@pytest.mark.requirement("O-073")
@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"], indirect=True)
def test_without_an_account_the_error_says_what_to_do(host, agent):
    agent.log_out()
    made = Attached(host, agent, host.create_with(role=f"role of {agent.root}"))
    made.session.relay_spawn()
    try:
        made.attach()
        error = made.run("hello")["error"]
        code, text = error["code"], f"{error['message']} {error['remedy']}"
    except Failed as failed:
        code, text = failed.code, str(failed)
        assert made.state() == "SPAWNING" and agent.processes() == {}
    assert code == "PROVIDER_AUTH", text
    assert "log in" in text.lower()
    for way in agent.logins:
        assert way in text
    made.session.delete()
    real.until(lambda: not agent.processes())
