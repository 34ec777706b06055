"""Each call into the store and each call to the server fails once, or the next few do: afterwards one comparison brings
all in step.

The walk ends by itself, as in test_fault_walk: every call site that the scenario reaches has then failed.
"""

import itertools
import json

import pytest

from plue_session import errors
from plue_session.adapters.memory import MemoryStore
from tests.fake_server import FakeServer
from tests.fault.test_fault_walk import FaultyStore
from tests.ports import FALLIBLE, REQUESTS
from tests.remote_world import AWAY, RemoteWorld

#: How many calls in a row fail.
ROWS = 1, 3


class Store(FaultyStore):
    """Fails `row` calls from the `at`-th on."""

    row = 1

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name not in FALLIBLE:
            return method

        def call(*arguments):
            self.calls += 1
            if self.at <= self.calls < self.at + self.row:
                self.met.append(name)
                if name == "commit":
                    self._store.rollback()
                raise errors.StoreIo(f"fault in {name}", "Try again.")
            return method(*arguments)

        return call


class Server(FakeServer):
    """Fails `row` calls from the `at`-th on: before the server does anything, or when it has done it and the answer is
    lost."""

    def __init__(self):
        super().__init__()
        self.at, self.row, self.calls, self.lost, self.met = 1 << 60, 1, 0, False, []

    def _begin(self, name, *arguments):
        if name in REQUESTS:
            self.calls += 1
            if self.at <= self.calls < self.at + self.row:
                self.met.append(name)
                if not self.lost:
                    raise errors.Connection(f"fault in {name}", details={"sent": False})
                self.during[name] = self._lose
        return super()._begin(name, *arguments)

    @staticmethod
    def _lose():
        raise errors.Connection("the answer is lost", details={"sent": True})


def scenario(world):
    """What a caller does; steps that fail are left out, as their errors say they may be."""

    def attempt(work, session=None, name="test"):
        try:
            return world.do(work, getattr(session, "id", session), name=name)
        except errors.PlueError:
            return None

    root = attempt(lambda on: on.sessions.create())
    if root is None:
        return
    child = attempt(
        lambda on: on.sessions.create_with(
            json.dumps({"parentId": root.id, "key": "child", "tags": ["t"], "title": "Child"})
        )
    )
    attempt(lambda on: on.sessions.get_or_create("keyed"))
    attempt(lambda on: on.sessions.update_title(root.id, "Renamed"), root)
    attempt(
        lambda on: on.sessions.update(root.id, '{"metadata":{"a":1},"archived":true,"base":{"title":"Renamed"}}'), root
    )
    attempt(lambda on: on.sessions.initialize(root.id, "fake", "fake-model"), root)
    for session, given in ((root, "a"), (child, "a"), (child, "b"), (child, "a")):
        if session:
            given = json.dumps({"text": "x", "id": given})
            attempt(lambda on, whose=session, given=given: on.inputs.enqueue(whose.id, given), session)
    if child:
        attempt(lambda on: on.inputs.cancel(child.id, '[{"sourceKey":"host:b"}]'), child)
    fork = attempt(lambda on: on.sessions.fork(root.id), root)
    for each in (root, child):
        attempt(lambda on, each=each: on.sessions.create_share(each.id), each) if each else None
    attempt(lambda on: on.sessions.unshare(root.id), root)
    attempt(lambda on: on.sessions.abort(root.id), root, "plue_session_abort")
    attempt(lambda on: on.sessions.get_info(root.id), root)
    elsewhere = world.server._make("elsewhere", "Theirs", None, None, {}, None)
    attempt(lambda on: on.sessions.open(elsewhere.id))
    attempt(lambda on: on.sessions.list())
    if fork:
        attempt(lambda on: on.sessions.delete(fork.id), fork)
    attempt(lambda on: on.sessions.delete(root.id), root)


def settle(world):
    """Do what is due, compare all, and do what that brought up."""
    for _ in range(3):
        world.jobs()
        world.reconcile()
        world.replay()


def in_step(world):
    """Check that the store is what the server is, and that what was told adds up to it."""
    shown = {each["id"]: each for each in json.loads(b"[%b]" % world.store.infos())}
    assert shown.keys() == world.server.sessions.keys()
    for session_id, info in shown.items():
        there = world.server.sessions[session_id]
        assert (info["title"], info["metadata"], info["time"].get("archived")) == (
            there.title,
            there.metadata,
            there.archived,
        )
        assert there.share_url is None or info["share"]["url"] == there.share_url
    told = world.told.events()
    for kind in ("session.created", "session.deleted"):
        ids = [data["id"] for told_kind, data in told if told_kind == kind]
        assert len(ids) == len(set(ids)), f"{kind} told twice"
    named = {old: data["id"] for _, data in told for old in data.get("aliases", ())}
    created, deleted = (
        {named.get(data["id"], data["id"]) for each, data in told if each == kind}
        for kind in ("session.created", "session.deleted")
    )
    assert created - deleted == shown.keys()
    queued = set()
    for row in [call[1] for call in world.told.calls if call[0] == "event"]:
        data = json.loads('{"x":0' + row.tail)["data"]
        if data.get("kind") == "input" and named.get(row.session_id, row.session_id) in shown:
            (queued.update if data["change"] == "enqueued" else queued.difference_update)(data["ids"])
    assert {each.name for session_id in shown for each in world.store.read_inputs(session_id, 0)} == queued
    keys = [each["key"] for each in shown.values() if "key" in each]
    assert len(keys) == len(set(keys))


def make(shares, numbered):
    server = Server()
    server.shares, server.numbered = shares, numbered
    inner = MemoryStore("opencode")
    world = RemoteWorld(store=Store(inner), server=server)
    return world, server


@pytest.mark.parametrize("numbered", [False, True], ids=["plain", "numbered"])
@pytest.mark.parametrize("row", ROWS)
def test_whatever_the_store_fails_at_one_comparison_brings_all_in_step(row, numbered):
    met = set()
    for at in itertools.count(1):
        world, _ = make(shares=True, numbered=numbered)
        world.store.arm(at, False)
        world.store.row = row
        scenario(world)
        failed = list(world.store.met)
        world.store.at = 1 << 60
        settle(world)
        in_step(world)
        met.update(failed)
        if not failed:
            break
    assert {"read", "load", "insert", "commit", "save", "erase", "load_by_key", "children", "infos_apart"} <= met


@pytest.mark.requirement("P-132", "P-144", "O-078")
@pytest.mark.parametrize("numbered", [False, True], ids=["plain", "numbered"])
@pytest.mark.parametrize("lost", [False, True], ids=["unheard", "answer lost"])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("events", ["in time", "lost"])
def test_whatever_the_server_fails_at_one_comparison_brings_all_in_step(row, lost, events, numbered):
    met = set()
    for at in itertools.count(1):
        world, server = make(shares=True, numbered=numbered)
        if events == "lost":
            world.hold_back()
        server.at, server.row, server.lost = at, row, lost
        scenario(world)
        failed = list(server.met)
        server.at = 1 << 60
        world.link.contact()
        world.held_back.clear()
        settle(world)
        in_step(world)
        met.update(failed)
        if not failed:
            break
    assert met >= {"create", "update", "delete", "fork", "abort", "get"}


# -- while the server is away ------------------------------------------------------------------------------------------
def apart(world):
    """What a caller does before, while and after the server is away."""
    attempt = Attempts(world)
    root = attempt(lambda on: on.sessions.create_with('{"title":"Root"}'))
    other = attempt(lambda on: on.sessions.create_with('{"title":"Other"}'))
    world.server.shares and other and attempt(lambda on: on.sessions.create_share(other.id))
    attempt.run(lambda: world.link.contact(AWAY))
    made = attempt(lambda on: on.sessions.create_with('{"title":"Made","tags":["t"]}'))
    if made:
        attempt(lambda on: on.sessions.create(made.id))
        attempt(lambda on: on.sessions.update_title(made.id, "Made, renamed"))
    attempt(lambda on: on.sessions.get_or_create("keyed"))
    if root:
        attempt(lambda on: on.sessions.update(root.id, '{"title":"Renamed","metadata":{"a":1},"description":"d"}'))
        attempt(lambda on: on.sessions.update(root.id, '{"archived":true,"base":{"title":"Renamed"}}'))
    if other:
        attempt(lambda on: on.sessions.unshare(other.id))
        attempt(lambda on: on.sessions.delete(other.id))
    for _ in range(3):
        attempt.run(world.reconcile)
        attempt.run(world.replay)


class Attempts:
    """Makes calls that may fail, as their errors say."""

    def __init__(self, world):
        self._world = world

    def __call__(self, work):
        return self.run(lambda: self._world.do(work))

    @staticmethod
    def run(work):
        try:
            return work()
        except errors.PlueError:
            return None


@pytest.mark.requirement("P-144", "P-173")
@pytest.mark.parametrize("row", ROWS)
def test_whatever_the_store_fails_at_while_changes_wait_all_is_in_step_in_the_end(row):
    met = set()
    for at in itertools.count(1):
        world, _ = make(shares=True, numbered=True)
        world.store.arm(at, False)
        world.store.row = row
        apart(world)
        failed = list(world.store.met)
        world.store.at = 1 << 60
        settle(world)
        in_step(world)
        assert world.operations() == []
        met.update(failed)
        if not failed:
            break
    assert {"put_outgoing", "drop_outgoing", "outgoing", "next_outgoing", "has_outgoing"} <= met
    assert {"rename", "commit", "erase"} <= met


@pytest.mark.requirement("P-173", "P-176")
@pytest.mark.parametrize("lost", [False, True], ids=["unheard", "answer lost"])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("events", ["in time", "lost"])
def test_whatever_the_server_fails_at_while_it_is_told_what_waited_all_is_in_step_in_the_end(row, lost, events):
    met = set()
    for at in itertools.count(1):
        world, server = make(shares=True, numbered=True)
        if events == "lost":
            world.hold_back()
        server.at, server.row, server.lost = at, row, lost
        apart(world)
        failed = list(server.met)
        server.at = 1 << 60
        world.link.contact()
        world.held_back.clear()
        settle(world)
        in_step(world)
        assert world.operations() == []
        titles = sorted(each.title for each in server.sessions.values() if each.title in ("Made, renamed", "Renamed"))
        assert titles == ["Made, renamed", "Renamed"]
        met.update(failed)
        if not failed:
            break
    assert met >= {"create", "update", "delete", "get"}
