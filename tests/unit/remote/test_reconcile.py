"""Keeping the store in step by comparing it with all that the server has."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.call import Call
from plue_session.rules import reconcile as rule
from plue_session.services.sync.reconcile import MISSING
from tests.remote_world import AWAY, in_thread, titles, until


@pytest.mark.requirement("P-114")
def test_a_comparison_adds_changes_and_removes(world):
    world.hold_back()
    kept, gone = world.elsewhere(title="Kept"), world.elsewhere(title="Gone")
    world.reconcile()
    assert titles(world) == ["Gone", "Kept"]
    world.told.take()
    world.server.put(kept, title="Renamed")
    del world.server.sessions[gone]
    world.elsewhere(title="New")
    world.reconcile()
    assert titles(world) == ["New", "Renamed"]
    assert sorted(kind for kind, _ in world.told.take()) == ["session.created", "session.deleted", "session.updated"]
    world.reconcile()
    assert world.told.take() == []


@pytest.mark.requirement("P-117")
def test_who_is_missing_from_a_list_is_asked_for_by_name(world):
    session = world.create()
    whole = world.server.survey
    world.server.survey = lambda *given, **more: forgetful(whole(*given, **more), session.id)
    world.reconcile()
    assert world.store.read(session.id) is not None and ("get", session.id) in world.server.asked


def forgetful(survey, session_id):
    survey.ids.discard(session_id)
    survey.changed = [each for each in survey.changed if each.id != session_id]
    return survey


@pytest.mark.requirement("O-023")
def test_of_other_directories_only_what_we_know_is_kept_in_step(world, tmp_path):
    ours = world.create(directory=str(tmp_path), title="Ours")
    world.hold_back()
    world.elsewhere(directory=str(tmp_path), title="Theirs")
    world.server.put(ours.id, title="Renamed")
    world.reconcile()
    assert titles(world) == ["Renamed"]


def test_what_is_being_changed_here_is_left_to_the_change(world):
    session = world.create(title="T")

    def meanwhile():
        world.reconcile()
        assert titles(world) == ["T"]

    world.server.during["update"] = meanwhile
    world.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    world.hold_back()
    world.server.put(session.id, title="V")
    world.reconcile()
    assert titles(world) == ["V"]


def test_a_change_back_that_no_event_told_is_seen_by_the_next_comparison(world):
    """The list says what the last list said, but the store has learned something else in between."""
    session = world.create(title="A")
    world.reconcile()
    world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id)
    world.hold_back()
    world.server.put(session.id, title="A")
    world.reconcile()
    assert titles(world) == ["A"]


def test_one_session_that_cannot_be_recorded_does_not_keep_the_others_out(world):
    insert = world.store.insert

    def failing(session):
        if session.title == "Bad":
            raise errors.StoreIo("no")
        insert(session)

    world.hold_back()
    for title in ("One", "Bad", "Two"):
        world.elsewhere(title=title)
    world.store.insert = failing
    with pytest.raises(errors.StoreIo):
        world.reconcile()
    assert titles(world) == ["One", "Two"]
    world.store.insert = insert
    world.reconcile()
    assert titles(world) == ["Bad", "One", "Two"]


@pytest.mark.requirement("P-114")
def test_of_very_many_that_are_missing_some_are_asked_for_at_a_time(world):
    for number in range(MISSING + 10):
        world.elsewhere(title=str(number))
    world.hold_back()
    kept = world.elsewhere(title="Kept")
    world.reconcile()
    world.server.sessions = {kept: world.server.sessions[kept]}
    world.told.take()
    world.reconcile()
    assert len(world.told.take()) == MISSING and world.reconciles_soon() and world.link.connected
    world.reconcile()
    assert titles(world) == ["Kept"]


@pytest.mark.requirement("P-114", "P-117")
def test_a_server_that_has_none_of_our_sessions_is_taken_for_another_one_for_a_minute(world, monkeypatch):
    world.sync.snapshot()
    world.sync.on_state(None)
    keyed, _ = world.create(key="k", tags=["t"]), world.create()
    world.sync.on_state(AWAY)
    world.told.take()
    right, world.server.sessions = world.server.sessions, {}
    theirs = world.elsewhere(title="Of the wrong one")
    for _ in range(2):
        with pytest.raises(errors.Server, match="none of the 2 sessions"):
            world.reconcile()
    status = json.loads(world.sync.status())
    assert not status["connected"] and "none of the" in status["server"]["error"]
    assert (
        json.loads(world.do(lambda on: on.sessions.get_info(keyed.id), keyed.id))["sync"]["state"] == "stale"
    )  # and not NOT_FOUND
    world.sync.snapshot()  # the stream is all right
    world.server.sessions = right
    world.reconcile()
    assert json.loads(world.sync.status())["connected"] and world.store.read(theirs) is None
    assert world.info(keyed)["key"] == "k" and world.do(lambda on: on.sessions.get_or_create("k")).id == keyed.id
    monkeypatch.setattr(rule, "DOUBT", 0.0)
    world.server.sessions = {}
    with pytest.raises(errors.Server, match="none of the 2"):
        world.reconcile()
    world.reconcile()
    assert titles(world) == [] and json.loads(world.sync.status())["connected"]


def test_a_session_that_is_being_changed_does_not_make_the_wrong_server_the_right_one(world):
    session = world.create(), world.create()
    world.server.sessions = {}
    with (
        world.session_locks.hold(session[0].id, world.calls.begin("test", None, time.monotonic() + 5)),
        pytest.raises(errors.Server, match="none"),
    ):
        world.reconcile()
    assert len(titles(world)) == 2


def test_of_two_that_list_the_wrong_server_at_the_same_time_none_erases(world):
    """The stream's snapshot, and the comparison that its loss has asked for."""
    world.create(), world.create()
    world.server.sessions = {}

    def meanwhile():
        with pytest.raises(errors.Server, match="none"):
            world.reconcile()

    world.server.during["survey"] = lambda: world.server.fail.update(
        get=lambda: world.server.fail.update(get=meanwhile)
    )
    with pytest.raises(errors.Server, match="none"):
        world.reconcile()
    assert len(titles(world)) == 2


def test_while_not_all_were_asked_for_none_is_taken_for_gone_where_no_other_is_there(world):
    world.create(), world.create()
    world.server.sessions = {}
    world.server.fail["get"] = AWAY
    with pytest.raises(errors.Connection):
        world.reconcile()
    assert len(titles(world)) == 2
    with pytest.raises(errors.Server, match="none"):
        world.reconcile()


@pytest.mark.requirement("P-114", "O-032")
def test_a_session_that_was_missing_is_one_again_when_a_later_list_has_it(world):
    session = world.create(title="T")
    world.create(title="C", parentId=session.id)
    world.hold_back()
    world.reconcile()
    right, world.server.sessions = world.server.sessions, {}
    with pytest.raises(errors.NotFound):
        world.do(lambda on: on.sessions.get_info(session.id), session.id)
    assert titles(world) == []
    world.server.sessions = right  # and the list is what it was before, to the byte
    world.reconcile()
    assert titles(world) == ["C", "T"]


@pytest.mark.requirement("O-032")
@pytest.mark.parametrize("how", ["deleted", "missing"])
def test_a_list_that_was_asked_for_before_its_end_brings_no_session_back(world, how):
    session = world.create(title="T")
    world.hold_back()

    def meanwhile():
        if how == "deleted":
            world.do(lambda on: on.sessions.delete(session.id), session.id)
        else:
            world.mirror.end(session.id, Call())

    world.server.during["survey"] = meanwhile
    world.server.put(session.id, title="U")
    copy = dict(world.server.sessions)
    world.reconcile()
    assert titles(world) == []
    if how == "deleted":  # for ever
        world.server.sessions = copy
        world.reconcile()
        assert titles(world) == []


@pytest.mark.requirement("P-061")
def test_a_list_makes_the_snapshots_that_it_confirms_young(world):
    held, other = world.create(), world.create()
    world.told.held = [held.id]
    world.told.calls.clear()
    world.do(lambda on: on.sessions.list())
    assert [call for call in world.told.calls if call[0] == "fresh"] == [("fresh", held.id)]
    assert world.mirror.last_refreshed(held.id) > world.mirror.last_refreshed(other.id)


def test_a_server_that_answers_nonsense_is_not_away_and_what_it_answered_is_shown(world):
    world.server.fail["survey"] = errors.Server("the server answered 500")
    with pytest.raises(errors.Server):
        world.reconcile()
    status = json.loads(world.sync.status())
    assert status["connected"] and status["server"]["error"] == "the server answered 500"
    world.reconcile()
    assert "error" not in json.loads(world.sync.status())["server"]


def test_list_answers_what_the_server_has_now(world):
    world.hold_back()
    world.elsewhere(title="New")
    assert [each["title"] for each in json.loads(b"[%b]" % world.do(lambda on: on.sessions.list()))] == ["New"]


def lists_made(world):
    return [each[0] for each in world.server.asked].count("survey")


def hold_survey(world):
    """Have the next survey wait; returns the events that it has been asked for, and that it may go on."""
    entered, go = threading.Event(), threading.Event()
    world.server.during["survey"] = lambda: (entered.set(), go.wait(5))
    return entered, go


def test_lists_that_come_during_another_share_the_next_one(world):
    world.hold_back()
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    rest = [in_thread(lambda: world.do(lambda on: on.sessions.list())) for _ in range(6)]
    until(lambda: len(world.calls._running) == 7)  # a call that waits for a list has nothing else to show
    threading.Event().wait(0.05)  # for the last to wait
    world.elsewhere(title="Meanwhile")
    go.set()
    first()
    assert all("Meanwhile" in list_text[:].decode() for list_text in (each() for each in rest))
    assert lists_made(world) == 2


def test_who_waits_for_anothers_list_can_be_cancelled_and_has_a_deadline(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    with pytest.raises(errors.Timeout, match="listed"):
        world.sync.list(Call(time.monotonic() + 0.05))
    call = Call(time.monotonic() + 5)
    waiting = in_thread(lambda: world.sync.list(call))
    call.set(errors.Aborted("aborted"))
    assert isinstance(waiting(1), errors.Aborted)
    go.set()
    assert isinstance(first(), bytes) and lists_made(world) == 1


def test_who_lists_without_a_pause_keeps_nobody_from_listing_elsewhere(world):
    """Where woken threads had to be quicker than it, the library's own lists were never made, and the server was said
    to be away."""
    world.elsewhere(title="One")
    whole, over = world.server.survey, threading.Event()
    world.server.survey = lambda *given, **more: (over.wait(0.002), whole(*given, **more))[1]

    def list_on():
        while not over.is_set():
            world.do(lambda on: on.sessions.list())

    threads = [in_thread(list_on) for _ in range(2)]
    known = world.store.ids
    world.store.ids = lambda: [*known(), ("ses_elsewhere", "/elsewhere")]
    try:
        for _ in range(20):
            world.reconcile()  # fails when its five seconds are over
    finally:
        over.set()
    assert [each() for each in threads] == [None, None] and world.states == []


def test_a_list_that_was_never_made_says_nothing_of_the_server(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    with pytest.raises(errors.Timeout, match="listed"):
        world.reconcile(0.05)
    assert world.link.connected and world.states == [] and "error" not in json.loads(world.sync.status())["server"]
    go.set()
    first()


def test_of_those_who_wait_for_a_list_that_fails_the_next_one_makes_it(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.sync.list(Call(time.monotonic() + 5)))
    entered.wait(5)
    second = in_thread(lambda: world.sync.list(Call(time.monotonic() + 5)))
    third = in_thread(lambda: world.sync.list(Call(time.monotonic() + 5)))
    threading.Event().wait(0.05)
    world.server.fail["survey"] = AWAY
    go.set()
    found = [first(), second(), third()]
    assert [isinstance(each, errors.Connection) for each in found].count(True) == 1 and not any(
        each for each in found if not isinstance(each, Exception)
    )
