"""The relay through the library, by processes that share a store."""

import json

import pytest

from tests import support
from tests.peers import Failed, Peer

HOST = json.dumps({"worktree": "/", "agent": {"kind": "host"}})


@pytest.fixture
def plain():
    return support.library("plain")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def state(peer, session):
    return peer.info(session)["relay"]["state"]


def refused(call, *arguments):
    with pytest.raises(Failed) as caught:
        call(*arguments)
    return caught.value


def told(peer):
    """The next relay.changed that the process heard of, as `(from, to)`."""
    while True:
        event, _ = peer.event()
        if event["type"] == "relay.changed":
            return event["data"]["from"], event["data"]["to"]


@pytest.mark.requirement("R-037", "R-076", "R-080")
def test_two_processes_see_each_other_s_changes(plain, folder):
    with Peer(plain, folder) as one, Peer(plain, folder) as other:
        one.subscribe()
        other.subscribe()
        session = one.session_create_with('{"role":"r"}')
        seen = other.session_relay_get("r")
        id = other.session_get_id(seen)
        one.session_relay_spawn(session)
        assert told(other) == ("CREATED", "SPAWNING") and state(other, seen) == "SPAWNING"
        one.session_relay_attach(session, HOST)
        assert told(other) == ("SPAWNING", "ACTIVE") and other.info(seen)["relay"]["worktree"] == "/"
        error = refused(other.session_relay_attach, seen, HOST)
        assert error.code == "INVALID_TRANSITION" and "state=ACTIVE event=ACTIVATE" in error.message
        other.session_relay_count_message(seen)
        other.session_relay_terminate(id, "from elsewhere")
        assert [told(one) for _ in range(3)][-1] == ("ACTIVE", "TERMINATING")
        assert state(one, session) == "TERMINATING" and one.info(session)["relay"]["messageCount"] == 1
        other.session_relay_clean(id)
        assert told(one) == ("TERMINATING", "CLEANED") and state(one, session) == "CLEANED"
        assert refused(one.session_relay_get, "r").code == "NOT_FOUND"
        one.session_create_with('{"role":"r"}')  # it is free
        states = json.loads(other.session_metrics("json"))["relay"]["states"]
        assert (states["CREATED"], states["CLEANED"]) == (1, 1)


@pytest.mark.requirement("R-051", "R-023")
def test_a_role_is_one_session_s_also_of_another_process(plain, folder):
    with Peer(plain, folder) as one, Peer(plain, folder) as other:
        one.session_create_with('{"role":"r"}')
        error = refused(other.session_create_with, '{"role":"r"}')
        assert error.code == "ALREADY_EXISTS" and "session_" in error.message


@pytest.mark.requirement("R-077", "R-076")
def test_what_a_process_had_attached_that_died_can_be_attached_again(plain, folder):
    with Peer(plain, folder) as other:
        session = other.session_create_with('{"role":"r"}')
        other.session_relay_spawn(session)
        other.session_relay_attach(session, HOST)
        with Peer(plain, folder) as one:
            seen = one.session_relay_get("r")
            assert refused(one.session_relay_attach, seen, HOST).code == "INVALID_TRANSITION"
            other.kill()
            agents = json.loads(one.session_metrics("json"))["agents"]
            assert (agents["attached"]["host"], agents["lost"]["host"]) == (0, 1)
            one.session_relay_attach(seen, HOST)
            assert state(one, seen) == "ACTIVE"
            assert json.loads(one.session_metrics("json"))["agents"]["attached"]["host"] == 1


@pytest.mark.requirement("R-026")
def test_a_relay_goes_on_where_it_was_after_a_restart(plain, folder):
    with Peer(plain, folder) as peer:
        session = peer.session_create_with('{"role":"r"}')
        peer.session_relay_spawn(session)
        peer.session_relay_attach(session, HOST)
        peer.session_relay_heartbeat(session)
        before = peer.info(session)["relay"]
        peer.shutdown()
        peer.init(peer.config)
        seen = peer.session_relay_get("r")
        assert before["state"] == "ACTIVE" and peer.info(seen)["relay"] == {**before, "isLost": True}
        peer.session_relay_attach(seen, HOST)  # the library that had it has stopped


@pytest.mark.requirement("R-050")
def test_a_store_in_memory_has_all_of_it(plain, folder):
    with Peer(plain, folder, store="memory") as peer:
        session = peer.session_create_with('{"role":"r"}')
        peer.session_relay_spawn(session)
        peer.session_relay_attach(session, HOST)
        id = peer.session_get_id(session)
        assert refused(peer.session_relay_clean, id).code == "INVALID_TRANSITION"
        peer.session_relay_terminate(id, None)
        peer.session_relay_clean(id)
        peer.session_relay_clean(id)
        assert state(peer, session) == "CLEANED"


@pytest.mark.requirement("R-025", "R-027", "R-028", "R-032")
def test_what_is_wrong_is_refused_by_name(plain, folder):
    with Peer(plain, folder) as peer:
        session, without = peer.session_create_with('{"role":"r"}'), peer.session_create(None)
        id = peer.session_get_id(session)
        for call, arguments, code, says in (
            ("session_relay_attach", (session, HOST), "INVALID_TRANSITION", "can only spawn or terminate from CREATED"),
            ("session_relay_attach", (session, "{"), "JSON_PARSE", "the agent is not JSON"),
            ("session_relay_attach", (session, "{}"), "INVALID_PARAM", "worktree is missing"),
            ("session_relay_attach", (session, None), "INVALID_PARAM", "agent_json is NULL"),
            ("session_relay_spawn", (without,), "INVALID_TRANSITION", "without a role"),
            ("session_relay_heartbeat", (without,), "INVALID_TRANSITION", "without a role"),
            ("session_relay_spawn", (None,), "INVALID_PARAM", "Session handle is null"),
            ("session_relay_spawn", (77,), "BAD_HANDLE", ""),
            ("session_relay_terminate", (id, "x" * 1001), "INVALID_PARAM", "reason has 1001 characters"),
            ("session_relay_terminate", ("nobody", None), "INVALID_PARAM", "malformed"),
            ("session_relay_clean", ("session_5",), "NOT_FOUND", "session not found: session_5"),
            ("session_relay_get", ("",), "INVALID_PARAM", "role cannot be empty"),
            ("session_metrics", ("xml",), "INVALID_PARAM", "format"),
        ):
            error = refused(getattr(peer, call), *arguments)
            assert error.code == code and says in error.message, (call, error.message)
        assert state(peer, session) == "CREATED"
        peer.session_relay_terminate("session_5", "nobody has it")
        peer.session_delete(session)
        error = refused(peer.session_relay_spawn, session)
        assert error.code == "NOT_FOUND" and f"session not found: {id}" in error.message
