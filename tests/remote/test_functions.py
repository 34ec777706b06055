"""Each function, as it is seen on the server by another client, and here."""

import json

import pytest

from plue_session import errors
from tests.opencode.fixtures import soon
from tests.remote.hosts import FENCES, Session
from tests.remote.proxy import Gate, answering, lose

#: Titles that something on the way might change.
ODD = (
    "",
    " ",
    " both ends ",
    'quote " backslash \\ slash /',
    "line\nfeed\ttab\r\x01\x1f\x7f",
    "שלום ‮abc",
    "e\u0301 combining",
    "😀 𝒜 astral",
    "\u2028\u2029\u0085\ufeff",
    "\ufffd\uffff",
    "New session - 2026",
    "%00%2e",
    "</script>",
    "日本語" * 2000,
)


def ids(client):
    return {each.id for each in client.list(soon())} - FENCES


# -- create ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement(
    "P-003", "P-004", "P-040", "P-041", "P-043", "P-048", "P-063", "P-123", "O-029", "P-130", "P-132"
)
def test_a_new_session_is_the_servers_told_of_once_and_needs_no_look(quiet, client, proxy):
    mark, asked = quiet.mark(), proxy.mark()
    session = quiet.create()
    info = session.info()
    theirs = client.get(session.id, soon())
    assert info["id"] == theirs.id and info["id"].startswith("ses_") and info["title"] == theirs.title
    assert info["time"] == {"created": theirs.created, "updated": theirs.updated}
    assert (info["backend"], info["sync"]["state"], info["version"], info["directory"]) == (
        "opencode",
        "synced",
        "1.18.33",
        theirs.directory,
    )
    assert info["metadata"] == {} and "parentId" not in info and info["time"]["created"] <= info["time"]["updated"]
    quiet.fence(client)
    assert proxy.since(asked) == ["POST /session"]
    assert quiet.since(mark) == [("session.created", {"id": session.id})]


@pytest.mark.requirement("O-028")
def test_the_servers_default_titles_are_shown_as_they_are(quiet, client):
    parent = quiet.create()
    child = quiet.create(parent.id)
    assert parent.info()["title"].startswith("New session - 20") and child.info()["title"].startswith(
        "Child session - 20"
    )
    assert parent.info()["title"] == client.get(parent.id, soon()).title


@pytest.mark.requirement("P-005", "P-006", "O-017")
def test_a_child_names_its_parent_here_and_there_and_an_empty_parent_is_none(quiet, client):
    parent, mark = quiet.create(""), quiet.mark()
    child = quiet.create(parent.id)
    assert (
        "parentId" not in parent.info()
        and child.info()["parentId"] == parent.id == client.get(child.id, soon()).parent_id
    )
    quiet.fence(client)
    assert quiet.since(mark) == [("session.created", {"id": child.id, "parentId": parent.id})]


@pytest.mark.requirement("P-007", "O-018", "P-132")
def test_an_unknown_parent_is_not_found_and_nothing_is_made(quiet, client, proxy):
    before, mark, asked = ids(client), quiet.mark(), proxy.mark()
    error = quiet.fails("session_create", "ses_0000000000nobody")
    assert (
        error.code == "NOT_FOUND" and "plue_session_create" in error.message and "ses_0000000000nobody" in error.message
    )
    assert error.details["status"] == 404
    quiet.fence(client)
    assert "POST /session" not in proxy.since(asked) and quiet.since(mark) == []
    assert ids(client) == before


@pytest.mark.requirement("P-044", "P-016")
def test_options_go_where_they_belong(quiet, client, title):
    parent = quiet.create()
    session = quiet.create_with(
        title=title,
        parentId=parent.id,
        key=f"key {title}",
        tags=["b", "a", "b"],
        metadata={"deep": [{"n": 1.5}]},
        description="What for",
        role=f"role {title}",
        provider={"providerId": "fake", "modelId": "fake-model"},
    )
    info, theirs = session.info(), client.get(session.id, soon())
    assert (theirs.title, theirs.parent_id, theirs.metadata) == (title, parent.id, {"deep": [{"n": 1.5}]})
    assert {
        name: info[name] for name in ("title", "parentId", "key", "tags", "metadata", "description", "role", "provider")
    } == {
        "title": title,
        "parentId": parent.id,
        "key": f"key {title}",
        "tags": ["b", "a"],
        "metadata": {"deep": [{"n": 1.5}]},
        "description": "What for",
        "role": f"role {title}",
        "provider": {"providerId": "fake", "modelId": "fake-model"},
    }
    assert info["relay"]["state"] == "CREATED"


@pytest.mark.requirement("P-176")
def test_the_token_of_a_create_is_on_the_server_and_in_no_info(quiet, client, title):
    session = quiet.create_with(title=title, metadata={"mine": 1})
    token = client.get(session.id, soon()).token
    assert token and token not in session.get_info() and token not in json.dumps(quiet.list())


@pytest.mark.requirement("O-011", "T-08")
def test_a_directory_spelled_in_different_ways_is_one(quiet, client, tmp_path, title):
    folder = tmp_path / "Project ü"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    spellings = (folder, f"{folder}/", f"{folder}/./sub/..", f"{tmp_path}/link", f"//{folder}")
    sessions = [quiet.create_with(title=title, directory=str(each)) for each in spellings]
    assert (
        {each.info()["directory"] for each in sessions}
        == {str(folder)}
        == {client.get(each.id, soon()).directory for each in sessions}
    )
    assert {each.id for each in client.list(soon(), directory=str(folder))} == {each.id for each in sessions}


# -- get_or_create and open --------------------------------------------------------------------------------------------
@pytest.mark.requirement("K-004")
def test_a_key_makes_one_session_and_asks_once(quiet, client, proxy, title):
    mark, asked = quiet.mark(), proxy.mark()
    first, again = quiet.get_or_create(f"key {title}"), quiet.get_or_create(f"key {title}")
    assert first.id == again.id == quiet.open(f"key {title}").id and first.info()["key"] == f"key {title}"
    quiet.fence(client)
    assert proxy.since(asked) == ["POST /session"] and quiet.since(mark) == [("session.created", {"id": first.id})]


@pytest.mark.requirement("P-072", "P-076", "P-077")
def test_a_known_session_is_opened_without_a_request(quiet, proxy):
    session, asked = quiet.create(), proxy.mark()
    other = quiet.open(session.id)
    assert other.handle != session.handle and other.info() == session.info()
    session.destroy()
    assert (
        other.id == other.info()["id"] and session.fails("get_info").code == "BAD_HANDLE" and proxy.since(asked) == []
    )


@pytest.mark.requirement("P-072", "O-023")
def test_a_session_of_another_directory_is_opened_kept_and_listed(quiet, client, tmp_path, title):
    theirs = client.create(f"token {title}", soon(), directory=str(tmp_path), title=title)
    mark = quiet.mark()
    session = quiet.open(theirs.id)
    assert session.info()["directory"] == str(tmp_path) and session.info()["title"] == title
    quiet.call("session_sync", 10_000)
    assert session.info()["title"] == title and quiet.since(mark, theirs.id) == [("session.created", {"id": theirs.id})]
    client.update(
        theirs.id, soon(), directory=str(tmp_path), title=f"{title}, renamed"
    )  # the event stream is of one directory
    quiet.call("session_sync", 10_000)
    assert session.info()["title"] == f"{title}, renamed"
    session.update_title(f"{title}, here")
    assert client.get(theirs.id, soon()).title == f"{title}, here"
    session.delete()
    with pytest.raises(errors.NotFound):
        client.get(theirs.id, soon())


@pytest.mark.requirement("P-072")
def test_what_does_not_exist_cannot_be_opened(quiet, proxy):
    mark, asked = quiet.mark(), proxy.mark()
    error = quiet.fails("session_open", "ses_0000000000nobody")
    assert error.code == "NOT_FOUND" and "ses_0000000000nobody" in error.message and error.details["status"] == 404
    assert proxy.since(asked) == ["GET /session/ses_0000000000nobody"]
    for absent in ("no such key", "session_1767225600000"):
        assert quiet.fails("session_open", absent).code == "NOT_FOUND"
    assert len(proxy.since(asked)) == 1 and quiet.since(mark) == []


# -- fork --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-049", "O-054")
def test_a_fork_copies_up_to_a_message_and_keeps_its_parent(quiet, client, say, title):
    source = quiet.create_with(title=title)
    _, second = say(source.id, "one"), say(source.id, "two")
    quiet.fence(client)
    mark = quiet.mark()
    whole, part = (Session(quiet, source.fork(message)) for message in (None, second))
    quiet.fence(client)
    # That it has messages is told once; none of them is told as if it were said now.
    told = [(kind, data) for kind, data in quiet.since(mark) if kind != "session.updated" or data.keys() != {"id"}]
    assert told == [("session.created", {"id": each.id, "parentId": source.id}) for each in (whole, part)]
    assert [whole.info()["parentId"], part.info()["parentId"]] == [source.id] * 2
    assert whole.info()["title"].startswith(f"{title} (fork")
    assert [len(client.messages(each.id, soon())[0]) for each in (source, whole, part)] == [2, 2, 1]
    quiet.call("session_sync", 10_000)
    assert whole.info()["parentId"] == source.id and quiet.list()[whole.id]["parentId"] == source.id


@pytest.mark.requirement("O-054", "P-031")
def test_a_fork_at_an_unknown_message_makes_nothing(quiet, client, say, proxy, title):
    source = quiet.create_with(title=title)
    say(source.id, "one")
    quiet.fence(client)
    before, mark, asked = ids(client), quiet.mark(), proxy.mark()
    error = source.fails("fork", "msg_000000000000nobody")
    assert error.code == "NOT_FOUND" and source.id in error.message and "plue_session_fork" in error.message
    assert not [each for each in proxy.since(asked) if each.startswith("POST")]
    assert source.get_id() and ids(client) == before and quiet.since(mark) == []


@pytest.mark.requirement("P-049")
def test_a_fork_outlives_its_source(quiet, client, title):
    source = quiet.create_with(title=title)
    fork = Session(quiet, source.fork(None))
    mark, source_id = quiet.mark(), source.id
    source.delete()
    quiet.fence(client)
    assert quiet.since(mark) == [("session.deleted", {"id": source_id})]
    assert fork.info()["parentId"] == source_id and client.get(fork.id, soon()).id == fork.id
    assert source.fails("fork", None).code == "NOT_FOUND"


@pytest.mark.requirement("P-049", "O-029", "P-132")
def test_a_fork_that_is_heard_of_before_the_reply_is_told_of_once_with_its_parent(quiet, client, proxy, title):
    source = quiet.create_with(title=title)
    gate, mark = Gate("POST", f"/session/{source.id}/fork", after=True), quiet.mark()
    proxy.rules.append(gate)
    forking = source.start("fork", None)
    assert gate.arrived.wait(20)
    quiet.fence(client)
    gate.open()
    fork = Session(quiet, forking.result())
    quiet.fence(client)
    assert quiet.since(mark) == [("session.created", {"id": fork.id, "parentId": source.id})]


@pytest.mark.requirement("P-176", "P-132")
def test_a_fork_of_another_clients_is_a_session_of_its_own(quiet, raw, title):
    source, mark = quiet.create_with(title=title, key=f"key {title}"), quiet.mark()
    status, theirs = raw("POST", f"/session/{source.id}/fork", {})
    assert status == 200
    quiet.wait_for("session.created", theirs["id"], mark)
    assert quiet.open(f"key {title}").id == source.id and "key" not in quiet.open(theirs["id"]).info()
    quiet.call("session_sync", 10_000)
    assert [kind for kind, _ in quiet.since(mark, theirs["id"])] == ["session.created"] and quiet.get_or_create(
        f"key {title}"
    ).id == source.id


# -- reading -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-010", "P-047", "O-020", "O-021")
def test_a_list_has_every_session_of_the_directory_in_the_order_of_time(quiet, client, title):
    theirs = [client.create(f"{title} {number}", soon(), title=f"{title} {number}") for number in range(3)]
    ours = quiet.create()
    listed = quiet.list()
    assert {each.id for each in client.list(soon())} <= listed.keys()
    assert listed[ours.id] == ours.info() and [listed[each.id]["title"] for each in theirs] == [
        each.title for each in theirs
    ]
    times = [info["time"]["created"] for info in listed.values()]
    assert times == sorted(times)


@pytest.mark.requirement("O-022")
def test_query_and_count_ask_nobody_and_fold_every_letter(quiet, proxy, title):
    session, asked = quiet.create_with(title=f"HÉLLO {title} straße"), proxy.mark()
    found = quiet.query(text=f"héllo {title}")
    assert [each["id"] for each in found] == [session.id] and found[0] == session.info()
    assert quiet.call("session_count", json.dumps({"text": f"héllo {title}"})) == 1 and proxy.since(asked) == []


# -- update ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-011", "P-013", "P-045", "P-076", "P-121", "P-123", "P-132")
def test_a_title_is_sent_alone_kept_to_the_byte_and_told_of_once(quiet, client, proxy):
    session = quiet.create()
    other = quiet.open(session.id)
    for title in ODD:
        mark, asked, before = quiet.mark(), proxy.mark(), session.info()
        assert session.update_title(title) == 0
        assert (
            session.info()["title"] == title == other.info()["title"]
            and session.info()["time"]["updated"] >= before["time"]["updated"]
        )
        assert client.get(session.id, soon()).title == title
        quiet.fence(client)
        assert proxy.since(asked) == [f"PATCH /session/{session.id}"] and json.loads(proxy.requests[asked].body) == {
            "title": title
        }
        assert quiet.since(mark) == [("session.updated", {"id": session.id, "title": title})]
    assert quiet.list()[session.id]["title"] == ODD[-1]


@pytest.mark.requirement("P-121", "P-123", "X-020")
def test_what_only_we_keep_is_not_sent(quiet, client, proxy):
    session = quiet.create()
    mark, asked = quiet.mark(), proxy.mark()
    session.update(json.dumps({"description": "Ours", "tags": ["a"], "addTags": ["b"]}))
    session.update("{}")
    quiet.fence(client)
    assert (session.info()["description"], session.info()["tags"]) == ("Ours", ["a", "b"])
    told = quiet.wait_for("session.updated", session.id, mark)
    assert [name for name in told["fields"] if name != "time.updated"] == ["description", "tags"]
    assert proxy.since(asked) == [] and quiet.since(mark) == [("session.updated", {"id": session.id})]


@pytest.mark.requirement("P-121", "P-123", "P-176")
def test_metadata_is_replaced_there_too_and_its_token_kept(quiet, client, proxy):
    session = quiet.create_with(metadata={"old": 1})
    token, mark, asked = client.get(session.id, soon()).token, quiet.mark(), proxy.mark()
    session.update('{"metadata":{"new":[true,null]}}')
    theirs = client.get(session.id, soon())
    assert session.info()["metadata"] == {"new": [True, None]} == theirs.metadata and theirs.token == token
    quiet.fence(client)
    assert proxy.since(asked) == [f"PATCH /session/{session.id}"] and quiet.since(mark) == [
        ("session.updated", {"id": session.id})
    ]


@pytest.mark.requirement("O-019", "P-123", "A-005")
def test_archiving_and_taking_it_back_are_seen_here_and_there(quiet, client, proxy):
    session = quiet.create()
    for archived in (True, False, True, False):
        mark, asked = quiet.mark(), proxy.mark()
        session.update(json.dumps({"archived": archived}))
        theirs = client.get(session.id, soon())
        assert (theirs.archived is not None) == archived == ("archived" in session.info()["time"])
        assert theirs.archived == session.info()["time"].get("archived")
        quiet.fence(client)
        assert proxy.since(asked) == [f"PATCH /session/{session.id}"] and quiet.since(mark) == [
            ("session.updated", {"id": session.id})
        ]
        assert [each["id"] for each in quiet.query(archived=True, text=session.info()["title"])] == [
            session.id
        ] * archived


@pytest.mark.requirement("P-120", "O-024")
def test_a_base_is_compared_with_what_the_server_has(deaf, client, proxy, title):
    session = deaf.create_with(title=title)  # nothing is heard: what we know is old
    client.update(session.id, soon(), title=f"{title}, theirs")
    mark, asked = deaf.mark(), proxy.mark()
    error = session.fails("update", json.dumps({"title": "Ours", "base": {"title": title}}))
    assert (
        error.code == "CONFLICT"
        and "title" in error.message
        and session.id in error.message
        and error.details["fields"] == ["title"]
    )
    assert (
        not [each for each in proxy.since(asked) if each.startswith("PATCH")]
        and client.get(session.id, soon()).title == f"{title}, theirs"
    )
    assert deaf.since(mark, session.id) == [("session.updated", {"id": session.id, "title": f"{title}, theirs"})]
    session.update(json.dumps({"title": "Ours", "base": {"title": f"{title}, theirs"}}))
    assert client.get(session.id, soon()).title == "Ours" == session.info()["title"]


# -- initialize --------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-014", "P-016", "O-008", "O-053")
def test_a_pair_is_checked_once_bound_and_kept(quiet, client, proxy):
    session = quiet.create()
    before, mark, asked = client.get(session.id, soon()), quiet.mark(), proxy.mark()
    assert session.initialize("fake", "fake-model") == 0 == session.initialize("fake", "fake-model")
    error = session.fails("initialize", "fake", "other")
    assert error.code == "CONFLICT" and "fake/fake-model" in error.message
    quiet.fence(client)
    assert session.info()["provider"] == {"providerId": "fake", "modelId": "fake-model"}
    assert proxy.since(asked) == ["GET /config/providers"] and quiet.since(mark) == [
        ("session.updated", {"id": session.id})
    ]
    assert client.get(session.id, soon()) == before and client.messages(session.id, soon()) == ([], None)


@pytest.mark.requirement("P-014")
@pytest.mark.parametrize(
    "provider_id, model_id, named", [("nobody", "fake-model", "nobody"), ("fake", "no-model", "no-model")]
)
def test_a_pair_that_the_server_lacks_is_refused(quiet, client, provider_id, model_id, named):
    session = quiet.create()
    before, mark = ids(client), quiet.mark()
    error = session.fails("initialize", provider_id, model_id)
    assert (
        error.code == "PROVIDER_INIT"
        and named in error.message
        and session.id in error.message
        and "fake" in error.message
    )
    error = quiet.fails(
        "session_create_with", json.dumps({"provider": {"providerId": provider_id, "modelId": model_id}})
    )
    assert error.code == "PROVIDER_INIT" and named in error.message
    assert "provider" not in session.info() and ids(client) == before and quiet.since(mark) == []


# -- delete ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-017", "P-078", "P-079", "P-146", "O-031", "O-032")
def test_a_family_is_deleted_here_and_there_children_first_and_told_of_once_each(quiet, client):
    parent = quiet.create()
    child = quiet.create(parent.id)
    grandchild = quiet.create(child.id)
    family, mark = [grandchild.id, child.id, parent.id], quiet.mark()
    other = quiet.open(parent.id)
    assert parent.delete() == 0
    quiet.fence(client)
    assert quiet.since(mark) == [("session.deleted", {"id": each}) for each in family]
    assert not set(family) & (ids(client) | quiet.list().keys())
    for handle in (parent, other, child, grandchild):
        for function, *arguments in (
            ("get_info",),
            ("peek_info",),
            ("get_id",),
            ("update_title", "x"),
            ("update", "{}"),
            ("delete",),
            ("abort",),
            ("initialize", "fake", "fake-model"),
            ("create_share",),
            ("unshare",),
            ("fork", None),
            ("abort_turn", "msg_1"),
        ):
            assert handle.fails(function, *arguments).code == "NOT_FOUND", function
        handle.destroy()
        handle.destroy()
    for each in family:
        assert quiet.fails("session_open", each).code == "NOT_FOUND"


@pytest.mark.requirement("P-019", "P-132", "P-185")
def test_a_delete_that_the_server_refuses_changes_nothing(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    child = quiet.create(session.id)
    share = json.loads(session.create_share())
    before, mark = [session.info(), child.info()], quiet.mark()
    proxy.rules.append(
        answering(
            "DELETE",
            f"/session/{session.id}",
            b"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: 65\r\n\r\n"
            b'{"name":"UnknownError","data":{"message":"not today","ref":"r1"}}',
        )
    )
    error = session.fails("delete")
    assert error.code == "SERVER" and session.id in error.message and "not today" in error.message
    assert (error.details["status"], error.details["server"], error.details["ref"]) == (500, "not today", "r1")
    quiet.fence(client)
    assert [session.info(), child.info()] == before and quiet.since(mark) == []
    assert quiet.call("session_validate_share", session.id, share["secret"]) == 0
    proxy.rules.clear()
    session.update_title("Still here")
    assert session.delete() == 0 and session.fails("get_info").code == "NOT_FOUND"


@pytest.mark.requirement("O-031")
def test_a_delete_whose_answer_is_lost_has_succeeded(quiet, client, proxy):
    session = quiet.create()
    session_id, mark = session.id, quiet.mark()
    proxy.rules.append(answering("DELETE", f"/session/{session_id}", lose, times=1))
    assert session.delete() == 0
    quiet.fence(client)
    assert quiet.since(mark) == [("session.deleted", {"id": session_id})] and session_id not in ids(client)


# -- abort -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-020", "P-022", "P-064", "P-154", "O-016")
def test_an_abort_with_nothing_running_sets_the_flag_and_no_more(quiet, client):
    session, mark = quiet.create(), quiet.mark()
    assert session.info()["aborted"] is False
    assert session.abort() == 0 == session.abort()
    assert session.info()["aborted"] is True and session.peek()["aborted"] is True
    quiet.fence(client)
    assert (
        quiet.since(mark, session.id) == [("session.updated", {"id": session.id})]
        and session.update_title("Still usable") == 0
    )


@pytest.mark.requirement("P-021", "P-132")
def test_an_abort_that_the_server_cannot_be_told_fails_and_the_flag_shows(quiet, client, proxy):
    session, mark = quiet.create(), quiet.mark()
    proxy.rules.append(answering("GET", "/session/(status|.*/message)", b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"))
    error = session.fails("abort")
    assert error.code == "SERVER" and session.id in error.message and error.details["status"] == 500
    assert session.info()["aborted"] is True
    quiet.fence(client)
    assert quiet.since(mark, session.id) == [("session.updated", {"id": session.id})]


@pytest.mark.requirement("P-155", "P-065", "P-151")
def test_an_abort_ends_what_runs_and_the_next_turn_clears_the_flag(quiet, client, turn, proxy, title):
    session = quiet.create_with(title=title)
    order = f"[words=1000][wait] {title}"
    turn.begin(session.id, order)
    asked = proxy.mark()
    assert session.abort() == 0
    assert turn.await_end(order) == "left" and f"POST /session/{session.id}/abort" in proxy.since(asked)
    assert (
        session.id not in client.status(soon())
        and client.messages(session.id, soon())[0][-1][0].failure.name == "MessageAbortedError"
    )
    assert session.info()["aborted"] is True
    mark = quiet.mark()
    turn.begin(session.id, f"[words=1] {title}, again")
    assert turn.await_end(f"[words=1] {title}, again") == "done"
    quiet.wait_for("session.updated", session.id, mark)
    quiet.fence(client)  # more than the flag may have changed, and been told first
    assert session.peek()["aborted"] is False


@pytest.mark.requirement("P-154")
def test_aborting_one_turn_leaves_others_and_the_flag_alone(quiet, client, turn, title):
    session = quiet.create_with(title=title)
    assert session.abort_turn("msg_000000000000nobody") == 0
    order = f"[words=1000][wait] {title}"
    turn_id = turn.begin(session.id, order)
    assert session.abort_turn("msg_000000000000nobody") == 0 and session.id in client.status(soon())
    assert session.abort_turn(turn_id) == 0
    assert turn.await_end(order) == "left" and session.id not in client.status(soon())
    assert session.info()["aborted"] is False


# -- destroy -----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-026", "P-073", "P-079", "P-080")
def test_giving_a_handle_back_asks_nobody_and_leaves_the_session(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    session_id, mark, asked = session.id, quiet.mark(), proxy.mark()
    for _ in range(2):
        session.destroy()
    quiet.call("session_destroy", None)
    assert session.fails("get_info").code == "BAD_HANDLE" and proxy.since(asked) == [] and quiet.since(mark) == []
    assert quiet.list()[session_id]["title"] == title == client.get(session_id, soon()).title


# -- library -----------------------------------------------------------------------------------------------------------
def test_app_info_and_sync_status_tell_of_the_server(quiet, proxy):
    info, status = quiet.app_info(), quiet.status()
    assert info["backend"] == "opencode" and info["server"] == {"running": True, "url": proxy.url}
    assert (
        status["connected"] is True and status["pending"] == 0 and status["conflicts"] == [] and status["lastSync"] > 0
    )
    assert status["server"]["url"] == proxy.url and status["server"]["events"] is True
