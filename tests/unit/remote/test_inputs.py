"""The queue of inputs of sessions that live on a server: the server is asked for nothing."""

import json

import pytest

from plue_session import errors
from plue_session.services.turns import queue
from tests.remote_world import asked, in_thread
from tests.unit.bulk import Bulk, codes

FOR_TURN = {"activeTurn": {"turnId": "msg_1", "boundary": "afterWork"}}


def enqueue(world, session, **given):
    given = json.dumps({"text": "x", **given})
    return json.loads(world.do(lambda on: on.inputs.enqueue(getattr(session, "id", session), given)))


def cancel(world, session, *targets):
    text = json.dumps(targets)
    return [each["outcome"] for each in json.loads(world.do(lambda on: on.inputs.cancel(session.id, text)))]


def listed(world, session_id):
    return json.loads(world.do(lambda on: on.inputs.inputs(session_id)))


@pytest.mark.requirement("L-080", "L-093")
def test_a_change_of_the_queue_asks_the_server_for_nothing(world):
    session = world.create()
    asked(world), world.told.take()
    record = enqueue(world, session)
    assert cancel(world, session, {"inputId": record["inputId"]}, {"sourceKey": "host:a"}) == ["cancelled", "not_found"]
    text = world.do(lambda on: on.inputs.cancel_from(session.id, '{"inputId":"input_7"}'))
    assert json.loads(text) == [{"outcome": "anchor_not_found", "inputId": "input_7"}]
    assert world.do(lambda on: on.inputs.vacuum(session.id)) == 1 and listed(world, session.id) == []
    assert asked(world) == []
    assert [data["change"] for _, data in world.told.take()] == ["enqueued", "cancelled"]


def test_it_does_not_wait_for_a_change_that_the_server_is_slow_with(world):
    session = world.create()
    late = []
    world.server.during["update"] = lambda: late.append(in_thread(lambda: enqueue(world, session))())
    world.do(lambda on: on.sessions.update_title(session.id, "slow"), session.id)
    assert [each["state"] for each in late] == ["deferred_next_turn"]


@pytest.mark.requirement("P-173", "P-177")
def test_what_is_enqueued_while_the_server_is_away_stays_with_the_session_whatever_its_id_becomes(world):
    world.away()
    session = world.create(title="Offline")
    record = enqueue(world, session, id="a")
    assert record["sessionId"] == session.id
    world.back()
    (there,) = world.server.sessions.values()
    for name in (session.id, there.id):
        (found,) = listed(world, name)
        assert (found["inputId"], found["sessionId"]) == (record["inputId"], there.id)
        assert enqueue(world, name, id="a") == found
    assert world.store.sessions_with_inputs() == [there.id]
    assert cancel(world, session, {"sourceKey": "host:a"}) == ["cancelled"]


@pytest.mark.requirement("P-177")
def test_a_session_that_gets_its_id_in_the_same_commit_keeps_its_queue(world):
    world.away()
    session = world.create()
    work = world.inputs.enqueue(session.id, _given()).preview

    def name(transaction):
        loaded = transaction.load(session.id)
        transaction.store.rename(session.id, "ses_new")
        loaded.id, loaded.aliased = "ses_new", True
        transaction.save(loaded, "session.updated", {"id": "ses_new"})

    _, text = world.writer.run_all([name, work])
    assert json.loads(text)["sessionId"] == "ses_new"


def _given():
    from plue_session.rules.inputs import parse_input

    return parse_input('{"text":"x"}')


@pytest.mark.requirement("L-083", "L-096")
def test_one_for_a_turn_that_nobody_knows_waits_for_its_own_and_for_one_to_come_or_that_runs_it_waits(world):
    session = world.create()
    other = enqueue(world, session, ingress=FOR_TURN)
    assert other["state"] == "deferred_next_turn"
    first = enqueue(world, session, turnId="mine")
    states = [
        enqueue(world, session, ingress={"activeTurn": {"turnId": name, "boundary": "afterWork"}})["state"]
        for name in ("mine", f"turn_{first['enqueueSeq']}", f"turn_{other['enqueueSeq']}", "turn_99", "other")
    ]
    assert states == ["pending_active", "deferred_next_turn", "pending_active"] + ["deferred_next_turn"] * 2

    def begin(transaction):
        return queue.take(transaction, transaction.load(session.id), "me", 1 << 60, "msg_1")

    turn, _, _ = world.writer.run(begin)
    assert turn.id == f"turn_{other['enqueueSeq']}"
    assert enqueue(world, session, ingress=FOR_TURN)["state"] == "pending_active"


def test_another_process_hears_of_it_once_it_is_committed(two):
    first, second, deliver = two
    session = first.create()
    deliver(0), deliver(1)
    heard = []
    second.inputs.enqueued = heard.append
    enqueue(first, session)
    assert heard == []
    second.writer.catch_up()
    assert heard == [session.id] and len(listed(second, session.id)) == 1
    cancel(first, session, {"inputId": "input_1"})
    second.writer.catch_up()
    assert heard == [session.id]


def test_what_the_log_no_longer_tells_of_may_have_been_an_input(two):
    first, second, _ = two
    session = first.create()
    heard = []
    second.inputs.enqueued = heard.append
    enqueue(first, session)
    first.writer.run(lambda transaction: transaction.store.trim(0, 1 << 60, []))
    first.do(lambda on: on.sessions.update_title(session.id, "x"), session.id)
    second.writer.catch_up()
    assert heard in ([None], [None, session.id])


@pytest.mark.requirement("P-146")
def test_a_delete_takes_the_queue_with_it_also_while_the_server_is_away(world):
    one, two = world.create(), world.create()
    enqueue(world, one), enqueue(world, two)
    world.do(lambda on: on.sessions.delete(one.id), one.id)
    world.away()
    world.do(lambda on: on.sessions.delete(two.id), two.id)
    assert world.store.sessions_with_inputs() == [] and world.store.check() == []
    for session in (one, two):
        with pytest.raises(errors.NotFound):
            enqueue(world, session)


def test_a_delete_that_is_refused_later_brings_the_session_back_with_its_queue_and_without_its_turn(world):
    session = world.create()
    enqueue(world, session)
    waiting = listed(world, session.id)

    def begin(transaction):
        loaded = transaction.load(session.id)
        loaded.turn, loaded.held_until = '{"turnId":"turn_1","state":"running","since":1}', 1
        transaction.save(loaded, "session.updated", {"id": session.id})

    world.writer.run(begin)
    world.away()
    world.do(lambda on: on.sessions.delete(session.id), session.id)
    world.reconcile()
    world.server.fail["delete"] = errors.InvalidParam("the server answered 400", details={"status": 400})
    world.replay()
    assert "turn" not in world.info(session) and listed(world, session.id) == waiting and world.store.check() == []
    assert world.store.read(session.id).held_until is None
    assert enqueue(world, session)["state"] == "deferred_next_turn"


@pytest.mark.requirement("L-185")
def test_in_bulk_it_is_the_same_record(world):
    many = Bulk(world, world.sessions, executor=world.executor, calls=world.calls, resolve=world.sessions.resolve)
    session = world.create()
    asked(world)
    given = {"text": "x", "id": "a"}
    direct = enqueue(world, session, **given)
    steps = (
        {"op": "enqueue", "session": session.id, "input_json": given},
        {"op": "enqueue", "session": session.id, "input_json": json.dumps(given)},
        {"op": "enqueue", "session": session.id, "input_json": {"text": "y", "id": "a"}},
        {"op": "enqueue", "session": session.id, "input_json": {}},
        {"op": "cancel_inputs", "session": session.id, "targets_json": '[{"sourceKey":"host:a"}]'},
        {"op": "cancel_inputs", "session": session.id, "targets_json": [{"sourceKey": "host:a"}]},
    )
    results = many.run(*steps)
    assert codes(results) == ["OK", "OK", "CONFLICT", "INVALID_PARAM", "OK", "OK"]
    assert results[0]["ok"] == results[1]["ok"] == direct and asked(world) == []
    assert [each["ok"][0]["outcome"] for each in results[4:]] == ["cancelled", "already_cancelled"]
    submitted = many.start(*steps[:1]).wait()
    assert submitted[0]["ok"] == {**direct, "state": "cancelled"}
    many.batches.close(errors.closed(), 10)
