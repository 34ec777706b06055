"""Changing sessions on a server: in one order there and here, each change told once."""

import threading
import time

import pytest

from plue_session import errors
from tests.remote_world import ANSWERED, AWAY, RemoteWorld, asked, in_thread, unchanged_by


# -- changing ----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-121", "P-123")
def test_a_change_is_sent_alone_and_its_echoes_are_not_told(world):
    session = world.create(title="T", metadata={"a": 1})
    world.told.take()
    world.server.asked.clear()
    sent = []
    update = world.server.update
    world.server.update = lambda session_id, *call, **given: (
        sent.append({name: given[name] for name in ("title", "metadata", "archived") if name in given})
        or update(session_id, *call, **given)
    )
    world.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    world.do(
        lambda on: on.sessions.update(session.id, '{"metadata":{"b":2},"archived":true,"title":"V","addTags":["x"]}'),
        session.id,
    )
    assert [list(each) for each in sent] == [["title"], ["title", "metadata", "archived"]]
    changed = ["title", "time.updated", "time.archived", "tags", "metadata"]
    assert world.told.take() == [
        ("session.updated", {"id": session.id, "title": "U", "fields": ["title"]}),
        ("session.updated", {"id": session.id, "title": "V", "fields": changed}),
    ]
    assert world.jobs() == [] and asked(world) == ["update", "update"]
    info = world.info(session)
    assert (info["title"], info["metadata"], info["tags"], "archived" in info["time"]) == ("V", {"b": 2}, ["x"], True)


def test_echoes_that_come_late_are_not_told_either(world):
    session = world.create(title="T")
    world.told.take()
    world.hold_back()
    world.do(lambda on: on.sessions.update(session.id, '{"metadata":{"b":2},"archived":true,"title":"V"}'), session.id)
    world.deliver()
    assert len(world.told.take()) == 1 and world.jobs() == []


def test_another_clients_change_among_the_echoes_is_asked_for(world):
    session = world.create(title="T")
    world.hold_back()
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.held_back.clear()  # the echo is lost
    world.server.put(session.id, title="Theirs")
    world.deliver()
    assert world.info(session)["title"] == "Mine" and world.jobs() == ["reread"]
    assert world.info(session)["title"] == "Theirs"


def test_what_only_we_keep_is_not_sent(world):
    session = world.create()
    world.server.asked.clear()
    world.do(lambda on: on.sessions.update(session.id, '{"description":"d","tags":["a"]}'), session.id)
    world.do(lambda on: on.sessions.update(session.id, "{}"), session.id)
    assert asked(world) == [] and world.info(session)["description"] == "d"


@pytest.mark.requirement("P-120", "O-024")
def test_base_is_compared_with_what_the_server_has_now(world):
    session = world.create(title="Mine")
    world.hold_back()
    world.server.put(session.id, title="Theirs")
    with pytest.raises(errors.Conflict, match="title"):
        world.do(lambda on: on.sessions.update(session.id, '{"title":"x","base":{"title":"Mine"}}'), session.id)
    assert world.server.sessions[session.id].title == "Theirs"
    world.do(lambda on: on.sessions.update(session.id, '{"title":"x","base":{"title":"Theirs"}}'), session.id)
    assert world.server.sessions[session.id].title == "x"


@pytest.mark.parametrize(
    "error", [AWAY, errors.Server("the server answered 500", details=ANSWERED), errors.Timeout("late")]
)
def test_a_change_that_the_server_refuses_or_misses_changes_nothing(error):
    world = RemoteWorld({"offline": "fail"})
    session = world.create(title="T", metadata={})
    for call, work in {
        "update": lambda on: on.sessions.update_title(session.id, "x"),
        "delete": lambda on: on.sessions.delete(session.id),
        "fork": lambda on: on.sessions.fork(session.id),
        "create": lambda on: on.sessions.create(),
        "check_provider": lambda on: on.sessions.initialize(session.id, "fake", "fake-model"),
    }.items():
        world.server.fail[call] = error
        unchanged_by(world, type(error), work, session.id)


def test_renames_reach_the_server_and_the_store_in_one_order(world):
    session = world.create(title="T")
    first = threading.Event()
    second = []

    def slow():
        second.append(in_thread(lambda: world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id)))
        assert not first.wait(0.1)

    world.server.during["update"] = slow
    world.do(lambda on: on.sessions.update_title(session.id, "A"), session.id)
    assert not isinstance(second[0](), Exception)
    assert world.info(session)["title"] == world.server.sessions[session.id].title == "B"
    assert [data["title"] for _, data in world.told.take() if "title" in data] == ["A", "B"]


def test_who_waits_for_a_session_goes_home_at_its_deadline_and_when_cancelled(world):
    session = world.create()
    results = []

    def slow():
        results.append(
            in_thread(lambda: world.do(lambda on: on.sessions.update_title(session.id, "B"), session.id, seconds=0.05))
        )
        assert isinstance(results[0](), errors.Timeout)
        call = world.calls.begin("test", session.id, time.monotonic() + 10)
        waiting = in_thread(lambda: world.session_locks.hold(session.id, call).__enter__())
        call.set(errors.Aborted("x"))
        results.append(waiting())

    world.server.during["update"] = slow
    world.do(lambda on: on.sessions.update_title(session.id, "A"), session.id)
    assert isinstance(results[1], errors.Aborted) and world.info(session)["title"] == "A"


@pytest.mark.requirement("P-014", "P-016")
def test_initialize_asks_whether_the_pair_is_there_and_writes_nothing(world):
    session = world.create()
    world.server.asked.clear()
    world.do(lambda on: on.sessions.initialize(session.id, "fake", "fake-model"), session.id)
    world.do(lambda on: on.sessions.initialize(session.id, "fake", "fake-model"), session.id)
    assert asked(world) == ["check_provider"]
    unchanged_by(world, errors.Conflict, lambda on: on.sessions.initialize(session.id, "fake", "other"), session.id)
    unchanged_by(world, errors.InvalidParam, lambda on: on.sessions.initialize(session.id, "", "other"), session.id)
    assert asked(world) == []


# -- the automatic title -----------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-027", "P-044")
def test_a_title_set_here_during_the_first_turn_is_put_back_and_the_flicker_not_shown(world):
    world.sync.on_state(None)
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.told.take()
    world.server.put(session.id, title="A title")
    assert world.info(session)["title"] == "Mine"
    assert world.jobs() == ["title"]
    assert world.server.sessions[session.id].title == "Mine" and world.info(session)["title"] == "Mine"
    assert [data for _, data in world.told.take() if "title" in data] == []
    world.now += 11_000
    world.server.put(session.id, title="Theirs")  # once: the server makes one title
    assert (
        world.jobs() == ["title"]
        and world.info(session)["title"] == "Theirs" == world.server.sessions[session.id].title
    )


@pytest.mark.requirement("O-027", "P-044")
@pytest.mark.parametrize("second", ["Newer", "Mine"])
def test_a_title_set_over_one_that_is_defended_is_defended_like_it(world, second):
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.now += 500
    world.do(lambda on: on.sessions.update_title(session.id, second), session.id)
    world.server.put(session.id, title="A title")
    assert world.info(session)["title"] == second
    assert (
        world.jobs() == ["title"] and world.server.sessions[session.id].title == second == world.info(session)["title"]
    )


def test_a_title_set_twice_before_the_first_turn_is_not_defended_against_other_clients(world):
    """A turn that finds a title that is not automatic makes none."""
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.now += 20_000
    world.server.message(session.id, "msg_1", ended=False, created=world.now)
    world.now += 1_000
    world.do(lambda on: on.sessions.update_title(session.id, "Newer"), session.id)
    world.server.put(session.id, title="Theirs")
    assert world.jobs() == ["title"] and world.info(session)["title"] == "Theirs"


@pytest.mark.requirement("O-027", "P-044")
def test_the_automatic_title_does_not_win_because_another_client_renamed_first(world):
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    for title in ("Theirs", "A title"):
        world.now += 2_000
        world.server.put(session.id, title=title)
        assert (
            world.jobs() == ["title"]
            and world.info(session)["title"] == "Mine" == world.server.sessions[session.id].title
        )


def test_a_title_that_comes_late_in_the_first_turn_is_put_back_once(world):
    world.sync.on_state(None)
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.now += 30_000
    world.server.put(session.id, title="A title")
    assert (
        world.jobs() == ["title"] and world.info(session)["title"] == "Mine" == world.server.sessions[session.id].title
    )
    world.server.put(session.id, title="Theirs")
    assert world.jobs() == [] and world.info(session)["title"] == "Theirs"


@pytest.mark.requirement("O-027", "P-044")
def test_what_was_heard_late_of_the_servers_title_is_not_shown_once_ours_is_put_back(world):
    world.sync.on_state(None)
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.told.take()
    world.server.put(session.id, title="A title")
    world.hold_back()
    world.server.put(session.id, title="A title", updated=world.now + 5)  # the turn goes on
    assert world.jobs() == ["title"]
    world.deliver()
    assert world.info(session)["title"] == "Mine" == world.server.sessions[session.id].title
    world.now += 11_000
    world.server.put(session.id, title="Theirs")  # a wish, and no state on the way
    assert world.jobs() == ["title"]
    assert [data["title"] for _, data in world.told.take() if "title" in data] == ["Theirs"]


@pytest.mark.requirement("O-027", "P-044")
@pytest.mark.parametrize("ahead", [-600_000, 0, 5_000, 600_000])
def test_the_automatic_title_does_not_win_by_a_clock_that_is_ahead(world, ahead):
    """Messages have the server's times; what is known of its clock is what its answers say."""
    world.server.clock_ahead = ahead
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.message(
        session.id, "msg_1", ended=False, created=world.now + ahead + 500
    )  # it was prompted before, and has an automatic title
    world.now += 3_000
    world.server.put(session.id, title="A title")
    assert (
        world.jobs() == ["title"] and world.info(session)["title"] == "Mine" == world.server.sessions[session.id].title
    )
    world.now += 60_000
    world.server.put(session.id, title="Theirs")
    assert (
        world.jobs() == ["title"]
        and world.info(session)["title"] == "Theirs" == world.server.sessions[session.id].title
    )


def test_a_title_set_here_while_the_last_one_is_judged_is_kept(world):
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="A title")
    world.now += 1

    def again():
        world.do(lambda on: on.sessions.update_title(session.id, "Newer"), session.id)

    world.server.during["messages"] = again
    assert world.jobs() == ["title"]
    assert world.info(session)["title"] == "Newer" == world.server.sessions[session.id].title


def test_another_clients_rename_outside_of_a_turn_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="Theirs")
    assert world.jobs() == ["title"] and world.info(session)["title"] == "Theirs"


@pytest.mark.requirement("P-120")
def test_another_clients_rename_after_a_turn_that_began_after_ours_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.message(session.id, "msg_1", created=world.now + 5_000, completed=world.now + 6_000)
    world.now += 8_000
    world.server.put(session.id, title="Theirs")
    assert (
        world.jobs() == ["title"]
        and world.info(session)["title"] == "Theirs" == world.server.sessions[session.id].title
    )


def test_another_clients_rename_long_after_the_first_turn_is_accepted(world):
    session = world.do(lambda on: on.sessions.create())
    world.sync.on_state(None)
    world.server.message(session.id, "msg_1", created=world.now - 100, completed=world.now + 1_000)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.now += 60_000
    world.server.put(session.id, title="Theirs")
    assert world.jobs() == ["title"] and world.info(session)["title"] == "Theirs"


def test_a_title_over_one_of_somebodys_is_not_defended(world):
    session = world.create(title="Given")
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="Theirs")
    assert world.info(session)["title"] == "Theirs" and world.jobs() == []


# -- what others change meanwhile --------------------------------------------------------------------------------------
@pytest.mark.requirement("O-027")
def test_a_title_is_defended_though_what_only_we_keep_has_changed_meanwhile(two, world):
    first, second, _ = two
    session = first.create()
    first.server.during["update"] = lambda: second.do(
        lambda on: on.sessions.update(session.id, '{"tags":["t"]}'), session.id
    )
    first.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    session = world.create()
    world.server.during["update"] = lambda: world.do(lambda on: on.sessions.abort(session.id), session.id)
    world.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    for each in (first, world):
        ((session_id, _),) = each.store.ids()
        shown = each.store.read(session_id)
        assert shown.title == "ours" and shown.title_defended_at is not None


@pytest.mark.parametrize("numbered", [True, False])
def test_an_answer_is_shown_at_the_calls_end_though_another_process_changes_the_session_all_the_time(two, numbered):
    first, second, deliver = two
    server = first.server
    server.numbered = numbered
    session = first.create(title="A")
    deliver(1)

    def theirs():
        server.put(session.id, title="theirs")
        deliver(1)

    server.fail["update"] = theirs
    server.during["get"] = lambda: second.do(lambda on: on.sessions.update(session.id, '{"tags":["t"]}'), session.id)
    first.do(lambda on: on.sessions.update_title(session.id, "ours"), session.id)
    assert server.sessions[session.id].title == "ours" == first.info(session)["title"]
