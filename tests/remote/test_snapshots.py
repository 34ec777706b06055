"""What a handle shows, how old it may be, and in which order what we change and what we hear is applied."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.opencode.fixtures import soon
from tests.opencode.stub import reply
from tests.remote.hosts import FENCES
from tests.remote.proxy import STREAMS, Gate, answering, lose

TTL_MS = 2_000


def theirs(raw, session_id):
    """The session as the server itself writes it."""
    status, data = raw("GET", f"/session/{session_id}")
    assert status == 200
    return data


# -- freshness ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-061", "P-062", "P-063", "P-118")
def test_a_snapshot_is_asked_for_once_it_is_older_than_its_time_and_not_before(connected, client, title):
    host = connected(
        [answering("GET", "(/global)?/event", reply(404, b""))], cacheTtlMs=TTL_MS, syncIntervalMs=600_000
    )  # nothing is heard
    proxy = host.proxy
    tried = 2 * len(STREAMS)  # by the second time it knows that nothing is heard
    while len([request for request in proxy.requests if request.path in STREAMS]) < tried:
        time.sleep(0.02)
    host.call("session_sync", 10_000)
    asked = proxy.mark()
    session = host.create_with(title=title)
    client.update(session.id, soon(), title=f"{title}, theirs")
    made = time.monotonic()
    assert session.info()["title"] == title
    # What a list asks is none of this: that nothing is heard may have been found out just now.
    apart = "GET /session", "GET /permission", "GET /question"
    asked_of_it = [each for each in proxy.since(asked) if each not in apart]
    assert asked_of_it == ["POST /session"] or time.monotonic() - made > TTL_MS / 1000
    listed = ["GET /session"]
    while "GET /session" in listed:  # a list that comes, or is answered, so late has confirmed what is shown
        asked = proxy.mark()
        time.sleep(2 * TTL_MS / 1000)
        listed = proxy.since(asked)
    asked = proxy.mark()
    assert session.peek()["title"] == title and proxy.since(asked) == []
    asked_at = time.monotonic()
    assert session.info()["title"] == f"{title}, theirs" and session.peek()["title"] == f"{title}, theirs"
    infos = [session.info() for _ in range(5)]
    assert proxy.since(asked) == [f"GET /session/{session.id}"] or time.monotonic() - asked_at > TTL_MS / 1000
    assert {info["title"] for info in infos} == {f"{title}, theirs"}


@pytest.mark.requirement("P-061", "P-118")
def test_with_no_time_at_all_each_reading_asks_and_looking_never_does(eager, proxy, title):
    session = eager.create_with(title=title)
    asked = proxy.mark()
    for _ in range(3):
        assert session.peek()["title"] == title
    assert proxy.since(asked) == []
    for _ in range(3):
        assert session.info()["title"] == title
    assert proxy.since(asked) == [f"GET /session/{session.id}"] * 3


@pytest.mark.requirement("P-119", "P-013", "P-076")
def test_what_is_heard_is_shown_by_every_handle_and_costs_no_request(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    other, asked, mark = quiet.open(session.id), proxy.mark(), quiet.mark()
    client.update(session.id, soon(), title=f"{title}, theirs")
    quiet.wait_for("session.updated", session.id, mark, title=f"{title}, theirs")
    assert session.info()["title"] == other.info()["title"] == other.peek()["title"] == f"{title}, theirs"
    quiet.fence(client)
    assert proxy.since(asked) == [] and len(quiet.since(mark, session.id)) == 1


@pytest.mark.requirement("P-122")
def test_an_older_state_is_ignored_and_one_of_the_same_age_counts(older, client, proxy, raw, title):
    session = older.create_with(title=title)
    info = theirs(raw, session.id)
    mark = older.mark()

    def tell(title, older_by):
        proxy.tell(
            "session.updated",
            sessionID=session.id,
            info={**info, "title": title, "time": {**info["time"], "updated": info["time"]["updated"] - older_by}},
        )

    tell("from the past", 1)
    older.fence(client)
    assert session.peek()["title"] == title and older.since(mark) == []
    tell("of the same time", 0)
    tell("of the same time, later", 0)
    older.fence(client)
    assert session.peek()["title"] == "of the same time, later"
    assert [data.get("title") for _, data in older.since(mark)] == ["of the same time", "of the same time, later"]


@pytest.mark.requirement("O-032", "O-063")
def test_what_comes_late_of_a_deleted_session_does_not_bring_it_back(older, client, proxy, raw, title):
    session = older.create_with(title=title)
    session_id, info = session.id, theirs(raw, session.id)
    session.delete()
    mark, asked = older.mark(), proxy.mark()
    proxy.tell("session.updated", sessionID=session_id, info=info)
    proxy.tell("session.created", sessionID=session_id, info=info)
    proxy.tell("session.status", sessionID=session_id, status={"type": "busy"})
    proxy.tell("session.idle", sessionID=session_id)
    proxy.tell("session.something.new", sessionID=session_id)
    older.fence(client)
    assert older.since(mark) == [] and proxy.since(asked) == []
    assert session.fails("get_info").code == "NOT_FOUND" and older.fails("session_open", session_id).code == "NOT_FOUND"
    assert session_id not in older.list()


# -- order -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-029", "P-071", "P-123")
def test_a_session_that_is_heard_of_before_the_reply_is_told_of_once_and_seen_whole(quiet, client, proxy, title):
    gate, mark = Gate("POST", "/session", after=True), quiet.mark()
    proxy.rules.append(gate)
    made = quiet.start("session_create_with", json.dumps({"title": title, "key": f"key {title}", "tags": ["a"]}))
    assert gate.arrived.wait(20)
    quiet.fence(client)  # by now its `session.created` has come
    assert (
        quiet.since(mark) == []
        and quiet.query(text=title) == []
        and title not in [info["title"] for info in quiet.list().values()]
    )
    gate.open()
    made.result()
    session = quiet.open(f"key {title}")
    quiet.fence(client)
    assert quiet.since(mark) == [("session.created", {"id": session.id})] and session.info()["tags"] == ["a"]


@pytest.mark.requirement("P-123", "P-132")
def test_the_echo_of_a_change_that_comes_before_its_reply_is_not_told_twice(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    gate, mark = Gate("PATCH", f"/session/{session.id}", after=True), quiet.mark()
    proxy.rules.append(gate)
    change = session.start("update_title", f"{title}, ours")
    assert gate.arrived.wait(20)
    quiet.fence(client)
    gate.open()
    assert change.result() == 0
    asked = proxy.mark()
    quiet.fence(client)
    assert (
        quiet.since(mark) == [("session.updated", {"id": session.id, "title": f"{title}, ours"})]
        and proxy.since(asked) == []
    )


@pytest.mark.requirement("P-120", "O-025")
def test_another_clients_rename_after_ours_wins_also_when_it_is_heard_before_our_reply(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    gate, mark = Gate("PATCH", f"/session/{session.id}", after=True), quiet.mark()
    proxy.rules.append(gate)
    change = session.start("update_title", f"{title}, ours")
    assert gate.arrived.wait(20)
    client.update(session.id, soon(), title=f"{title}, theirs")
    quiet.fence(client)
    gate.open()
    assert change.result() == 0
    quiet.wait_for("session.updated", session.id, mark, title=f"{title}, theirs")
    assert session.info()["title"] == f"{title}, theirs"
    quiet.fence(client)
    assert [data["title"] for _, data in quiet.since(mark)] == [f"{title}, ours", f"{title}, theirs"]


@pytest.mark.requirement("P-120", "O-025", "P-013")
def test_of_many_renames_at_once_here_and_there_the_servers_last_is_shown_in_the_end(quiet, client, title):
    session, mark = quiet.create_with(title=title), quiet.mark()
    with ThreadPoolExecutor(4) as pool:
        others = [
            pool.submit(client.update, session.id, soon(20), title=f"{title}, theirs {number}") for number in range(12)
        ]
        ours = [session.start("update_title", f"{title}, ours {number}") for number in range(12)]
        assert [each.result() for each in ours] == [0] * 12 and all(each.result() for each in others)
    final = client.get(session.id, soon()).title
    # A state between two of ours that was heard in passing is looked at again after two seconds at most.
    quiet.wait_for("session.updated", session.id, mark, title=final)
    deadline = time.monotonic() + 20
    while session.peek()["title"] != final and time.monotonic() < deadline:
        time.sleep(0.05)
    assert session.info()["title"] == final
    told = [data["title"] for _, data in quiet.since(mark)]
    assert told[-1] == final and len(told) <= 24


# -- a lost create -----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-176", "P-132")
def test_a_create_whose_reply_was_lost_is_found_and_not_made_twice(quiet, client, proxy, title):
    proxy.rules.append(answering("POST", "/session", lose, times=1))
    mark, asked = quiet.mark(), proxy.mark()
    session = quiet.create_with(title=title, tags=["mine"], metadata={"a": 1})
    assert [each.id for each in client.list(soon()) if each.title == title] == [session.id]
    assert session.info()["tags"] == ["mine"] and session.info()["metadata"] == {"a": 1}
    quiet.fence(client)
    assert quiet.since(mark) == [("session.created", {"id": session.id})]
    assert [each for each in proxy.since(asked) if each != "GET /global/health"] == ["POST /session", "GET /session"]


@pytest.mark.requirement("P-176")
def test_a_lost_create_is_found_when_the_server_can_be_asked_again(quiet, client, proxy, title):
    proxy.rules += [answering("POST", "/session", lose, times=1), answering("GET", "/session", lose, times=2)]
    session = quiet.get_or_create(f"key {title}")
    token = client.get(session.id, soon()).token
    assert [each.id for each in client.list(soon()) if each.token == token] == [session.id] and session.info()[
        "key"
    ] == f"key {title}"


# -- races for a key ---------------------------------------------------------------------------------------------------
def answers(starts):
    """Open the handles that these calls returned and return the ids."""
    return {host.call("session_get_id", answer.result()) for host, answer in starts}


@pytest.mark.requirement("K-004", "K-034", "P-132")
def test_threads_that_race_for_a_key_get_one_session(quiet, client, title):
    mark = quiet.mark()
    found = answers([(quiet, quiet.start("session_get_or_create", f"key {title}")) for _ in range(16)])
    (session_id,) = found
    token = client.get(session_id, soon()).token
    assert [each.id for each in client.list(soon()) if each.token == token] == [session_id]
    quiet.fence(client)
    assert quiet.since(mark) == [("session.created", {"id": session_id})]


@pytest.mark.requirement("K-034", "P-132")
def test_processes_that_race_for_a_key_get_one_session_and_the_server_keeps_one(pair, client, title):
    before = {each.id for each in client.list(soon())}
    for attempt in range(4):
        marks = [host.mark() for host in pair]
        (session_id,) = answers(
            [(host, host.start("session_get_or_create", f"key {title} {attempt}")) for _ in range(4) for host in pair]
        )
        for host in pair:
            host.fence(client)
        assert {each.id for each in client.list(soon())} - before - FENCES == {session_id}
        for host, mark in zip(pair, marks, strict=True):
            told = host.since(mark)
            assert told.count(("session.created", {"id": session_id})) == 1
            # Should both have asked the server, the other may hear of the one that is taken back.
            others = [event for event in told if event[1]["id"] != session_id]
            assert others in (
                [],
                [("session.created", others[0][1]), ("session.deleted", others[0][1])] if others else [],
            )
        before.add(session_id)


# -- titles ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-044", "O-027", "P-132")
def test_a_title_set_during_the_first_turn_beats_the_automatic_one_which_nobody_sees(quiet, client, turn, proxy, title):
    """A busy server may hear of ours before it decides to make one: then it makes none, and there is nothing to see."""
    replaced = False
    for attempt in range(5):
        session, order = quiet.create(), f"[words=3] {title} {attempt}"
        mark, asked = quiet.mark(), proxy.mark()
        turn.prompt(session.id, order)
        session.update_title(title)
        assert turn.await_end(order) == "done"
        deadline = time.monotonic() + 5
        while not replaced and time.monotonic() < deadline:
            replaced = (
                proxy.since(asked).count(f"PATCH /session/{session.id}") > 1
            )  # ours, and the one that puts it back
            assert session.info()["title"] == title
            time.sleep(0.01)
        quiet.fence(client)
        there = client.get(session.id, soon()).title
        assert there == title == session.info()["title"] == quiet.list()[session.id]["title"]
        assert {data["title"] for kind, data in quiet.since(mark, session.id) if "title" in data} == {title}
        if replaced:
            return
    raise AssertionError("the server has made no title")


@pytest.mark.requirement("P-044", "O-027", "O-028")
def test_without_a_title_of_ours_the_automatic_one_is_shown(quiet, turn, title):
    session, mark = quiet.create(), quiet.mark()
    turn.prompt(session.id, f"[words=1] {title}")
    quiet.wait_for("session.updated", session.id, mark, title="A title")
    assert session.info()["title"] == "A title" and turn.await_end(f"[words=1] {title}") == "done"


@pytest.mark.requirement("P-044")
def test_another_clients_title_replaces_one_of_ours_at_any_time_but_the_first_turn(quiet, client, title):
    session, mark = quiet.create(), quiet.mark()
    session.update_title(title)
    quiet.fence(client)
    client.update(session.id, soon(), title=f"{title}, theirs")
    quiet.wait_for("session.updated", session.id, mark, title=f"{title}, theirs")
    assert session.info()["title"] == f"{title}, theirs" == client.get(session.id, soon()).title
