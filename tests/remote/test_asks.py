"""What turns ask for and show, with the real server: permissions, questions, plans, changes of files, choices."""

import base64
import json
import os
import signal
import time

import pytest

from tests import support
from tests.opencode.fixtures import isolate, soon
from tests.remote.hosts import Host
from tests.remote_world import until

BASH = "[bash=true]"
QUESTIONS = [
    {"question": "Which?", "header": "H", "options": [{"label": "A", "description": "a"}], "multiple": True},
    {"question": "What?", "header": "I", "options": [{"label": "B", "description": "b"}]},
]


def order(tool, **arguments):
    return f"[tool64={tool}:{base64.b64encode(json.dumps(arguments).encode()).decode()}]"


@pytest.fixture
def session(quiet, title):
    return quiet.create_with(title=title)


@pytest.fixture
def mark(quiet):
    return quiet.mark()


def enqueue(session, text, **more):
    return json.loads(session.enqueue(json.dumps({"text": text, **more})))


def ask(session, text, mark, kind="permission"):
    """Enqueue an input whose turn asks; return what is announced."""
    enqueue(session, text)
    return session.host.wait_for(f"{kind}.asked", session.id, mark)


def ended(session, mark):
    return session.host.wait_for("turn.finished", session.id, mark)


def pending(raw):
    return raw("GET", "/permission")[1] + raw("GET", "/question")[1]


def of(raw, session):
    return [each for each in pending(raw) if each["sessionID"] == session.id]


def told(host, session, mark, *kinds):
    return [(kind, data) for kind, data in host.since(mark, session.id) if kind in kinds]


# -- permissions -------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-06", "O-052")
@pytest.mark.parametrize("reply", ["once", "always", "reject"])
def test_a_turn_waits_for_a_permission_until_it_is_given_or_refused(quiet, session, mark, raw, reply):
    command = {"once": "echo a", "always": "printf b", "reject": "ls c"}[reply]
    asked = ask(session, f"[bash={command}]", mark)
    assert asked["action"] == "bash" and asked["patterns"] == [command] and asked["title"] == command
    assert abs(asked["deadline"] - 600_000 - time.time() * 1000) < 60_000
    assert json.loads(session.permissions()) == [asked] and json.loads(session.questions()) == []
    info = session.peek()["turn"]
    assert info["turnId"] == asked["turnId"] and info["state"] == "waiting"
    assert session.reply_permission(asked["id"], reply) == 0
    assert session.fails("reply_permission", asked["id"], "once").code == "NOT_FOUND"
    assert json.loads(session.permissions()) == []
    ended(session, mark)
    assert of(raw, session) == [] and "turn" not in session.peek()
    expected = {"id": asked["id"], "reply": reply, "by": "host"}
    assert told(quiet, session, mark, "permission.asked", "permission.replied") == [
        ("permission.asked", asked),
        ("permission.replied", expected),
    ]


@pytest.mark.requirement("O-052")
def test_another_clients_answer_ends_it(quiet, session, mark, raw):
    asked = ask(session, BASH, mark)
    assert raw("POST", f"/permission/{asked['id']}/reply", {"reply": "once"}) == (200, True)
    assert quiet.wait_for("permission.replied", session.id, mark)["by"] == "other"
    assert session.fails("reply_permission", asked["id"], "once").code == "NOT_FOUND"
    ended(session, mark)


@pytest.mark.requirement("T-06", "O-075")
def test_what_nobody_answers_is_rejected_at_its_deadline(connected, raw, title):
    host = connected(permissions={"deadlineMs": 1500})
    session, mark = host.create_with(title=title), host.mark()
    asked = ask(session, BASH, mark)
    assert host.wait_for("permission.replied", session.id, mark)["by"] == "deadline"
    error = session.fails("reply_permission", asked["id"], "once")
    assert error.code == "CONFLICT" and "deadline" in error.message
    ended(session, mark)
    mark = host.mark()
    asked = ask(session, order("question", questions=QUESTIONS), mark, "question")
    assert host.wait_for("question.replied", session.id, mark) == {"id": asked["id"], "by": "deadline"}
    assert session.fails("reply_question", asked["id"], None).code == "CONFLICT"
    ended(session, mark)
    assert of(raw, session) == []


@pytest.mark.requirement("O-037", "O-075", "P-153")
@pytest.mark.parametrize("kind, text", [("permission", BASH), ("question", order("question", questions=QUESTIONS))])
def test_an_abort_leaves_nothing_that_is_asked_here_or_on_the_server(quiet, session, mark, raw, kind, text):
    asked = ask(session, text, mark, kind)
    assert session.abort() == 0
    ended(session, mark)
    until(lambda: of(raw, session) == [])
    assert json.loads(getattr(session, f"{kind}s")()) == []
    replied = told(quiet, session, mark, f"{kind}.replied")
    assert [data["by"] for _, data in replied] == ["abort"]
    error = session.fails(f"reply_{kind}", asked["id"], "once" if kind == "permission" else None)
    assert error.code == "CONFLICT" and "aborted" in error.message
    mark = quiet.mark()
    assert ended(run(session, "after"), mark)["outcome"] == "finished"


def run(session, text):
    enqueue(session, text)
    return session


@pytest.mark.requirement("P-153")
def test_another_clients_abort_ends_what_was_asked(quiet, session, mark, raw, client, turns):
    ask(session, BASH, mark)
    client.stop_turn(session.id, soon())
    ended(session, mark)
    until(lambda: of(raw, session) == [])
    assert [data["by"] for _, data in told(quiet, session, mark, "permission.replied")] == ["abort"]


@pytest.mark.parametrize("default, reply", [("allow", "once"), ("deny", "reject")])
def test_what_is_configured_answers_at_once(connected, repository, title, default, reply):
    host = connected(permissions={"default": default})
    session, mark = host.create_with(title=title), host.mark()
    enqueue(session, f"[bash=touch {default}]")
    data = host.wait_for("permission.replied", session.id, mark)
    assert (data["reply"], data["by"]) == (reply, "host")
    ended(session, mark)
    assert os.path.exists(f"{repository}/{default}") == (reply == "once")


# -- questions ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-075")
def test_a_question_is_answered_once(quiet, session, mark, raw):
    asked = ask(session, order("question", questions=QUESTIONS), mark, "question")
    assert asked["questions"] == [{**QUESTIONS[0], "custom": True}, {**QUESTIONS[1], "multiple": False, "custom": True}]
    assert json.loads(session.questions()) == [asked]
    for wrong in ("[]", '[["A"]]', '[["A"],["B","C"]]', '[["A"],[1]]', '{"A":1}'):
        assert session.fails("reply_question", asked["id"], wrong).code == "INVALID_PARAM"
    assert session.fails("reply_question", asked["id"], "[").code == "JSON_PARSE"
    assert session.reply_question(asked["id"], '[["A"],["else"]]') == 0
    assert session.fails("reply_question", asked["id"], None).code == "NOT_FOUND"
    expected = {"id": asked["id"], "answers": [["A"], ["else"]], "by": "host"}
    assert quiet.wait_for("question.replied", session.id, mark) == expected
    assert ended(session, mark)["outcome"] == "finished" and of(raw, session) == []


@pytest.mark.requirement("O-075")
def test_a_question_is_rejected(quiet, session, mark, raw):
    asked = ask(session, order("question", questions=QUESTIONS), mark, "question")
    assert session.reply_question(asked["id"], None) == 0
    assert quiet.wait_for("question.replied", session.id, mark) == {"id": asked["id"], "by": "host"}
    ended(session, mark)
    assert of(raw, session) == [] == json.loads(session.questions())


@pytest.mark.requirement("O-052")
def test_of_two_processes_that_answer_one_wins(pair, raw, title):
    session, mark = pair[0].create_with(title=title), pair[0].mark()
    other = pair[1].open(session.id)
    asked = ask(session, BASH, mark)
    pair[1].wait_for("permission.asked", session.id)
    assert json.loads(other.permissions()) == [asked]
    answers = [each.start("reply_permission", asked["id"], "once") for each in (session, other) * 3]
    codes = []
    for answer in answers:
        try:
            codes.append(answer.result())
        except Exception as error:
            codes.append(error.code)
    assert sorted(codes, key=str) == [0] + ["NOT_FOUND"] * 5
    ended(session, mark)
    for host in pair:
        host.wait_for("turn.finished", session.id)
        assert [data["by"] for _, data in told(host, session, 0, "permission.replied")] == ["host"]


# -- across ends -------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-06")
def test_what_is_asked_is_still_listed_after_the_hosts_end(begin, raw, title):
    host = begin(direct=True)
    session, mark = host.create_with(title=title), host.mark()
    asked = ask(session, BASH, mark)
    host.kill()
    host = begin(direct=True, folder=host.folder)
    try:
        host.await_stream()
        session = host.open(session_id := asked and session_of(raw, asked))
        assert json.loads(session.permissions()) == [asked] and session_id == session.id
        assert session.reply_permission(asked["id"], "once") == 0
        host.wait_for("turn.finished", session.id)
        assert json.loads(session.permissions()) == []
    finally:
        host.end()
        host.__exit__()


def session_of(raw, asked):
    return next(each["sessionID"] for each in pending(raw) if each["id"] == asked["id"])


@pytest.fixture
def spawning(opencode, model, repository, tmp_path, plain):
    """`spawning(**env)` returns a host that has started a server of its own, with these variables besides."""
    hosts = []

    def start(**env):
        folder = tmp_path / "server"
        folder.mkdir()
        spawn = {"command": [opencode], "directory": repository, "env": {**isolate(folder, model), **env}}
        host = Host(plain, tmp_path, dataDir=str(tmp_path / "data"), backend={"kind": "opencode", "spawn": spawn})
        hosts.append(host)
        host.await_stream()
        return host

    yield start
    for host in hosts:
        host.__exit__()


@pytest.mark.requirement("T-06")
def test_what_is_asked_ends_with_the_server(spawning, title):
    host = spawning()
    session, mark = host.create_with(title=title), host.mark()
    asked = ask(session, BASH, mark)
    os.kill(host.status()["server"]["pid"], signal.SIGKILL)
    data = host.wait_for("permission.replied", session.id, mark)
    assert data["id"] == asked["id"] and data["by"] == "other"
    ended(session, mark)
    assert json.loads(session.permissions()) == []


@pytest.mark.requirement("O-051")
def test_what_the_server_does_not_ask_for_is_not_held_back(spawning, repository, title):
    host = spawning(OPENCODE_PERMISSION="{}")
    session, mark = host.create_with(title=title), host.mark()
    enqueue(session, "[bash=touch unasked]")
    assert ended(session, mark)["outcome"] == "finished" and os.path.exists(f"{repository}/unasked")
    assert told(host, session, mark, "permission.asked") == []
    header = (support.ROOT / "include" / "plue_session.h").read_text()
    assert "OpenCode runs most" in header and "unasked by default" in header


# -- what turns show ---------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-076")
def test_each_change_of_the_plan_is_told_and_kept(quiet, session, mark, raw):
    assert json.loads(session.todos()) == []
    plan = [{"content": "x", "status": "pending", "priority": "high"}]
    ended(run(session, order("todowrite", todos=plan)), mark)
    assert json.loads(session.todos()) == plan == raw("GET", f"/session/{session.id}/todo")[1]
    assert told(quiet, session, mark, "todo.updated") == [("todo.updated", {"todos": plan})]


@pytest.mark.requirement("O-076")
def test_the_plan_of_another_clients_session_is_asked_for(quiet, client, turn, model, title, begin):
    theirs = client.create(f"token {title}", soon(), title=title)
    plan = [{"content": "theirs", "status": "in_progress", "priority": "low"}]
    text = f"{order('todowrite', todos=plan)} {title}"
    turn.begin(theirs.id, text)
    turn.await_end(text)
    host = begin()  # which has heard nothing of that
    try:
        assert json.loads(host.open(theirs.id).todos()) == plan
    finally:
        host.end()
        host.__exit__()
        host.proxy.down()


@pytest.mark.requirement("O-077")
def test_a_diff_is_the_sum_of_what_the_turns_wrote(quiet, session, mark, repository, title):
    names = [f"{title} {number}.txt".replace(" ", "-") for number in range(2)]
    turns = []
    for name in names:
        mark = quiet.mark()
        enqueue(session, order("write", filePath=f"{repository}/{name}", content="hello\n"))
        turns.append(ended(session, mark)["turnId"])

    def diff(**query):
        return json.loads(session.diff(json.dumps(query) if query else None))["files"]

    until(lambda: len(diff()) == 2, 20)
    for turn, name in zip(turns, names, strict=True):
        (file,) = diff(turnId=turn)
        assert (file["file"], file["status"], file["additions"], file["deletions"]) == (name, "added", 1, 0)
        assert "+hello" in file["patch"]
    assert [(file["file"], file["turnId"]) for file in diff()] == list(zip(names, turns, strict=True))
    assert session.fails("diff", '{"turnId":"turn_none"}').code == "NOT_FOUND"
    assert session.fails("diff", '{"turnId":1}').code == "INVALID_PARAM"
    assert session.fails("diff", "[").code == "JSON_PARSE"


@pytest.mark.requirement("O-077")
def test_what_is_offered_is_what_an_input_is_accepted_with(quiet, session, proxy, raw):
    asked = proxy.mark()
    offer = json.loads(session.choices())
    assert not any("/provider?" in path or path.endswith("/provider") for _, path, *_ in proxy.since(asked))
    assert offer["models"] == [{"providerId": "fake", "modelId": "fake-model", "name": "Fake", "contextLimit": 128000}]
    assert offer["default"] == {"providerId": "fake", "modelId": "fake-model"}
    agents = [each["name"] for each in offer["agents"]]
    hidden = {each["name"] for each in raw("GET", "/agent")[1]} - set(agents)
    assert "build" in agents and hidden
    for agent in agents:
        mark = quiet.mark()
        model = {name: offer["models"][0][name] for name in ("providerId", "modelId")}
        enqueue(session, f"hello {agent}", agent=agent, model=model)
        assert ended(session, mark)["outcome"] == "finished"
    assert {"init", "compact"} <= {each["name"] for each in offer["commands"]}
