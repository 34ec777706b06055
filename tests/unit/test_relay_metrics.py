"""What is counted of the relay, as JSON and as Prometheus reads it."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from plue_session.errors import InvalidParam, InvalidTransition, Server
from plue_session.model import Attachment
from plue_session.rules import relay as rules
from plue_session.services.relay.metrics import Failures, Histogram


def spawned(world, role, kind="host", owner=None):
    session = world.sessions.create_with(json.dumps({"role": role}))
    world.relay.spawn(session.id)
    row = Attachment(kind=kind, command=[], worktree="/tree", attached=world.now)
    row.owner = owner or world.store.owner()
    world.writer.run(lambda transaction: world.relay.activate(transaction, session.id, row))
    return session


def families(world):
    return {each.name: each for each in text_string_to_metric_families(world.relay.metrics("prometheus"))}


def values(family, name=None):
    """Return the values of a family's samples by their labels' values."""
    return {tuple(each.labels.values()): each.value for each in family.samples if each.name == (name or each.name)}


@pytest.mark.requirement("R-078")
def test_prometheus_accepts_and_understands_it(world):
    first, second = spawned(world, "a"), spawned(world, "b", "acp")
    world.now += 90_000
    for _ in range(3):
        world.relay.count_message(first.id)
    with pytest.raises(InvalidTransition):
        world.relay.spawn(first.id)
    world.relay.terminate(first.id)
    world.relay.clean(first.id)
    lose = world.relay.lost
    world.writer.run(lambda transaction: lose(transaction, second.id, world.store.owner(), Server("gone", "Look.")))

    found = families(world)
    states = values(found["plue_session_relay_sessions"])
    assert states == {("CREATED",): 0, ("SPAWNING",): 0, ("ACTIVE",): 1, ("TERMINATING",): 0, ("CLEANED",): 1}
    events = values(found["plue_session_relay_transitions"], "plue_session_relay_transitions_total")
    assert events == {("SPAWN",): 2, ("ACTIVATE",): 2, ("TERMINATE",): 1, ("CLEAN",): 1}
    errors = found["plue_session_relay_errors"]
    assert errors.type == "counter" and values(errors) == {("call", "INVALID_TRANSITION"): 1}
    assert values(found["plue_session_agents"]) == {
        ("host", "false"): 0,
        ("host", "true"): 0,
        ("acp", "false"): 0,
        ("acp", "true"): 1,
    }
    seconds = found["plue_session_relay_session_duration_seconds"]
    assert seconds.type == "histogram"
    buckets = values(seconds, "plue_session_relay_session_duration_seconds_bucket")
    assert buckets[("60",)] == 0 and buckets[("600",)] == buckets[("+Inf",)] == 1
    assert values(seconds, "plue_session_relay_session_duration_seconds_sum") == {(): 90}
    messages = found["plue_session_relay_session_messages"]
    assert values(messages, "plue_session_relay_session_messages_sum") == {(): 3}
    assert values(messages, "plue_session_relay_session_messages_count") == {(): 1}
    assert values(found["plue_session_agents_memory_bytes"]) == {(): 0}
    assert all(each.documentation for each in found.values())


@pytest.mark.requirement("R-078")
def test_the_json_says_the_same(world):
    session = spawned(world, "a")
    world.now += 5_000
    world.relay.count_message(session.id)
    world.relay.terminate(session.id)
    world.relay.clean(session.id)
    found = json.loads(world.relay.metrics("json"))
    assert found["relay"]["states"] == {**dict.fromkeys(rules.STATES, 0), "CLEANED": 1}
    assert found["relay"]["transitions"] == dict.fromkeys(rules.EVENTS, 1)
    assert found["relay"]["errors"] == []
    duration, messages = found["relay"]["durationSeconds"], found["relay"]["messagesPerSession"]
    assert (duration["count"], duration["sum"], duration["buckets"][:2]) == (
        1,
        5,
        [{"upTo": 1, "count": 0}, {"upTo": 10, "count": 1}],
    )
    assert (messages["count"], messages["sum"], messages["buckets"][-1]) == (1, 1, {"count": 1})
    nothing = {"host": 0, "acp": 0}
    assert found["agents"] == {"attached": nothing, "lost": nothing, "memoryBytes": 0, "sessions": []}


@pytest.mark.requirement("R-078")
def test_what_is_attached_and_what_it_weighs_is_counted(world):
    one, other = spawned(world, "a"), spawned(world, "b", "acp")

    class Agents:
        def describe(self):
            return {"session_1": {"pid": 1, "memoryBytes": 5}, "session_2": {"memoryBytes": 6}, "session_3": {}}

    world.relay.services.agents = Agents()
    found = json.loads(world.relay.metrics("json"))["agents"]
    shown = found.pop("sessions")
    assert [(each["session"], each["kind"], each["isLost"]) for each in shown] == [
        (one.id, "host", False),
        (other.id, "acp", False),
    ]
    assert found == {"attached": {"host": 1, "acp": 1}, "lost": {"host": 0, "acp": 0}, "memoryBytes": 11}


@pytest.mark.requirement("R-078")
def test_there_are_no_more_series_however_much_happens(world):
    def series():
        return sum(len(each.samples) for each in families(world).values())

    before = series()
    for number in range(30):
        session = spawned(world, f'role "{number}"\n'.strip())
        world.relay.terminate(session.id, f"reason {number}")
        world.relay.clean(session.id)
    assert series() == before
    failures = Failures()
    for number in range(100):
        failures.count("call", RuntimeError(f"{number}"))
        failures.count("agent", Server(f"{number}"))
    assert failures.read() == [("agent", "SERVER", 100), ("call", "UNKNOWN", 100)]


def test_another_format_is_refused(world):
    for wrong in ("", "xml", "JSON"):
        with pytest.raises(InvalidParam, match="format cannot be|json, prometheus"):
            world.relay.metrics(wrong)


def test_a_histogram_counts_what_is_not_above_the_end_of_a_bucket():
    counted = Histogram((1, 10))
    for value in (0, 1, 1.5, 10, 11):
        counted.add(value)
    assert counted.read() == ([(1, 2), (10, 4), (None, 5)], 23.5)
