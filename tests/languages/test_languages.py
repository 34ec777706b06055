"""The same calls from C, Zig, ctypes and Node, whose results are the same but for ids and times."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from plue_session.prototypes import PROTOTYPES
from tests import support
from tests.languages.programs import HERE, host
from tests.remote.hosts import Failed, Host

#: An agent of the Agent Client Protocol.
FAKE = support.ROOT / "tests" / "agents" / "fake_agent.py"
LANGUAGES = ("C", "Zig", "ctypes", "Node")
#: What differs each time: ids, times, cursors, versions of the store; of each the first one seen is the first.
IDS = re.compile(
    r"\b(session_\d{13,}|ses_\w{20,}|msg_\w{20,}|prt_\w{20,}|turn_\d+|input_\d+|per_\w{20,}|que_\w{20,}|ask_\w{20,}|call_\w+)\b"
)
TIMES = re.compile(r"\b1[6-9]\d{11}\b|\b20\d\d-\d\d-\d\dT[\d:.]+Z")
SECRETS = re.compile(r'("(?:secret|correlationId|causeId|cursor|latestCursor)":)"[^"]*"')
#: Functions that scenarios call one after the other, without arguments, and with the session.
PLAIN = ("get_version", "version_number", "event_poll")
BY_NAME = ("usage", "todos", "questions", "permissions", "choices", "inputs", "vacuum", "cancel_turns")
LINKS = re.compile(r"/share/[\w-]+(#[\w-]+)?")


@pytest.fixture(scope="session")
def plain():
    return support.library("plain")


class Recorder:
    """Calls a host, and writes down what each call has returned."""

    def __init__(self, made, folder):
        self._host, self.said, self._ids, self.folder = made, [], {}, str(folder)

    def __call__(self, name, *arguments, keep=True):
        try:
            value = self._host.call(name, *arguments)
        except Failed as error:
            value, shown = None, f"{error.code}: {error.message}"
        else:
            shown = "a handle" if isinstance(value, int) and value > 1_000_000 else value
        if keep:
            self.said.append((name, self._same(shown)))
        return value

    def json(self, name, *arguments, **how):
        return json.loads(self(name, *arguments, **how))

    def _same(self, value):
        """Return a result without what differs each time."""
        if not isinstance(value, str):
            return value
        text = SECRETS.sub(r'\1"…"', LINKS.sub("/share/…", value.replace(self.folder, "…")))
        text = IDS.sub(lambda found: self._ids.setdefault(found[0], f"id {len(self._ids)}"), text)
        return TIMES.sub("…", text)


def sessions(call):
    """The mission's functions."""
    for name in PLAIN:
        call(name)
    for number in (-2, 0, -99):
        call("error_name", number)
    call("json_quote", 'ü "quoted" \\ \n')
    call("json_text", '{"a":["\\u00fc"]}', "/a/0")
    call("json_int", '{"a":5}', "/a", 7)
    call("json_count", '{"a":[1,2]}', "/a")
    call("json_text", "{", "/a")
    session = call("session_create", None)
    session_id = call("session_get_id", session)
    call("session_get_info", session)
    call("session_get_info", None)
    call("session_get_info", 12345)
    call("session_open", "nobody's")
    call("session_update_title", session, "A \u26a1 title")
    call("session_update_title", session, None)
    call("session_update", session, '{"addTags":["one"],"metadata":{"a":1}}')
    call("session_update", session, '{"nonsense":1}')
    call("session_peek_info", session)
    call("session_get_info", session)
    call("session_peek_id", session_id)
    call("session_count", '{"tags":["one"]}')
    call("session_query", '{"tags":["one"]}')
    call("session_list")
    again = call("session_open", session_id)
    call("session_get_id", again)
    call("session_destroy", again)
    call("session_get_id", again)
    child = call("session_create", session_id)
    keyed = call("session_get_or_create", "a key")
    call("session_get_or_create", "ses_no")
    call("session_initialize", session, "fake", "fake-model")
    call("session_initialize", session, "fake", "another")
    call("session_abort", session)
    call("session_batch", f'[{{"op":"update_title","session":"{session_id}","title":"B"}},{{"op":"nothing"}}]')
    for handle in (child, keyed):
        call("session_delete", handle)
    call("session_get_info", child)
    call("session_sync", 10_000)
    json.loads(call("get_app_info", keep=False))  # paths, and how long it has run
    made = call("session_create_with", '{"title":"Made","description":"with options"}')
    call("session_get_info", made)
    call("session_create_with", '{"titel":"Made"}')
    copy = call("session_fork", made, None)
    for handle in (made, copy):
        call("session_delete", handle)
    call("session_observation", session)
    return session


def queue(call, session):
    """Inputs that no turn takes: the embedded backend has no model."""
    first = call.json("session_enqueue", session, '{"text":"one","id":"a"}')
    call("session_enqueue", session, '{"text":"one","id":"a"}')
    call("session_enqueue", session, '{"text":"two","id":"a"}')
    call("session_enqueue", session, '{"text":"two"}')
    call("session_enqueue", session, '{"text":"three","command":"init"}')
    call("session_inputs", session)
    call("session_cancel_inputs", session, json.dumps([{"inputId": first["inputId"]}, {"sourceKey": "host:none"}]))
    call("session_cancel_inputs_from", session, '{"sourceKey":"host:none"}')
    call("session_inputs", session)
    call("session_vacuum", session)
    for name in BY_NAME:
        call(f"session_{name}", session)
    call("session_messages", session, None)
    call("session_messages", session, '{"limit":0}')
    call("session_diff", session, None)
    call("session_run_turn", session, '{"text":"one"}', 1000)
    call("session_reply_permission", session, "per_none", "once")
    call("session_reply_question", session, "que_none", "[]")
    call("session_cancel_turns", session)
    call("session_abort_turn", session, "turn_1")


def share(call, session):
    made = call.json("session_create_share", session)
    session_id = call("session_get_id", session, keep=False)
    call("session_validate_share", session_id, made["secret"])
    call("session_validate_share", session_id, "wrong")
    call("session_unshare", session)


def observe(call, session):
    """All that happens, from an observer that takes it at once."""
    observer = call("session_observe", session, None)
    call("session_update_title", session, "Observed")
    call("session_observer_next", observer, 5_000)
    call("session_observer_next", observer, 0)
    call("session_observer_cursor", observer, keep=False)
    call("session_observer_close", observer)
    call("session_observer_next", observer, 0)
    call("session_observe", session, "nonsense")


def relay(call):
    """What is attached to a session: an agent of the host's, and one that the library runs."""
    for state, event in (("CREATED", "SPAWN"), ("CREATED", "CLEAN"), ("NOWHERE", "SPAWN"), (None, "SPAWN")):
        call("session_relay_next_state", state, event)
    session = call("session_create_with", '{"role":"reviewer"}')
    session_id = call("session_get_id", session)
    call("session_create_with", '{"role":"reviewer"}')
    attached = {"worktree": f"{call.folder}/project", "agent": {"kind": "host"}}
    call("session_relay_attach", session, json.dumps(attached))
    call("session_relay_attach", session, '{"worktree":"relative","agent":{"kind":"host"}}')
    call("session_relay_spawn", session)
    call("session_relay_spawn", session)
    call("session_relay_clean", session_id)
    call("session_relay_attach", session, json.dumps(attached))
    for name in ("nobody", "reviewer"):
        found = call("session_relay_get", name)
    call("session_get_id", found)
    call("session_relay_heartbeat", session)
    call("session_relay_count_message", session)
    call("session_get_info", session)
    call("session_relay_terminate", session_id, "done")
    call("session_relay_terminate", "session_1", None)
    for _ in range(2):
        call("session_relay_clean", session_id)
    call("session_metrics", "xml")
    for kind in ("json", "prometheus"):
        call("session_metrics", kind, keep=False)  # how long it has run
    call("session_get_info", session)
    for handle in (found, session):
        call("session_destroy", handle)


def agent(call):
    """An agent that the library runs: two turns, one of which is ended."""
    given = {
        "kind": "acp",
        "worktree": f"{call.folder}/project",
        "command": [sys.executable, "-S", str(FAKE), "models"],
    }
    call("session_create_with", json.dumps({"agent": {**given, "command": "/nowhere/at/all"}}))
    session = call("session_create_with", json.dumps({"agent": given}))
    observer = call("session_observe", session, None)
    call("session_enqueue", session, '{"text":"[plan=2][tool=bash][ask][say=done]"}')
    asked = await_event(call, observer, "permission.asked")
    call("session_permissions", session)
    call("session_reply_permission", session, asked["id"], "once")
    told(call, await_event(call, observer, "turn.finished"))
    call("session_messages", session, '{"limit":10}')
    begun = call.json("session_run_turn", session, '{"text":"[say=on][wait]"}', 0)
    await_event(call, observer, "message.part.updated", lambda data: "delta" in data)
    call("session_abort_turn", session, begun["turnId"])
    told(call, await_event(call, observer, "turn.finished"))
    for name in BY_NAME:
        call(f"session_{name}", session)
    call("session_delete", session)
    call("session_observer_close", observer)


def turns(call, session):
    """A turn with a tool that asks, one that is aborted, one that fails; and what is left of them."""
    observer = call("session_observe", session, None)
    call("session_choices", session)
    call("session_enqueue", session, '{"text":"[bash=echo hello] [words=3]"}')
    asked = await_event(call, observer, "permission.asked")
    call("session_permissions", session)
    call("session_reply_permission", session, asked["id"], "perhaps")
    call("session_reply_permission", session, asked["id"], "once")
    call("session_reply_permission", session, asked["id"], "once")
    told(call, await_event(call, observer, "turn.finished"))
    call("session_messages", session, '{"limit":10}')
    begun = call.json("session_run_turn", session, '{"text":"[wait]"}', 0)
    await_event(call, observer, "message.part.updated", lambda data: "delta" in data)
    call("session_abort_turn", session, begun["turnId"])
    told(call, await_event(call, observer, "turn.finished"))
    call("session_abort_turn", session, begun["turnId"])
    call("session_run_turn", session, '{"text":"[words=2]"}', 30_000)
    call("session_run_turn", session, '{"text":"[status=401]"}', 30_000)
    for name in BY_NAME:
        call(f"session_{name}", session)
    call("session_observer_close", observer)


def told(call, data):
    call.said.append(("told", call._same(json.dumps(data))))


def await_event(call, observer, kind, fits=lambda data: True):
    """Return the data of the next event like this."""
    while True:
        text = call("session_observer_next", observer, 30_000, keep=False)
        assert text is not None, f"no {kind}"
        event = json.loads(text)
        if event["type"] == kind and fits(event["data"]):
            return event["data"]


def play(plain, tmp_path, language, scenario, **config):
    """Have a host in this language do all of a scenario; return what its calls have returned."""
    folder = tmp_path / language
    (folder / "project").mkdir(parents=True, mode=0o700)
    if "backend" in config:
        config["backend"] = {**config["backend"], "directory": str(folder / "project")}
    command = [str(word) for word in host(language, plain, folder)]
    if language == "Node":
        command[0] = shutil.which("node")
    with Host(plain, folder, init=False, program=command) as made:
        call = Recorder(made, folder)
        call("session_create", None)  # too early
        call("init", json.dumps({"dataDir": str(folder / "data"), **config}), keep=False)
        scenario(call)
        call("session_list", keep=False)
        call("shutdown")
        call("session_list")
    return call.said


def alike(plain, tmp_path, scenario, **config):
    """See that all languages are told the same; return what."""
    first, *others = [(language, play(plain, tmp_path, language, scenario, **config)) for language in LANGUAGES]
    for language, said in others:
        assert len(said) == len(first[1])
        for ours, theirs in zip(said, first[1], strict=True):
            assert ours == theirs, f"{language} and {first[0]}"
    return first[1]


@pytest.mark.requirement("X-016")
def test_all_languages_are_told_the_same_without_a_server(plain, tmp_path):
    def scenario(call):
        session = sessions(call)
        share(call, session)
        queue(call, session)
        observe(call, session)
        relay(call)
        agent(call)
        call("session_delete", session)
        call("session_get_info", session)

    said = alike(plain, tmp_path, scenario)
    assert [row for row in said if "internal error" in str(row)] == []


@pytest.mark.requirement("X-016")
def test_all_languages_are_told_the_same_of_turns(plain, tmp_path, server):
    def scenario(call):
        session = sessions(call)
        observe(call, session)
        turns(call, session)
        call("session_delete", session)

    place = {"url": server.place[0], "username": server.username, "password": server.password}
    said = alike(plain, tmp_path, scenario, backend={"kind": "opencode", **place})
    assert [row for row in said if "internal error" in str(row)] == []


def test_every_host_names_what_the_scenarios_call():
    """Of the header that is all but what has callbacks, frees, or waits for what the scenarios do not make happen."""
    in_c = set(re.findall(r"^    F\((\w+),", (HERE / "host.c").read_text(), re.MULTILINE))
    in_zig = set(
        re.findall(r'"([a-z_]+)",', (HERE / "host.zig").read_text().partition("const names")[2].partition("};")[0])
    )
    called = set(re.findall(r'call(?:\.json)?\(\s*"(\w+)"', Path(__file__).read_text()))
    called |= {f"session_{name}" for name in BY_NAME} | set(PLAIN)
    assert in_c == in_zig == called
    others = re.compile(
        "plue_(free|get_last_error|event_|json_each|json_double|session_(submit|cancel_operation|sync_status|discard_pending|observer_fd|observer_wake|set_cleaner))"
    )
    assert {name for name in PROTOTYPES if not others.match(name)} <= {f"plue_{name}" for name in called}
