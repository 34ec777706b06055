"""The relay of a session, from its role to its end, over each store."""

import json
import re
import time

import pytest

from plue_session.errors import (
    AlreadyExists,
    InvalidParam,
    InvalidTransition,
    LimitExceeded,
    NotFound,
    Server,
)
from plue_session.model import Attachment
from plue_session.rules import relay as rules
from plue_session.services.relay.ids import Ids
from tests.world import START

ROLE = '{"role":"reviewer"}'


def made(world, state="CREATED"):
    """Return a session that has been brought to this state."""
    session = world.sessions.create_with(ROLE)
    if state in ("SPAWNING", "ACTIVE"):
        world.relay.spawn(session.id)
    if state == "ACTIVE":
        attach(world, session)
    if state in ("TERMINATING", "CLEANED"):
        world.relay.terminate(session.id)
    if state == "CLEANED":
        world.relay.clean(session.id)
    assert world.info(session)["relay"]["state"] == state
    world.told.take()
    world.log.take()
    return session


def attach(world, session, owner=None, **options):
    row = Attachment(kind="host", command=[], worktree="/tree", attached=world.now, options=json.dumps(options))
    row.owner = world.store.owner() if owner is None else owner
    return world.writer.run(lambda transaction: world.relay.activate(transaction, session.id, row))


def relay_of(world, session):
    return world.info(session)["relay"]


def changes(world):
    return [data for kind, data in world.told.take() if kind == "relay.changed"]


# -- the states --------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("R-021")
def test_a_session_made_with_a_role_is_created_stored_and_logged(world):
    session = world.sessions.create_with(ROLE)
    info = world.info(session)
    assert info["role"] == "reviewer"
    assert info["relay"] == {"state": "CREATED", "messageCount": 0, "lastActive": info["time"]["created"]}
    assert world.told.take() == [("session.created", {"id": session.id, "role": "reviewer"})]
    ((level, message),) = world.log.take()
    assert level == "info" and session.id in message and "CREATED" in message and 'role="reviewer"' in message


@pytest.mark.requirement("R-022")
def test_an_empty_role_is_refused(world):
    world.unchanged_by(InvalidParam, world.sessions.create_with, '{"role":""}', match="role cannot be empty")
    with pytest.raises(InvalidParam, match="role cannot be empty"):
        world.relay.get("")


@pytest.mark.requirement("R-023", "R-074")
def test_a_role_with_a_live_session_is_taken_in_each_live_state(world):
    for state in rules.STATES[:-1]:
        session = made(world, state)
        error = world.unchanged_by(AlreadyExists, world.sessions.create_with, ROLE, match=session.id)
        assert error.details == {"sessionId": session.id}
        world.relay.terminate(session.id)
        world.relay.clean(session.id)


@pytest.mark.requirement("R-024")
def test_once_cleaned_the_role_is_free(world):
    first = made(world, "CLEANED")
    second = world.sessions.create_with(ROLE)
    assert second.id != first.id and world.relay.get("reviewer") == second.id


@pytest.mark.requirement("R-025")
def test_spawn_makes_a_created_session_spawning(world):
    session = made(world)
    world.relay.spawn(session.id)
    assert relay_of(world, session)["state"] == "SPAWNING"
    assert changes(world) == [{"from": "CREATED", "to": "SPAWNING", "event": "SPAWN"}]
    world.unchanged_by(NotFound, world.relay.spawn, "session_5", match="session not found: session_5")


@pytest.mark.requirement("R-026", "R-054")
def test_attaching_makes_a_spawning_session_active_and_is_stored(world):
    session = made(world, "SPAWNING")
    world.now += 5
    attach(world, session)
    shown = relay_of(world, session)
    assert shown == {"state": "ACTIVE", "worktree": "/tree", "messageCount": 0, "lastActive": START + 5}
    row = world.store.read_attachment(session.id)
    assert (row.kind, row.worktree, row.owner) == ("host", "/tree", world.store.owner())
    assert world.store.read(session.id).relay_agent == "host"
    assert changes(world) == [{"from": "SPAWNING", "to": "ACTIVE", "event": "ACTIVATE"}]


@pytest.mark.requirement("R-028", "R-010")
@pytest.mark.parametrize("state", ["CREATED", "ACTIVE", "TERMINATING", "CLEANED"])
def test_attaching_in_another_state_is_refused_and_leaves_nothing(world, state):
    session = made(world, state)
    before = world.store.read_attachment(session.id)
    with pytest.raises(InvalidTransition, match=re.escape(rules.REASONS[state])):
        world.writer.run(lambda transaction: world.relay.check_attach(transaction, session.id))
    world.unchanged_by(InvalidTransition, attach, world, session, match=f"state={state} event=ACTIVATE")
    after = world.store.read_attachment(session.id)
    assert (before and before.VALUES(before)) == (after and after.VALUES(after))


@pytest.mark.requirement("R-027")
def test_attaching_to_no_session_is_refused(world):
    with pytest.raises(NotFound, match="session not found: session_5"):
        world.writer.run(lambda transaction: world.relay.check_attach(transaction, "session_5"))


@pytest.mark.requirement("R-077")
def test_what_was_lost_can_be_attached_again(world):
    session, owner = made(world, "ACTIVE"), world.store.owner()
    lose = world.relay.lost

    def lost(by):
        return world.writer.run(lambda transaction: lose(transaction, session.id, by, Server("it died", "Look.")))

    assert not lost(owner + 1) and world.store.read_attachment(session.id).owner == owner
    assert lost(owner) and not lost(owner)
    row = world.store.read_attachment(session.id)
    assert row.owner is row.pid is None and json.loads(row.lost)["code"] == "SERVER"
    assert relay_of(world, session)["state"] == "ACTIVE" and relay_of(world, session)["isLost"] is True
    assert world.told.take()[-1] == ("session.updated", {"id": session.id, "fields": ["relay"]})
    world.now += 9
    attach(world, session)
    assert relay_of(world, session)["lastActive"] == START + 9 and "isLost" not in relay_of(world, session)
    assert world.told.take() == [("session.updated", {"id": session.id, "fields": ["relay"]})]
    row = world.store.read_attachment(session.id)
    assert row.owner == owner and row.lost is None


@pytest.mark.requirement("R-077")
def test_what_a_dead_process_has_attached_counts_as_lost(build):
    world = build()
    if world.store.name == "memory":  # there is no other process
        return
    session = made(world, "SPAWNING")
    attach(world, session, owner=world.store.owner() + 1)  # a number that nobody holds
    attach(world, session)
    world.unchanged_by(InvalidTransition, attach, world, session)


@pytest.mark.requirement("R-029", "R-053")
@pytest.mark.parametrize("state", rules.STATES)
def test_a_heartbeat_is_noted_in_any_state_and_changes_none(world, state):
    session = made(world, state)
    before = world.info(session)
    world.now += 7
    world.relay.heartbeat(session.id)
    after = world.info(session)
    assert after["relay"] == {**before["relay"], "lastActive": START + 7}
    assert {**after, "relay": 0} == {**before, "relay": 0}
    assert world.told.take() == [("session.updated", {"id": session.id, "fields": ["relay"]})]


@pytest.mark.requirement("R-029")
@pytest.mark.parametrize("call", ["spawn", "heartbeat", "count_message", "terminate", "clean"])
def test_a_session_without_a_role_has_no_relay(world, call):
    session = world.sessions.create()
    world.unchanged_by(InvalidTransition, getattr(world.relay, call), session.id, match="without a role")


@pytest.mark.requirement("R-030")
def test_messages_are_counted_from_zero(world):
    session = made(world, "ACTIVE")
    for count in range(1, 4):
        world.now += 10
        world.relay.count_message(session.id)
        shown = relay_of(world, session)
        assert shown["messageCount"] == count and shown["lastActive"] == START + 10 * count


@pytest.mark.requirement("R-031", "R-008")
@pytest.mark.parametrize("state", ["CREATED", "SPAWNING", "ACTIVE", "TERMINATING"])
def test_terminating_begins_the_end_from_each_live_state(world, state):
    session = made(world, state)
    world.relay.terminate(session.id, "done")
    assert relay_of(world, session)["state"] == "TERMINATING"
    told = {"from": state, "to": "TERMINATING", "event": "TERMINATE", "reason": "done"}
    assert changes(world) == ([told] if state != "TERMINATING" else [])
    world.relay.terminate(session.id, "again")
    assert relay_of(world, session)["state"] == "TERMINATING" and changes(world) == []


@pytest.mark.requirement("R-032")
def test_terminating_what_is_cleaned_or_not_there_is_fine_and_logged(world):
    cleaned = made(world, "CLEANED")
    for session_id in (cleaned.id, "session_5"):
        assert world.relay.terminate(session_id, "why") is None
        ((level, message),) = world.log.take()
        assert level == "info" and session_id in message and '"why"' in message
    assert world.told.take() == []


@pytest.mark.requirement("R-037")
def test_a_role_leads_to_its_live_session(world):
    with pytest.raises(NotFound, match='no live session has the role "reviewer"'):
        world.relay.get("reviewer")
    session = made(world)
    assert world.relay.get("reviewer") == session.id
    world.relay.terminate(session.id)
    assert world.relay.get("reviewer") == session.id
    world.relay.clean(session.id)
    with pytest.raises(NotFound):
        world.relay.get("reviewer")


@pytest.mark.requirement("R-038", "R-039")
def test_sessions_are_found_and_counted_by_relay_state_and_role(world):
    spawning = made(world, "SPAWNING")
    other = world.sessions.create_with('{"role":"writer"}')
    world.sessions.create()

    def found(**query):
        text = json.dumps(query)
        ids = [each["id"] for each in json.loads(world.sessions.query(text))["sessions"]]
        assert len(ids) == world.sessions.count(text)
        return ids

    assert found(relayState="SPAWNING") == found(role="reviewer") == [spawning.id]
    assert found(relayState="CREATED") == found(role="writer", relayState="CREATED") == [other.id]
    assert found(role="writer", relayState="SPAWNING") == found(relayState="ACTIVE") == []
    assert set(found(relayState=["CREATED", "SPAWNING"])) == {spawning.id, other.id}


@pytest.mark.requirement("R-010")
def test_a_refused_transition_changes_nothing_and_names_the_session(world):
    session = made(world, "SPAWNING")
    error = world.unchanged_by(InvalidTransition, world.relay.spawn, session.id)
    assert session.id in error.message("plue_session_relay_spawn")


# -- what it is made of ------------------------------------------------------------------------------------------------
@pytest.mark.requirement("R-020", "R-057")
def test_a_relay_without_one_of_its_parts_is_not_made(world):
    for part in ("store", "writer", "ids", "clock", "cleaner", "log"):
        with pytest.raises(InvalidParam, match=f"the relay has no {part}"):
            world.make_relay(**{part: None})


@pytest.mark.requirement("R-070")
def test_a_name_that_is_taken_is_not_given():
    names = iter(["a", "a", "b"])
    taken = {"ask_a"}
    assert Ids(lambda: next(names)).new("ask_", taken.__contains__) == "ask_b"
    assert Ids(lambda: "x").new("ask_") == "ask_x"


@pytest.mark.requirement("R-040", "R-079")
def test_each_change_is_logged_with_what_led_to_it(world):
    session = world.sessions.create_with(ROLE)
    world.now += 1000
    world.relay.spawn(session.id)
    attach(world, session)
    world.relay.count_message(session.id)
    world.relay.terminate(session.id, "all done")
    world.relay.clean(session.id)
    records = world.log.take()
    role, tail = 'role="reviewer"', [0, 1000, 1000, 1000, 1000, 1000]
    levels = ["info", "info", "info", "debug", "info", "info"]
    parts = [
        f"{session.id} CREATED (created)",
        f"spawned {session.id} CREATED → SPAWNING (SPAWN)",
        f"ready {session.id} SPAWNING → ACTIVE (ACTIVATE)",
        f"{session.id} message",
        f'terminated {session.id} ACTIVE → TERMINATING (TERMINATE, "all done")',
        f"cleaned {session.id} TERMINATING → CLEANED (CLEAN)",
    ]
    assert [level for level, _ in records] == levels
    for (_, message), part, duration, count in zip(records, parts, tail, [0, 0, 0, 1, 1, 1], strict=True):
        assert part in message and role in message
        assert f"durationMs={duration} messages={count}" in message


@pytest.mark.requirement("R-080")
def test_each_change_of_state_is_told_once(world):
    session = made(world)
    world.relay.spawn(session.id)
    attach(world, session)
    world.relay.terminate(session.id, "r")
    world.relay.clean(session.id)
    assert [(each["from"], each["to"], each["event"], each.get("reason")) for each in changes(world)] == [
        ("CREATED", "SPAWNING", "SPAWN", None),
        ("SPAWNING", "ACTIVE", "ACTIVATE", None),
        ("ACTIVE", "TERMINATING", "TERMINATE", "r"),
        ("TERMINATING", "CLEANED", "CLEAN", None),
    ]


@pytest.mark.requirement("R-074")
def test_what_is_said_to_an_agent_is_bounded(world):
    session, alone = made(world, "ACTIVE"), world.sessions.create()
    big = json.dumps({"text": "x" * (1 << 20)})
    world.unchanged_by(LimitExceeded, world.inputs.enqueue, session.id, big, match="one to an agent may have")
    assert world.inputs.enqueue(alone.id, big) and world.inputs.enqueue(session.id, '{"text":"x"}')


@pytest.mark.requirement("R-075")
def test_messages_that_come_too_fast_are_refused_where_that_was_asked_for(world):
    session = made(world, "SPAWNING")
    attach(world, session, messagesPerSecond=2)
    for _ in range(2):
        world.relay.count_message(session.id)
    world.unchanged_by(LimitExceeded, world.relay.count_message, session.id, match="messagesPerSecond is 2")
    world.now += 1000
    world.relay.count_message(session.id)
    assert relay_of(world, session)["messageCount"] == 3


@pytest.mark.requirement("R-075")
def test_inputs_that_come_too_fast_are_refused_where_that_was_asked_for(world):
    session = made(world, "SPAWNING")
    attach(world, session, messagesPerSecond=2)
    for number in range(2):
        world.inputs.enqueue(session.id, f'{{"text":"{number}"}}')
    world.unchanged_by(LimitExceeded, world.inputs.enqueue, session.id, '{"text":"3"}', match="messagesPerSecond is 2")
    world.now += 1000
    world.inputs.enqueue(session.id, '{"text":"3"}')
    assert len(json.loads(world.inputs.inputs(session.id))) == 3


@pytest.mark.requirement("R-075")
def test_messages_may_come_as_fast_as_they_like_by_default(world):
    session = made(world, "ACTIVE")
    for _ in range(50):
        world.relay.count_message(session.id)
    assert relay_of(world, session)["messageCount"] == 50


def eventually(holds, seconds=20):
    until = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < until:
        time.sleep(0.005)
    return found


@pytest.mark.requirement("R-075")
def test_what_nobody_uses_is_terminated_where_that_was_asked_for(world):
    used, unused, busy = (world.sessions.create_with(json.dumps({"role": name})) for name in "abc")
    for session in (used, unused, busy):
        world.relay.spawn(session.id)
        attach(world, session, idleMs=20)
    world.set(busy.id, turn='{"turnId":"turn_1"}')
    time.sleep(0.1)  # the clock stands still: nobody was idle for so long
    assert {relay_of(world, each)["state"] for each in (used, unused, busy)} == {"ACTIVE"}

    def is_over_while_one_is_used(other):
        world.now += 10
        world.relay.heartbeat(used.id)
        return relay_of(world, other)["state"] == "TERMINATING"

    assert eventually(lambda: is_over_while_one_is_used(unused))
    assert {relay_of(world, each)["state"] for each in (used, busy)} == {"ACTIVE"}
    told = eventually(  # what is committed may be yet to be told
        lambda: [data for kind, data in world.told.events() if data.get("event") == "TERMINATE"]
    )
    assert told == [{"from": "ACTIVE", "to": "TERMINATING", "event": "TERMINATE", "reason": "idle"}]
    world.set(busy.id, turn=None)
    assert eventually(lambda: is_over_while_one_is_used(busy))
    world.relay.services.close(0)
    assert world.relay.services._idle._set == {} and relay_of(world, used)["state"] == "ACTIVE"


@pytest.mark.requirement("R-075")
def test_an_attachment_lasts_by_default(world):
    session = made(world, "ACTIVE")
    world.now += 100 * 24 * 3_600_000
    time.sleep(0.05)
    assert relay_of(world, session)["state"] == "ACTIVE"
