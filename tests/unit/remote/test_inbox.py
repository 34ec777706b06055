"""What one event, and many, cost."""

import pytest

from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.opencode.events import Change
from plue_session.services.sync import mirror
from tests.remote_world import RemoteWorld, titles

READS = "load", "read", "info", "load_by_token", "share"


class CountingStore(MemoryStore):
    """A store that counts its calls."""

    def __init__(self, scope):
        super().__init__(scope)
        self.calls = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in (*READS, "begin", "commit", "save", "insert"):
            self.calls.append(name)
        return found


@pytest.fixture
def counted():
    return RemoteWorld(store=CountingStore("opencode"))


def reads(world):
    return [name for name in world.store.calls if name in READS]


@pytest.mark.requirement("P-110")
def test_an_event_costs_one_read_one_merge_and_one_commit(counted, monkeypatch):
    session = counted.elsewhere(title="A")
    merges, merge = [], mirror.merge.merge
    monkeypatch.setattr(mirror.merge, "merge", lambda *given, **more: (merges.append(1), merge(*given, **more))[1])
    counted.store.calls.clear()
    counted.server.put(session, title="B")
    assert titles(counted) == ["B"]
    assert reads(counted) == ["load"] and len(merges) == 1
    assert [counted.store.calls.count(name) for name in ("begin", "commit", "save")] == [1, 1, 1]


def test_an_echo_costs_nothing(counted):
    session = counted.create(title="A")
    counted.hold_back()
    counted.do(lambda on: on.sessions.update(session.id, '{"title":"B","metadata":{"a":1}}'), session.id)
    counted.store.calls.clear()
    counted.deliver()
    assert counted.store.calls == []


@pytest.mark.requirement("P-110")
def test_a_burst_of_events_shares_commits_and_each_is_told(counted):
    sessions = [counted.elsewhere(title="A") for _ in range(100)]
    counted.hold_back()
    for number in range(4):
        for session in sessions:
            counted.server.put(session, title=str(number))
    counted.told.take()
    counted.store.calls.clear()
    counted.sync.apply_all(counted.held_back)
    assert counted.store.calls.count("commit") <= 20 and reads(counted) == ["load"] * 400
    told = [(data["id"], data["title"]) for kind, data in counted.told.take() if kind == "session.updated"]
    assert told == [(session, str(number)) for session in sessions for number in range(4)]


def test_what_cannot_be_recorded_of_a_burst_does_not_keep_the_rest_out(counted):
    good, bad, gone = (counted.elsewhere(title=title) for title in ("Good", "Bad", "Gone"))
    save = counted.store.save

    def failing(session):
        if session.title == "Worse":
            raise RuntimeError("a defect")
        return save(session)

    counted.store.save = failing
    counted.hold_back()
    counted.server.put(bad, title="Worse")
    counted.server.put(good, title="Better")
    counted.sync.apply_all([*counted.held_back, Change("deleted", gone), Change("deleted", gone)])
    assert titles(counted) == ["Bad", "Better"]
    assert [line for level, line in counted.log.lines if level == "error" and "a defect" in line]
    counted.store.save = save
    counted.reconcile()
    assert "Worse" in titles(counted)
