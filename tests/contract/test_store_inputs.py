"""What ports.Store promises of the queue of inputs."""

import itertools

import pytest

from plue_session.model import Claim, Input
from tests.contract.stored import put, session, transaction, values

STATES = ("pending_active", "deferred_next_turn", "accepted", "cancelled", "completed")


_seqs = itertools.count(1)


def row(number=10, **fields):
    return Input(seq=next(_seqs), number=number, enqueued=5, content='{"text":"x"}', **fields)


def put_all(store, *rows):
    with transaction(store):
        for each in rows:
            store.add_input(each)
    return [each.seq for each in rows]


def loaded(store, seq, number=10):
    with transaction(store):
        return store.input(number, seq)


def claim(number=10, **fields):
    return Claim(**{"number": number, "owner": "me", "turn_id": "turn_1", "expires": 100, **fields})


@pytest.fixture
def filled(store):
    """A store with two sessions."""
    put(store, session(10), session(11))
    return store


@pytest.mark.requirement("L-082")
def test_an_input_comes_back_whole_once_it_is_committed(filled):
    store = filled
    given = row(
        source_key="host:a",
        ingress='{"activeTurn":{"boundary":"afterWork","turnId":"t"}}',
        state="pending_active",
        alone=True,
        wanted="turn_x",
    )
    with transaction(store):
        store.add_input(given)
        assert store.read_inputs("session_10", 0) == []
        assert store.read_input("session_10", given.seq) is None
        assert values(store.input(10, given.seq)) == values(store.input_of_key(10, "host:a")) == values(given)
        assert store.input(11, given.seq) is store.input_of_key(11, "host:a") is store.input(10, given.seq + 1) is None
    (found,) = store.read_inputs("session_10", 0)
    assert values(found) == values(given) and found.name == f"input_{given.seq}"
    assert values(store.read_input("session_10", given.seq)) == values(given)
    assert store.read_input("session_11", given.seq) is store.read_input("session_12", given.seq) is None
    assert store.read_inputs("session_11", 0) == store.read_inputs("session_12", 0) == []


@pytest.mark.requirement("L-082", "L-087")
def test_inputs_come_in_the_order_in_which_they_were_added(filled):
    seqs = put_all(filled, row(), row(11), row(), row())
    assert seqs == sorted(set(seqs))
    assert [each.seq for each in filled.read_inputs("session_10", 0)] == [seqs[0], seqs[2], seqs[3]]
    with transaction(filled):
        assert [each.seq for each in filled.open_inputs(10)] == [seqs[0], seqs[2], seqs[3]]
        assert [each.seq for each in filled.open_inputs(10, after=seqs[0])] == seqs[2:]
        assert [each.seq for each in filled.open_inputs(10, after=seqs[0], limit=1)] == [seqs[2]]
        assert [filled.inputs_have_room(10, most) for most in (2, 3, 4, 9)] == [False, False, True, True]
        assert filled.inputs_have_room(12, 1) and not filled.inputs_have_room(12, 0)
        kept = filled.input(10, seqs[2])  # those left are as far apart as before
        kept.state, kept.alone = "cancelled", True
        filled.keep_input(kept)
        assert [filled.inputs_have_room(10, most) for most in (2, 3)] == [False, True]
        assert values(filled.input(10, seqs[2])) == values(kept)


@pytest.mark.requirement("L-087", "L-091")
def test_those_that_wait_are_neither_taken_nor_ended(filled):
    made = dict(zip(STATES, put_all(filled, *(row(state=state) for state in STATES)), strict=True))
    assert [each.seq for each in filled.read_inputs("session_10", 0)] == [made[state] for state in STATES[:2]]
    with transaction(filled):
        assert [each.seq for each in filled.open_inputs(10)] == [made[state] for state in STATES[:3]]
        assert [filled.inputs_have_room(10, most) for most in (3, 4)] == [False, True]


@pytest.mark.requirement("L-087", "L-096")
def test_the_next_input_is_the_first_for_the_next_turn_or_else_for_one_to_come(filled):
    assert filled.read_next_input("session_10", 0) is None
    accepted, active, other = put_all(filled, row(state="accepted"), row(state="pending_active"), row(11))
    found = filled.read_next_input("session_10", 0)
    assert (found.seq, found.content) == (active, '{"text":"x"}')
    with transaction(filled):
        id = filled.add_claim(claim(expires=100))
    claimed, first, _ = put_all(filled, row(claim_id=id), row(), row())
    assert [filled.read_next_input("session_10", now).seq for now in (99, 100)] == [first, claimed]
    assert filled.read_next_input("session_11", 99).seq == other and filled.read_next_input("session_12", 0) is None
    waits = {seq for seq in (accepted, active, claimed, first, other) if filled.input_waits("session_10", seq, 99)}
    assert waits == {active, first} and filled.input_waits("session_10", claimed, 100)


def test_bare_inputs_are_whole_but_for_what_they_say(filled):
    given = row(source_key="host:a", state="pending_active", alone=True, wanted="turn_x", turn_id="turn_x")
    put_all(filled, given, row(11), row(state="completed"))
    given.content = ""
    with transaction(filled):
        for bare in filled.bare_inputs, filled.active_inputs:
            assert [values(each) for each in bare(10)] == [values(given)]


@pytest.mark.requirement("L-087", "L-092")
def test_what_is_claimed_waits_again_when_its_claim_has_lapsed_or_is_gone(filled):
    with transaction(filled):
        id = filled.add_claim(claim(expires=100))
        filled.add_input(row(claim_id=id))
    assert filled.read_inputs("session_10", 99) == []
    assert len(filled.read_inputs("session_10", 100)) == 1
    with transaction(filled):
        kept = filled.claim(id)
        kept.expires = 200
        filled.keep_claim(kept)
    assert filled.read_inputs("session_10", 199) == [] and len(filled.read_inputs("session_10", 200)) == 1
    with transaction(filled):
        filled.drop_claim(id)
        filled.drop_claim(id)
        assert filled.claim(id) is None
    assert len(filled.read_inputs("session_10", 0)) == 1


@pytest.mark.requirement("L-086", "L-084")
def test_a_source_key_is_one_inputs_of_its_session_whatever_becomes_of_that(filled):
    (one, other) = put_all(filled, row(source_key="host:a"), row(11, source_key="host:a"))
    put_all(filled, row(), row())  # without a key there may be many
    with transaction(filled):
        assert (filled.input_of_key(10, "host:a").seq, filled.input_of_key(11, "host:a").seq) == (one, other)
        kept = filled.input(10, one)
        kept.state = "cancelled"
        filled.keep_input(kept)
        assert filled.input_of_key(10, "host:a").state == "cancelled"


@pytest.mark.requirement("L-090", "L-096")
def test_inputs_are_found_by_where_they_stand_and_by_the_turn_that_they_want(filled):
    seqs = put_all(filled, row(11), *(row(state=state) for state in STATES), row(state="cancelled", wanted="a"))
    (wants, _) = put_all(filled, row(wanted="a"), row(11, state="pending_active"))
    with transaction(filled):
        assert [each.seq for each in filled.inputs_from(10, seqs[3])] == [*seqs[3:], wants]
        assert [each.seq for each in filled.inputs_from(10, 0)] == [*seqs[1:], wants]
        assert filled.inputs_from(10, wants + 2) == filled.inputs_from(12, 0) == []
        assert [each.seq for each in filled.active_inputs(10)] == [seqs[1]]
        assert filled.input_that_wants(10, "a").seq == wants
        assert filled.input_that_wants(11, "a") is filled.input_that_wants(10, "b") is None


def test_what_has_become_of_an_input_is_kept_and_no_more(filled):
    (seq,) = put_all(filled, row(source_key="host:a"))
    changed = loaded(filled, seq)
    changed.state, changed.ingress, changed.claim_id, changed.turn_id = "accepted", '"nextTurn"', 3, "turn_1"
    changed.content, changed.enqueued = "{}", 9
    with transaction(filled):
        filled.keep_input(changed)
    kept = loaded(filled, seq)
    assert (kept.state, kept.claim_id, kept.turn_id) == ("accepted", 3, "turn_1")
    assert (kept.content, kept.enqueued, kept.source_key) == ('{"text":"x"}', 5, "host:a")


@pytest.mark.requirement("L-093")
def test_vacuum_takes_the_tombstones_of_one_session(filled):
    made = put_all(filled, *(row(state=state) for state in STATES), row(11, state="completed"))
    with transaction(filled):
        assert filled.vacuum_inputs(10) == 2
        assert filled.vacuum_inputs(10) == 0
    assert loaded(filled, made[3]) is None and loaded(filled, made[5], 11) is not None
    with transaction(filled):
        assert filled.vacuum_inputs(11) == 1
    assert [each.seq for each in filled.read_inputs("session_10", 0)] == made[:2]


def test_a_claim_comes_back_whole_and_a_later_one_has_a_larger_id(filled):
    given = claim(number=11, owner="other", turn_id="turn_7", expires=7)
    with transaction(filled):
        given.id = filled.add_claim(given)
        assert values(filled.claim(given.id)) == values(given)
        filled.drop_claim(given.id)
        assert filled.add_claim(claim()) > given.id


def test_the_sessions_with_inputs_that_wait_come_by_their_oldest(filled):
    put(filled, session(12))
    put_all(filled, row(12, state="accepted"), row(11), row(10), row(11), row(12, state="completed"))
    assert filled.sessions_with_inputs() == ["session_11", "session_10"]


def test_another_scope_has_its_own(scopes):
    one, other = scopes("opencode http://one /"), scopes("opencode http://other /")
    put(one, session(10, id="ses_a"))
    put(other, session(20, id="ses_b"))
    put_all(one, row(10))
    put_all(other, row(20))
    assert one.sessions_with_inputs() == ["ses_a"] and other.sessions_with_inputs() == ["ses_b"]
    assert len(one.read_inputs("ses_a", 0)) == 1 and one.read_inputs("ses_b", 0) == []


@pytest.mark.requirement("P-177")
def test_the_queue_stays_with_a_session_that_gets_another_id(filled):
    put_all(filled, row())
    with transaction(filled):
        filled.rename("session_10", "ses_new")
    assert len(filled.read_inputs("ses_new", 0)) == 1 and filled.read_inputs("session_10", 0) == []
    assert filled.sessions_with_inputs() == ["ses_new"]


@pytest.mark.requirement("P-143", "P-144")
def test_what_is_rolled_back_or_undone_leaves_nothing(filled):
    store = filled
    (seq,) = put_all(store, row(source_key="host:a"))

    def change():
        store.vacuum_inputs(10)
        kept = store.input(10, seq)
        kept.state, kept.claim_id = "accepted", store.add_claim(claim())
        store.keep_input(kept)
        store.add_input(row(source_key="host:b"))

    store.begin()
    change()
    store.rollback()
    store.begin()
    store.savepoint()
    change()
    store.undo()
    store.commit()
    (left,) = store.read_inputs("session_10", 0)
    assert (left.seq, left.state, left.claim_id) == (seq, "deferred_next_turn", None)


def test_only_what_changes_something_counts_as_written(filled):
    store = filled
    put_all(store, row())
    store.begin()
    seen = store.written()
    store.input(10, 1), store.input_of_key(10, "x"), store.open_inputs(10), store.inputs_have_room(10, 1)
    store.claim(1), store.drop_claim(1), store.vacuum_inputs(10)
    assert store.written() == seen
    store.add_input(row())
    assert store.written() != seen
    store.rollback()
