"""Keeping in step: looking, listening, going away and coming back, and what is put right meanwhile."""

import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.opencode.survey import Survey
from plue_session.cancel import Cancel
from plue_session.services.chores import TRIES
from plue_session.services.sync import MISSING
from tests.remote_world import RemoteWorld, in_thread
from tests.server_twin import ServerTwin
from tests.unit.test_opencode_shapes import SESSION

AWAY = errors.Connection("the server cannot be reached")


@pytest.fixture
def world():
    return RemoteWorld()


@pytest.fixture
def running(world):
    """A world whose thread runs; it looks each 50 ms."""
    world.sync._interval = 0.05
    world.sync.begin()
    yield world
    world.sync.end()
    world.sync.join(5)


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def titles(world):
    return sorted(each["title"] for each in json.loads(world.store.list_text()))


# -- looking ---------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-114")
def test_a_look_adds_changes_and_removes(world):
    world.hold_back()
    kept, gone = world.elsewhere(title="Kept"), world.elsewhere(title="Gone")
    world.look()
    assert titles(world) == ["Gone", "Kept"]
    world.told.take()
    world.server.put(kept, title="Renamed")
    del world.server.sessions[gone]
    world.elsewhere(title="New")
    world.look()
    assert titles(world) == ["New", "Renamed"]
    assert sorted(kind for kind, _ in world.told.take()) == ["session.created", "session.deleted", "session.updated"]
    world.look()
    assert world.told.take() == []


@pytest.mark.requirement("P-117")
def test_who_is_missing_from_a_list_is_asked_for_by_name(world):
    session = world.create()
    whole = world.server.survey
    world.server.survey = lambda *given, **more: forgetful(whole(*given, **more), session.id)
    world.look()
    assert world.store.look(session.id) is not None and ("get", session.id) in world.server.asked


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
    world.look()
    assert titles(world) == ["Renamed"]


def test_what_is_being_changed_here_is_left_to_the_change(world):
    session = world.create(title="T")

    def meanwhile():
        world.look()
        assert titles(world) == ["T"]
    world.server.during["update"] = meanwhile
    world.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    world.hold_back()
    world.server.put(session.id, title="V")
    world.look()
    assert titles(world) == ["V"]


def test_a_change_back_that_no_event_told_is_seen_by_the_next_look(world):
    """The list says what the last list said, but the store has learned something else in between."""
    session = world.create(title="A")
    world.look()
    world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id)
    world.hold_back()
    world.server.put(session.id, title="A")
    world.look()
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
        world.look()
    assert titles(world) == ["One", "Two"]
    world.store.insert = insert
    world.look()
    assert titles(world) == ["Bad", "One", "Two"]


@pytest.mark.requirement("P-114")
def test_of_very_many_that_are_missing_some_are_asked_for_at_a_time(world):
    for number in range(MISSING + 10):
        world.elsewhere(title=str(number))
    world.hold_back()
    world.server.sessions.clear()
    world.told.take()
    world.look()
    assert len(world.told.take()) == MISSING and world.sync._asked == 1 and world.sync.connected
    world.look()
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
        world.look()
    status = json.loads(world.sync.status())
    assert status["connected"] and status["server"]["error"] == "the server answered 500"
    world.look()
    assert "error" not in json.loads(world.sync.status())["server"]


def test_list_answers_what_the_server_has_now(world):
    world.hold_back()
    world.elsewhere(title="New")
    assert [each["title"] for each in json.loads(world.do(lambda on: on.sessions.list()))] == ["New"]


def surveys(world):
    return [each[0] for each in world.server.asked].count("survey")


def hold_survey(world):
    """Have the next survey wait; returns the events that it has been asked for, and that it may go on."""
    entered, go = threading.Event(), threading.Event()
    world.server.during["survey"] = lambda: (entered.set(), go.wait(5))
    return entered, go


def test_lists_that_come_during_a_look_share_the_next_one(world):
    world.hold_back()
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    rest = [in_thread(lambda: world.do(lambda on: on.sessions.list())) for _ in range(6)]
    until(lambda: len(world.calls._running) == 7)
    threading.Event().wait(0.05)  # for the last to wait
    world.elsewhere(title="Meanwhile")
    go.set()
    first()
    assert all("Meanwhile" in list_text.decode() for list_text in (each() for each in rest))
    assert surveys(world) == 2


def test_who_waits_for_anothers_look_can_be_cancelled_and_has_a_deadline(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    with pytest.raises(errors.Timeout, match="listed"):
        world.sync.survey(time.monotonic() + 0.05, Cancel())
    cancel = Cancel()
    waiting = in_thread(lambda: world.sync.survey(time.monotonic() + 5, cancel))
    cancel.set(errors.Aborted("aborted"))
    assert isinstance(waiting(1), errors.Aborted)
    go.set()
    assert isinstance(first(), bytes) and surveys(world) == 1


def test_who_lists_without_a_pause_keeps_nobody_from_looking_elsewhere(world):
    """Where woken threads had to be quicker than it, the library's own looks had none, and the server was said to be away."""
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
            world.look()  # fails when its five seconds are over
    finally:
        over.set()
    assert [each() for each in threads] == [None, None] and world.states == []


def test_a_look_that_had_no_turn_says_nothing_of_the_server(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.do(lambda on: on.sessions.list()))
    entered.wait(5)
    with pytest.raises(errors.Timeout, match="listed"):
        world.sync._round(time.monotonic() + 0.05)
    assert world.sync.connected and world.states == [] and "error" not in json.loads(world.sync.status())["server"]
    go.set()
    first()


def test_of_those_who_wait_for_a_look_that_fails_the_next_one_looks(world):
    entered, go = hold_survey(world)
    first = in_thread(lambda: world.sync.survey(time.monotonic() + 5, Cancel()))
    entered.wait(5)
    second = in_thread(lambda: world.sync.survey(time.monotonic() + 5, Cancel()))
    third = in_thread(lambda: world.sync.survey(time.monotonic() + 5, Cancel()))
    threading.Event().wait(0.05)
    world.server.fail["survey"] = AWAY
    go.set()
    found = [first(), second(), third()]
    assert [isinstance(each, errors.Connection) for each in found].count(True) == 1 and not any(each for each in found if not isinstance(each, Exception))


# -- the thread ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-110", "P-111", "P-184")
def test_without_events_the_state_follows_by_looking(running):
    running.hold_back()
    session = running.elsewhere(title="One")
    until(lambda: titles(running) == ["One"])
    running.server.put(session, title="Two")
    until(lambda: titles(running) == ["Two"])


def test_the_streams_own_snapshot_is_the_first_look(world):
    world.sync.begin()
    world.sync.snapshot()
    world.sync.on_state(None)
    assert json.loads(world.sync.status()) == {"connected": True, "pending": 0, "conflicts": [], "lastSync": world.now,
                                               "server": {"url": "http://twin", "events": True}}
    threading.Event().wait(1.2)
    assert [each[0] for each in world.server.asked].count("survey") == 1
    world.sync.on_state(AWAY)  # what was told while nobody listened is looked for at once
    until(lambda: [each[0] for each in world.server.asked].count("survey") == 2)
    world.sync.end()
    world.sync.join(5)


@pytest.mark.requirement("P-115")
def test_a_failed_look_is_shown_and_the_next_one_comes(running):
    until(lambda: running.sync._last_sync)
    running.server.fail["survey"] = AWAY
    until(lambda: not running.sync.connected)
    status = json.loads(running.sync.status())
    assert not status["connected"] and status["server"]["error"] == "the server cannot be reached"
    until(lambda: running.sync.connected)
    assert running.states == [(False, "the server cannot be reached"), (True, None)]
    assert [call for call in running.told.calls if call[0] == "away"] == [("away", True), ("away", False)]
    assert any(level == "warning" and "away" in line for level, line in running.log.lines)


def test_a_defect_in_a_look_is_logged_and_does_not_end_the_thread(running):
    running.server.fail["survey"] = lambda: 1 / 0
    until(lambda: any("ZeroDivisionError" in line for _, line in running.log.lines))
    running.do(lambda on: on.sync.run(5000), seconds=5)


def test_sync_waits_for_a_look_that_began_after_it(running):
    entered, go = threading.Event(), threading.Event()

    def slow():
        entered.set()
        go.wait(5)
    running.server.during["survey"] = slow
    entered.wait(5)
    running.hold_back()
    waiting = in_thread(lambda: running.do(lambda on: on.sync.run(5000), seconds=5))
    running.elsewhere(title="Late")
    go.set()
    assert waiting() is None and titles(running) == ["Late"]


def test_sync_with_no_time_only_asks_and_with_too_little_says_so(world):
    world.do(lambda on: on.sync.run(0))
    with pytest.raises(errors.Timeout, match="goes on"):
        world.do(lambda on: on.sync.run(10), seconds=0.02)


def test_sync_fails_as_the_look_does_and_when_the_library_stops(world):
    world.sync._interval = 60
    world.server.fail["survey"] = AWAY
    waiting = in_thread(lambda: world.do(lambda on: on.sync.run(5000), seconds=5))
    until(lambda: world.sync._asked)
    world.sync.begin()
    assert isinstance(waiting(), errors.Connection)
    stuck, go = threading.Event(), threading.Event()
    world.server.during["survey"] = lambda: stuck.set() or go.wait(5)
    waiting = in_thread(lambda: world.do(lambda on: on.sync.run(5000), seconds=5))
    stuck.wait(5)
    world.calls.close()
    assert isinstance(waiting(), errors.Closed)
    with pytest.raises(errors.Closed):
        world.do(lambda on: on.sync.run(1))
    world.sync.end()
    go.set()
    world.sync.join(5)


def test_chores_that_miss_the_server_are_done_when_it_is_back(world):
    session = world.create()
    done = []

    def work(session_id, until, cancel):
        done.append(session_id)
        if len(done) == 1:
            raise AWAY
    world.sync.chore("look", session.id, work)
    world.chores()
    assert world.chores() == [] and len(done) == 1
    world.look()
    assert world.chores() == ["look"] and len(done) == 2


def test_a_chore_that_fails_is_tried_again_and_not_for_ever(world):
    def work(session_id, until, cancel):
        raise errors.Server("no")
    world.sync.chore("look", "ses_x", work)
    rounds = 0
    while world.chores():
        world.look()
        rounds += 1
    assert rounds == TRIES and world.log.lines == [("warning", "sync look: no.")] * TRIES and world.sync._chores._tries == {}


def test_a_chore_that_has_nothing_left_to_put_right_is_done(world):
    def work(session_id, until, cancel):
        raise errors.NotFound("gone", session=session_id)
    world.sync.chore("title", "ses_x", work)
    assert world.chores() == ["title"]
    world.look()
    assert world.chores() == [] and world.log.lines == []


def test_an_event_that_cannot_be_recorded_is_made_up_for_by_the_next_look(world):
    session = world.create(title="A")
    world.look()
    run = world.commits.run

    def full(change):
        raise errors.StoreIo("the disk is full")
    world.commits.run = full
    world.server.put(session.id, title="B")
    world.commits.run = run
    assert titles(world) == ["A"] and "disk is full" in world.log.lines[-1][1]
    world.look()
    assert titles(world) == ["B"]


# -- away ------------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-161")
def test_away_reads_answer_what_was_last_known_and_say_so(world):
    session = world.create(title="T")
    world.sync.contact(AWAY)
    world.server.asked.clear()
    info = json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))
    listed, = json.loads(world.do(lambda on: on.sessions.list()))
    page, = json.loads(world.do(lambda on: on.sessions.query()))["sessions"]
    assert {each["sync"]["state"] for each in (info, listed, page)} == {"stale"} and info["title"] == "T"
    assert world.server.asked == []
    world.sync.contact()
    assert json.loads(world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "synced"


def test_a_read_that_finds_out_first_answers_the_same_and_has_it_looked_at(world):
    session = world.create()
    world.server.fail.update(get=AWAY, survey=AWAY)
    assert json.loads(world.do(lambda on: on.sessions.get_info(session.id), session.id))["sync"]["state"] == "stale"
    assert json.loads(world.do(lambda on: on.sessions.list()))[0]["sync"]["state"] == "stale"
    assert world.sync._asked == 1


def test_a_call_that_succeeds_while_it_is_away_has_it_looked_at(world):
    world.sync.contact(AWAY)
    world.create()
    assert world.sync._asked == 1
    world.look()
    assert world.sync.connected


def test_a_withdrawal_that_the_server_is_yet_to_hear_of_is_pending(world):
    world.server.shares = True
    session = world.create()
    share(world, session)
    world.sync.contact(AWAY)
    unshare(world, session)
    assert json.loads(world.sync.status())["pending"] == 1
    world.look()
    world.chores()
    assert json.loads(world.sync.status())["pending"] == 0 and world.server.sessions[session.id].share_url is None


def test_with_offline_fail_reads_fail(tmp_path):
    world = RemoteWorld({"offline": "fail"})
    session = world.create()
    world.sync.contact(AWAY)
    for call, work in {"get": lambda on: on.sessions.get_info(session.id), "survey": lambda on: on.sessions.list()}.items():
        world.server.fail[call] = AWAY
        with pytest.raises(errors.Connection):
            world.do(work, session.id)


# -- shares ----------------------------------------------------------------------------------------------------------------
def share(world, session):
    return json.loads(world.do(lambda on: on.sharing.create(session.id), session.id))


def unshare(world, session):
    world.do(lambda on: on.sharing.withdraw(session.id), session.id)


@pytest.mark.requirement("P-099", "P-098", "P-102")
def test_the_servers_link_is_used_when_it_gives_one(world):
    world.server.shares = True
    session = world.create()
    world.told.take()
    url = f"https://share.example/{session.id}"
    assert share(world, session) == share(world, session) == {"url": url, "link": url}
    assert world.info(session)["share"] == {"url": url}
    assert world.told.take() == [("session.shared", {"id": session.id, "url": url})]
    with pytest.raises(errors.AccessDenied):
        world.do(lambda on: on.sharing.validate(session.id, ""))


@pytest.mark.requirement("P-099")
@pytest.mark.parametrize("why", ["refused", "away", "known to be away"])
def test_else_ours_is(world, why):
    world.server.shares = why == "away"
    session = world.create()
    if why == "away":
        world.server.fail["share"] = AWAY
    if why == "known to be away":
        world.sync.contact(AWAY)
    made = share(world, session)
    assert made["link"] == f"{made['url']}#{made['secret']}" and share(world, session) == made
    world.do(lambda on: on.sharing.validate(session.id, made["secret"]))
    if why != "known to be away":
        world.look()
    assert world.info(session)["share"]["url"] == made["url"]  # the server knows of none, and takes none away


@pytest.mark.requirement("P-050")
def test_the_share_follows_the_servers(world):
    session = world.create()
    world.told.take()
    world.server.put(session.id, share_url="https://s/1")
    assert world.info(session)["share"] == {"url": "https://s/1"}
    world.server.put(session.id, share_url=None)
    assert "share" not in world.info(session)
    assert world.told.take() == [("session.shared", {"id": session.id, "url": "https://s/1"}), ("session.unshared", {"id": session.id})]


@pytest.mark.requirement("P-100")
@pytest.mark.parametrize("why", [AWAY, errors.Server("the server answered 500")])
def test_a_share_that_the_server_does_not_withdraw_is_gone_here_and_withdrawn_later(world, why):
    world.server.shares = True
    session = world.create()
    share(world, session)
    world.told.take()
    world.server.fail["unshare"] = why
    unshare(world, session)
    assert "share" not in world.info(session) and world.told.take() == [("session.unshared", {"id": session.id})]
    world.server.put(session.id, metadata={"touched": 1})  # the server still shows it
    assert "share" not in world.info(session)
    world.server.fail["unshare"] = why
    assert "unshare" in world.chores() and world.server.sessions[session.id].share_url
    world.look()
    assert "unshare" in world.chores()
    assert world.server.sessions[session.id].share_url is None and not world.store.look(session.id).unshared
    assert share(world, session)["url"] == f"https://share.example/{session.id}"


def test_a_share_is_withdrawn_on_the_server_at_once_when_it_can_be(world):
    world.server.shares = True
    session = world.create()
    share(world, session)
    unshare(world, session)
    unshare(world, session)
    assert world.server.sessions[session.id].share_url is None and world.chores() == []
    assert [each[0] for each in world.server.asked].count("unshare") == 1


@pytest.mark.requirement("P-051")
def test_share_auto_shares_roots_and_not_children():
    world = RemoteWorld({"share": {"auto": True}})
    ours = world.create()
    child = world.create(parentId=ours.id)
    assert world.info(ours)["share"]["url"].startswith("http://localhost:4780/share/") and "share" not in world.info(child)
    world.server.shares = True
    theirs = world.create()
    assert world.info(theirs)["share"] == {"url": f"https://share.example/{theirs.id}"}


# -- the survey itself -------------------------------------------------------------------------------------------------------
def body(*sessions):
    return json.dumps([{**SESSION, **each} for each in sessions]).encode()


def test_a_survey_tells_what_has_changed_since_the_one_before():
    one, two = {"id": "ses_one"}, {"id": "ses_two"}
    first = Survey(body(one, two))
    assert [each.id for each in first.changed] == ["ses_one", "ses_two"] == sorted(first.ids)
    same = Survey(body(one, two), first)
    assert same.changed == [] and same.ids == first.ids
    renamed = Survey(body(one, {**two, "title": "x"}), same)
    assert [each.title for each in renamed.changed] == ["x"]
    renamed.forget(["ses_one", "ses_three"])
    assert [each.id for each in Survey(body(one, {**two, "title": "x"}), renamed).changed] == ["ses_one"]
    assert Survey(b" [ ] ").changed == [] and not Survey(b"[]").ids
    assert sorted(Survey(body(one, {"id": "../x"}, {"id": ""})).ids) == ["ses_one"]


@pytest.mark.requirement("O-026")
@pytest.mark.parametrize("odd", [{"time": {"created": 1.5, "updated": 2}}, {"time": 5}, {"metadata": "deep"}])
@pytest.mark.parametrize("depth", [200, 5_000])
def test_a_session_that_cannot_be_read_costs_itself_alone(odd, depth):
    text = json.dumps([{**SESSION, "id": "ses_one"}, {**SESSION, "id": "ses_odd", **odd}, {**SESSION, "id": "ses_two"}])
    text = text.replace('"deep"', '{"a":"]}",' * 0 + '{"a":' * depth + '"}]"' + "}" * depth).encode()
    survey = Survey(text)
    assert [each.id for each in survey.changed] == ["ses_one", "ses_two"] and survey.unreadable == ["ses_odd"] and "ses_odd" in survey.ids
    again = Survey(text + b" ", survey)
    assert (again.changed, again.unreadable) == ([], [])


@pytest.mark.parametrize("bad", [b"{}", b"", b"[", b"[1", b"[{}]", b"[1]", b"[]x", b"[{},]", b"null", b"[" * 100_000, body({})[:-1], body({}) + b","])
def test_what_is_no_list_of_sessions_is_the_servers_fault(bad):
    with pytest.raises(errors.Server):
        Survey(bad)


def test_the_twin_is_told_apart_from_the_real_one_by_nothing_that_the_services_use():
    port = {name for name in dir(__import__("plue_session.ports", fromlist=["Server"]).Server) if not name.startswith("_")}
    assert port <= set(dir(ServerTwin))
