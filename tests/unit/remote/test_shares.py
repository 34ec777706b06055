"""Shares with a server: its own link when it gives one, else ours."""

import json
import time

import pytest

from plue_session import errors
from tests.remote_world import AWAY, RemoteWorld, unchanged_by


def share(world, session):
    return json.loads(world.do(lambda on: on.sessions.create_share(session.id), session.id))


def unshare(world, session):
    world.do(lambda on: on.sessions.unshare(session.id), session.id)


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
        world.link.contact(AWAY)
    made = share(world, session)
    assert made["link"] == f"{made['url']}#{made['secret']}" and share(world, session) == made
    world.do(lambda on: on.sharing.validate(session.id, made["secret"]))
    if why != "known to be away":
        world.reconcile()
    assert world.info(session)["share"]["url"] == made["url"]  # the server knows of none, and takes none away


@pytest.mark.requirement("P-050")
def test_the_share_follows_the_servers(world):
    session = world.create()
    world.told.take()
    world.server.put(session.id, share_url="https://s/1")
    assert world.info(session)["share"] == {"url": "https://s/1"}
    world.server.put(session.id, share_url=None)
    assert "share" not in world.info(session)
    assert world.told.take() == [
        ("session.shared", {"id": session.id, "url": "https://s/1"}),
        ("session.unshared", {"id": session.id}),
    ]


@pytest.mark.requirement("P-099", "P-100")
def test_a_share_of_the_servers_beside_one_of_ours_is_the_one_that_is_shown_answered_and_withdrawn(world):
    """We have shared while the server did not; then another client shares there."""
    session = world.create()
    assert "secret" in share(world, session)
    world.server.put(session.id, share_url="https://s/1")
    assert world.jobs() == ["reread"]  # the record has changed since the server last told of it
    assert world.info(session)["share"] == {"url": "https://s/1"}
    assert share(world, session) == {"url": "https://s/1", "link": "https://s/1"}
    world.told.take()
    unshare(world, session)
    assert world.server.sessions[session.id].share_url is None
    world.reconcile()
    assert "share" not in world.info(session) and world.told.take() == [("session.unshared", {"id": session.id})]
    assert world.store.share(session.id) is None


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
    with pytest.raises(type(why)):
        world.replay()
    assert world.server.sessions[session.id].share_url
    world.replay()
    assert world.server.sessions[session.id].share_url is None and not world.store.read(session.id).unshare_pending
    assert share(world, session)["url"] == f"https://share.example/{session.id}"


def test_a_share_is_withdrawn_on_the_server_at_once_when_it_can_be(world):
    world.server.shares = True
    session = world.create()
    share(world, session)
    unshare(world, session)
    unshare(world, session)
    assert world.server.sessions[session.id].share_url is None and world.jobs() == []
    assert [each[0] for each in world.server.asked].count("unshare") == 1


@pytest.mark.requirement("P-051")
def test_share_auto_shares_roots_and_not_children():
    world = RemoteWorld({"share": {"auto": True}})
    ours = world.create()
    child = world.create(parentId=ours.id)
    assert world.info(ours)["share"]["url"].startswith("http://localhost:4780/share/") and "share" not in world.info(
        child
    )
    world.server.shares = True
    theirs = world.create()
    assert world.info(theirs)["share"] == {"url": f"https://share.example/{theirs.id}"}


@pytest.mark.requirement("P-051", "P-099")
@pytest.mark.parametrize(
    "error", [errors.Busy("409"), errors.InvalidParam("400"), errors.AccessDenied("401"), errors.NotFound("404"), AWAY]
)
def test_share_auto_shares_by_itself_what_the_server_refuses_to_share(error):
    world = RemoteWorld({"share": {"auto": True}})
    world.server.fail["share"] = error
    session = world.create()
    assert world.info(session)["share"]["url"].startswith("http://localhost:4780/share/")


def test_a_create_that_ends_while_it_shares_has_made_nothing():
    world = RemoteWorld({"share": {"auto": True}})
    world.server.fail["share"] = errors.Closed("the library shut down")
    unchanged_by(world, errors.Closed, lambda on: on.sessions.create())
    assert world.server.sessions == {}


def test_share_auto_leaves_a_call_time_for_a_share_of_ours():
    world, given = RemoteWorld({"share": {"auto": True}}), []
    world.server.share = lambda session_id, call, *more, **way: given.append(call.deadline - time.monotonic())
    world.do(lambda on: on.sessions.create())
    assert 2 < given[0] < 3


def test_a_withdrawal_that_the_server_is_yet_to_hear_of_is_pending(world):
    world.server.shares = True
    session = world.create()
    share(world, session)
    world.link.contact(AWAY)
    unshare(world, session)
    assert json.loads(world.sync.status())["pending"] == 1
    assert world.info(session)["sync"] == {"state": "pending", "pending": 1}
    world.back()
    assert world.info(session)["sync"] == {"state": "synced", "pending": 0}
    assert json.loads(world.sync.status())["pending"] == 0 and world.server.sessions[session.id].share_url is None
