"""What OpenCode tells of permissions, questions, plans, changes of files and choices, as callers get it."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.opencode import asking, events

TOOL = {"messageID": "msg_2289f62f4001Wr1B0JCe7jqrzx", "callID": "call_1"}
PERMISSION = {  # as 1.18.33 tells it
    "id": "per_2289f697a001Xw27cJzDu0RYb8",
    "sessionID": "ses_dd760a31bffeVWbJcUii5nPCTx",
    "permission": "bash",
    "patterns": ["echo hi > a.txt", "ls"],
    "metadata": {"command": "echo hi > a.txt; ls"},
    "always": ["echo *", "ls *"],
    "tool": TOOL,
}
QUESTION = {
    "id": "que_2289f6dfc001k4Gt9iXibrOtoD",
    "sessionID": "ses_dd760a31bffeVWbJcUii5nPCTx",
    "questions": [{"question": "Which?", "header": "H", "options": [{"label": "A", "description": "a"}]}],
    "tool": TOOL,
}


def read(kind, **properties):
    return events.read(json.dumps({"id": "evt_1", "type": kind, "properties": properties}).encode())


def test_a_permission_is_read_as_the_server_tells_it():
    change = read("permission.asked", **PERMISSION)
    asked = change.value
    assert (change.kind, change.session_id) == ("permission.asked", PERMISSION["sessionID"])
    assert (asked.id, asked.kind, asked.message_id) == (PERMISSION["id"], "permission", TOOL["messageID"])
    assert asked.body == {
        "action": "bash",
        "title": "echo hi > a.txt; ls",
        "patterns": PERMISSION["patterns"],
        "tool": {"messageId": TOOL["messageID"], "callId": "call_1"},
    }


def test_what_a_permission_is_about_stays_one_short_line():
    asked = asking.permission({**PERMISSION, "metadata": {"command": "x" * 5000}})
    assert len(asked.body["title"]) == asking.LINE and asked.body["title"].endswith("…")
    bare = asking.permission({"id": "per_1", "sessionID": "ses_a", "patterns": ["a", 1], "metadata": 3, "tool": []})
    assert bare.body == {"action": "unknown", "patterns": ["a"]} and bare.message_id is None


def test_a_question_has_all_that_callers_are_promised():
    (question,) = read("question.asked", **QUESTION).value.body["questions"]
    assert question == {**QUESTION["questions"][0], "multiple": False, "custom": True}
    strict = asking.question({**QUESTION, "questions": [{"multiple": True, "custom": False, "options": [{}, 1]}]})
    assert strict.body["questions"] == [
        {
            "header": "",
            "question": "",
            "options": [{"label": "", "description": ""}],
            "multiple": True,
            "custom": False,
        }
    ]


@pytest.mark.requirement("P-145")
@pytest.mark.parametrize("id", ["", "per_", "per_a/b", "per_..", "que_1", "per_" + "a" * 97, "per_é", 5, None, "../x"])
def test_what_has_no_id_that_can_stand_in_a_path_is_left_out(id):
    assert read("permission.asked", **{**PERMISSION, "id": id}) is None
    assert read("permission.replied", sessionID="ses_a", requestID=id, reply="once") is None
    with pytest.raises(errors.Server):
        asking.Asking(None).reply_permission(id, "once", None)


@pytest.mark.parametrize("session", ["", "x", None, "ses_a/b"])
def test_what_names_no_session_is_left_out(session):
    assert read("question.asked", **{**QUESTION, "sessionID": session}) is None
    assert read("todo.updated", sessionID=session, todos=[]) is None


@pytest.mark.parametrize(
    "kind, properties, given",
    [
        ("permission.replied", {"requestID": "per_1", "reply": "always"}, "always"),
        ("question.replied", {"requestID": "que_1", "answers": [["A", 1], "x", []]}, [["A"], []]),
        ("question.rejected", {"requestID": "que_1"}, None),
    ],
)
def test_an_answer_is_read(kind, properties, given):
    change = read(kind, sessionID="ses_a", **properties)
    assert change.kind == kind.replace("rejected", "replied") and change.value.given == given


def test_an_answer_that_is_none_is_left_out():
    assert read("permission.replied", sessionID="ses_a", requestID="per_1", reply="maybe") is None


def test_a_plan_has_the_states_that_callers_know():
    plan = [{"content": "a", "status": "completed", "priority": "low"}, {"content": 5, "status": "odd"}, 3]
    assert read("todo.updated", sessionID="ses_a", todos=plan).value == [
        {"content": "a", "status": "completed", "priority": "low"},
        {"content": "", "status": "pending", "priority": "medium"},
    ]
    assert read("todo.updated", sessionID="ses_a", todos={}) is None


def test_changes_of_files_are_read():
    files = [{"file": "a", "patch": "+", "additions": 1.0, "deletions": -1, "status": "added"}, {"status": "odd"}, 1]
    assert asking.files(files) == [
        {"file": "a", "status": "added", "additions": 1, "deletions": 0, "patch": "+"},
        {"file": "", "status": "modified", "additions": 0, "deletions": 0, "patch": ""},
    ]
    with pytest.raises(errors.Server):
        asking.files({})


@pytest.mark.requirement("O-077")
def test_only_agents_that_a_prompt_may_name_are_offered():
    listed = [
        {"name": "build", "description": "d", "mode": "primary"},
        {"name": "both", "mode": "all"},
        {"name": "explore", "mode": "subagent"},
        {"name": "title", "mode": "primary", "hidden": True},
        {"mode": "primary"},
        3,
    ]
    assert asking.agents(listed) == [{"name": "build", "description": "d"}, {"name": "both", "description": ""}]


def test_models_have_a_name_and_a_limit_where_there_is_one():
    models = {"m": {"name": "M", "limit": {"context": 9}}, "n": {"limit": 3}}
    data = {"providers": [{"id": "p", "models": models}, {"models": models}, 3]}
    assert asking.models(data) == [
        {"providerId": "p", "modelId": "m", "name": "M", "contextLimit": 9},
        {"providerId": "p", "modelId": "n", "name": "n"},
    ]
