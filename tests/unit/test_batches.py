"""Operations in bulk on the embedded backend."""

import threading

import pytest

from plue_session import errors, threads
from plue_session.capi import bulk
from plue_session.capi.surface import TABLE
from plue_session.rules import steps
from plue_session.services import batches
from tests.unit.bulk import Bulk, Told, codes


@pytest.fixture
def many(world):
    return Bulk(world, world.sessions.services)


def counting(monkeypatch, owner, name):
    """Return a list that grows with each call of a method."""
    calls, method = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **more: (calls.append(given), method(*given, **more))[1])
    return calls


@pytest.mark.requirement("P-174")
def test_operations_are_functions_of_the_surface_with_their_parameters():
    made = bulk.functions(None, None)
    assert sorted(made) == sorted(
        "create create_with fork get_info update update_title initialize delete abort abort_turn create_share unshare "
        "list query enqueue cancel_inputs run_turn".split()
    )
    for name, op in made.items():
        notes = TABLE[f"plue_session_{name}"][0].__annotations__
        assert [parameter for parameter, *_ in op.parameters] == [each for each in notes if each != "return"]
    assert [name for name, op in made.items() if op.is_urgent] == ["abort", "abort_turn"]


@pytest.mark.requirement("P-174")
def test_each_has_a_result_in_order_and_one_that_fails_stops_none(world, many):
    session = world.sessions.create()
    results = many.run(
        {"op": "update_title", "session": session.id, "title": "one"},
        {"op": "update_title", "session": "session_1", "title": "none"},
        {"op": "get_info", "session": session.id},
        {"op": "initialize", "session": session.id, "provider_id": "p", "model_id": ""},
        {"op": "update", "session": session.id, "patch_json": {"tags": 7}},
        {"op": "create", "parent_id": session.id},
        {"op": "list"},
        {"op": "fork", "session": session.id},
        {"op": "create_share", "session": session.id},
        {"op": "delete", "session": session.id},
        {"op": "query", "query_json": '{"limit":1}'},
    )
    assert codes(results) == [
        *("OK", "NOT_FOUND", "OK", "INVALID_PARAM", "INVALID_PARAM", "OK", "OK", "UNSUPPORTED", "OK", "OK", "OK")
    ]
    assert results[0]["ok"] is True and results[2]["ok"]["title"] == "one"
    assert results[5]["ok"]["parentId"] == session.id and len(results[6]["ok"]) == 2
    assert "secret" in results[8]["ok"] and results[10]["ok"] == {"sessions": []}
    error = results[1]["error"]
    assert (error["number"], error["retryable"]) == (-2, False) and error["timestamp"] > 0
    assert error["message"].startswith("plue_session_update_title session_1: the session does not exist")


@pytest.mark.requirement("P-174")
def test_neighbouring_changes_share_a_commit_and_reads_see_what_came_before(world, many, monkeypatch):
    commits = counting(monkeypatch, world.store, "commit")
    create, listing = {"op": "create"}, {"op": "list"}
    results = many.run(*[create] * 50, {"op": "nothing"}, *[create] * 50, listing, create, listing)
    assert len(commits) == 2 and len(results[101]["ok"]) == 100 and len(results[103]["ok"]) == 101
    ids = [each["ok"]["id"] for each in results[:50]]
    assert ids == sorted(ids) and len(set(ids)) == 50


@pytest.mark.requirement("P-174")
def test_a_change_that_fails_takes_none_of_its_neighbours_along(world, many):
    key = {"op": "create_with", "options_json": {"key": "k"}}
    results = many.run(key, key, {"op": "create"})
    assert codes(results) == ["OK", "ALREADY_EXISTS", "OK"]
    assert results[1]["error"]["details"] == {"sessionId": results[0]["ok"]["id"]}
    assert world.sessions.count("{}") == 2


def test_what_is_wrong_as_a_whole_is_the_error_of_the_call(world, many):
    with pytest.raises(errors.InvalidParam, match="array"):
        many.run_text("{}")
    with pytest.raises(errors.LimitExceeded, match="1001 operations"):
        many.run(*[{"op": "create"}] * 1001)
    assert world.sessions.count("{}") == 0 and many.run() == []


@pytest.mark.requirement("P-171")
def test_progress_is_told_with_the_tag_of_the_operation_and_not_too_often(world, many):
    batch = many.start({"op": "create", "tag": "a"}, {"op": "nothing"}, {"op": "list", "tag": "c"})
    assert codes(batch.wait()) == ["OK", "INVALID_PARAM", "OK"]
    assert batch.heard == [("a", 1), (None, 2), ("c", 3)] and batch.has_run and not batch.is_cut
    batch = many.start(*[{"op": "create"}] * 1000)
    batch.wait()
    assert [done for _, done in batch.heard] == list(range(20, 1001, 20))


@pytest.mark.requirement("P-171")
def test_where_all_is_wrong_nothing_has_run(world, many):
    batch = many.start({"op": "nothing"}, {"op": "get_info", "session": "no id"})
    assert codes(batch.wait()) == ["INVALID_PARAM"] * 2 and not batch.has_run
    batch = many.start({"op": "get_info", "session": "session_1"})
    assert codes(batch.wait()) == ["NOT_FOUND"] and batch.has_run


def test_the_secret_of_a_share_is_hidden_where_the_caller_may_not_hear_it(world, many):
    session = world.sessions.create()
    batch = Told({"op": "create_share", "session": session.id})
    batch.shown = lambda op, answer: f'"{op.name}"'
    many.batches.start(batch)
    assert batch.wait() == [{"ok": "create_share"}]


def test_results_that_are_too_long_are_errors_and_the_rest_goes_on(world, many, monkeypatch):
    monkeypatch.setattr(batches, "RESULTS", 1000)
    session = world.sessions.create_with('{"title":"%s"}' % ("x" * 1000))
    results = many.run({"op": "list"}, {"op": "update_title", "session": session.id, "title": ""}, {"op": "list"})
    assert codes(results) == ["LIMIT_EXCEEDED", "OK", "OK"] and world.info(session)["title"] == ""


def test_a_turn_is_the_hosts_to_run(world, many):
    session, turn = world.sessions.create(), {"op": "run_turn", "input_json": {"text": "Hello"}, "timeout_ms": 1000}
    results = many.run({**turn, "session": session.id}, {"op": "create"})
    assert codes(results) == ["UNSUPPORTED", "OK"] and "the host" in results[0]["error"]["message"]


def test_an_abort_sends_home_who_waits(world, many):
    session = world.sessions.create()
    assert codes(many.run({"op": "abort", "session": session.id})) == ["OK"]
    assert world.info(session)["aborted"] and many.sent_home == [session.id]


class Held:
    """Keeps the writer of a world from beginning, as another process does that holds the store's lock."""

    def __init__(self, world, monkeypatch):
        self._release, self.is_met, begin = threading.Event(), threading.Event(), world.store.begin
        monkeypatch.setattr(world.store, "begin", lambda: (self.is_met.set(), self._release.wait(10), begin())[2])
        self._keeper = threading.Thread(target=lambda: world.writer.run(lambda transaction: None))
        self._keeper.start()
        assert self.is_met.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._release.set()
        self._keeper.join(10)


def test_where_the_store_is_locked_each_ends_in_its_own_time(world, many, monkeypatch):
    with Held(world, monkeypatch):
        batch = many.start({"op": "create", "timeoutMs": 50}, {"op": "create", "timeoutMs": 20}, {"op": "list"})
        results = batch.wait()
        assert codes(results) == ["BUSY", "BUSY", "OK"] and results[0]["error"]["retryable"]
        assert "locked by another process" in results[0]["error"]["message"]
    assert world.sessions.count("{}") == 0


@pytest.mark.requirement("P-171")
def test_one_that_is_stopped_does_nothing_more(world, many, monkeypatch):
    stop = errors.Aborted("stopped by the test", "")
    with Held(world, monkeypatch):
        batch = many.start({"op": "create"}, {"op": "list"}, {"op": "create"})
        batch.stop(stop)
        assert codes(batch.wait()) == ["ABORTED"] * 3 and batch.is_cut and batch.heard == []
    assert world.sessions.count("{}") == 0


def test_all_that_a_batch_may_take_is_the_time_of_its_call(world, monkeypatch):
    quick = Bulk(world, world.sessions.services, seconds=0.2)
    with Held(world, monkeypatch):
        results = quick.run({"op": "create", "timeoutMs": 60000}, {"op": "list"}, {"op": "create"})
    assert codes(results) == ["BUSY", "TIMEOUT", "TIMEOUT"]


# -- side by side ------------------------------------------------------------------------------------------------------
def test_more_than_run_side_by_side_wait_and_an_abort_does_not(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 2)
    session = world.sessions.create()
    with Held(world, monkeypatch):
        stuck = [many.start({"op": "create"}) for _ in range(2)]
        waiting = many.start({"op": "list"})
        abort = many.start({"op": "abort", "session": session.id, "timeoutMs": 20}, {"op": "list"})
        assert codes(abort.wait()) == ["BUSY", "OK"] and waiting.over.empty()
        waiting.stop(errors.Aborted("stopped by the test", ""))
    assert codes(waiting.wait()) == ["ABORTED"]
    assert [codes(each.wait()) for each in stuck] == [["OK"], ["OK"]]


@pytest.mark.requirement("P-171")
def test_long_texts_wait_like_others_and_an_abort_waits_for_none_of_them(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 2)
    session, long = world.sessions.create(), [{"op": "list", "tag": "x" * 200}] * 100
    with Held(world, monkeypatch):
        stuck = [many.start({"op": "create"}, *long) for _ in range(2)]
        waiting = [many.start(*long) for _ in range(20)]
        for name, more in ("abort_turn", {"turn_id": "msg_1"}), ("abort", {}):
            abort = many.start({"session": session.id, "op": name, "timeoutMs": 50, **more}, *long)
            assert len(abort.wait()) == 101
        assert all(each.over.empty() and each.steps is None for each in waiting)
    assert all(set(codes(each.wait())) == {"OK"} for each in stuck + waiting)


@pytest.mark.requirement("P-171")
def test_one_that_waits_ends_at_once_when_it_is_stopped(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 1)
    long = [{"op": "create", "tag": "x" * 200}] * 50
    with Held(world, monkeypatch):
        stuck = many.start({"op": "create"})
        for operations in ([{"op": "create", "tag": "t"}, {"op": "list"}], long, [7, *long]):
            waiting = many.start(*operations)
            many.batches.stop(waiting, errors.Aborted("stopped by the test", ""))
            assert codes(waiting.wait()) == ["ABORTED"] * len(operations) and waiting.is_cut and not waiting.has_run
            assert steps.first_tag(waiting.steps) == operations[-1].get("tag", "t")
        many.batches.stop(stuck, errors.Aborted("stopped by the test", ""))
        assert codes(stuck.wait()) == ["ABORTED"]
    assert world.sessions.count("{}") == 0


def test_at_the_end_who_waits_unread_takes_no_time(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 1)
    with Held(world, monkeypatch):
        many.start({"op": "create"})
        waiting = [many.start(*[{"op": "create", "tag": "x" * 200}] * 50) for _ in range(2)]
        assert set(waiting) <= set(many.batches.close(errors.closed(), 0))
        assert all(each.over.empty() for each in waiting)


def test_a_long_text_is_read_on_a_thread_of_its_own(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SHORT", 10)
    assert codes(many.start({"op": "create"}).wait()) == ["OK"]
    with pytest.raises(errors.JsonParse):
        many.run_text("[" * 20)


def test_where_no_thread_can_be_started_it_is_refused(world, many, monkeypatch):
    def fail(name, run):
        raise RuntimeError

    monkeypatch.setattr(threads, "make", fail)
    with pytest.raises(errors.StoreIo, match="no thread"):
        many.start({"op": "create"}).wait()
    monkeypatch.undo()
    assert codes(many.start({"op": "create"}).wait()) == ["OK"]


# -- the end -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-171")
def test_at_the_end_all_end_and_who_is_stuck_is_named(world, many, monkeypatch):
    monkeypatch.setattr(batches, "SIDE_BY_SIDE", 1)
    stuck_at, go = threading.Event(), threading.Event()
    listing = world.sessions.services.list
    monkeypatch.setattr(world.sessions.services, "list", lambda: (stuck_at.set(), go.wait(10), listing())[2])
    stuck = many.start({"op": "list"}, {"op": "create"})
    assert stuck_at.wait(10)
    waiting = many.start({"op": "create"}, {"op": "list"})
    assert many.batches.close(errors.closed(), 0.05) == [stuck]
    assert codes(waiting.wait()) == ["CLOSED"] * 2 and waiting.is_cut
    late = many.start({"op": "create"})
    assert codes(late.wait()) == ["CLOSED"] and late.is_cut
    go.set()
    assert codes(stuck.wait()) == ["OK", "CLOSED"] and many.batches.close(errors.closed(), 10) == []
    assert world.sessions.count("{}") == 0
