"""Ending sessions and their turns on a server."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from plue_session import errors
from plue_session.adapters.opencode.events import Change
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.call import Call
from plue_session.services import calls
from tests.remote_world import ANSWERED, AWAY, RemoteWorld, asked, in_thread, unchanged_by


@pytest.mark.requirement("P-146", "O-031")
@pytest.mark.parametrize("events", ["in time", "late"])
def test_delete_erases_the_family_in_one_go_and_tells_once_each(world, events):
    parent = world.create()
    child = world.create(parentId=parent.id)
    world.told.take()
    if events == "late":
        world.hold_back()
    world.do(lambda on: on.sessions.delete(parent.id), parent.id)
    world.deliver()
    assert world.told.take() == [("session.deleted", {"id": child.id}), ("session.deleted", {"id": parent.id})]


@pytest.mark.requirement("O-032")
def test_what_waits_for_the_writer_while_a_session_ends_does_not_bring_it_back(world):
    session = world.create()
    remote = world.server.get(session.id, Call())
    ended, late = world.writer.run_all(  # in one commit
        [
            lambda transaction: world.mirror.erase(transaction, session.id),
            lambda transaction: world.mirror.merge(transaction, remote),
        ]
    )
    assert ended is None and isinstance(late, errors.NotFound) and world.mirror.has_ended(session.id)
    world.told.take()
    with pytest.raises(errors.NotFound):
        world.writer.run(lambda transaction: world.mirror.merge(transaction, remote))
    assert world.mirror.take_all([remote], None, Call()) == ([], None)
    assert world.store.info(session.id) is None and world.told.take() == []


@pytest.mark.requirement("O-030")
def test_a_delete_names_the_directories_in_which_descendants_may_run(world, monkeypatch, tmp_path):
    parent = world.create()
    world.create(parentId=world.create(parentId=parent.id, directory=str(tmp_path)).id)
    named, delete = [], world.server.delete
    monkeypatch.setattr(
        world.server, "delete", lambda *names, elsewhere=(), **way: (named.append(elsewhere), delete(*names, **way))
    )
    world.do(lambda on: on.sessions.delete(parent.id), parent.id)
    assert named[0] == [str(tmp_path)]  # the others are the twin's own


def test_a_session_whose_end_cannot_be_recorded_has_not_ended(world, monkeypatch):
    session = world.create()
    with monkeypatch.context() as full:
        full.setattr(
            world.store, "commit", lambda: (_ for _ in ()).throw(errors.StoreIo("the disk is full", "Make room."))
        )
        with pytest.raises(errors.StoreIo):
            world.do(lambda on: on.sessions.delete(session.id), session.id)
    assert not world.mirror.has_ended(session.id) and world.store.info(session.id) is not None
    world.jobs()
    assert world.store.info(session.id) is None


def test_the_servers_word_that_a_session_has_ended_erases_what_was_recorded_of_it_meanwhile(world):
    session = world.create()
    world.mirror.ended(session.id)
    world.hear(Change("deleted", session.id, None))
    assert world.store.info(session.id) is None


@pytest.mark.requirement("O-032")
def test_what_is_heard_of_a_deleted_session_does_not_bring_it_back(world):
    session = world.create()
    world.hold_back()
    world.server.put(session.id, title="Late")
    world.server.tell, late = world.hear, world.held_back[0]
    world.do(lambda on: on.sessions.delete(session.id), session.id)
    world.hear(late)
    assert world.jobs() == [] and world.store.read(session.id) is None


def test_an_update_of_an_unknown_session_is_asked_for_before_it_is_believed(world):
    world.hold_back()
    session_id = world.elsewhere()
    world.held_back.clear()
    world.server.tell = world.hear
    world.server.put(session_id, title="Late")
    assert world.store.read(session_id) is None and world.jobs() == ["reread"]
    assert world.info(session_id)["title"] == "Late"


@pytest.mark.requirement("P-130")
def test_a_title_that_an_answer_brings_is_told_with_the_change_that_brought_it(world):
    session = world.create(title="Ours")
    world.hold_back()
    world.server.put(session.id, title="Another client's")
    world.told.take()
    world.do(lambda on: on.sessions.update(session.id, '{"metadata":{"a":1}}'), session.id)
    world.deliver()
    assert world.told.take() == [
        (
            "session.updated",
            {"id": session.id, "title": "Another client's", "fields": ["title", "time.updated", "metadata"]},
        )
    ]


@pytest.mark.requirement("P-019")
def test_a_delete_that_the_server_refuses_leaves_all_as_it_was(world):
    parent = world.create()
    world.create(parentId=parent.id)
    world.server.fail["delete"] = errors.Server("the server answered 500", details=ANSWERED)
    unchanged_by(world, errors.Server, lambda on: on.sessions.delete(parent.id), parent.id)
    assert world.jobs() == ["reread", "reread"] and len(json.loads(b"[%b]" % world.store.infos())) == 2


def test_a_delete_after_another_clients_says_that_the_session_is_gone(world):
    session = world.create()
    world.hold_back()
    world.server.delete(session.id, Call())
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.delete(session.id), session.id)
    assert world.store.read(session.id) is None


@pytest.mark.requirement("P-020", "P-021")
def test_the_flag_is_set_before_the_server_is_asked_and_stays_if_that_fails(world):
    session = world.create()
    world.told.take()
    seen = []
    world.server.during["abort"] = lambda: seen.append(world.info(session)["aborted"])
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    assert seen == [True] and world.told.take() == [("session.updated", {"id": session.id, "fields": ["aborted"]})]
    other = world.create()
    world.server.fail["abort"] = AWAY
    with pytest.raises(errors.Connection):
        world.do(lambda on: on.sessions.abort(other.id), other.id, name="plue_session_abort")
    assert world.info(other)["aborted"] and not world.calls.is_aborting(other.id)


@pytest.mark.requirement("P-156")
def test_an_abort_ends_the_calls_that_are_blocked_on_the_session_and_no_others(world, monkeypatch):
    monkeypatch.setattr(calls, "GRACE", 0.05)
    session, other = world.create(), world.create()
    inside, go = threading.Barrier(3), threading.Event()

    def blocked(session_id):
        call = world.calls.begin("plue_session_update_title", session_id, time.monotonic() + 10)
        woken = threading.Event()
        call.watch(woken.set)
        inside.wait()
        woken.wait(1)
        world.calls.end(call)
        return call.error

    ended, untouched = in_thread(lambda: blocked(session.id)), in_thread(lambda: blocked(other.id))
    inside.wait()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    assert isinstance(ended(), errors.Aborted) and untouched() is None
    go.set()


def test_an_abort_whose_flag_cannot_be_stored_is_sent_and_fails(world, monkeypatch):
    session, commit = world.create(), world.store.commit
    asked(world)

    def fail_once():
        monkeypatch.setattr(world.store, "commit", commit)
        raise errors.StoreIo("the disk is full", "Make room.")

    monkeypatch.setattr(world.store, "commit", fail_once)
    with pytest.raises(errors.StoreIo):
        world.do(lambda on: on.sessions.abort(session.id), session.id)
    assert "abort" in asked(world) and world.info(session)["aborted"] is False


@pytest.mark.requirement("P-065")
def test_the_flag_clears_when_a_turn_begins_and_not_by_what_comes_late(world):
    session = world.create()
    world.server.message(session.id, "msg_1", ended=False)
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_1", ended=False)
    world.server.message(session.id, "msg_1")
    assert "turn" not in world.jobs() and world.info(session)["aborted"]
    world.told.take()
    world.server.message(session.id, "msg_2", ended=False)
    assert world.jobs() == ["turn"] and not world.info(session)["aborted"]
    assert [told for told in world.told.take() if told[0] != "message.created"] == [
        ("session.updated", {"id": session.id, "fields": ["aborted"]})
    ]


def test_a_turn_that_began_and_ended_before_anyone_looked_clears_it_too(world):
    session = world.create()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_2", ended=False)
    world.server.message(session.id, "msg_2")
    assert world.jobs() == ["turn"] and not world.info(session)["aborted"]


def test_without_events_a_comparison_clears_it(world):
    session = world.create()
    world.hold_back()
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.message(session.id, "msg_1", ended=False)
    world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1)  # as each turn does
    world.reconcile()
    assert world.jobs() == ["turn"] and not world.info(session)["aborted"]


@pytest.mark.requirement("P-021", "P-065")
@pytest.mark.parametrize("error", [AWAY, errors.Server("the server answered 500", details=ANSWERED)])
def test_a_flag_whose_abort_failed_stays_while_the_same_turn_runs_on(world, error):
    session = world.create()
    world.server.message(session.id, "msg_1", ended=False)
    world.server.fail["abort"] = error
    with pytest.raises(type(error)):
        world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1)
    world.reconcile()
    assert "turn" in world.jobs() and world.info(session)["aborted"]
    world.server.message(session.id, "msg_2")
    assert world.server.put(session.id, updated=world.server.sessions[session.id].updated + 1) is None
    assert world.jobs() == ["turn"] and not world.info(session)["aborted"]


@pytest.mark.requirement("P-065")
def test_prompts_behind_the_aborted_turn_do_not_hide_its_message(world, monkeypatch):
    """They lie between it and the end of the transcript, on other pages: the flag would clear with the next
    comparison."""
    session = world.create()
    world.server.message(session.id, "msg_1")
    said, whole = world.server.said[session.id]["msg_1"], world.server.messages

    def paged(session_id, call, directory=None, limit=100, before=None):
        whole(session_id, call, directory)
        prompts = [SimpleNamespace(id=f"msg_q{number}", role="user") for number in range(20)]
        end = 21 if before is None else int(before)
        start = max(end - limit, 0)
        return [(message, []) for message in [said, *prompts][start:end]], str(start) if start else None

    monkeypatch.setattr(world.server, "messages", paged)
    world.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    assert world.store.read(session.id).abort_mark == "msg_1"


@pytest.mark.parametrize("ahead", [-600_000, 0, 600_000])
def test_an_abort_that_learned_nothing_goes_by_the_time(world, ahead):
    world.server.clock_ahead = ahead
    session = world.create()
    world.server.fail["messages"] = AWAY
    world.do(
        lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort"
    )  # that it ended is certain all the same
    for message, created, aborted in (("msg_1", world.now - 5000, True), ("msg_2", world.now + 5000, False)):
        world.server.message(session.id, message, ended=False, created=created + ahead)
        world.jobs()
        assert world.info(session)["aborted"] is aborted


@pytest.mark.requirement("P-065", "P-184")
def test_a_turn_while_nobody_watched_clears_it_at_the_next_start(tmp_path):
    first = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))
    session = first.create()
    first.do(lambda on: on.sessions.abort(session.id), session.id, name="plue_session_abort")
    first.store.close()
    first.server.tell = lambda change: None
    first.server.message(session.id, "msg_1")
    first.server.put(session.id, updated=first.server.sessions[session.id].updated + 1)
    second = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=first.server)
    second.reconcile()
    assert second.jobs() == ["turn"] and not second.info(session)["aborted"]
    second.store.close()


def test_a_turn_is_not_named_by_anything(world):
    session = world.create()
    world.server.asked.clear()
    for turn in ("", "a/b", "x" * 101, "é"):
        with pytest.raises(errors.InvalidParam):
            world.do(lambda on, turn=turn: on.sessions.abort_turn(session.id, turn), session.id)
    assert asked(world) == []
    world.do(lambda on: on.sessions.abort_turn(session.id, "msg_1"), session.id)
    assert asked(world) == ["abort"] and not world.info(session)["aborted"]
