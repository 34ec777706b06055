"""Shares: one at a time, told once, opened by its secret alone."""

import json

import pytest

from plue_session.adapters.share_key import ShareKeyFile
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.errors import AccessDenied, InvalidParam, NotFound, StoreIo
from plue_session.rules import shares
from tests.world import START, World

DAY = 86_400_000


@pytest.fixture
def session(world):
    session = world.sessions.create()
    world.told.take()
    return session


def share(world, session):
    return json.loads(world.sessions.create_share(session.id))


def refused(world, session_id, secret):
    with pytest.raises(AccessDenied) as caught:
        world.sharing.validate(session_id, secret)
    return caught.value.message("plue_session_validate_share")


@pytest.mark.requirement("P-024", "P-040", "P-091", "P-093", "P-102")
def test_a_share_is_in_answer_info_and_event(world, session):
    answer = share(world, session)
    assert answer["url"].startswith("http://localhost:4780/share/") and len(answer["url"]) == 28 + 22
    assert (
        len(answer["secret"]) == 43
        and answer["link"] == f"{answer['url']}#{answer['secret']}"
        and answer["expiresAt"] == START + DAY
    )
    assert world.info(session)["share"] == {"url": answer["url"], "expiresAt": START + DAY}
    assert world.told.take() == [("session.shared", {"id": session.id, "url": answer["url"]})]


@pytest.mark.requirement("P-097")
def test_the_secret_is_in_the_answer_and_nowhere_else(world, session):
    secret = share(world, session)["secret"]
    record = world.store.share(session.id)
    told = repr([call[1].tail if call[0] == "event" else call for call in world.told.calls])
    assert secret not in world.sessions.list().decode() + world.sessions.query() + told + record.url + record.share_id


@pytest.mark.requirement("P-098")
def test_a_shared_session_keeps_its_share(world, session):
    answer = share(world, session)
    world.told.take()
    world.now += DAY - 1
    assert share(world, session) == answer and world.told.calls == []


def test_an_expired_share_is_replaced(world, session):
    old = share(world, session)
    world.told.take()
    world.now += DAY
    new = share(world, session)
    assert new["url"] != old["url"] and new["secret"] != old["secret"] and new["expiresAt"] == START + 2 * DAY
    assert world.told.take() == [("session.shared", {"id": session.id, "url": new["url"]})]
    refused(world, session.id, old["secret"])
    world.sharing.validate(session.id, new["secret"])


@pytest.mark.requirement("P-093")
def test_a_share_may_last_for_ever(build):
    world = build({"share": {"ttlMs": None, "baseUrl": "https://plue.example/s/"}})
    session = world.sessions.create()
    answer = share(world, session)
    assert "expiresAt" not in answer and world.info(session)["share"] == {"url": answer["url"]}
    assert answer["url"].startswith("https://plue.example/s/share/")
    world.now += 1000 * 365 * DAY
    world.sharing.validate(session.id, answer["secret"])


@pytest.mark.requirement("P-094")
def test_the_secret_opens_the_share_until_it_expires(world, session):
    secret = share(world, session)["secret"]
    world.now = START + DAY - 1
    world.sharing.validate(session.id, secret)
    world.now = START + DAY
    refused(world, session.id, secret)


@pytest.mark.requirement("P-095", "P-101")
def test_every_refusal_says_the_same(world, session):
    other = world.sessions.create()
    secret = share(world, session)["secret"]
    messages = {
        refused(world, session.id, "wrong"),
        refused(world, session.id, ""),
        refused(world, session.id, "é"),
        refused(world, other.id, secret),
        refused(world, "session_1", secret),
        refused(world, "ses_unknown", secret),
    }
    world.now += DAY
    messages.add(refused(world, session.id, secret))
    world.now -= DAY
    world.sessions.unshare(session.id)
    messages.add(refused(world, session.id, secret))
    assert len(messages) == 1 and secret not in messages.pop()


def test_a_refusal_does_the_same_work_for_an_unknown_session(world, session, monkeypatch):
    share(world, session)
    work = []
    monkeypatch.setattr(shares, "secret", lambda key, share: work.append(len(share)) or "x")
    refused(world, session.id, "wrong")
    refused(world, "session_1", "wrong")
    assert work == [22, 22]


def test_nobody_opens_the_share_that_does_not_exist(world):
    stand_in = shares.secret(world.keys.load(), "A" * 22)
    refused(world, "session_1", stand_in)


@pytest.mark.requirement("P-145")
def test_a_malformed_id_is_a_wrong_parameter(world):
    for name in ("../x", "", "key", "session_"):
        with pytest.raises(InvalidParam):
            world.sharing.validate(name, "secret")


@pytest.mark.requirement("P-100")
def test_unshare_removes_the_share_and_tells_once(world, session):
    world.sessions.unshare(session.id)
    assert world.told.calls == []
    share(world, session)
    world.told.take()
    world.sessions.unshare(session.id)
    assert "share" not in world.info(session) and world.store.share(session.id) is None
    assert world.told.take() == [("session.unshared", {"id": session.id})]
    world.sessions.unshare(session.id)
    assert world.told.calls == []


def test_a_share_of_an_unknown_session_is_not_found(world):
    for call in (world.sessions.create_share, world.sessions.unshare):
        world.unchanged_by(NotFound, call, "session_1")


def test_a_key_that_cannot_be_had_shares_nothing(world, session):
    class Broken:
        def load(self):
            raise StoreIo("no key")

    broken = World(store=world.store, keys=Broken())
    broken.unchanged_by(StoreIo, broken.sessions.create_share, session.id)
    broken = World({"share": {"auto": True}}, world.store, Broken())
    broken.unchanged_by(StoreIo, broken.sessions.create)


@pytest.mark.requirement("P-142", "P-097")
def test_a_copy_of_the_database_alone_opens_no_share(tmp_path):
    def open_world(folder):
        return World(store=SqliteStore(str(folder), "embedded"), keys=ShareKeyFile(str(folder)))

    ours = open_world(tmp_path / "ours")
    session = ours.sessions.create()
    secret = json.loads(ours.sessions.create_share(session.id))["secret"]
    ours.sharing.validate(session.id, secret)
    ours.store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "sessions.db").write_bytes((tmp_path / "ours" / "sessions.db").read_bytes())
    assert secret.encode() not in (copy / "sessions.db").read_bytes()
    theirs = open_world(copy)
    assert theirs.store.share(session.id).url.endswith(theirs.store.share(session.id).share_id)
    with pytest.raises(AccessDenied):
        theirs.sharing.validate(session.id, secret)
    theirs.store.close()
