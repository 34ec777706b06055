"""What is still to be put right when the process dies is put right by the next one."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.call import Call
from tests.remote_world import AWAY, RemoteWorld, until


@pytest.fixture
def dying(tmp_path):
    """A world on disk, and what makes the next one once its process has died."""
    worlds = [RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"))]

    def next_life():
        first = worlds[-1]
        first.store.close()
        server, now = first.server, first.now
        server.tell = lambda change: None
        worlds.append(RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=server))
        worlds[-1].now = now
        return worlds[-1]

    yield worlds[0], next_life
    worlds[-1].outbox.end()
    worlds[-1].sync.end()
    worlds[-1].sync.join(5)
    worlds[-1].store.close()


def done(world):
    """Let the world run until nothing is pending."""
    world.sync.begin()
    world.outbox.begin()
    until(lambda: world.store.count_operations() == 0 and world.store.count_outgoing() == 0)


def lost():
    raise errors.Timeout("the server did not answer", details={"sent": True})


@pytest.mark.requirement("P-100")
def test_a_withdrawal_is_told_to_the_server_by_the_next_process(dying):
    world, next_life = dying
    world.server.shares = True
    session = world.create()
    world.do(lambda on: on.sessions.create_share(session.id), session.id)
    world.server.fail["unshare"] = AWAY
    world.do(lambda on: on.sessions.unshare(session.id), session.id)
    second = next_life()
    assert json.loads(second.sync.status())["pending"] == 1 and second.server.sessions[session.id].share_url
    done(second)
    assert second.server.sessions[session.id].share_url is None and "share" not in second.info(session)


def test_a_share_made_anew_is_not_withdrawn_by_the_next_process(dying):
    world, next_life = dying
    world.server.shares = True
    session = world.create()
    world.do(lambda on: on.sessions.create_share(session.id), session.id)
    world.server.fail["unshare"] = AWAY
    world.do(lambda on: on.sessions.unshare(session.id), session.id)
    world.do(lambda on: on.sessions.create_share(session.id), session.id)
    second = next_life()
    done(second)
    assert second.server.sessions[session.id].share_url == second.info(session)["share"]["url"]


@pytest.mark.requirement("O-027", "P-044")
def test_a_title_that_the_server_has_replaced_is_put_back_by_the_next_process(dying):
    """It is judged by when it was heard of: the time has long been over in which the server makes one."""
    world, next_life = dying
    world.sync.on_state(None)
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="A title")
    world.now += 600_000
    second = next_life()
    second.sync.on_state(None)
    second.reconcile()
    assert second.info(session)["title"] == "Mine"
    done(second)
    assert second.server.sessions[session.id].title == second.info(session)["title"] == "Mine"


@pytest.mark.requirement("O-027", "P-120")
def test_another_clients_title_that_came_later_is_accepted_by_the_next_process(dying):
    world, next_life = dying
    session = world.do(lambda on: on.sessions.create())
    world.server.message(session.id, "msg_1", ended=False, created=world.now - 50)
    world.do(lambda on: on.sessions.update_title(session.id, "Mine"), session.id)
    world.server.put(session.id, title="A title")
    world.now += 60_000
    world.server.message(session.id, "msg_1", created=world.now - 60_050, completed=world.now - 40_000)
    world.server.put(session.id, title="Theirs")
    world.now += 600_000
    second = next_life()
    second.sync.on_state(None)
    done(second)
    assert second.server.sessions[session.id].title == "Theirs"
    until(lambda: second.info(session)["title"] == "Theirs")


@pytest.mark.requirement("P-176")
def test_what_a_create_has_left_whose_answer_was_lost_is_taken_back_by_the_next_process(dying):
    world, next_life = dying
    world.hold_back()
    world.server.during["create"] = lost
    with pytest.raises(errors.Timeout):
        world.do(lambda on: on.sessions.create())
    second = next_life()
    assert len(second.server.sessions) == 1
    done(second)
    assert second.server.sessions == {} and second.told.take() == []


@pytest.mark.requirement("P-176")
def test_another_process_on_the_store_does_not_show_it_either(two):
    first, second, deliver = two
    first.server.during["create"] = lost
    with pytest.raises(errors.Timeout):
        first.do(lambda on: on.sessions.create())
    deliver(1)
    assert second.told.take() == [] and second.jobs() == ["take back"] and first.server.sessions == {}


@pytest.mark.requirement("P-176")
def test_what_could_not_be_recorded_nor_taken_back_is_by_the_next_process(dying):
    world, next_life = dying
    world.hold_back()
    world.server.during["create"] = lambda: world.create(key="key")
    world.server.fail["delete"] = errors.Server("the server answered 500")
    with pytest.raises(errors.AlreadyExists):
        world.create(key="key")
    assert len(world.server.sessions) == 2
    second = next_life()
    done(second)
    (kept,) = second.server.sessions
    assert second.info(kept)["key"] == "key"


@pytest.mark.requirement("P-176")
def test_the_next_process_finds_what_a_lost_create_with_a_key_makes_after_its_first_list(dying):
    world, next_life = dying
    world.hold_back()
    world.server.fail["create"] = errors.Timeout("the server did not answer", details={"sent": True})
    with pytest.raises(errors.Timeout):
        world.do(lambda on: on.sessions.get_or_create("key"))
    second = next_life()
    second.reconcile()
    (noted,) = second.store.operations()
    made = second.server.create(noted.subject, Call())  # only now, and no event tells of it
    assert second.do(lambda on: on.sessions.get_or_create("key")).id == made.id
    assert second.store.count_operations() == 0


def test_a_create_whose_answer_was_lost_a_day_ago_makes_nothing_any_more(dying):
    world, next_life = dying
    world.server.fail["create"] = errors.Timeout("the server did not answer", details={"sent": True})
    with pytest.raises(errors.Timeout):
        world.do(lambda on: on.sessions.create())
    second = next_life()
    second.mirror.take_up()
    assert second.store.count_operations() == 1
    second.now += 86_400_001
    second.mirror.take_up()
    assert second.store.count_operations() == 0


def test_what_is_pending_goes_with_its_session(dying):
    world, _ = dying
    world.server.shares = True
    session = world.create()
    world.do(lambda on: on.sessions.create_share(session.id), session.id)
    world.server.fail["unshare"] = AWAY
    world.do(lambda on: on.sessions.unshare(session.id), session.id)
    assert world.store.count_outgoing() == 1
    world.do(lambda on: on.sessions.delete(session.id), session.id)
    assert world.store.count_outgoing() == 0
