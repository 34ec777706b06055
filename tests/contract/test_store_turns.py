"""What ports.Store promises of turns, transcripts and what turns ask."""

import pytest

from plue_session.model import Ask, Claim, Input, Message, Part, Transcript, Turn
from tests.contract.stored import put, session, transaction, values

WHOLE = {
    "message_id": "msg_1",
    "state": "running",
    "inputs": '["input_1"]',
    "claim_id": 3,
    "cancelled": 4,
    "outcome": "stopped",
    "reason": "cancelled",
    "error": '{"code":"BUSY"}',
    "ended": 9,
}


@pytest.fixture
def filled(store):
    """A store with two sessions."""
    put(store, session(10), session(11))
    return store


def turn(id="turn_1", number=10, **fields):
    return Turn(number=number, id=id, started=5, **fields)


def add(store, *turns):
    with transaction(store):
        for each in turns:
            each.seq = store.add_turn(each)


@pytest.mark.requirement("L-061")
def test_a_turn_comes_back_whole_once_it_is_committed(filled):
    store, given = filled, turn(**WHOLE)
    with transaction(store):
        given.seq = store.add_turn(given)
        assert store.read_turns("session_10") == []
        for found in (store.turn(10, "turn_1"), store.turn_of_message(10, "msg_1"), store.open_turn(10)):
            assert values(found) == values(given)
        assert store.turn(11, "turn_1") is store.turn_of_message(11, "msg_1") is store.open_turn(11) is None
    for found in (*store.read_turns("session_10"), store.read_turn("session_10", "turn_1")):
        assert values(found) == values(given)
    assert values(store.read_turn("session_10", "msg_1")) == values(given)
    assert store.read_turn("session_11", "turn_1") is store.read_turn("session_10", "x") is None
    assert store.read_turns("session_11") == []


def test_turns_are_in_the_order_of_their_beginning_and_the_open_one_is_found(filled):
    one, two, other = turn("z"), turn("a", message_id="msg_a"), turn("z", 11)
    add(filled, one, two, other)
    assert [each.id for each in filled.read_turns("session_10")] == ["z", "a"]
    assert [(whose, each.id) for whose, each in filled.read_open_turns()] == [
        ("session_10", "z"),
        ("session_10", "a"),
        ("session_11", "z"),
    ]
    assert filled.read_open_turn("session_10").id == "z" and filled.read_open_turn("session_12") is None
    one.state, one.outcome, one.ended = "ended", "finished", 8
    with transaction(filled):
        filled.keep_turn(one)
        assert filled.open_turn(10).id == "a"
        two.state = "ended"
        filled.keep_turn(two)
        assert filled.open_turn(10) is None
        assert filled.read_open_turn("session_10").id == "z"
    assert filled.read_open_turn("session_10") is None
    assert [(whose, each.id) for whose, each in filled.read_open_turns()] == [("session_11", "z")]
    assert values(filled.read_turn("session_10", "z")) == values(one)
    assert [each.id for each in filled.read_turns("session_10")] == ["z", "a"]


def test_an_id_is_one_turns_of_its_session(filled):
    from plue_session.errors import PlueError

    add(filled, turn("a"), turn("a", 11))
    filled.begin()
    with pytest.raises(PlueError):
        filled.add_turn(turn("a"))
    filled.rollback()
    assert len(filled.read_turns("session_10")) == 1


# -- transcripts -------------------------------------------------------------------------------------------------------
def message(id, created=5, number=10, **fields):
    return Message(**{"number": number, "id": id, "role": "assistant", "created": created, **fields})


def part(id, message_id="msg_1", number=10, **fields):
    return Part(**{"number": number, "message_id": message_id, "id": id, "body": f'{{"id":"{id}"}}', **fields})


def keep(store, *rows):
    with transaction(store):
        for each in rows:
            (store.keep_message if isinstance(each, Message) else store.keep_part)(each)


def page(store, *arguments, **given):
    return [each.id for each, _ in store.read_messages("session_10", *arguments, **given)]


@pytest.mark.requirement("P-141")
def test_messages_and_parts_come_back_whole(filled):
    given = message(
        "msg_1", turn_id="turn_1", completed=7, model='{"providerId":"ü"}', error='{"code":"x"}', usage='{"cost":1}'
    )
    text = part("prt_1", body='{"text":"ü\\u0000"}', finished=True)
    keep(filled, given, text)
    with transaction(filled):
        assert values(filled.message(10, "msg_1")) == values(given)
        assert values(filled.part(10, "msg_1", "prt_1")) == values(text)
        assert [values(each) for each in filled.parts(10, "msg_1")] == [values(text)]
        assert [each.id for each in filled.messages_of_turn(10, "turn_1")] == ["msg_1"]
        assert filled.message(11, "msg_1") is filled.part(11, "msg_1", "prt_1") is None
        assert filled.part(10, "msg_2", "prt_1") is None
        assert filled.parts(11, "msg_1") == filled.messages_of_turn(11, "turn_1") == []
    for found in (filled.read_messages("session_10", 9), filled.read_turn_messages("session_10", "turn_1")):
        ((read, parts),) = found
        assert values(read) == values(given) and [values(each) for each in parts] == [values(text)]
    assert filled.read_messages("session_10", 9, parts=False)[0][1] == []
    assert filled.read_messages("session_11", 9) == filled.read_turn_messages("session_10", "x") == []


@pytest.mark.requirement("P-141")
def test_pages_ascend_and_lead_to_older_ones(filled):
    keep(filled, *(message(f"msg_{id}", created) for id, created in (("b", 5), ("a", 5), ("c", 4), ("d", 9))))
    assert page(filled, 9) == ["msg_c", "msg_a", "msg_b", "msg_d"]
    assert page(filled, 2) == ["msg_b", "msg_d"]
    assert page(filled, 2, before=(5, "msg_b")) == ["msg_c", "msg_a"]
    assert page(filled, 1, (5, "msg_b"), False) == ["msg_a"]
    assert page(filled, 2, before=(4, "msg_c")) == []


def test_another_of_the_same_id_takes_the_place_and_what_is_dropped_takes_its_parts(filled):
    keep(filled, message("msg_1"), part("prt_b"), part("prt_a"), message("msg_2", 6), part("prt_c", "msg_2"))
    keep(filled, message("msg_1", role="user"), part("prt_a", body='{"new":1}', finished=True))
    with transaction(filled):
        assert filled.message(10, "msg_1").role == "user"
        assert [(each.id, each.finished == 1) for each in filled.parts(10, "msg_1")] == [
            ("prt_a", True),
            ("prt_b", False),
        ]
        assert filled.part(10, "msg_1", "prt_a").body == '{"new":1}'
        filled.drop_part(10, "msg_1", "prt_b")
        filled.drop_part(10, "msg_1", "prt_b")
        assert [each.id for each in filled.parts(10, "msg_1")] == ["prt_a"]
        filled.drop_message(10, "msg_1")
        filled.drop_message(10, "msg_1")
        assert filled.parts(10, "msg_1") == [] and len(filled.parts(10, "msg_2")) == 1
    assert page(filled, 9) == ["msg_2"]
    assert filled.check() == []


def test_what_is_known_of_a_transcript_and_what_was_used_is_kept(filled):
    assert filled.read_transcript("session_10") is None and filled.read_usage("session_10") == []
    given = Transcript(number=10, complete=True, before="cursor", todos='[{"content":"x"}]')
    with transaction(filled):
        assert filled.transcript(10) is filled.usage_of(10, "m") is None
        filled.keep_transcript(Transcript(number=10, complete=False, before=None))
        filled.keep_transcript(given)
        filled.keep_usage(10, '"b"', "1")
        filled.keep_usage(10, '"a"', "1")
        filled.keep_usage(10, '"b"', "2")
        assert values(filled.transcript(10)) == values(given) and filled.usage_of(10, '"b"') == "2"
    assert values(filled.read_transcript("session_10")) == values(given)
    assert filled.read_usage("session_10") == [('"a"', "1"), ('"b"', "2")]
    assert filled.read_transcript("session_11") is None and filled.read_usage("session_11") == []


# -- what turns ask ----------------------------------------------------------------------------------------------------
def ask(id="per_1", number=10, kind="permission", **fields):
    return Ask(**{"number": number, "id": id, "kind": kind, "body": "{}", "asked": 5, "deadline": 50, **fields})


def ask_all(store, *asks):
    with transaction(store):
        for each in asks:
            store.keep_ask(each)


@pytest.mark.requirement("P-144")
def test_what_is_asked_comes_back_whole_and_is_open_until_it_has_ended(filled):
    given = ask(turn_id="turn_1", message_id="msg_1", body='{"action":"ü"}')
    ask_all(filled, given)
    with transaction(filled):
        assert values(filled.ask(10, "per_1")) == values(given)
        assert filled.ask(11, "per_1") is None
    assert values(filled.read_ask("session_10", "per_1")) == values(given)
    assert [values(each) for each in filled.read_asks("session_10", "permission")] == [values(given)]
    assert filled.read_asks("session_10", "question") == filled.read_asks("session_11", "permission") == []
    given.ended = "host"
    ask_all(filled, given)
    assert filled.read_asks("session_10", "permission") == filled.open_asks() == []
    assert filled.read_ask("session_10", "per_1").ended == "host"
    with transaction(filled):
        assert filled.asks(10) == []
        filled.drop_ended_asks(10, "turn_1")
        assert filled.ask(10, "per_1").ended == "host"  # until another turn asks
        filled.drop_ended_asks(10, "turn_2")
        assert filled.ask(10, "per_1") is None


def test_asks_come_in_their_order_and_the_first_to_be_due_first(filled):
    ask_all(
        filled, ask("b", deadline=70), ask("a", deadline=60), ask("c", asked=4, deadline=80), ask("q", 11, "question")
    )
    assert [each.id for each in filled.read_asks("session_10", "permission")] == ["c", "a", "b"]
    with transaction(filled):
        assert [each.id for each in filled.asks(10)] == ["c", "a", "b"]
        filled.drop_ended_asks(10, None)
    assert [(whose, each.id) for whose, each in filled.open_asks()] == [
        ("session_11", "q"),
        ("session_10", "a"),
        ("session_10", "b"),
        ("session_10", "c"),
    ]


# -- all of them -------------------------------------------------------------------------------------------------------
def fill(store, number):
    """Put something of each kind into a session, in one transaction."""
    id = store.add_claim(Claim(number=number, owner="me", turn_id="turn_1", expires=9))
    of = {"number": number, "enqueued": 1, "content": "{}"}
    store.add_input(Input(seq=number * 10, **of, state="accepted", claim_id=id, turn_id="turn_1"))
    store.add_input(Input(seq=number * 10 + 1, **of, source_key="host:a"))
    store.add_input(Input(seq=number * 10 + 2, **of, state="completed"))
    store.add_turn(turn(number=number, **WHOLE))
    store.keep_message(message("msg_1", number=number, turn_id="turn_1"))
    store.keep_part(part("prt_1", number=number))
    store.keep_usage(number, "{}", "{}")
    store.keep_transcript(Transcript(number=number, complete=True, before=None))
    store.keep_ask(ask(number=number))
    store.keep_ask(ask("q", number, "question", ended="abort"))


def left(store, session_id):
    """Return what is there of a session, by kind."""
    return {
        "inputs": len(store.read_inputs(session_id, 0)),
        "turns": len(store.read_turns(session_id)),
        "messages": sum(1 + len(parts) for _, parts in store.read_messages(session_id, 9)),
        "usage": len(store.read_usage(session_id)),
        "transcript": store.read_transcript(session_id) is not None,
        "asks": len(store.read_asks(session_id, "permission")),
        "ended asks": store.read_ask(session_id, "q") is not None,
    }


@pytest.mark.requirement("P-146")
def test_with_a_session_goes_all_that_was_said_and_waits_in_it(filled):
    store = filled
    with transaction(store):
        fill(store, 10)
        fill(store, 11)
    whole = left(store, "session_11")
    assert all(whole.values()) and store.check() == []
    with transaction(store):
        store.erase("session_10")
        assert store.open_inputs(10) == [] and store.claim(1) is None and store.vacuum_inputs(10) == 0
        assert store.parts(10, "msg_1") == [] and store.turn(10, "turn_1") is store.ask(10, "q") is None
        assert store.usage_of(10, "{}") is store.transcript(10) is None
    assert not any(left(store, "session_10").values())
    assert left(store, "session_11") == whole and store.check() == []


@pytest.mark.requirement("P-143", "P-144")
def test_of_what_is_rolled_back_or_undone_nothing_is_left(filled):
    store = filled
    store.begin()
    fill(store, 10)
    store.rollback()
    store.begin()
    store.savepoint()
    fill(store, 10)
    store.undo()
    store.commit()
    assert not any(left(store, "session_10").values())


def test_what_was_read_is_a_copy_of_what_is_kept(filled):
    with transaction(filled):
        fill(filled, 10)
    ((found, parts),) = filled.read_messages("session_10", 9)
    for each in (filled.read_turns("session_10")[0], found, parts[0], filled.read_ask("session_10", "per_1")):
        each.id = "changed"
    assert filled.read_turns("session_10")[0].id == "turn_1"
    assert filled.read_messages("session_10", 9)[0][1][0].id == "prt_1"


def test_the_check_of_a_store_names_what_has_lost_what_it_belongs_to(filled):
    store = filled
    with transaction(store):
        fill(store, 99)  # of no session
        store.keep_part(part("prt_2", "msg_2"))
        store.add_input(Input(seq=4, number=10, enqueued=1, content="{}", state="accepted", turn_id="turn_7"))
        store.add_input(Input(seq=5, number=10, enqueued=1, content="{"))
        store.keep_message(message("msg_3", usage="nothing"))
        store.keep_part(part("prt_3", "msg_3", body="?"))
        store.keep_ask(ask(body="["))
    problems = store.check()
    for kind in ("input", "claim", "turn", "message", "part", "usage", "transcript", "ask"):
        assert f"{kind} without session 99" in problems
    assert "part prt_2 without message msg_2" in problems
    assert [each for each in problems if each.endswith("without turn turn_7")]
    assert {each.split(":")[0] for each in problems if "not JSON" in each} == {
        "input 5",
        "message msg_3",
        "part prt_3",
        "ask per_1",
    }
