"""An abort through the library ends the turn that runs, for certain and soon, and nothing else."""

import itertools
import json
import threading

import pytest

from tests.robust import gate as gates
from tests.robust.conftest import TORTURE, patience
from tests.robust.gate import Gate
from tests.robust.host import Host, eventually, outcome

#: How often the deciding scenario is run.
TIMES = 200 if TORTURE else 10
numbers = itertools.count()


@pytest.fixture(scope="module")
def host(daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with Host(folder, {"dataDir": str(folder), "backend": daemon.backend}) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        yield host


@pytest.fixture(scope="module", autouse=True)
def warm(host, other, model):
    """The first turn of a server's life takes seconds (O-050)."""
    session = host.session_get_id(host.session_create(None))
    other.finished(session, other.prompt(session, "warm [words=1]"))


@pytest.fixture(autouse=True)
def forgotten(model, warm):
    """What the model did before this test is not of this test."""
    for happenings in (model.started, model.ended):
        while not happenings.empty():
            happenings.get()


@pytest.fixture
def session(host):
    """`(handle, id)` of a new session with a title of its own."""
    handle = host.session_create_with('{"title":"To be aborted"}')
    return handle, host.session_get_id(handle)


@pytest.fixture
def behind(daemon, tmp_path):
    """`(gate, host)`: a host that reaches the server through a gate, with 4 s for its calls."""
    with (
        Gate(daemon.url) as gate,
        Host(tmp_path, {"dataDir": str(tmp_path), "backend": gate.backend(daemon), "requestTimeoutMs": 4000}) as host,
    ):
        assert eventually(lambda: host.status()["server"]["events"])
        yield gate, host


def run(other, model, session_id, order="wait"):
    """Begin a turn that streams until it is aborted; returns its prompt's id and text when its first word is out."""
    text = f"turn {next(numbers)} [{order}]"
    prompt = other.prompt(session_id, text)
    assert model.started.get(timeout=20) == text
    return prompt, text


def is_aborted(host, handle):
    return host.info(handle)["aborted"]


@pytest.mark.requirement("T-01", "P-020", "P-151", "P-155", "O-033")
def test_an_abort_in_mid_stream_ends_the_turn_within_two_seconds_and_the_next_runs(
    host, session, other, model, request
):
    handle, session_id = session
    took = []
    for _ in range(TIMES):
        prompt, text = run(other, model, session_id)
        abort = host.start("session_abort", handle)
        abort.result()
        took.append(abort.took)
        # What must hold when it returns, without waiting any more: status, the server's store and ours agree.
        assert not other.busy(session_id)
        answer = other.answer(session_id, prompt)
        assert answer.ended and answer.failure.name == "MessageAbortedError"
        assert is_aborted(host, handle) and json.loads(host.session_get_info(handle))["aborted"]
        assert model.ended.get(timeout=2) == (text, "left")
    assert max(took) < patience(2)
    if TORTURE:
        request.node.user_properties += [
            ("aborts", TIMES),
            ("median s", sorted(took)[TIMES // 2]),
            ("slowest s", max(took)),
        ]
    answer = other.finished(session_id, other.prompt(session_id, "next [words=2]"))
    assert answer.failure is None and model.ended.get(timeout=5) == ("next [words=2]", "done")


@pytest.mark.requirement("P-064", "P-065", "P-154")
def test_the_flag_shows_at_once_and_clears_with_the_next_turn_only(host, session, other, model):
    handle, session_id = session
    flags, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            flags.append(is_aborted(host, handle))

    assert is_aborted(host, handle) is False
    run(other, model, session_id)
    watcher = threading.Thread(target=watch)
    watcher.start()
    host.session_abort(handle)
    seen = len(flags)
    # Nothing that comes late of the aborted turn clears it.
    assert eventually(lambda: len(flags) > seen + 200, 5)
    threading.Event().wait(0.6)
    stop.set()
    watcher.join()
    assert flags == sorted(flags) and flags[-1] is True
    # A turn that is over before anybody can look clears it, too.
    other.finished(session_id, other.prompt(session_id, "short [words=1]"))
    assert eventually(lambda: not is_aborted(host, handle), 5)
    assert [name for name in host.info(handle) if "abort" in name] == ["aborted"]


@pytest.mark.requirement("P-020", "P-022")
def test_an_abort_with_nothing_running_succeeds_and_is_one_change(host, session):
    handle, session_id = session
    host.session_query(None)  # a create may return before its commit, which is told of then; readers wait for that
    host.subscribe()
    abort = host.start("session_abort", handle)
    assert abort.result() == 0 and abort.took < 2 and is_aborted(host, handle)
    host.session_create_with('{"title":"The last event"}')
    heard = []
    assert eventually(
        lambda: (
            heard.extend(host.heard())
            or any("The last event" in json.dumps(event) for event in heard)
            or len(heard) > 1
        ),
        5,
    )
    assert [event["type"] for event in heard if event.get("sessionId") == session_id] == ["session.updated"]


def test_an_abort_touches_no_other_session(host, session, other, model):
    handle, session_id = session
    second = host.session_create_with('{"title":"Goes on"}')
    second_id = host.session_get_id(second)
    prompt, text = run(other, model, second_id)
    host.session_abort(handle)
    assert other.busy(second_id) and not other.answer(second_id, prompt).ended and not is_aborted(host, second)
    host.session_abort(second)
    assert model.ended.get(timeout=2) == (text, "left")


def test_two_threads_abort_at_once_and_both_succeed(host, session, other, model):
    handle, session_id = session
    run(other, model, session_id)
    answers = [host.start("session_abort", handle) for _ in range(2)]
    assert [outcome(answer) for answer in answers] == ["OK", "OK"]
    assert model.ended.get(timeout=2)[1] == "left" and not other.busy(session_id)


@pytest.mark.requirement("T-01")
def test_abort_turn_ends_only_the_turn_that_is_named(host, session, other, model):
    handle, session_id = session
    before = other.prompt(session_id, "before [words=1]")
    other.finished(session_id, before)
    model.started.get(timeout=5), model.ended.get(timeout=5)
    prompt, text = run(other, model, session_id)
    for elsewhere in (before, "msg_" + "0" * 26):
        assert host.session_abort_turn(handle, elsewhere) == 0
        assert other.busy(session_id) and not other.answer(session_id, prompt).ended
    assert host.session_abort_turn(handle, prompt) == 0
    assert other.answer(session_id, prompt).ended and not other.busy(session_id)
    assert model.ended.get(timeout=2) == (text, "left")
    assert host.session_abort_turn(handle, prompt) == 0


def test_an_abort_of_a_deleted_session_is_not_found(host, session, other):
    handle, session_id = session
    other.delete(session_id)
    assert eventually(lambda: outcome(host.start("session_abort", handle)) == "NOT_FOUND", 5)


@pytest.mark.requirement("O-035")
def test_an_abort_during_a_retry_ends_it(host, session, other):
    handle, session_id = session
    other.prompt(session_id, "refuse [status=500]")
    assert eventually(lambda: other.state(session_id) == "retry", 15)
    abort = host.start("session_abort", handle)
    abort.result()
    assert abort.took < 2 and not other.busy(session_id)


@pytest.mark.requirement("P-021")
def test_the_flag_stays_when_the_server_cannot_be_told(behind, other, model):
    gate, host = behind
    handle = host.session_create(None)
    session_id = host.session_get_id(handle)
    run(other, model, session_id)
    gate.rules.append((gates.of("POST", "/abort"), gates.refuse(500)))
    refused = host.start("session_abort", handle)
    assert eventually(lambda: is_aborted(host, handle), 2)
    assert refused.failure().code == "SERVER" and is_aborted(host, handle)
    gate.clear()
    gate.rules.append((gates.of("POST", "/abort"), gates.stall))
    stalled = host.start("session_abort", handle)
    assert stalled.failure(8).code == "TIMEOUT" and stalled.took < 5
    assert is_aborted(host, handle) and other.busy(session_id)
    gate.clear()
    assert host.session_abort(handle) == 0
    assert model.ended.get(timeout=2)[1] == "left"


@pytest.mark.requirement("P-150", "P-152", "P-156")
def test_an_abort_ends_the_calls_of_other_threads_on_its_session_alone(behind, other, model):
    """Also when every thread that may wait for the server does: aborts have an executor of their own."""
    gate, host = behind
    handles = [host.session_create(None) for _ in range(2)]
    first, second = (host.session_get_id(handle) for handle in handles)
    run(other, model, first)
    gate.rules.append((gates.of("PATCH"), gates.stall))
    mine = [
        host.start("session_update_title", handles[0], "A"),
        host.start("session_update", handles[0], '{"archived":true}'),
    ]
    others = [host.start("session_update_title", handles[1], f"B{number}") for number in range(8)]
    for _ in range(2):  # one of each session reaches the server, the others wait for it
        assert gate.asked.get(timeout=5)[0] == "PATCH"
    abort = host.start("session_abort", handles[0])
    while not eventually(lambda: all(answer.is_there for answer in mine), 1):
        host.start("session_abort", handles[0])  # a thread of the host's made its call later than the first one
    assert [outcome(answer) for answer in mine] == ["ABORTED", "ABORTED"]
    abort.result()
    assert max(each.took for each in (abort, *mine)) < patience(2) and model.ended.get(timeout=2)[1] == "left"
    gate.clear()
    # What was cut may have failed, or reached the server after all when it let go: none of it is ABORTED.
    assert {outcome(answer) for answer in others} <= {"OK", "CONNECTION", "TIMEOUT"}
    assert host.session_update_title(handles[0], "After") == 0 and other.titles()[first] == "After"


def test_an_interrupted_call_leaves_the_session_usable_and_in_step(behind, other):
    gate, host = behind
    handle = host.session_create_with('{"title":"Before"}')
    session_id = host.session_get_id(handle)
    gate.rules.append((gates.of("PATCH"), gates.stall_after))
    renamed = host.start("session_update_title", handle, "Taken by the server")
    gate.asked.get(timeout=5)
    host.session_abort(handle)
    assert renamed.failure().code == "ABORTED"
    gate.clear()
    # It did take effect, and that is seen.
    assert eventually(lambda: host.info(handle)["title"] == "Taken by the server" == other.titles()[session_id], 8)
    assert host.session_update_title(handle, "After") == 0 and other.titles()[session_id] == "After"
