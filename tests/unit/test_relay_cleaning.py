"""Cleaning after a session: in order, once, whoever asks, and whatever fails."""

import json
import threading

import pytest

from plue_session.errors import Closed, InvalidTransition, NotFound, Server, StoreIo, Timeout
from plue_session.model import Attachment, Operation
from plue_session.services.later import Later
from plue_session.services.relay import cleaning
from tests.world import World

ROLE = '{"role":"reviewer"}'


class Agents:
    """Ends agents as it is told: `ends` are the sessions whose agent was ended."""

    def __init__(self, order, error=None):
        self.order, self.error = order, error

    def end(self, session_id, call):
        self.order.append(("end", session_id))
        if self.error is not None:
            raise self.error

    def describe(self):
        return {}


def terminated(world, attached=True):
    session = world.sessions.create_with(ROLE)
    world.relay.spawn(session.id)
    if attached:
        row = Attachment(kind="host", command=[], worktree="/tree", attached=world.now, owner=world.store.owner())
        world.writer.run(lambda transaction: world.relay.activate(transaction, session.id, row))
    world.relay.terminate(session.id, "done")
    world.told.take()
    world.log.take()
    return session


def state(world, session):
    return world.info(session)["relay"]["state"]


@pytest.mark.requirement("R-033", "R-056", "R-052")
def test_first_the_agent_is_ended_then_the_cleaner_runs_then_the_session_is_cleaned(world):
    order, session = [], terminated(world)
    seen = {}

    def cleaner(info):
        order.append(("cleaner", json.loads(info)["relay"]["state"]))
        seen["attachment"] = world.store.read_attachment(session.id)

    relay = world.make_relay(cleaner=cleaner)
    relay.agents = Agents(order)
    world.perform(relay.clean(session.id))
    assert order == [("end", session.id), ("cleaner", "TERMINATING")]
    assert state(world, session) == "CLEANED"
    assert seen["attachment"] is not None and world.store.read_attachment(session.id) is None
    assert world.store.read(session.id).relay_agent is None
    assert world.info(session)["relay"]["worktree"] == "/tree"
    assert world.store.count_operations() == 0


@pytest.mark.requirement("R-034")
def test_cleaning_again_is_fine_and_the_cleaner_ran_once(world):
    session = terminated(world)
    for _ in range(3):
        world.relay.clean(session.id)
    assert [each["id"] for each in world.cleaned] == [session.id]


@pytest.mark.requirement("R-055")
def test_without_a_cleaner_nothing_is_done(world):
    session = terminated(world)
    world.perform(world.make_relay(cleaner=lambda info: None).clean(session.id))
    assert state(world, session) == "CLEANED" and world.log.take()[-1][0] == "info"


@pytest.mark.requirement("R-035")
@pytest.mark.parametrize(
    "cleaner, says",
    [(lambda info: 3, "it returned 3"), (lambda info: [][0], "IndexError")],
    ids=["result", "exception"],
)
def test_a_cleaner_that_fails_is_logged_and_cleaning_goes_on(world, cleaner, says):
    session = terminated(world)
    relay = world.make_relay(cleaner=cleaner)
    world.perform(relay.clean(session.id))
    warnings = [message for level, message in world.log.take() if level == "warning"]
    assert len(warnings) == 1 and session.id in warnings[0] and says in warnings[0]
    assert state(world, session) == "CLEANED"
    assert [each["place"] for each in json.loads(relay.metrics("json"))["relay"]["errors"]] == ["cleaner"]


@pytest.mark.requirement("R-036")
@pytest.mark.parametrize("calls", [[], ["spawn"], ["spawn", "attach"]], ids=["CREATED", "SPAWNING", "ACTIVE"])
def test_what_is_not_terminated_is_not_cleaned(world, calls):
    session = world.sessions.create_with(ROLE)
    for call in calls:
        if call == "spawn":
            world.relay.spawn(session.id)
        else:
            row = Attachment(kind="host", command=[], worktree="/t", attached=world.now, owner=world.store.owner())
            world.writer.run(lambda transaction, row=row: world.relay.activate(transaction, session.id, row))
    world.unchanged_by(InvalidTransition, world.relay.clean, session.id, match="event=CLEAN")
    assert world.cleaned == [] and (world.store.read_attachment(session.id) is None) == ("attach" not in calls)


@pytest.mark.requirement("R-037")
def test_what_is_not_there_is_not_cleaned(world):
    world.unchanged_by(NotFound, world.relay.clean, "session_5", match="session not found: session_5")


def test_an_agent_that_does_not_end_leaves_the_session_to_be_cleaned_again(world):
    order, session = [], terminated(world)
    relay = world.make_relay()
    relay.agents = Agents(order, Server("it does not end", "Try again."))
    with pytest.raises(Server, match="it does not end"):
        world.perform(relay.clean(session.id))
    assert state(world, session) == "TERMINATING" and world.cleaned == []
    assert world.store.read_attachment(session.id) is not None
    relay.agents.error = None
    world.perform(relay.clean(session.id))
    assert state(world, session) == "CLEANED" and len(world.cleaned) == 1 and len(order) == 2


@pytest.mark.requirement("R-034")
def test_the_cleaner_does_not_run_again_because_its_end_could_not_be_recorded(world):
    session, relay = terminated(world), world.make_relay()

    def full(number):
        raise StoreIo("the disk is full")

    keep, world.store.drop_attachment = world.store.drop_attachment, full
    with pytest.raises(StoreIo, match="the disk is full"):
        world.perform(relay.clean(session.id))
    assert state(world, session) == "TERMINATING" and len(world.cleaned) == 1
    world.store.drop_attachment = keep
    world.perform(relay.clean(session.id))
    assert state(world, session) == "CLEANED" and len(world.cleaned) == 1


def test_a_session_that_is_deleted_meanwhile_is_gone_and_leaves_no_row(world):
    session = terminated(world)
    relay = world.make_relay(cleaner=lambda info: world.sessions.delete(session.id))
    world.perform(relay.clean(session.id))
    assert world.store.info(session.id) is None and world.store.count_operations() == 0


@pytest.mark.requirement("R-034", "R-058")
def test_callers_of_one_session_share_its_cleaning(world):
    session, go, running = terminated(world), threading.Event(), threading.Event()

    def cleaner(info):
        world.cleaned.append(info)
        running.set()
        assert go.wait(30)

    relay = world.make_relay(cleaner=cleaner)
    first = relay.clean(session.id)
    assert running.wait(30)
    more = [relay.clean(session.id) for _ in range(20)]
    go.set()
    for later in (first, *more):
        world.perform(later)
    assert len(world.cleaned) == 1 and state(world, session) == "CLEANED"


@pytest.mark.requirement("R-073")
def test_more_sessions_than_are_cleaned_at_a_time_all_are(world):
    sessions = []
    for number in range(40):
        sessions.append(world.sessions.create_with(json.dumps({"role": f"r{number}"})))
        world.relay.terminate(sessions[-1].id)
    relay = world.make_relay()
    for later in [relay.clean(each.id) for each in sessions]:
        world.perform(later)
    assert sorted(each["id"] for each in world.cleaned) == sorted(each.id for each in sessions)
    assert {state(world, each) for each in sessions} == {"CLEANED"}


def claim_of(world, session, owner):
    """Note that a process cleans the session."""
    row = Operation(kind="clean", session_id=session.id, created=world.now, due=world.now)
    row.arguments = json.dumps({"owner": owner, "attempt": "clean_x"})
    world.writer.run(lambda transaction: transaction.store.put_operation(row))


def test_what_a_dead_process_was_cleaning_is_cleaned_anew(build):
    world = build()
    if world.store.name == "memory":  # there is no other process
        return
    session = terminated(world)
    claim_of(world, session, world.store.owner() + 1)  # a number that nobody holds
    world.relay.clean(session.id)
    assert len(world.cleaned) == 1 and state(world, session) == "CLEANED"


class Elsewhere:
    """A store of which another process, 7, is said to live."""

    def __init__(self, store):
        self._store, self.alive = store, True

    def __getattr__(self, name):
        return getattr(self._store, name)

    def is_owner_alive(self, owner):
        return self.alive if owner == 7 else self._store.is_owner_alive(owner)


@pytest.mark.requirement("R-034", "R-058")
def test_what_another_process_is_cleaning_is_waited_for(build):
    plain = build()
    world = World(store=Elsewhere(plain.store))
    session = terminated(world)
    claim_of(world, session, 7)
    later, known = world.make_relay().clean(session.id), threading.Event()
    later.then(lambda outcome: known.set())
    assert not known.wait(0.2)

    def done(transaction):
        transaction.store.drop_operation("clean", session.id)
        row = transaction.load(session.id)
        row.relay_state = "CLEANED"
        transaction.save(row, "relay.changed", {"from": "TERMINATING", "to": "CLEANED", "event": "CLEAN"})

    world.writer.run(done)
    assert world.perform(later) is None and world.cleaned == []


def test_what_another_process_is_cleaning_for_too_long_is_a_timeout(build, monkeypatch):
    monkeypatch.setattr(cleaning, "LEAST", 0)
    world = World(store=Elsewhere(build().store))
    session = terminated(world)
    claim_of(world, session, 7)
    with pytest.raises(Timeout, match="another process is cleaning the session"):
        world.perform(world.make_relay(seconds=0.3).clean(session.id))


def test_once_closed_nothing_is_cleaned_and_who_waits_is_told(world):
    session = terminated(world)
    relay = world.make_relay()
    relay.close(0)
    relay.close(0)
    with pytest.raises(Closed):
        relay.clean(session.id)
    assert state(world, session) == "TERMINATING"


def test_closing_waits_for_a_cleaner_that_runs(world):
    session, running, go = terminated(world), threading.Event(), threading.Event()

    def cleaner(info):
        running.set()
        assert go.wait(30)

    relay = world.make_relay(cleaner=cleaner)
    later = relay.clean(session.id)
    assert isinstance(later, Later) and running.wait(30)
    relay.close(0)
    go.set()
    relay.close(30)
    assert state(world, session) == "CLEANED" and world.perform(later) is None
