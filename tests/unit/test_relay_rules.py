"""The relay's states, all pairs of state and event; and what is to be attached, as it is read."""

import json
import re
import sys

import pytest

from plue_session.capi import emit
from plue_session.errors import InvalidParam, InvalidTransition, JsonParse, LimitExceeded, PlueError
from plue_session.rules import relay
from tests import support

#: As the requirements have them.
ALLOWED = {
    ("CREATED", "SPAWN"): "SPAWNING",
    ("CREATED", "TERMINATE"): "TERMINATING",
    ("SPAWNING", "ACTIVATE"): "ACTIVE",
    ("SPAWNING", "TERMINATE"): "TERMINATING",
    ("ACTIVE", "TERMINATE"): "TERMINATING",
    ("TERMINATING", "CLEAN"): "CLEANED",
    ("TERMINATING", "TERMINATE"): "TERMINATING",
}
STATES = ["CREATED", "SPAWNING", "ACTIVE", "TERMINATING", "CLEANED"]
EVENTS = ["SPAWN", "ACTIVATE", "TERMINATE", "CLEAN"]
REASONS = {
    "CREATED": "can only spawn or terminate from CREATED state",
    "SPAWNING": "can only activate or terminate from SPAWNING state",
    "ACTIVE": "can only terminate from ACTIVE state",
    "TERMINATING": "can only clean from TERMINATING state",
    "CLEANED": "CLEANED is terminal state, no transitions allowed",
}
PAIRS = [(state, event) for state in STATES for event in EVENTS]
IDS = {("CREATED", "SPAWN"): "R-002", ("CREATED", "TERMINATE"): "R-003", ("SPAWNING", "ACTIVATE"): "R-004"}
IDS |= {("SPAWNING", "TERMINATE"): "R-005", ("ACTIVE", "TERMINATE"): "R-006", ("TERMINATING", "CLEAN"): "R-007"}
IDS |= {("TERMINATING", "TERMINATE"): "R-008"}


@pytest.mark.requirement("R-001")
def test_states_and_events_are_spelled_as_the_contract_has_them():
    assert list(relay.STATES) == STATES and list(relay.EVENTS) == EVENTS


@pytest.mark.requirement("R-060")
@pytest.mark.parametrize(
    "state, event", [pytest.param(*pair, marks=pytest.mark.requirement(IDS.get(pair, "R-009"))) for pair in PAIRS]
)
def test_each_pair_of_state_and_event(state, event):
    if (state, event) in ALLOWED:
        assert relay.next_state(state, event) == ALLOWED[state, event]
        return
    with pytest.raises(InvalidTransition) as caught:
        relay.next_state(state, event)
    assert f"invalid transition: state={state} event={event} reason={REASONS[state]}" in caught.value.message("x")


@pytest.mark.requirement("R-009", "R-011")
def test_thirteen_pairs_are_refused_each_with_its_reason():
    refused = set(PAIRS) - ALLOWED.keys()
    assert len(PAIRS) == 20 and len(refused) == 13
    for state, event in refused:
        with pytest.raises(InvalidTransition, match=re.escape(REASONS[state])):
            relay.next_state(state, event)


@pytest.mark.requirement("R-012")
@pytest.mark.parametrize(
    "state, event, reason",
    [
        ("GONE", "SPAWN", "unknown state"),
        ("", "", "unknown state"),
        ("created", "SPAWN", "unknown state"),
        ("CREATED", "spawn", "unknown event"),
        ("CLEANED", "", "unknown event"),
    ],
)
def test_what_is_no_state_or_no_event_is_refused_and_named(state, event, reason):
    with pytest.raises(InvalidTransition, match=f"state={state} event={event} reason={reason}"):
        relay.next_state(state, event)


@pytest.mark.requirement("R-013")
def test_one_state_is_terminal_and_one_is_active():
    assert [state for state in STATES if relay.is_terminal(state)] == ["CLEANED"]
    assert [state for state in STATES if relay.is_active(state)] == ["ACTIVE"]


@pytest.mark.requirement("R-059")
def test_the_rules_need_the_standard_library_alone():
    code = f"import sys; sys.path.insert(0, {str(support.ROOT)!r})\n"
    code += "import plue_session.rules.relay\n"
    code += "foreign = {n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'plue_session'}\n"
    code += "print(sorted(n for n in foreign if not n.startswith('_')))"
    assert support.run([sys.executable, "-I", "-S", "-c", code], env={}).out.strip() == "[]"


def test_header_and_reference_print_the_table():
    rows = [["", *EVENTS], *([state, *(ALLOWED.get((state, event), "-") for event in EVENTS)] for state in STATES)]
    for path, begin in (("include/plue_session.h", " * "), ("docs/reference.md", "")):
        lines = (support.ROOT / path).read_text().splitlines()
        first = next(place for place, line in enumerate(lines) if line.split()[-4:] == EVENTS)
        printed = [line.removeprefix(begin).split() for line in lines[first : first + 6]]
        assert printed == [row[not row[0] :] for row in rows], path
    assert emit.relay_table() in (support.ROOT / "docs/reference.md").read_text()


@pytest.mark.requirement("R-074")
def test_a_message_to_an_agent_has_a_megabyte_at_most():
    relay.check_message(1 << 20, "session_1")
    with pytest.raises(LimitExceeded, match=r"1,048,577 bytes"):
        relay.check_message((1 << 20) + 1, "session_1")


# -- what is to be attached --------------------------------------------------------------------------------------------
def parse(folder, worktree=True, **agent):
    given = {"worktree": str(folder)} if worktree is True else {} if worktree is None else {"worktree": worktree}
    return relay.parse_agent(json.dumps({**given, "agent": agent}))


def test_an_agent_is_read_as_it_is_given(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    given = parse(
        tmp_path / "link",
        kind="acp",
        command=["codex-acp", "-c", ""],
        env={"A": "1", "EMPTY": ""},
        files="write",
        startMs=5,
        silenceMs=6,
        idleMs=7,
        messagesPerSecond=8,
        restore=False,
    )
    options = {"files": "write", "startMs": 5, "silenceMs": 6, "idleMs": 7, "messagesPerSecond": 8, "restore": False}
    expected = ("acp", ["codex-acp", "-c", ""], str(tmp_path.resolve()), {"A": "1", "EMPTY": ""}, options)
    assert given == relay.Given(*expected)
    assert relay.read_options(json.dumps(options)) == options


def test_what_is_not_given_has_its_default(tmp_path):
    assert parse(tmp_path, kind="host") == relay.Given("host", [], str(tmp_path.resolve()), {}, {})
    assert relay.read_options("{}") == {
        "files": "none",
        "startMs": None,
        "silenceMs": 600_000,
        "idleMs": None,
        "messagesPerSecond": None,
        "restore": True,
    }


@pytest.mark.parametrize(
    "text, words",
    [
        ("codex-acp", ["codex-acp"]),
        ("gemini --experimental-acp -m 'a b'", ["gemini", "--experimental-acp", "-m", "a b"]),
        ('a "$HOME" `x`', ["a", "$HOME", "`x`"]),
    ],
)
def test_a_command_in_one_string_is_split_and_nothing_in_it_expanded(tmp_path, text, words):
    assert parse(tmp_path, kind="acp", command=text).command == words


@pytest.mark.requirement("R-027")
@pytest.mark.parametrize(
    "text, says",
    [
        ('{"agent":{"kind":"host"}}', "worktree is missing"),
        ('{"worktree":"","agent":{"kind":"host"}}', "worktree cannot be empty"),
        ('{"worktree":"relative","agent":{"kind":"host"}}', "worktree is not an absolute path"),
        ('{"worktree":"/nonexistent","agent":{"kind":"host"}}', "worktree /nonexistent cannot be used"),
        ('{"worktree":5,"agent":{"kind":"host"}}', "worktree must be a string"),
        ('{"worktree":"/tmp"}', "agent is missing"),
        ('{"worktree":"/tmp","agent":null}', "agent must be an object"),
        ('{"worktree":"/tmp","agent":{}}', "agent.kind is missing"),
        ("{}", "worktree is missing"),
        ("[]", "the agent must be an object"),
    ],
)
def test_an_attachment_without_worktree_or_agent_is_refused(text, says):
    with pytest.raises(InvalidParam, match=re.escape(says)):
        relay.parse_agent(text)


@pytest.mark.parametrize(
    "agent, says",
    [
        ({"kind": "mcp"}, 'agent.kind cannot be "mcp"'),
        ({"kind": "acp"}, "agent.command is missing"),
        ({"kind": "acp", "command": ""}, "agent.command names no program"),
        ({"kind": "acp", "command": []}, "agent.command names no program"),
        ({"kind": "acp", "command": [""]}, "agent.command names no program"),
        ({"kind": "acp", "command": "'a"}, "agent.command cannot be split into words"),
        ({"kind": "acp", "command": ["a", 1]}, "agent.command[1] must be a string"),
        ({"kind": "acp", "command": ["a\0b"]}, "agent.command holds a NUL"),
        ({"kind": "acp", "command": ["a" * 131_072]}, "agent.command holds a text that is too long"),
        ({"kind": "acp", "command": ["a"] * 1001}, "agent.command has 1001 elements"),
        ({"kind": "acp", "command": 5}, "agent.command must be a string or an array of strings"),
        ({"kind": "acp", "command": "a", "env": []}, "agent.env must be an object"),
        ({"kind": "acp", "command": "a", "env": {"A": 1}}, "agent.env.A must be a string"),
        ({"kind": "acp", "command": "a", "env": {"A=B": ""}}, "agent.env has a variable whose name"),
        ({"kind": "acp", "command": "a", "env": {"": ""}}, "agent.env has a variable whose name"),
        ({"kind": "acp", "command": "a", "env": {"A": "\0"}}, "agent.env.A holds a NUL"),
        ({"kind": "acp", "command": "a", "files": "all"}, 'agent.files cannot be "all"'),
        ({"kind": "acp", "command": "a", "startMs": 0}, "agent.startMs is out of range"),
        ({"kind": "acp", "command": "a", "silenceMs": 1 << 40}, "agent.silenceMs is out of range"),
        ({"kind": "acp", "command": "a", "idleMs": 1.5}, "agent.idleMs must be an integer"),
        ({"kind": "acp", "command": "a", "messagesPerSecond": -1}, "agent.messagesPerSecond is out of range"),
        ({"kind": "acp", "command": "a", "restore": 1}, "agent.restore must be a boolean"),
        ({"kind": "acp", "command": "a", "worktree": "/tmp"}, "unknown key agent.worktree"),
        ({"kind": "acp", "command": "a", "args": []}, "unknown key agent.args"),
        ({"kind": "host", "files": "read"}, 'agent.files is not for an agent of kind "host"'),
    ],
)
def test_an_agent_that_is_wrong_is_refused_by_the_key(agent, says):
    with pytest.raises(InvalidParam, match=re.escape(says)):
        relay.parse_agent(json.dumps({"worktree": "/tmp", "agent": agent}))


def test_what_is_no_json_and_an_unknown_key_beside_the_agent_are_refused():
    with pytest.raises(JsonParse):
        relay.parse_agent("{")
    with pytest.raises(InvalidParam, match="unknown key env in the agent"):
        relay.parse_agent('{"worktree":"/tmp","agent":{"kind":"host"},"env":{}}')


def test_no_message_shows_a_value_of_the_environment(tmp_path):
    for value in ("s3cret\0", "s3cret" + "x" * 131_072, 5, ["s3cret"]):
        with pytest.raises(PlueError) as caught:
            parse(tmp_path, kind="acp", command="a", env={"KEY": value})
        assert "s3cret" not in caught.value.message("x") and "KEY" in caught.value.message("x")


def test_in_create_with_the_worktree_is_in_the_agent(tmp_path):
    agent = {"kind": "acp", "command": "a", "worktree": str(tmp_path)}
    assert relay.parse_agent_object(agent).worktree == str(tmp_path.resolve())
    assert relay.parse_agent_object({"kind": "host"}).worktree is None
    for wrong, says in ((5, "agent must be an object"), ({"kind": "host", "worktree": ""}, "agent.worktree cannot be")):
        with pytest.raises(InvalidParam, match=says):
            relay.parse_agent_object(wrong)
