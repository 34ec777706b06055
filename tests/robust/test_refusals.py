"""A bad parameter is refused at once, whoever holds the store or stalls the server: each function, each of its
parameters, each way to be bad.

The calls may take ten minutes, and the test has less patience: what waits for the store or the server is no refusal.
"""

import contextlib
import fcntl
import json

import pytest

from plue_session.capi.surface import TABLE
from tests import support
from tests.remote.hosts import Host
from tests.robust import gate as gates
from tests.robust.gate import Gate
from tests.robust.host import eventually

TEN_MINUTES = 600_000
NOT_TEXT = ("\udcff", "a\udc80b")  # bytes that are not UTF-8
LONG = {"times": (64 << 20) + 1}
NULL = (None,)
IDS = ("", "../x", "session_", "session_x", "ses_a/b", "session_1/..", "s" * 101)
JSON = ("{", "", "[]", '{"colour":"red"}', '{"a":1}x')

#: Of each type of parameter: values that no store and no server is needed to refuse.
BAD = {
    "Text": (*NULL, *NOT_TEXT, LONG),
    "Configuration": (*NOT_TEXT, *JSON, '{"store":"tape"}', '{"requestTimeoutMs":-1}', LONG),
    "ParentId": (*NOT_TEXT, *IDS[1:]),
    "SessionId": (*NULL, *NOT_TEXT, *IDS, "a key"),
    "Key": (*NULL, *NOT_TEXT, "", "a/b", "a\\b", "..", "session_1", "ses_1", "a\nb", "k" * 201),
    "IdOrKey": (*NULL, *NOT_TEXT, "", "a/b", "session_x", "ses_", "k" * 201, "a\nb"),
    "MessageId": (*NOT_TEXT, "", "message", "msg/1", "msg" + "_" * 100),
    "TurnId": (*NULL, *NOT_TEXT, "", "msg/1", "x" * 101, "é"),
    "Name": (*NULL, *NOT_TEXT, ""),
    "AskId": (*NULL, *NOT_TEXT, ""),
    "Reply": (*NULL, *NOT_TEXT, "", "yes", "ONCE"),
    "Options": (
        *NOT_TEXT,
        *JSON,
        '{"tags":"x"}',
        '{"key":"a/b"}',
        '{"parentId":"x"}',
        '{"directory":"/nowhere/at/all"}',
        '{"template":"t"}',
        '{"role":""}',
        '{"provider":{"providerId":"p"}}',
        '{"title":"%s"' % ("x" * 100_000),
    ),
    "Query": (*NOT_TEXT, *JSON, '{"limit":0}', '{"cursor":"x"}', '{"status":[]}', '{"sort":"size"}'),
    "Patch": (
        *NULL,
        *NOT_TEXT,
        *JSON,
        '{"titel":"x"}',
        '{"tags":[1]}',
        '{"metadata":[]}',
        '{"base":{"key":"x"}}',
        '{"title":"%s"' % ("x" * 100_000),
    ),
    "Input": (
        *NULL,
        *NOT_TEXT,
        *JSON,
        "{}",
        '{"text":""}',
        '{"parts":[{"type":"text","text":""}]}',
        '{"text":"x","command":"init"}',
        '{"parts":[{"type":"file","file":{"data":"?","mimeType":"a/b"}}]}',
        '{"text":"x","ingress":"soon"}',
        '{"text":"%s"' % ("x" * 100_000),
        LONG,
    ),
    "Agent": (
        *NULL,
        *NOT_TEXT,
        *JSON,
        '{"worktree":"/tmp"}',
        '{"agent":{"kind":"host"}}',
        '{"worktree":"tmp","agent":{"kind":"host"}}',
        '{"worktree":"/nowhere/at/all","agent":{"kind":"host"}}',
        '{"worktree":"/tmp","agent":{"kind":"acp"}}',
        '{"worktree":"/tmp","agent":{"kind":"acp","command":"\'"}}',
        '{"worktree":"/tmp","agent":{"kind":"acp","command":["x"],"env":{"A=B":"c"}}}',
        '{"worktree":"/tmp","agent":{"kind":"host","startMs":-1}}',
    ),
    "Role": (*NULL, *NOT_TEXT, ""),
    "Reason": (*NOT_TEXT, "x" * 1001),
    "MetricsFormat": (*NULL, *NOT_TEXT, "", "xml"),
    "Word": (*NULL, *NOT_TEXT),
    "Targets": (*NULL, *NOT_TEXT, "{", "", "{}", "[{}]", '[{"inputId":1}]', '[{"id":"x"}]'),
    "Target": (*NULL, *NOT_TEXT, *JSON, "{}", '{"inputId":""}', '{"inputId":"a","sourceKey":"b"}'),
    "MessageQuery": (*NOT_TEXT, *JSON, '{"limit":0}', '{"limit":101}', '{"parts":1}'),
    "DiffQuery": (*NOT_TEXT, *JSON, '{"turnId":1}', '{"turnId":"a","messageId":"b"}'),
    "Answers": (*NOT_TEXT, "{", "", "{}", "[1]", "[[1]]"),
    "Operations": (*NULL, *NOT_TEXT, "{", "", "{}", "7", "[]x", '[{"op":"create"}', LONG),
    "Number": (0, (1 << 64) - 1),
    "Milliseconds": (-1, -(1 << 31)),
    "EventCallback": NULL,
    "SessionHandle": (None, 1, 2, 0xDEAD0, "destroyed", "deleted"),
    "SessionOrAll": (None, 2, 0xDEAD0, "destroyed", "deleted"),
    "Cursor": (*NOT_TEXT, "", "x", "2.a.1.*", "1.a.g.*", "1.00000000.1.*", "1.00000000.1.session_1", LONG),
    "Observer": (None, 1, 0xDEAD0, "live", "destroyed"),
    # Whatever is passed is right, or ignored.
    "UserData": (),
    "Cleaner": (),
    "Owned": (),
    "Memory": (),
    "Identifier": (),
    # Reading JSON has nothing to do with the store: c_tests/json.c.
    "Json": (),
    "JsonVisit": (),
    "Whole": (),
    "Ratio": (),
    "Code": (),
}
#: A value that would do.
GOOD = {
    "Text": "text",
    "Configuration": None,
    "ParentId": None,
    "SessionId": "session_1",
    "Key": "a key",
    "IdOrKey": "a key",
    "MessageId": None,
    "TurnId": "msg_1",
    "Name": "name",
    "AskId": "per_1",
    "Reply": "once",
    "Options": "{}",
    "Query": "{}",
    "Patch": "{}",
    "Input": '{"text":"x"}',
    "Agent": '{"worktree":"/tmp","agent":{"kind":"host"}}',
    "Role": "role",
    "Reason": None,
    "Word": "CREATED",
    "Targets": "[]",
    "Target": '{"inputId":"input_1"}',
    "MessageQuery": None,
    "DiffQuery": None,
    "Answers": None,
    "Milliseconds": 10,
    "EventCallback": None,
    "SessionHandle": "live",
    "SessionOrAll": "live",
    "Cursor": None,
    "Observer": "observer",
    "UserData": None,
}
REFUSALS = {"INVALID_PARAM", "JSON_PARSE", "BAD_HANDLE", "BAD_CURSOR", "LIMIT_EXCEEDED", "NOT_FOUND"}
#: A handle that is none is ignored; a library that runs is not started again.
EXCEPT = {"plue_session_destroy", "plue_session_observer_wake", "plue_session_observer_close", "plue_init"}


def cases():
    """Return every call with one bad parameter: `(name, arguments)`."""
    for name, (function, _) in TABLE.items():
        notes = [note for parameter, note in function.__annotations__.items() if parameter not in ("runtime", "return")]
        for place, note in enumerate(notes):
            assert note in BAD, f"say what is bad for {note}, and what is good"
            for bad in () if name in EXCEPT else BAD[note]:
                yield (
                    name.removeprefix("plue_"),
                    [bad if each == place else GOOD[other] for each, other in enumerate(notes)],
                )


def refuse_all(host, handles):
    """Make every bad call, one after the other, and return how many there were."""
    count = 0
    for name, arguments in cases():
        given = [handles.get(each, each) if isinstance(each, str) else each for each in arguments]
        shown = name, [each if len(str(each)) < 100 else "…" for each in arguments]
        try:
            error = host.fails(name, *given)
        except AssertionError as none:
            raise AssertionError(shown) from none
        assert error.code in REFUSALS and not error.retryable, (*shown, str(error))
        count += 1
    return count


def handles_of(host):
    """Return a handle to a session, one that was destroyed, one to a session that was deleted, and an observer's."""
    live, destroyed, deleted = (host.create() for _ in range(3))
    destroyed.destroy()
    deleted.delete()
    observer = host.call("session_observe", live.handle, None)
    return {"live": live.handle, "destroyed": destroyed.handle, "deleted": deleted.handle, "observer": observer}


@pytest.fixture(scope="module")
def plain():
    return support.library("plain")


@contextlib.contextmanager
def locked(folder):
    """Another process, this one, holds the write lock."""
    with open(folder / "sessions.lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.requirement("X-025")
@pytest.mark.parametrize("store_is_waited_for", [False, True], ids=["writer idle", "writer waits"])
def test_whoever_holds_the_store(plain, folder, store_is_waited_for):
    with Host(plain, folder, dataDir=str(folder), requestTimeoutMs=TEN_MINUTES) as host:
        handles = handles_of(host)
        with locked(folder):
            waiting = (
                [
                    host.start("session_update_title", handles["live"], "late"),
                    host.start("session_get_or_create", "late"),
                ]
                if store_is_waited_for
                else []
            )
            assert refuse_all(host, handles) > 150
            assert not any(answer.is_there for answer in waiting)
        for answer in waiting:
            answer.result()
        titles = [info["title"] for info in host.list().values()]
        assert sorted(titles) == (["Untitled", "Untitled", "late"] if store_is_waited_for else ["Untitled", "Untitled"])


@pytest.mark.requirement("X-025")
def test_a_bad_configuration_whoever_holds_the_store(plain, folder):
    with Host(plain, folder, dataDir=str(folder)) as host:
        host.call("shutdown")
        with locked(folder):
            for bad in BAD["Configuration"]:
                assert host.fails("init", bad).code in REFUSALS, bad
            host.call("init", host.config)  # opening needs no lock when there is a store


@pytest.mark.requirement("X-025")
def test_whatever_a_mute_server_holds_up(plain, daemon, folder):
    """All threads that may wait for the server do, and more calls than there are threads."""
    with (
        Gate(daemon.url) as gate,
        Host(
            plain,
            folder,
            dataDir=str(folder),
            backend=gate.backend(daemon),
            requestTimeoutMs=TEN_MINUTES,
            syncIntervalMs=TEN_MINUTES,
            cacheTtlMs=TEN_MINUTES,
        ) as host,
    ):
        host.await_stream()
        handles = handles_of(host)
        gate.rules.append((gates.of(None), gates.stall))
        waiting = [host.start("session_create", None) for _ in range(8)]
        waiting += [host.start("session_abort_turn", handles["live"], "msg_1") for _ in range(18)]
        assert eventually(lambda: gate.asked.qsize() >= 8, 20)  # so many connections there are
        assert refuse_all(host, handles) > 150
        assert not any(answer.is_there for answer in waiting)
        json.loads(host.call("session_sync_status"))
        gate.clear()
