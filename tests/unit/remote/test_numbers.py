"""A server that numbers its events: what is lost is asked for, what is old is dropped, and each change is told once
(O-078)."""

import time
from types import SimpleNamespace

import pytest

from plue_session import errors
from plue_session.adapters.opencode.events import Change
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.call import Call
from plue_session.rules import sequences
from plue_session.services.sync import mirror
from plue_session.services.sync.inbox import Told
from tests.fake_server import FakeServer
from tests.remote_world import AWAY, RemoteWorld, asked

pytestmark = pytest.mark.requirement("O-078")


@pytest.fixture
def world(world):
    world.server.numbered = True
    return world


def told(world, session):
    """The titles that were told of a session since the last time."""
    session_id = getattr(session, "id", session)
    return [data["title"] for _, data in world.told.take() if data["id"] == session_id and "title" in data]


def rename(world, session, *titles):
    for title in titles:
        world.server.put(getattr(session, "id", session), title=title)


def test_a_hole_is_asked_for_and_each_change_is_told_in_its_order(world):
    session = world.elsewhere(title="A")
    told(world, session), asked(world)
    world.hold_back()
    rename(world, session, "B", "C", "D", "E")
    del world.held_back[1]
    world.deliver()
    assert world.info(session)["title"] == "B" and told(world, session) == ["B"]
    assert world.jobs() == ["history"] and asked(world) == ["history"]
    assert told(world, session) == ["C", "D", "E"] and world.jobs() == []


def test_the_holes_of_several_sessions_are_asked_for_together(world):
    sessions = [world.elsewhere(title="A") for _ in range(3)]
    asked(world)
    world.hold_back()
    for session in sessions:
        rename(world, session, "B", "C")
    world.held_back = world.held_back[1::2]
    world.deliver()
    assert world.jobs() == ["history"] and asked(world) == ["history"]
    assert [world.info(session)["title"] for session in sessions] == ["C"] * 3


def test_what_comes_twice_or_late_is_dropped(world):
    session = world.elsewhere(title="A")
    told(world, session)
    rename(world, session, "B", "C")
    for change in world.server.logged[session]:
        world.sync.apply_all([change])
    assert told(world, session) == ["B", "C"] and world.jobs() == []


@pytest.mark.requirement("P-123")
def test_the_event_of_our_change_is_not_told_and_those_before_it_are_not_either(world):
    session = world.create(title="A")
    told(world, session)
    world.hold_back()
    rename(world, session, "theirs")
    world.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    rename(world, session, "theirs, later")
    world.deliver()
    assert told(world, session) == ["ours", "theirs, later"] and "history" not in world.jobs()


def test_events_wait_for_the_one_of_our_change_which_is_asked_for_when_it_does_not_come(world, monkeypatch):
    session = world.create(title="A")
    told(world, session), asked(world)
    world.hold_back()
    rename(world, session, "theirs")
    world.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    world.held_back.pop()
    world.deliver()
    assert world.jobs() == ["wake"] == world.jobs()
    now = time.monotonic() + sequences.HOLD
    monkeypatch.setattr("plue_session.services.sync.inbox.time", SimpleNamespace(monotonic=lambda: now))
    assert world.jobs() == ["wake"] and world.jobs() == ["history"] and world.jobs() == []
    rename(world, session, "theirs, later")
    assert told(world, session) == ["ours", "theirs, later"] and world.jobs() == []


def test_what_a_list_shows_and_no_event_has_told_is_asked_for(world):
    session = world.elsewhere(title="A")
    told(world, session), asked(world)
    world.hold_back()
    rename(world, session, "B", "C")
    world.held_back.clear()
    world.reconcile()
    assert asked(world) == ["survey", "history"] and told(world, session) == ["B", "C"]
    world.reconcile()
    assert asked(world) == ["survey"] and told(world, session) == []


def test_a_reconnect_asks_for_what_was_missed_and_a_restart_does(world):
    session, known = world.elsewhere(title="A"), world.create(title="B")
    world.reconcile()
    told(world, session), asked(world)
    world.hold_back()
    rename(world, session, "A 1", "A 2")
    rename(world, known, "B 1")
    world.sync.snapshot()
    assert asked(world) == ["history", "survey"]
    assert told(world, session) == ["A 1", "A 2"] and world.info(known)["title"] == "B 1"
    rename(world, session, "A 3", "A 4")
    again = RemoteWorld(store=world.store, server=world.server)
    again.sync.snapshot()
    assert told(again, session) == ["A 3", "A 4"]


def test_what_was_listed_before_the_stream_began_is_followed_all_the_same(world):
    world.hold_back()
    session = world.elsewhere(title="A")
    world.held_back.clear()
    world.reconcile()  # a list says nothing of numbers
    told(world, session), asked(world)
    world.sync.snapshot()
    assert asked(world) == ["survey"]  # from which number on is not known
    world.hold_back()
    rename(world, session, "B", "C")
    world.deliver()
    assert world.jobs() == ["history"] and told(world, session) == ["B", "C"]


@pytest.mark.parametrize("reason", ["too many", "not to be had"])
def test_what_cannot_be_asked_for_is_listed_and_read(world, reason):
    session = world.elsewhere(title="A")
    told(world, session)
    if reason == "too many":
        world.server.most_asked = 0
    world.server.history = lambda *_: None
    world.hold_back()
    rename(world, session, "B", "C")
    del world.held_back[0]
    world.deliver()
    assert world.jobs() == ["history"] and world.jobs() == ["reread"] and told(world, session) == ["C"]
    rename(world, session, "D")
    world.hold_back()
    rename(world, session, "E")
    world.sync.snapshot()
    assert told(world, session) == ["D", "E"]


def test_a_question_that_fails_is_asked_again(world):
    session = world.elsewhere(title="A")
    told(world, session)
    world.hold_back()
    rename(world, session, "B", "C")
    del world.held_back[0]
    world.deliver()
    world.server.fail["history"] = AWAY
    assert world.jobs() == ["history"] and told(world, session) == []
    assert world.jobs() == ["history"] and told(world, session) == ["B", "C"]


def test_a_server_whose_database_was_set_back_is_followed_from_there(world):
    session = world.elsewhere(title="A")
    rename(world, session, "B", "C", "D")
    del world.server.logged[session][2:]
    world.server.tell = lambda change: None
    rename(world, session, "set back")
    told(world, session)
    world.reconcile()
    assert told(world, session) == ["set back"]
    world.server.tell = lambda change: world.sync.apply_all([change])
    rename(world, session, "E")
    world.jobs()
    assert told(world, session) == ["E"]


def test_what_the_store_refuses_is_asked_for_later(world, monkeypatch):
    session = world.elsewhere(title="A")
    told(world, session)
    save = world.store.save

    def refuse(session):
        raise errors.Storage("the disk is full")

    monkeypatch.setattr(world.store, "save", refuse)
    rename(world, session, "B")
    monkeypatch.setattr(world.store, "save", save)
    assert told(world, session) == []
    rename(world, session, "C")
    world.jobs()
    assert told(world, session) == ["B", "C"]


def test_a_late_event_of_a_deleted_session_asks_for_nothing(world):
    session = world.elsewhere(title="A")
    world.hold_back()
    rename(world, session, "B")
    late = world.held_back[:]
    world.deliver()
    world.server.delete(session, Call())
    asked(world)
    for change in late:
        world.sync.apply_all([change])
    assert world.jobs() == [] and asked(world) == [] and world.store.read(session) is None


@pytest.mark.requirement("O-029")
def test_what_another_process_creates_is_left_to_it_and_then_followed(tmp_path):
    server = FakeServer()
    server.numbered = True
    first, second = (RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=server) for _ in range(2))
    changes = []
    server.tell = changes.append

    def during():
        for change in changes:
            second.sync.apply_all([change])

    server.during["create"] = during
    session = first.create(title="A", tags=["mine"])
    assert second.store.read(session.id).tags == ["mine"]
    server.tell = lambda change: second.sync.apply_all([change])
    rename(first, session, "B")
    assert "history" not in second.jobs() and told(second, session) == ["B"]
    first.store.close()
    second.store.close()


@pytest.mark.requirement("P-110")
def test_an_event_costs_one_read_and_one_write_and_one_of_a_session_a_merge(world, monkeypatch):
    session, counted = world.elsewhere(title="A"), []
    for name in ("load", "read", "info", "save", "share"):
        function = getattr(world.store, name)
        monkeypatch.setattr(
            world.store, name, lambda *given, name=name, do=function: (counted.append(name), do(*given))[1]
        )
    merge = mirror.merge.merge
    monkeypatch.setattr(
        mirror.merge, "merge", lambda *given, **more: (counted.append("merge"), merge(*given, **more))[1]
    )
    rename(world, session, "B")
    assert counted == ["load", "merge", "save"]
    counted.clear()
    world.server.message(session, "msg_1")  # what was said is recorded, and its number with it
    assert counted == ["load", "save"] and world.store.read(session).remote_seq == 2
    rename(world, session, "C")
    assert world.store.read(session).remote_seq == 3 and world.jobs() == []


@pytest.mark.requirement("P-110")
def test_a_burst_shares_a_commit_and_reads_each_session_once(world, monkeypatch):
    sessions, counted = [world.elsewhere(title="A") for _ in range(100)], []
    world.hold_back()
    for number in range(4):
        for session in sessions:
            rename(world, session, str(number))
    for name in ("load", "commit", "save"):
        function = getattr(world.store, name)
        monkeypatch.setattr(
            world.store, name, lambda *given, name=name, do=function: (counted.append(name), do(*given))[1]
        )
    world.told.take()
    world.sync.apply_all(world.held_back)
    assert counted.count("commit") <= 20 and counted.count("load") == counted.count("save") == 100
    titles = [(data["id"], data["title"]) for _, data in world.told.take()]
    assert titles == [(session, str(number)) for session in sessions for number in range(4)]


def test_what_a_history_has_before_the_end_of_a_session_is_told_before_it(world):
    session = world.elsewhere(title="A")
    world.told.take()
    world.hold_back()
    rename(world, session, "B", "C")
    changes, number = world.held_back, world.held_back[-1].seq
    world.sync.apply_all([Told("history", session, [*changes, Change("deleted", session, None, number + 1)])])
    kinds = ["session.updated", "session.updated", "session.deleted"]
    told_of = world.told.take()
    assert [kind for kind, _ in told_of] == kinds and [data.get("title") for _, data in told_of] == ["B", "C", None]
    assert [row.session_id for row in world.store.events_after(0, 100)] == [session]
    assert world.store.read(session) is None


def test_each_of_the_events_that_come_together_names_what_it_has_changed(world):
    session = world.elsewhere(title="A")
    world.told.take()
    world.hold_back()
    world.server.put(session, title="B")
    world.server.put(session, archived=5, updated=world.server.sessions[session].updated + 1)
    world.server.put(session, metadata={"a": 1}, share_url="https://share.example/1")
    world.server.put(session, title="B")
    world.sync.apply_all(world.held_back)
    assert world.told.take() == [
        ("session.updated", {"id": session, "title": "B", "fields": ["title"]}),
        ("session.updated", {"id": session, "fields": ["time.updated", "time.archived"]}),
        ("session.updated", {"id": session, "fields": ["metadata"]}),
        ("session.shared", {"id": session, "url": "https://share.example/1"}),
    ]
    stored = world.store.read(session)
    assert stored.rev == world.store.log_state()[1] and world.info(session)["share"]["url"] == stored.share_url


def test_what_another_process_was_answered_is_newer_than_the_event_before_it(two):
    first, second, deliver = two
    first.server.numbered = True
    session = first.create(title="A")
    first.do(lambda on: on.sessions.update_title(session.id, "B"), session.id)
    deliver(0)  # the other one has heard nothing, and records the same number
    heard, first.server.tell = [], lambda change: heard.append(change)
    rename(first, session, "theirs")
    second.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    told(first, session)
    first.hear(heard[0])
    assert first.info(session)["title"] == "ours" and told(first, session) == ["ours"]
    first.hear(heard[1])
    assert first.info(session)["title"] == "ours" and told(first, session) == []


def test_a_history_is_not_newer_than_what_another_process_was_answered_meanwhile(two):
    first, second, _ = two
    first.server.numbered = True
    session, heard = first.create(title="A"), []
    first.server.tell = lambda change: heard.append(change)

    def ours(title):
        rename(first, session, "theirs before " + title)
        second.do(lambda on: on.sessions.update_title(session.id, title), session.id)

    ours("B")
    first.hear(heard[0])
    history = first.server.history
    first.server.history = lambda *asked: (history(*asked), ours("C"))[0]
    told(first, session)
    assert first.jobs() == ["history"] and first.info(session)["title"] == "C"
    first.server.history = history
    for change in heard[1:]:
        first.hear(change)
    first.jobs()
    assert first.info(session)["title"] == "C" and told(first, session) == ["C"]
