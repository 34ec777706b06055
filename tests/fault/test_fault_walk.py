"""Each call into the store fails once, or from then on: what the services answer, tell and keep must be right all the
same.

The walk ends by itself: n = 1, 2, … is the call that fails, until a run meets no fault. Every call site that a scenario
reaches has then failed, also those that somebody adds later.
"""

import json

import pytest

from plue_session import errors
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.services.turns import queue
from tests.ports import FALLIBLE
from tests.recording import RecordingPublisher
from tests.world import World

NEVER = 1 << 60


class FaultyStore:
    """A store whose `at`-th call from now on fails; with `stays`, and all that follow it."""

    def __init__(self, store):
        self._store = store
        self.at, self.stays, self.calls, self.met = NEVER, False, 0, []

    def arm(self, at, stays):
        self.at, self.stays, self.calls, self.met = at, stays, 0, []

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name not in FALLIBLE:
            return method

        def call(*arguments):
            self.calls += 1
            if self.calls == self.at or self.stays and self.calls > self.at:
                self.met.append(name)
                if name == "commit":
                    self._store.rollback()  # "a failed commit leaves the transaction rolled back"
                raise errors.StoreIo(f"fault in {name}", "Try again.")
            return method(*arguments)

        return call


class Scenario:
    """A World over a faulty store, and what a caller does with it: names of its own, so that a failed step can be tried
    again."""

    def __init__(self, store):
        self.inner = store
        self.faulty = FaultyStore(store)
        self.world = World({"limits": {"activeSessions": 50}}, store=self.faulty)
        self.sessions, self.sharing = self.world.sessions, self.world.sharing
        self.root = self.sessions.create()
        self.other = self.sessions.create()
        self.keyed = self.sessions.get_or_create("keyed")
        self.secret = json.loads(self.sessions.create_share(self.other.id))["secret"]
        self.taken = None
        self.world.told.take()

    def steps(self):
        sessions, sharing, root, other = self.sessions, self.sharing, self.root.id, self.other.id
        inputs = self.world.inputs
        return [
            lambda: inputs.enqueue(root, '{"text":"x","id":"a","turnId":"mine"}'),
            lambda: inputs.enqueue(root, '{"text":"x","id":"a","turnId":"mine"}'),
            lambda: inputs.enqueue(
                root, '{"text":"x","ingress":{"activeTurn":{"turnId":"mine","boundary":"afterWork"}}}'
            ),
            lambda: inputs.enqueue(other, '{"text":"y"}'),
            lambda: json.loads(inputs.inputs(root)),
            self.begin_turn,
            self.end_turn,
            lambda: inputs.cancel(root, f'[{{"sourceKey":"host:a"}},{{"inputId":"{self.last(root)}"}}]'),
            lambda: inputs.cancel_from(other, f'{{"inputId":"{self.last(other)}"}}'),
            lambda: inputs.vacuum(root),
            lambda: sessions.create(root),
            lambda: sessions.create_with('{"key":"new","role":"worker","tags":["a","b"],"metadata":{"x":1}}'),
            lambda: sessions.get_or_create("keyed"),
            lambda: sessions.get_or_create("fresh"),
            lambda: sessions.update_title(root, "title"),
            lambda: sessions.update(root, '{"description":"d","addTags":["c"],"base":{"title":"title"}}'),
            lambda: sessions.initialize(root, "p", "m"),
            lambda: sessions.abort(root),
            lambda: sessions.create_share(root),
            lambda: sessions.create_share(root),
            lambda: sharing.validate(other, self.secret),
            lambda: sessions.unshare(root),
            lambda: sessions.open("keyed"),
            lambda: sessions.open(root),
            lambda: json.loads(b"[%b]" % sessions.list()),
            lambda: json.loads(sessions.query('{"tags":["a"],"limit":1}')),
            lambda: sessions.count('{"status":"active"}'),
            self.fail_half_way,
            lambda: sessions.delete(root),
        ]

    def last(self, session_id):
        """Return the name of the last input of a session that waits."""
        return next((row.name for row in reversed(self.inner.read_inputs(session_id, 0))), "input_1")

    def begin_turn(self):
        """Take the next inputs, as a driver does."""

        def begin(transaction):
            session = transaction.load(self.root.id)
            taken = queue.take(transaction, session, "me", 1 << 60)
            if taken is not None:
                kind, data = queue.told("claimed", taken[2])
                transaction.emit(kind, session, data)
            return taken

        self.taken = self.world.writer.run(begin)

    def end_turn(self):
        def end(transaction):
            turn, session = self.taken[0], transaction.load(self.root.id)
            kind, data = queue.told("completed", queue.complete(transaction, turn))
            turn.state = "ended"
            transaction.store.keep_turn(turn)
            queue.defer(transaction, turn.number, turn.id)
            transaction.emit(kind, session, data)

        if self.taken is not None:
            self.world.writer.run(end)

    def fail_half_way(self):
        """A change that writes and then refuses: it is undone, in a part of its own."""

        def change(transaction):
            session = transaction.load(self.root.id)
            session.title = "never seen"
            transaction.save(session, "session.updated", {"id": session.id})
            raise errors.NotFound("what it needs next is not there")

        self.world.writer.run(change)

    def state(self):
        queues = [self.inner.read_inputs(each.id, 0) for each in (self.root, self.other)]
        waiting = [(row.seq, row.state) for rows in queues for row in rows]
        turns = [(turn.id, turn.state) for turn in self.inner.read_turns(self.root.id)]
        return text(self.inner.infos()), self.inner.log_state()[1], waiting, turns

    def run(self):
        """Make every step; one that fails must fail as the port did or for want of what a failed one should have
        made."""
        for number, step in enumerate(self.steps()):
            before, met = self.state(), len(self.faulty.met)
            told = len(self.world.told.calls)
            try:
                step()
            except errors.PlueError as error:
                assert len(self.faulty.met) > met or isinstance(
                    error, (errors.NotFound, errors.Conflict, errors.AccessDenied)
                ), (number, error)
                assert self.state() == before, f"step {number} failed and changed something"
                assert self.world.told.calls[told:] == [], f"step {number} failed and told of it"


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def told(world):
    return [call[1].id for call in world.told.calls if call[0] == "event"]


@pytest.fixture(params=["memory", "sqlite"])
def opened(request, tmp_path):
    stores = []

    def open_store():
        stores.append(
            MemoryStore("embedded")
            if request.param == "memory"
            else SqliteStore(str(tmp_path / str(len(stores))), "embedded")
        )
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.mark.requirement("P-132", "P-144", "P-160")
@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_every_failing_call_of_the_store_is_an_error_and_nothing_else(opened, stays):
    at, reached = 0, set()
    while True:
        at += 1
        scenario = Scenario(opened())
        scenario.faulty.arm(at, stays)
        first = scenario.inner.log_state()[1]
        scenario.run()
        if not scenario.faulty.met:
            break
        reached.update(scenario.faulty.met)
        scenario.faulty.arm(NEVER, False)
        # What is stored is what was told, each once and in order; and it all works when the store does.
        ids = told(scenario.world)
        assert ids == sorted(set(ids)) and (not ids or ids[-1] <= scenario.inner.log_state()[1])
        assert len(ids) == scenario.inner.log_state()[1] - first
        last = scenario.sessions.create()
        scenario.sessions.update_title(last.id, "works again")
        assert scenario.world.info(last)["title"] == "works again"
        assert scenario.inner.check() == []
    assert (
        at > 60
        and {"begin", "commit", "savepoint", "undo", "insert", "save", "append", "erase", "put_share", "page"}
        | {"add_input", "keep_input", "add_claim", "drop_claim", "add_turn", "keep_turn", "vacuum_inputs"}
        <= reached
    )


@pytest.mark.requirement("P-132", "P-144")
def test_failure_to_read_what_others_did_never_undoes_or_hides_what_we_did(tmp_path):
    """Another process has written meanwhile. Reading its events fails at each place, one after the other; ours are
    committed all the same."""
    at = 0
    while True:
        at += 1
        folder = str(tmp_path / str(at))
        inner, foreign = SqliteStore(folder, "embedded"), World(store=SqliteStore(folder, "embedded"))
        faulty = FaultyStore(inner)
        world = World(store=faulty)
        held = world.sessions.create()
        foreign.sessions.update_title(held.id, "by the other")
        world.told.take()
        faulty.arm(at, False)
        failed = None
        try:
            mine = world.sessions.create()
        except errors.StoreIo as error:
            failed = error
        met = list(faulty.met)
        faulty.arm(NEVER, False)
        count = world.sessions.count()
        assert count == (1 if failed else 2), f"{met} failed, yet it was stored"
        if not failed:
            assert mine.id in world.told.infos
        foreign.sessions.update_title(held.id, "once more")
        world.writer.catch_up()
        assert json.loads(text(world.told.infos[held.id]))["title"] == "once more", (
            f"the snapshot stayed behind after {met}"
        )
        lost = any(call[0] == "lost" for call in world.told.calls)
        seen = [data.get("title") for kind, data in world.told.events() if kind == "session.updated"]
        assert lost or seen == ["by the other", "once more"], f"{met}: events were lost without a word"
        inner.close()
        foreign.store.close()
        if not met:
            break
    assert at > 6


@pytest.mark.requirement("P-097", "P-132")
def test_share_key_that_cannot_be_had_shares_nothing(opened):
    class NoKey:
        def load(self):
            raise errors.StoreIo("the share key cannot be read", "Mend it.")

    scenario = Scenario(opened())
    world = World(store=scenario.world.store, keys=NoKey())
    world.unchanged_by(errors.StoreIo, world.sessions.create_share, scenario.root.id)
    world.unchanged_by(errors.StoreIo, world.sharing.validate, scenario.other.id, scenario.secret)
    world.sessions.unshare(scenario.other.id)  # which needs no key
    shares = World({"share": {"auto": True}}, world.store, NoKey())
    shares.unchanged_by(errors.StoreIo, shares.sessions.create)
    assert "secret" in scenario.world.sessions.create_share(scenario.root.id)


def test_a_publisher_that_fails_does_not_fail_what_is_committed(opened):
    """The C side may be out of memory when it is told: the change is durable, so the call succeeds."""

    class Deaf(RecordingPublisher):
        deaf = False

        def publish(self, rows, store_id):
            if self.deaf:
                raise MemoryError
            super().publish(rows, store_id)

    scenario = Scenario(opened())
    deaf = Deaf()
    scenario.world.writer.publisher = deaf
    deaf.deaf = True
    made = scenario.sessions.create()
    deaf.deaf = False
    assert scenario.sessions.open(made.id)
    scenario.sessions.update_title(made.id, "heard")
    assert any(call[0] == "lost" for call in deaf.calls) or len(deaf.events()) == 2
