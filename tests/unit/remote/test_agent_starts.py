"""Starts of agents on a server's sessions: under whichever id, and what is left half made."""

import json
import queue
import threading
import time

import pytest

from plue_session import errors
from plue_session.model import Operation
from plue_session.model.said import Gone, Offer
from plue_session.rules.relay import Given
from plue_session.services.agents import START
from plue_session.services.agents.attachments import Agents
from plue_session.services.relay.ids import Ids
from plue_session.services.relay.relay import Relay
from tests.recording import RecordingLog

GIVEN = Given("acp", ["agent"], "/tmp", {}, {})


class Held:
    """An agent that starts once it is let, or with an error."""

    name, pid, is_over = "held", None, False

    def __init__(self, ear):
        self._ear, self._changed, self._outcome = ear, threading.Condition(), []

    def let(self, error=None):
        with self._changed:
            self._outcome.append(error)
            self._changed.notify_all()

    def start(self, call, running=None):
        call.wait(self._changed, lambda: self._outcome or None)
        if not self._outcome or self._outcome[0] is not None:
            raise self._outcome[0] if self._outcome else errors.Timeout("it does not start in time")

    def open(self, conversation, call):
        return "conversation"

    def offer(self):
        return Offer((), (), (), None, None)

    def go_on(self):
        pass

    def close(self):
        if not self.is_over:
            self.is_over = True
            self._ear.hear(Gone(errors.closed()), 1)

    def join(self, seconds):
        return True


class Starts:
    """The agents of a world, all of them `Held`."""

    def __init__(self, world):
        self.world, self.held = world, queue.SimpleQueue()
        backend = world.sessions._on
        log = RecordingLog()
        clock = lambda: world.now  # noqa: E731
        self.relay = Relay(world.store, world.writer, Ids(lambda: "1"), clock, lambda info: None, log, backend.resolve)
        self.agents = Agents(
            backend, self.relay, world.told, world.settings, log, world.transcript, world.streams, self._make
        )
        self.relay.agents = self.agents

    def _make(self, given, ear):
        made = Held(ear)
        self.held.put(made)
        return made

    def attach(self, session):
        """Begin to attach an agent; returns what starts it, and what waits for its outcome."""
        return self.begin(self.agents.attach(session.id, GIVEN))

    def begin(self, later):
        outcomes = queue.SimpleQueue()
        later.then(outcomes.put)
        return self.held.get(timeout=10), lambda: outcomes.get(timeout=10)

    def create(self):
        """Begin to create a session with an agent; as `attach`."""
        outcomes = queue.SimpleQueue()
        operation = self.agents.create_with({"role": "r", "agent": GIVEN})
        self.world.do(lambda on: self.world.executor.run(operation, self.world.sync.worker.call.within(20))).then(
            outcomes.put
        )
        return self.held.get(timeout=10), lambda: outcomes.get(timeout=10)

    def close(self):
        began = time.monotonic()
        self.agents.close(5)
        assert time.monotonic() - began < 3


@pytest.fixture
def starts(world):
    made = Starts(world)
    yield made
    made.close()


@pytest.fixture
def offline(world, starts):
    """A session that the server is yet to be told of, SPAWNING."""
    world.away()
    session = world.create(role="r")
    world.writer.run(starts.relay.spawn(session.id).preview)
    return session


def state(world, session_id):
    return world.info(session_id)["relay"]["state"]


def back(world):
    """Have the server be back, known to be the right one, and send what has waited."""
    world.link.contact()
    world.reconcile()
    world.replay()


def renamed(world):
    world.back()
    (there,) = world.server.sessions
    return there


def test_a_start_whose_session_gets_another_id_comes_to_its_end(world, starts, offline):
    held, outcome = starts.attach(offline)
    there = renamed(world)
    held.let()
    assert outcome() is None and state(world, there) == "ACTIVE"
    starts.close()


def test_terminated_under_its_new_id_it_is_ended(world, starts, offline):
    _, outcome = starts.attach(offline)
    there = renamed(world)
    world.writer.run(starts.relay.terminate(there).preview)
    assert type(outcome()) is errors.InvalidTransition
    cleaning = queue.SimpleQueue()
    starts.relay.clean(there).then(cleaning.put)
    assert cleaning.get(timeout=10) is None and state(world, there) == "CLEANED"


@pytest.mark.parametrize("is_away", [False, True])
def test_what_was_made_with_an_agent_that_does_not_start_is_deleted_on_the_server_when_it_is_there(
    world, starts, is_away
):
    held, outcome = starts.create()
    (there,) = world.server.sessions
    if is_away:
        world.away()
    held.let(errors.Server("no"))
    assert type(outcome()) is errors.Server and world.store.read(there) is None
    assert (there in world.server.sessions) == bool(world.operations())
    back(world)
    assert world.server.sessions == {} and world.store.operations() == []


def half_made(world, starts):
    """A session whose process has died while it started an agent for it."""
    session = world.create(role="r")
    world.writer.run(starts.relay.spawn(session.id).preview)

    def claim(transaction):
        row = Operation(kind=START, session_id=session.id, created=world.now, due=world.now)
        row.arguments = json.dumps(
            {"owner": world.store.owner(), "name": "dead", "isMade": True, "guard": None, "isEnding": False}
        )
        transaction.store.put_operation(row)

    world.writer.run(claim)
    return session


def test_what_a_process_has_left_half_made_is_deleted_on_the_server_when_it_is_there(world, starts):
    session = half_made(world, starts)
    world.away()
    starts.agents.settle_all()
    assert world.store.read(session.id) is None and session.id in world.server.sessions
    back(world)
    assert world.server.sessions == {} and world.store.operations() == []


def test_one_that_cannot_be_settled_keeps_no_process_from_starting(world, starts, monkeypatch):
    session = half_made(world, starts)

    def full(transaction, session_id):
        raise errors.QueueFull("10,000 changes wait for the server")

    monkeypatch.setattr(starts.agents.starts.claims, "_delete", full)
    starts.agents.settle_all()
    assert world.store.read(session.id) is not None
    assert any("changes wait for the server" in text for _, text in world.log.lines)


def test_who_wants_its_role_has_it(world, starts):
    session = half_made(world, starts)
    world.sessions._on.agents._load = lambda: starts.agents
    other = world.create(role="r")
    assert other.id != session.id and world.store.read(session.id) is None
    world.replay()
    assert list(world.server.sessions) == [other.id]
