"""What other clients of the server do is seen here: in infos, and as one event each."""

import json
import os

import pytest

from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from plue_session.adapters.opencode.process import OwnServer
from tests.opencode.fixtures import soon
from tests.remote.hosts import Session
from tests.remote_world import until


# -- one thing each ----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-119", "P-130", "P-132", "P-133", "P-186")
def test_what_another_client_does_is_shown_and_told_of_once_each_in_order(quiet, client, proxy, title):
    mark, asked = quiet.mark(), proxy.mark()
    theirs = client.create(f"token {title}", soon(), title=title, metadata={"a": 1})
    quiet.wait_for("session.created", theirs.id, mark)
    session = quiet.open(theirs.id)
    assert (session.info()["title"], session.info()["metadata"]) == (title, {"a": 1})
    client.update(theirs.id, soon(), title=f"{title} 2")
    archived = client.update(theirs.id, soon(), archived=1_700_000_000_000)
    quiet.fence(client)
    assert (session.info()["title"], session.info()["time"]["archived"]) == (
        f"{title} 2",
        1_700_000_000_000,
    ) and archived.archived
    client.update(theirs.id, soon(), archived=None)
    client.update(theirs.id, soon(), metadata={"b": [2]})
    quiet.fence(client)
    info = session.info()
    assert (
        "archived" not in info["time"]
        and info["metadata"] == {"b": [2]}
        and info["time"]["updated"] == client.get(theirs.id, soon()).updated
    )
    client.delete(theirs.id, soon())
    quiet.fence(client)
    assert session.fails("get_info").code == "NOT_FOUND"
    updated = ("session.updated", {"id": theirs.id})
    assert quiet.since(mark) == [
        ("session.created", {"id": theirs.id}),
        ("session.updated", {"id": theirs.id, "title": f"{title} 2"}),
        updated,
        updated,
        updated,
        ("session.deleted", {"id": theirs.id}),
    ]
    assert proxy.since(asked) == []


@pytest.mark.requirement("P-130", "P-078", "O-031")
def test_a_family_that_another_client_makes_and_deletes_is_followed(quiet, client, title):
    mark = quiet.mark()
    parent = client.create(f"token {title}", soon(), title=title)
    child = client.create(f"token {title} 2", soon(), parent_id=parent.id)
    quiet.fence(client)
    assert quiet.list()[child.id]["parentId"] == parent.id and [
        each["id"] for each in quiet.query(parentId=parent.id)
    ] == [child.id]
    session = quiet.open(child.id)
    client.delete(parent.id, soon())
    quiet.fence(client)
    assert quiet.since(mark) == [
        ("session.created", {"id": parent.id}),
        ("session.created", {"id": child.id, "parentId": parent.id}),
        ("session.deleted", {"id": child.id}),
        ("session.deleted", {"id": parent.id}),
    ]
    assert session.fails("get_info").code == "NOT_FOUND" and not {parent.id, child.id} & quiet.list().keys()


@pytest.mark.requirement("P-050", "P-102", "P-130")
def test_a_share_of_another_clients_is_shown_and_told_of_and_so_is_its_end(older, client, proxy, raw, title):
    session = older.create_with(title=title)
    _, info = raw("GET", f"/session/{session.id}")
    older.fence(client)
    mark, url = older.mark(), "https://share.example/abc"
    proxy.tell("session.updated", sessionID=session.id, info={**info, "share": {"url": url}})
    older.fence(client)
    assert session.info()["share"] == {"url": url} and json.loads(session.create_share()) == {"url": url, "link": url}
    proxy.tell("session.updated", sessionID=session.id, info=info)
    older.fence(client)
    assert "share" not in session.info()
    assert older.since(mark) == [
        ("session.shared", {"id": session.id, "url": url}),
        ("session.unshared", {"id": session.id}),
    ]


@pytest.mark.requirement("O-026", "P-045", "X-009")
def test_titles_that_only_a_server_can_hold_leave_our_json_valid(quiet, client, raw, title):
    session, mark = quiet.create_with(title=title), quiet.mark()
    odd = ["nul \0 inside", "x" * 2_000_000 + "é😀", "\ud83d\ude00", "\uffff", ""]
    shown = ["nul \0 inside", "x" * 2_000_000 + "é😀", "😀", "\uffff", ""]
    for sent, expected in zip(odd, shown, strict=True):
        assert raw("PATCH", f"/session/{session.id}", {"title": sent})[0] == 200
        quiet.wait_for("session.updated", session.id, mark, title=expected)
        assert session.info()["title"] == expected == quiet.list()[session.id]["title"]
    quiet.fence(client)
    assert [data["title"] for _, data in quiet.since(mark)] == shown
    for lone, heard in (
        ("lone \ud83d", "lone \\ud83d"),
        ("\udc00\ud800 two", "\\udc00\\ud800 two"),
        ("lone \ud83d surrogate", "lone \\ud83d surrogate"),
    ):
        mark = quiet.mark()
        assert raw("PATCH", f"/session/{session.id}", {"title": lone})[0] == 200
        quiet.wait_for(
            "session.updated", session.id, mark, title=heard
        )  # what no UTF-8 can hold is shown as its escape
        assert session.info()["title"] == heard
        before, listed = client.get(session.id, soon()).title, quiet.list()[session.id]["title"]
        assert listed in (
            heard,
            before,
            client.get(session.id, soon()).title,
        )  # or as what the server makes of it at some time
    assert session.update_title(title) == 0 and client.get(session.id, soon()).title == title


@pytest.mark.requirement("P-133", "P-132")
def test_many_changes_of_another_client_are_told_of_in_their_order(quiet, client, title):
    session, mark = quiet.create_with(title=title), quiet.mark()
    for number in range(40):
        client.update(session.id, soon(), title=f"{title} {number}")
    quiet.fence(client)
    assert quiet.since(mark) == [
        ("session.updated", {"id": session.id, "title": f"{title} {number}"}) for number in range(40)
    ]


# -- without events ----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-184", "P-110", "P-114", "P-132", "O-024")
def test_with_the_event_stream_blocked_the_state_follows_by_looking(polling, client, title):
    mark = polling.mark()
    theirs = client.create(f"token {title}", soon(), title=title)
    polling.wait_for("session.created", theirs.id, mark)
    session = polling.open(theirs.id)
    client.update(theirs.id, soon(), title=f"{title} 2")  # does not raise time.updated
    polling.wait_for("session.updated", theirs.id, mark, title=f"{title} 2")
    assert session.info()["title"] == f"{title} 2"
    client.update(theirs.id, soon(), archived=1_700_000_000_000)
    while "archived" not in session.peek()["time"]:
        polling.call("session_sync", 10_000)
    ours = polling.create_with(title=f"{title}, ours")
    ours.update_title(f"{title}, ours 2")
    for _ in range(3):
        polling.call("session_sync", 10_000)
    client.delete(theirs.id, soon())
    polling.wait_for("session.deleted", theirs.id, mark)
    assert (
        session.fails("get_info").code == "NOT_FOUND"
        and polling.status()["server"]["events"] is False
        and polling.status()["connected"] is True
    )
    assert polling.since(mark, theirs.id) == [
        ("session.created", {"id": theirs.id}),
        ("session.updated", {"id": theirs.id, "title": f"{title} 2"}),
        ("session.updated", {"id": theirs.id}),
        ("session.deleted", {"id": theirs.id}),
    ]
    assert polling.since(mark, ours.id) == [
        ("session.created", {"id": ours.id}),
        ("session.updated", {"id": ours.id, "title": f"{title}, ours 2"}),
    ]


# -- several of us, several of them ------------------------------------------------------------------------------------
@pytest.mark.requirement("P-132", "P-133", "P-061", "P-078", "P-119")
def test_two_processes_on_one_store_and_one_server_each_tell_of_each_change_once(pair, client, title):
    one, two = pair
    marks = [host.mark() for host in pair]
    mine = one.create_with(title=title, tags=["a"])
    two.wait_for("session.created", mine.id, marks[1])
    other = two.open(mine.id)
    assert other.info()["tags"] == ["a"] and other.info()["title"] == title
    expected = [("session.created", {"id": mine.id})]
    for number in range(8):
        which = number % 3
        if which == 2:
            client.update(mine.id, soon(), title=f"{title} {number}")
        else:
            (mine, other)[which].update_title(f"{title} {number}")
        expected.append(("session.updated", {"id": mine.id, "title": f"{title} {number}"}))
        for host, session in zip(pair, (mine, other), strict=True):
            host.wait_for("session.updated", mine.id, title=f"{title} {number}")
            host.fence(client)
            assert session.info()["title"] == f"{title} {number}"
    other.update('{"description":"Ours alone"}')
    expected.append(("session.updated", {"id": mine.id}))
    for host, mark in zip(
        pair, marks, strict=True
    ):  # a delete takes along what of the session's events is not read yet
        until(lambda host=host, mark=mark: host.since(mark) == expected, seconds=20)
    session_id = mine.id
    other.delete()
    expected.append(("session.deleted", {"id": session_id}))
    for host, mark, session in zip(pair, marks, (mine, other), strict=True):
        host.wait_for("session.deleted", session_id, mark)
        host.fence(client)
        assert host.since(mark) == expected
        assert session.fails("get_info").code == "NOT_FOUND" and session_id not in host.list()


@pytest.mark.requirement("P-132", "P-049")
def test_two_processes_see_one_fork_and_its_parent(pair, client, title):
    one, two = pair
    source = one.create_with(title=title)
    two.wait_for("session.created", source.id)
    marks = [host.mark() for host in pair]
    fork = Session(one, source.fork(None))
    for host, mark in zip(pair, marks, strict=True):
        host.wait_for("session.created", fork.id, mark)
        host.fence(client)
        assert host.list()[fork.id]["parentId"] == source.id
        assert [kind for kind, _ in host.since(mark)] in (["session.created"], ["session.created", "session.updated"])


if os.environ.get("PLUE_TORTURE") == "1":  # it takes a server more; test_programs.py has a smaller one

    @pytest.mark.requirement("O-064", "P-132", "P-117")
    def test_what_another_server_on_the_same_database_does_is_found_by_looking(
        quiet, client, opencode, guard, repository, isolated, title
    ):
        second = OwnServer([opencode], repository, dict(os.environ), isolated, program=guard, back_off=(0.05, 0.2))
        second.start(soon(60))
        theirs = Client(second.url, repository, second.username, second.password, EventSignal())
        try:
            quiet.fence(client)
            mark, session = quiet.mark(), quiet.create_with(title=title)
            doomed = quiet.create_with(title=f"{title}, doomed")
            theirs.update(session.id, soon(), title=f"{title} 2")
            made = theirs.create(f"token {title}", soon(), title=f"{title}, made there")
            theirs.delete(doomed.id, soon())
            doomed_id = doomed.id
            quiet.fence(client)
            assert quiet.since(mark) == [
                ("session.created", {"id": session.id}),
                ("session.created", {"id": doomed_id}),
            ]  # they share no events
            quiet.call("session_sync", 10_000)
            quiet.fence(client)
            assert session.info()["title"] == f"{title} 2" and doomed.fails("get_info").code == "NOT_FOUND"
            assert sorted(quiet.since(mark)[2:], key=str) == sorted(
                [
                    ("session.updated", {"id": session.id, "title": f"{title} 2"}),
                    ("session.created", {"id": made.id}),
                    ("session.deleted", {"id": doomed_id}),
                ],
                key=str,
            )
        finally:
            theirs.close()
            second.stop()
