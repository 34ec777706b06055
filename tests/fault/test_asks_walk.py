"""Each call into the store and each call to the server fails once, or the next few do, while turns ask: afterwards what
is open here is what the server waits for, and each was announced once and ended once.

As in test_remote_walk, the walk ends by itself.
"""

import contextlib
import itertools

import pytest

from plue_session import errors
from plue_session.adapters.memory import MemoryStore
from plue_session.model import Turn
from tests.fault.test_remote_walk import ROWS, Server, Store
from tests.remote_world import RemoteWorld


def prepare(world):
    session = world.create(title="T")

    def begin(transaction):
        number = transaction.load(session.id).number
        turn = Turn(number=number, id="turn_1", message_id="msg_1", state="running", started=1, inputs='["input_1"]')
        transaction.store.add_turn(turn)

    world.writer.run(begin)
    return session


def scenario(world, session):
    """A turn asks, its questions are answered by a host, by another client and by nobody, and its plan changes."""
    server = world.server

    def attempt(work):
        try:
            world.do(work, session.id)
        except errors.PlueError:
            return

    for id in ("per_1", "per_2", "que_1", "que_2"):
        server.ask(session.id, id)
    attempt(lambda on: on.asks.reply_permission(session.id, "per_1", "once"))
    attempt(lambda on: on.asks.reply_question(session.id, "que_1", '[["A"]]'))
    if "per_2" in server.waiting:
        server.reply("per_2", "always")
    server.plan(session.id, "a")
    server.plan(session.id, "a", "b")


def settle(world):
    """Do what is due, and what that brings up, until long after the deadlines."""
    for _ in range(4):
        world.now += 700_000
        world.sync.snapshot()
        for _ in range(2):
            world.jobs(("asks", "deadline", "todos", "withdraw", "history"))


@pytest.mark.requirement("T-06", "P-153")
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("fails", ["store", "server", "answer"])
def test_whatever_fails_all_that_is_asked_ends_once(fails, row):
    for at in itertools.count(1):
        server, store = Server(), Store(MemoryStore("opencode"))
        world = RemoteWorld(store=store, server=server)
        session = prepare(world)
        faulty = store if fails == "store" else server
        faulty.calls, faulty.at, faulty.row, server.lost = 0, at, row, fails == "answer"
        scenario(world, session)
        with contextlib.suppress(errors.PlueError):
            settle(world)
        reached = faulty.calls >= at
        faulty.at = 1 << 60
        settle(world)
        assert not server.waiting and store.open_asks() == [], (at, faulty.met, server.waiting)
        told = [(kind, data) for kind, data in world.told.events() if kind.endswith((".asked", ".replied"))]
        for kind in ("permission.asked", "permission.replied", "question.asked", "question.replied"):
            ids = [data["id"] for each, data in told if each == kind]
            assert len(ids) == len(set(ids)), (at, faulty.met, kind, ids)
        ended = {data["id"] for kind, data in told if kind.endswith("replied")}
        assert ended == {data["id"] for kind, data in told if kind.endswith("asked")}
        assert "waiting" not in world.info(session).get("turn", {}).get("state", "")
        plan = world.do(lambda on, session=session: on.asks.todos(session.id), session.id)
        assert plan.count("content") == 2, (at, faulty.met, plan)
        if not reached:
            break
    assert at > 5
