"""What callers want said: parsed, put into the queue, listed, taken back, and handed to who runs the turns."""

import json
import threading

import pytest

from plue_session import errors
from plue_session.model.input import PENDING
from plue_session.rules import inputs as rules
from plue_session.services.turns import inputs as services
from plue_session.services.turns import queue

FOR_TURN = {"activeTurn": {"turnId": "t1", "boundary": "afterWork"}}


@pytest.fixture
def session(world):
    session = world.sessions.create()
    world.told.take()
    return session


def enqueue(world, session, text="x", **more):
    says = {} if {"parts", "command"} & more.keys() else {"text": text}
    return json.loads(world.inputs.enqueue(session.id, json.dumps({**says, **more})))


def listed(world, session):
    return json.loads(world.inputs.inputs(session.id))


def outcomes(text):
    return [(each["outcome"], each.get("inputId")) for each in json.loads(text)]


def cancel(world, session, *targets):
    return outcomes(world.inputs.cancel(session.id, json.dumps(list(targets))))


def by_id(record):
    return {"inputId": record["inputId"]}


def change(world, session, work):
    """Return what `work(transaction, session)` returns, inside a change."""
    return world.writer.run(lambda transaction: work(transaction, transaction.load(session.id)))


def take(world, session, **more):
    return change(world, session, lambda transaction, loaded: queue.take(transaction, loaded, "me", 1 << 60, **more))


def end(world, session, turn, outcome="finished"):
    """End a turn as a driver does; returns the names of the inputs that were completed, and of those deferred."""

    def work(transaction, _):
        ended = queue.complete(transaction, turn)
        turn.state, turn.outcome = "ended", outcome
        transaction.store.keep_turn(turn)
        deferred = queue.defer(transaction, turn.number, turn.id, turn.message_id)
        return [each.name for each in ended], [each.name for each in deferred]

    return change(world, session, work)


def names(rows):
    return [each.name for each in rows]


# -- what is taken in --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, said",
    [
        ("{}", "nothing to say"),
        ('{"text":"x","command":"init"}', "both text and command"),
        ('{"text":"x","arguments":"y"}', "arguments belong to a command"),
        ('{"text":""}', "text cannot be empty"),
        ('{"text":1}', "text must be a string"),
        ('{"text":"x","mood":1}', "unknown key mood"),
        ('{"command":"/init"}', "not a command's name"),
        ('{"command":"two words"}', "not a command's name"),
        ('{"parts":[]}', "non-empty array"),
        ('{"parts":[{"type":"text","text":""}]}', "parts say nothing"),
        ('{"parts":[{"type":"text","text":""},{"type":"text","text":""}]}', "parts say nothing"),
        ('{"parts":[{"type":"image"}]}', r"parts\[0\].type"),
        ('{"parts":[{"type":"text","text":"x","file":{}}]}', "not just type and text"),
        ('{"parts":[{"type":"file","file":{"mimeType":"a/b"}}]}', "incomplete"),
        ('{"parts":[{"type":"file","file":{"path":"/a","url":"u","mimeType":"a/b"}}]}', "incomplete"),
        ('{"parts":[{"type":"file","file":{"path":"a","mimeType":"a/b"}}]}', "not absolute"),
        ('{"text":"x","id":""}', "id cannot be empty"),
        ('{"text":"x","turnId":"a b"}', "turnId is malformed"),
        ('{"text":"x","ingress":"now"}', "ingress is none"),
        ('{"text":"x","ingress":{"activeTurn":{"turnId":"t","boundary":"soon"}}}', "ingress.activeTurn.boundary"),
        ('{"text":"x","ingress":{"activeTurn":{"boundary":"afterWork"}}}', "ingress.activeTurn.turnId"),
        ('{"text":"x","model":{"providerId":"p"}}', "model.modelId is missing"),
        ("[]", "must be an object"),
    ],
)
def test_what_is_no_input_is_refused_and_the_key_is_named(given, said):
    with pytest.raises(errors.InvalidParam, match=said):
        rules.parse_input(given)


@pytest.mark.parametrize("texts", [["", "x"], [" "]])
def test_parts_of_which_one_says_something_are_an_input(texts):
    parts = [{"type": "text", "text": text} for text in texts]
    assert rules.parse_input(json.dumps({"parts": parts})).says == {"parts": parts}


def test_text_that_is_no_json_is_a_parse_error():
    for parse in (rules.parse_input, rules.parse_targets, rules.parse_target):
        with pytest.raises(errors.JsonParse):
            parse("{")


@pytest.mark.parametrize("data", ["YQ==", "YWI=", "YWJj", "+/+/"])
def test_a_file_may_come_as_base64(data):
    part = {"type": "file", "file": {"data": data, "mimeType": "text/plain", "name": "a"}}
    assert rules.parse_input(json.dumps({"parts": [part]})).says == {"parts": [part]}


@pytest.mark.parametrize(
    "data", ["YQ", "YQ=", "YQ===", "=YQ=", "YQ==\n", "YQ==YQ==", "ü===", "====", "YWJj====", "-_-_"]
)
def test_what_is_no_base64_is_refused_by_every_python(data):
    part = {"type": "file", "file": {"data": data, "mimeType": "text/plain"}}
    with pytest.raises(errors.InvalidParam, match=r"parts\[0\].file.data is not base64"):
        rules.parse_input(json.dumps({"parts": [part]}))


def test_an_input_that_is_too_long_is_refused():
    with pytest.raises(errors.LimitExceeded, match="16,777,216"):
        rules.parse_input(json.dumps({"text": "x" * rules.MAX_INPUT}))


@pytest.mark.parametrize(
    "given, said",
    [
        ("{}", "not an array"),
        ("[{}]", r"targets\[0\] does not name one"),
        ('[{"inputId":"a","sourceKey":"b"}]', "does not name one"),
        ('[{"inputId":""}]', "cannot be empty"),
        ('[{"inputId":1}]', "must be a string"),
        ('[{"id":"a"}]', "unknown key"),
        (json.dumps([{"inputId": "a"}] * 1001), "at most 1000"),
    ],
)
def test_what_names_no_input_is_refused(given, said):
    with pytest.raises(errors.InvalidParam, match=said):
        rules.parse_targets(given)


# -- enqueue -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-080", "L-082", "L-083")
def test_what_is_enqueued_is_a_record_and_one_event(world, session):
    given = {"text": "hé", "id": "a", "model": {"modelId": "m", "providerId": "p"}, "agent": "build"}
    record = json.loads(world.inputs.enqueue(session.id, json.dumps(given)))
    del given["id"]
    assert record == {
        "inputId": f"input_{record['enqueueSeq']}",
        "sessionId": session.id,
        "enqueueSeq": record["enqueueSeq"],
        "sourceKey": "host:a",
        "ingress": "nextTurn",
        "state": "deferred_next_turn",
        "enqueuedAt": world.now,
        "input": given,
    }
    assert world.told.take() == [("queue.changed", {"change": "enqueued", "kind": "input", "ids": [record["inputId"]]})]
    assert listed(world, session) == [record]
    assert "sourceKey" not in enqueue(world, session)


@pytest.mark.requirement("L-082", "L-087")
def test_what_is_enqueued_is_listed_in_its_order(world, session):
    other = world.sessions.create()
    made = [enqueue(world, each, str(place)) for place, each in enumerate([session, other, session, session])]
    seqs = [each["enqueueSeq"] for each in made]
    assert seqs == sorted(set(seqs))
    assert listed(world, session) == [made[0], made[2], made[3]] and listed(world, other) == [made[1]]


@pytest.mark.requirement("L-084", "L-086")
def test_the_same_input_once_more_is_the_same_one_whatever_has_become_of_it(world, session):
    first = enqueue(world, session, id="a", model={"providerId": "p", "modelId": "m"})
    world.told.take()
    again = json.loads(
        world.inputs.enqueue(session.id, '{"model":{"modelId":"m","providerId":"p"},"id":"a","text":"x"}')
    )
    assert again == first and world.told.take() == []
    cancel(world, session, by_id(first))
    world.told.take()
    again = enqueue(world, session, id="a", model={"providerId": "p", "modelId": "m"})
    assert (again["inputId"], again["state"]) == (first["inputId"], "cancelled") and world.told.take() == []
    assert listed(world, session) == []
    assert enqueue(world, world.sessions.create(), id="a")["inputId"] != first["inputId"]


@pytest.mark.requirement("L-085")
@pytest.mark.parametrize("other", [{"text": "y"}, {"text": "x", "agent": "b"}, {"text": "x", "ingress": FOR_TURN}])
def test_another_input_of_the_same_id_is_a_conflict_that_names_the_first(world, session, other):
    first = enqueue(world, session, id="a")
    error = world.unchanged_by(
        errors.Conflict, world.inputs.enqueue, session.id, json.dumps({**other, "id": "a"}), match=first["inputId"]
    )
    assert error.details == {"inputId": first["inputId"]}
    assert listed(world, session) == [first]


def test_a_turn_id_is_given_once(world, session):
    first = enqueue(world, session, turnId="mine", id="a")
    assert enqueue(world, session, turnId="mine", id="a") == first
    plain = enqueue(world, session)
    for taken in ("mine", f"turn_{plain['enqueueSeq']}"):
        given = json.dumps({"text": "x", "turnId": taken})
        world.unchanged_by(errors.Conflict, world.inputs.enqueue, session.id, given, match="turn id")
    cancel(world, session, by_id(first))
    assert enqueue(world, session, turnId="mine")["state"] == "deferred_next_turn"
    assert take(world, session)[0].id == f"turn_{plain['enqueueSeq']}"


def test_a_turn_finds_an_id_also_if_a_caller_has_used_the_one_that_is_its_own(world, session):
    seq = enqueue(world, session)["enqueueSeq"] + 2
    enqueue(world, session, turnId=f"turn_{seq}")
    assert enqueue(world, session)["enqueueSeq"] == seq
    found = []
    while taken := take(world, session):
        found.append(taken[0].id)
        end(world, session, taken[0])
    assert found == [f"turn_{seq - 2}", f"turn_{seq}", f"turn_{seq}_2"]


def test_at_most_so_many_inputs_of_a_session_are_open(world, session, monkeypatch):
    monkeypatch.setattr(services, "MOST", 3)
    made = [enqueue(world, session) for _ in range(3)]
    error = world.unchanged_by(errors.QueueFull, world.inputs.enqueue, session.id, '{"text":"x"}', match="3 inputs")
    assert error.retryable and error.session == session.id
    enqueue(world, world.sessions.create())
    cancel(world, session, by_id(made[1]))
    assert enqueue(world, session)["state"] == "deferred_next_turn"


def test_a_session_that_was_deleted_has_no_queue(world, session):
    enqueue(world, session)
    world.sessions.delete(session.id)
    for call in (
        lambda: world.inputs.enqueue(session.id, '{"text":"x"}'),
        lambda: world.inputs.inputs(session.id),
        lambda: world.inputs.cancel(session.id, "[]"),
        lambda: world.inputs.cancel_from(session.id, '{"inputId":"input_1"}'),
        lambda: world.inputs.vacuum(session.id),
    ):
        with pytest.raises(errors.NotFound):
            call()
    assert world.store.sessions_with_inputs() == [] and world.store.check() == []


@pytest.mark.requirement("L-082")
def test_sixteen_threads_enqueue_and_none_is_lost(world, session):
    results, start = [[] for _ in range(16)], threading.Barrier(16)

    def run(place):
        start.wait()
        results[place] += [enqueue(world, session, f"{place} {number}") for number in range(25)]

    threads = [threading.Thread(target=run, args=(place,)) for place in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in results:
        seqs = [each["enqueueSeq"] for each in own]
        assert seqs == sorted(set(seqs)) and len(seqs) == 25
    found = listed(world, session)
    assert sorted(each["inputId"] for own in results for each in own) == sorted(each["inputId"] for each in found)
    assert [each["enqueueSeq"] for each in found] == sorted(each["enqueueSeq"] for each in found)
    events = [data["ids"] for kind, data in world.told.take() if kind == "queue.changed"]
    assert [id for ids in events for id in ids] == [each["inputId"] for each in found] and len(events) == 400


@pytest.mark.requirement("L-082", "L-093")
def test_no_number_of_an_input_comes_again_whatever_becomes_of_those_before(world, session):
    seqs = [enqueue(world, session)["enqueueSeq"]]

    def added(*ways):
        for way in ways:
            way()
            seqs.append(enqueue(world, session)["enqueueSeq"])

    def fail():
        """As a change does that fails after it has written, beside one that does not."""

        def change(transaction):
            world.inputs.services.enqueue(session.id, rules.parse_input('{"text":"x"}')).preview(transaction)
            raise errors.NotFound("it fails")

        outcome, made = world.writer.run_all([change, lambda transaction: None])
        assert isinstance(outcome, errors.NotFound) and made is None

    def vacuum():
        cancel(world, session, *map(by_id, listed(world, session)))
        assert world.inputs.vacuum(session.id)

    def erase():
        other = world.sessions.create()
        seqs.append(enqueue(world, other)["enqueueSeq"])
        world.sessions.delete(other.id)

    def trim():
        world.store.begin()
        world.store.trim(0, 1 << 60, [session.id])
        world.store.commit()

    added(fail, vacuum, erase, trim, fail)
    assert seqs == sorted(set(seqs)) and len(seqs) == 7


# -- for the turn that runs --------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-083", "L-096")
def test_an_input_for_a_turn_waits_for_it_and_comes_next_when_that_has_ended(world, session):
    first = enqueue(world, session, turnId="t1")
    (turn, _, _) = take(world, session)
    mine, other, gone = (enqueue(world, session, str(place), ingress=FOR_TURN) for place in range(3))
    world.writer.run(lambda transaction: transaction.store.keep_input(_for_other(transaction, session, other)))
    cancel(world, session, by_id(gone))
    assert mine["state"] == PENDING and mine["ingress"] == FOR_TURN
    assert take(world, session) is None
    assert end(world, session, turn) == ([first["inputId"]], [mine["inputId"]])
    assert end(world, session, turn) == ([], [])  # once
    assert [(each["inputId"], each["state"]) for each in listed(world, session)] == [
        (mine["inputId"], "deferred_next_turn"),
        (other["inputId"], PENDING),
    ]
    assert names(take(world, session)[2]) == [mine["inputId"]]


def test_one_for_a_turn_that_another_has_taken_the_input_of_waits_for_its_own(world, session):
    first, second = enqueue(world, session, "one"), enqueue(world, session, "two")
    ingress = {"activeTurn": {"boundary": "afterWork", "turnId": f"turn_{second['enqueueSeq']}"}}
    mine = enqueue(world, session, "three", ingress=ingress)
    assert mine["state"] == PENDING
    assert names(take(world, session)[2]) == [first["inputId"], second["inputId"]]
    assert [(each["inputId"], each["state"]) for each in listed(world, session)] == [
        (mine["inputId"], "deferred_next_turn")
    ]


def _for_other(transaction, session, record):
    row = transaction.store.input(session.number, record["enqueueSeq"])
    row.ingress = json.dumps({"activeTurn": {"boundary": "afterWork", "turnId": "t2"}})
    return row


@pytest.mark.requirement("L-083")
def test_one_for_a_turn_that_has_ended_waits_for_its_own(world, session):
    enqueue(world, session, turnId="t1")
    (turn, _, _) = take(world, session, message_id="msg_1")
    end(world, session, turn)
    for name in ("t1", "msg_1"):
        ingress = {"activeTurn": {"turnId": name, "boundary": "beforeCompletion"}}
        assert enqueue(world, session, ingress=ingress)["state"] == "deferred_next_turn"
    assert enqueue(world, session, ingress=FOR_TURN | {}, id="a")["ingress"] == FOR_TURN


def test_one_for_a_turn_that_a_host_may_begin_waits_for_it(world, session):
    assert enqueue(world, session, ingress=FOR_TURN)["state"] == PENDING
    assert take(world, session) is None


def test_what_was_for_a_turn_that_will_not_come_waits_for_its_own(world, session):
    named = enqueue(world, session, turnId="t1")
    waits = enqueue(world, session, ingress=FOR_TURN)
    cancel(world, session, by_id(named))
    (left,) = listed(world, session)
    assert (left["inputId"], left["state"]) == (waits["inputId"], "deferred_next_turn")


# -- cancel ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-088", "L-089", "L-176")
def test_targets_are_cancelled_in_one_step_with_an_outcome_each(world, session):
    one, two, three = (enqueue(world, session, id=name) for name in "abc")
    world.told.take()
    text = world.inputs.cancel(
        session.id,
        json.dumps([by_id(three), {"sourceKey": "host:a"}, by_id(three), {"inputId": "input_99"}, {"sourceKey": "b"}]),
    )
    found = json.loads(text)
    assert outcomes(text) == [
        ("cancelled", three["inputId"]),
        ("cancelled", one["inputId"]),
        ("already_cancelled", three["inputId"]),
        ("not_found", "input_99"),
        ("not_found", None),
    ]
    assert found[1]["input"] == {**one, "state": "cancelled"} and found[4]["sourceKey"] == "b"
    gone = [three["inputId"], one["inputId"]]
    assert world.told.take() == [("queue.changed", {"change": "cancelled", "kind": "input", "ids": gone})]
    assert listed(world, session) == [two]


@pytest.mark.requirement("L-088", "L-091", "L-176", "L-097")
def test_what_is_taken_or_has_ended_is_not_cancelled_and_nobody_is_told(world, session):
    record = enqueue(world, session)
    turn, _, _ = take(world, session)
    world.told.take()
    (found,) = json.loads(world.inputs.cancel(session.id, json.dumps([by_id(record)])))
    assert (found["outcome"], found["turnId"], found["input"]["state"]) == ("already_claimed", turn.id, "accepted")
    assert found["claim"] == {"claimId": f"claim_{turn.claim_id}", "owner": "me", "expiresAt": 1 << 60}
    change(world, session, lambda transaction, _: transaction.store.drop_claim(turn.claim_id))
    assert cancel(world, session, by_id(record)) == [("already_claimed", record["inputId"])]
    assert end(world, session, turn, "stopped")[0] == [record["inputId"]]
    assert cancel(world, session, by_id(record)) == [("already_completed", record["inputId"])]
    assert cancel(world, session) == [] and world.told.take() == []
    assert listed(world, session) == []


@pytest.mark.requirement("L-087", "L-092")
def test_what_a_host_has_claimed_is_its_own_until_the_claim_lapses(world, session):
    record = enqueue(world, session)

    def claim(transaction, loaded):
        row = transaction.store.input(loaded.number, record["enqueueSeq"])
        row.claim_id = transaction.store.add_claim(
            queue.Claim(number=loaded.number, owner="host", turn_id="t", expires=world.now + 10)
        )
        transaction.store.keep_input(row)

    change(world, session, claim)
    assert listed(world, session) == [] and take(world, session) is None
    assert cancel(world, session, by_id(record)) == [("already_claimed", record["inputId"])]
    world.now += 10
    assert listed(world, session) == [record]
    assert cancel(world, session, by_id(record)) == [("cancelled", record["inputId"])]


@pytest.mark.requirement("L-090", "L-176")
def test_an_anchor_and_all_after_it_are_cancelled(world, session):
    other = world.sessions.create()
    first, taken, gone, anchor = (enqueue(world, session, id=name) for name in "abcd")
    assert names(take(world, session, most=2)[2]) == [first["inputId"], taken["inputId"]]
    cancel(world, session, by_id(gone))
    elsewhere, last = enqueue(world, other, id="d"), enqueue(world, session)
    world.told.take()
    found = outcomes(world.inputs.cancel_from(session.id, '{"sourceKey":"host:b"}'))
    assert found == [
        ("already_claimed", taken["inputId"]),
        ("already_cancelled", gone["inputId"]),
        ("cancelled", anchor["inputId"]),
        ("cancelled", last["inputId"]),
    ]
    ids = [anchor["inputId"], last["inputId"]]
    assert world.told.take() == [("queue.changed", {"change": "cancelled", "kind": "input", "ids": ids})]
    assert listed(world, session) == [] and listed(world, other) == [elsewhere]
    text = world.inputs.cancel_from(session.id, json.dumps(by_id(elsewhere)))
    assert json.loads(text) == [{"outcome": "anchor_not_found", "inputId": elsewhere["inputId"]}]
    assert world.told.take() == []


@pytest.mark.requirement("L-093")
def test_tombstones_are_known_until_they_are_vacuumed(world, session):
    gone, done, left = (enqueue(world, session, id=name) for name in "abc")
    cancel(world, session, by_id(gone))
    end(world, session, take(world, session, most=1)[0])
    world.told.take()
    assert (world.inputs.vacuum(session.id), world.inputs.vacuum(session.id)) == (2, 0)
    assert world.told.take() == [] and listed(world, session) == [left]
    assert cancel(world, session, by_id(gone), {"sourceKey": "host:b"}) == [
        ("not_found", gone["inputId"]),
        ("not_found", None),
    ]
    assert enqueue(world, session, id="b")["enqueueSeq"] > left["enqueueSeq"] > done["enqueueSeq"]


# -- for who runs the turns --------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-098", "L-062")
def test_up_to_sixty_four_inputs_make_one_turn(world, session):
    made = [enqueue(world, session, str(place)) for place in range(70)]
    turn, claim, taken = take(world, session, message_id="msg_1")
    ids = [each["inputId"] for each in made]
    assert names(taken) == ids[:64] == json.loads(turn.inputs) and turn.id == f"turn_{made[0]['enqueueSeq']}"
    assert (turn.message_id, turn.claim_id, claim.turn_id) == ("msg_1", claim.id, turn.id)
    assert world.store.read_turn(session.id, "msg_1").id == turn.id
    assert [each["inputId"] for each in listed(world, session)] == ids[64:]
    assert take(world, session) is None  # one at a time
    assert end(world, session, turn)[0] == ids[:64]
    assert names(take(world, session)[2]) == ids[64:]
    assert world.store.check() == []


@pytest.mark.requirement("L-098", "L-061")
def test_inputs_that_name_another_model_or_agent_and_what_is_alone_make_turns_of_their_own(world, session):
    p, q = ({"providerId": "p", "modelId": name} for name in "ab")
    for more in (
        *({}, {}),
        *({"model": p}, {"model": p, "parts": [{"type": "text", "text": "model"}]}),
        {"model": q},
        *({"agent": "a"}, {"agent": "a", "text": '"model"'}),
        {"command": "init"},
        {"turnId": "mine"},
        {"agent": "a"},
    ):
        enqueue(world, session, **more)
    groups = []
    while taken := take(world, session):
        groups.append(len(taken[2]))
        end(world, session, taken[0])
    assert groups == [2, 2, 1, 2, 1, 1, 1]


def test_what_is_long_makes_turns_of_its_own(world, session, monkeypatch):
    for size in (10, 10, 90, 10):
        enqueue(world, session, "x" * size)
    monkeypatch.setattr(rules, "MAX_INPUT", 60)
    groups = []
    while taken := take(world, session):
        groups.append(len(taken[2]))
        end(world, session, taken[0])
    assert groups == [2, 1, 1]


def test_a_claim_has_a_larger_number_than_any_before(world, session):
    claims = []
    for _ in range(3):
        enqueue(world, session)
        turn, claim, _ = take(world, session)
        claims.append(claim.id)
        assert change(world, session, lambda transaction, _, turn=turn: queue.claim_of(transaction, turn)).owner == "me"
        end(world, session, turn)
        assert change(world, session, lambda transaction, _, turn=turn: queue.claim_of(transaction, turn)) is None
    assert claims == sorted(set(claims))


def test_who_runs_the_turns_hears_of_what_is_enqueued_once_it_is_there(world, session):
    heard = []
    world.inputs.services.enqueued = lambda session_id: heard.append((session_id, len(listed(world, session))))
    record = enqueue(world, session)
    assert heard == [(session.id, 1)]
    cancel(world, session, by_id(record))
    world.sessions.update_title(session.id, "x")
    assert heard == [(session.id, 1)]
