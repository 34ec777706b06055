"""A server that has none of our sessions may be another one in the right one's place: nothing is erased for it, whoever
asks it."""

import json

import pytest

from plue_session import errors
from plue_session.call import Call
from plue_session.rules import reconcile as rule
from plue_session.services.sync import reconcile
from plue_session.services.sync.unnumbered import Unnumbered
from tests.fake_server import FakeServer
from tests.remote_world import AWAY, RemoteWorld, until


def keyed(world, count=3):
    """Make sessions with keys, and let one comparison confirm them."""
    made = [world.do(lambda on, number=number: on.sessions.get_or_create(f"k{number}")) for number in range(count)]
    world.reconcile()
    return made


def wrong(world, count=0):
    """Put another server, with sessions of its own, in the place of the right one."""
    other = FakeServer()
    for _ in range(count):
        other.create(None, Call())
    theirs = [
        session._replace(id=session.id.replace("ses_", "ses_w"), directory=world.server.directory)
        for session in other.sessions.values()
    ]
    world.server.sessions = {session.id: session for session in theirs}


def restarted(world):
    """Another life of the library on the same store, as it begins."""
    again = RemoteWorld(store=world.store, server=world.server)
    again.link.lost()
    return again


def in_doubt(world):
    """Compare all, and let that fail."""
    try:
        world.reconcile()
    except errors.PlueError:
        return
    pytest.fail("the server was found right")


CALLS = {
    "update_title": lambda on, session: on.sessions.update_title(session, "x"),
    "abort": lambda on, session: on.sessions.abort(session),
    "get_info": lambda on, session: on.sessions.get_info(session),
    "fork": lambda on, session: on.sessions.fork(session),
    "delete": lambda on, session: on.sessions.delete(session),
}


@pytest.mark.requirement("P-117")
@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_the_wrong_server_answers_404_erases_nothing(call, compared):
    world = RemoteWorld({"offline": "fail"})
    session = keyed(world)[0].id
    wrong(world)
    world.sync.on_state(AWAY)
    if compared:
        in_doubt(world)
    with pytest.raises(errors.NotFound):
        world.do(lambda on: CALLS[call](on, session))
    world.jobs()
    assert world.store.read(session).key == "k0"


@pytest.mark.parametrize(
    "first",
    [
        lambda world: world.create(title="what a host does first"),
        lambda world: world.do(lambda on: on.sessions.list()),
        lambda world: world.server.fail.update(get=errors.Server("500")),
    ],
    ids=["create", "list", "failure"],
)
def test_what_is_recorded_of_the_wrong_server_since_the_start_does_not_make_it_the_right_one(world, first):
    session = keyed(world)[0].id
    wrong(world, 2)
    again = restarted(world)
    first(again)
    in_doubt(again)
    in_doubt(again)
    assert again.store.read(session).key == "k0"


def test_without_events_a_create_on_the_wrong_server_does_not_make_it_the_right_one(world):
    session = keyed(world)[0].id
    wrong(world)
    world.create(title="on the wrong one")
    in_doubt(world)
    assert world.store.read(session).key == "k0"


def test_a_minute_of_doubt_begins_anew_after_an_outage(world, monkeypatch):
    session = keyed(world)[0].id
    wrong(world)
    in_doubt(world)
    monkeypatch.setattr(rule, "DOUBT", 0.0)
    world.server.fail["survey"] = AWAY
    in_doubt(world)
    in_doubt(world)  # found for the first moment
    assert world.store.read(session).key == "k0"


def test_a_server_that_has_lost_all_is_believed_in_the_end(world, monkeypatch):
    session = keyed(world)[0].id
    wrong(world)
    in_doubt(world)
    monkeypatch.setattr(rule, "DOUBT", 0.0)
    world.reconcile()
    assert world.store.read(session) is None
    assert json.loads(b"[%b]" % world.store.infos()) == []


# -- what else comparing and its jobs must bear ------------------------------------------------------------------------
def test_sessions_that_are_missing_from_a_list_but_there_are_asked_for_once_each(monkeypatch):
    world = RemoteWorld()
    monkeypatch.setattr(reconcile, "MISSING", 8)
    for number in range(30):
        world.create(title=str(number))

    class Capped(FakeServer):
        def survey(self, *arguments, **named):
            whole = self.sessions
            self.sessions = dict(list(whole.items())[:10])
            try:
                return super().survey(*arguments, **named)
            finally:
                self.sessions = whole

    world.server.__class__ = Capped
    world.server.asked.clear()
    world.sync.begin()
    until(lambda: len({each[1] for each in world.server.asked if each[0] == "get"}) == 20)
    until(lambda: not world.reconciles_soon())
    world.sync.end()
    world.sync.join(5)
    assert sum(each[0] == "survey" for each in world.server.asked) <= 5


def test_a_defect_in_a_job_is_logged_and_does_not_end_the_thread(running):
    def bad():
        raise AttributeError("a defect")

    running.server.fail["get"] = bad
    running.queue.add("reread", "ses_1")
    until(lambda: any("a defect" in line for _, line in running.log.lines))
    running.queue.add("reread", "ses_2")
    until(lambda: ("get", "ses_2") in running.server.asked)


def test_a_defect_in_what_is_heard_does_not_hold_its_session_for_ever(world, monkeypatch):
    session = world.create(title="a")

    def defect(_, remote):
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(Unnumbered, "is_echo", defect)
        world.do(lambda on: on.sessions.update_title(session.id, "b"))
    world.do(lambda on: on.sessions.update_title(session.id, "c"), seconds=1)
    assert world.info(session)["title"] == "c" and any("a defect" in line for _, line in world.log.lines)


@pytest.mark.requirement("P-065")
def test_the_flag_clears_with_a_turn_that_began_before_the_abort_had_returned(world):
    session = world.create(title="a")
    world.server.busy[session.id] = {"type": "busy"}
    world.server.message(session.id, "msg_1", ended=False)

    def queued():  # a prompt that waited runs at once
        world.server.message(session.id, "msg_1", ended=True)
        world.server.message(session.id, "msg_2", ended=False)

    world.server.during["abort"] = queued
    world.do(lambda on: on.sessions.abort(session.id))
    assert world.info(session)["aborted"]
    world.server.message(session.id, "msg_2", ended=False)
    world.jobs()
    assert not world.info(session)["aborted"]


@pytest.mark.requirement("P-117")
@pytest.mark.parametrize("call", CALLS)
def test_without_an_event_stream_nothing_tells_of_another_server_and_a_404_is_left_to_the_comparison(call):
    world = RemoteWorld({"offline": "fail"})
    world.sync.on_state(AWAY)  # there is no stream
    world.reconcile()
    made = [world.do(lambda on, number=number: on.sessions.get_or_create(f"k{number}")) for number in range(3)]
    right = world.server.sessions
    wrong(world)
    for session in made:
        with pytest.raises(errors.NotFound):
            world.do(lambda on, session=session: CALLS[call](on, session.id), session.id)
    in_doubt(world)
    world.server.sessions = right
    world.reconcile()
    assert [world.store.id_of_key(f"k{number}") for number in range(3)] == [session.id for session in made]
