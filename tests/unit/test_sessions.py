"""Sessions: what each call does to the store, and what it tells the world."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.errors import AlreadyExists, BadCursor, Conflict, InvalidParam, LimitExceeded, NotFound
from tests.world import START, World


# -- create ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-004", "P-005", "P-041", "P-048", "P-130", "P-132")
@pytest.mark.parametrize("parent", [None, ""])
def test_a_session_without_parent(world, parent):
    session = world.sessions.create(parent)
    assert session.id == f"session_{START}" and session.info == world.store.info(session.id)[1]
    info = world.info(session)
    assert (info["title"], info["version"], info["time"]) == ("Untitled", "0.1.0", {"created": START, "updated": START})
    assert "parentId" not in info and world.told.take() == [("session.created", {"id": session.id})]


@pytest.mark.requirement("P-006")
def test_a_child_names_its_parent(world):
    parent = world.sessions.create()
    world.told.take()
    child = world.sessions.create(parent.id)
    assert world.info(child)["parentId"] == parent.id
    assert world.told.take() == [("session.created", {"id": child.id, "parentId": parent.id})]


@pytest.mark.requirement("P-007")
def test_an_unknown_or_malformed_parent_creates_nothing(world):
    error = world.unchanged_by(NotFound, world.sessions.create, "session_1", match="session_1")
    assert error.remedy
    world.unchanged_by(InvalidParam, world.sessions.create, "../x")


@pytest.mark.requirement("P-042")
def test_ids_are_unique_within_a_millisecond(world):
    ids = [world.sessions.create().id for _ in range(5)]
    world.now -= 1000
    ids.append(world.sessions.create().id)
    assert ids == [f"session_{START + n}" for n in range(6)]


def test_a_session_made_with_every_option(world, tmp_path):
    parent = world.sessions.create()
    options = {
        "title": "",
        "parentId": parent.id,
        "key": "k",
        "tags": ["b", "a", "b"],
        "metadata": {"x": {"y": [1]}},
        "description": "d",
        "role": "reviewer",
        "provider": {"providerId": "p", "modelId": "m"},
        "directory": f"{tmp_path}/.",
    }
    info = world.info(world.sessions.create_with(json.dumps(options)))
    assert (info["title"], info["parentId"], info["key"], info["tags"]) == ("", parent.id, "k", ["b", "a"])
    assert (info["metadata"], info["description"], info["role"]) == ({"x": {"y": [1]}}, "d", "reviewer")
    assert info["provider"] == {"providerId": "p", "modelId": "m"} and info["directory"] == os.path.realpath(tmp_path)


@pytest.mark.requirement("A-006", "A-013")
def test_no_options_are_a_plain_session(world):
    for options in (None, "{}"):
        info = world.info(world.sessions.create_with(options))
        assert info["status"] == "active" and not {"key", "role", "relay", "directory", "provider"} & info.keys()


@pytest.mark.parametrize(
    "options,error,message",
    [
        ({"nope": 1}, InvalidParam, "unknown key nope"),
        ({"template": "t"}, NotFound, 'no template "t" is defined'),
        ({"parentId": "session_1"}, NotFound, "parent session session_1"),
        ({"directory": "/no/such"}, InvalidParam, "/no/such"),
        ({"directory": "relative"}, InvalidParam, "absolute"),
        ({"key": "ses_x"}, InvalidParam, "begins like an id"),
    ],
)
def test_options_that_cannot_be_create_nothing(world, options, error, message):
    world.unchanged_by(error, world.sessions.create_with, json.dumps(options), match=message)


def test_a_taken_key_names_its_session(world):
    holder = world.sessions.get_or_create("k")
    error = world.unchanged_by(AlreadyExists, world.sessions.create_with, '{"key":"k"}', match=holder.id)
    assert error.details == {"sessionId": holder.id}


@pytest.mark.requirement("R-021", "R-023", "R-024")
def test_one_live_session_per_role(world):
    first = world.sessions.create_with('{"role":"r"}')
    assert world.info(first)["relay"] == {"state": "CREATED", "messageCount": 0, "lastActive": START}
    world.unchanged_by(AlreadyExists, world.sessions.create_with, '{"role":"r"}', match=first.id)
    world.set(first.id, relay_state="CLEANED")
    assert world.sessions.create_with('{"role":"r"}').id != first.id


@pytest.mark.requirement("A-122", "A-124")
def test_the_limit_counts_active_and_suspended_sessions(build):
    world = build({"limits": {"activeSessions": 2}})
    first, second = world.sessions.create(), world.sessions.create()
    for status in ("active", "suspended"):
        world.set(first.id, status=status)
        for call in (world.sessions.create, world.sessions.create_with, lambda: world.sessions.get_or_create("new")):
            world.unchanged_by(LimitExceeded, call, match="limits.activeSessions")
    world.set(second.id, status="completed")
    assert world.sessions.get_or_create("new").id == world.sessions.get_or_create("new").id


@pytest.mark.requirement("P-051")
def test_automatic_sharing_takes_roots_and_leaves_children(build):
    world = build({"share": {"auto": True}})
    root = world.sessions.create()
    url = world.info(root)["share"]["url"]
    assert world.told.take() == [("session.created", {"id": root.id}), ("session.shared", {"id": root.id, "url": url})]
    child = world.sessions.create(root.id)
    assert "share" not in world.info(child) and len(world.told.take()) == 1
    assert json.loads(world.sessions.create_share(root.id))["url"] == url


# -- find --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("K-004")
def test_one_session_per_key(world):
    first = world.sessions.get_or_create("main window")
    assert world.info(first)["key"] == "main window" and len(world.told.take()) == 1
    assert world.sessions.get_or_create("main window").id == first.id and world.told.calls == []
    assert world.sessions.get_or_create("other").id != first.id
    world.unchanged_by(InvalidParam, world.sessions.get_or_create, "session_1")


@pytest.mark.requirement("P-072", "K-033")
def test_open_finds_by_id_and_by_key_and_creates_nothing(world):
    session = world.sessions.get_or_create("k")
    assert world.sessions.open(session.id) == world.sessions.open("k") == session.id
    assert world.unchanged_by(NotFound, world.sessions.open, "session_1").session == "session_1"
    world.unchanged_by(NotFound, world.sessions.open, "unknown", match='"unknown"')
    for name in ("session_x", "", "a/b", "ses_"):
        world.unchanged_by(InvalidParam, world.sessions.open, name)


@pytest.mark.requirement("P-010")
def test_the_list_has_every_session_by_creation(world):
    assert world.sessions.list() == b""
    first, second = world.sessions.create(), world.sessions.create()
    world.now += 5
    world.sessions.update_title(first.id, "later")
    for shown in (None, str):
        assert [info["id"] for info in json.loads(b"[%b]" % world.sessions.list(shown))] == [first.id, second.id]


@pytest.mark.requirement("P-047")
def test_list_and_query_show_what_get_info_shows(world):
    session = world.sessions.create_with('{"description":"d","tags":["t"]}')
    assert (
        json.loads(b"[%b]" % world.sessions.list())
        == json.loads(world.sessions.query())["sessions"]
        == [world.info(session)]
    )


@given(
    st.lists(st.text(max_size=3), max_size=7),
    st.sampled_from(["title", "updated", "created"]),
    st.sampled_from(["asc", "desc"]),
    st.integers(1, 4),
)
def test_pages_joined_are_the_whole(titles, sort, order, limit):
    world = World()
    for number, title in enumerate(titles):
        world.now += number % 2
        world.sessions.create_with(json.dumps({"title": title}))
    query = {"sort": sort, "order": order}
    whole = json.loads(world.sessions.query(json.dumps(query)))
    assert "nextCursor" not in whole and len(whole["sessions"]) == len(titles)
    seen, page = [], {"nextCursor": None}
    while "nextCursor" in page:
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
        page = json.loads(world.sessions.query(json.dumps({**query, "limit": limit, **cursor})))
        assert len(page["sessions"]) <= limit
        seen += page["sessions"]
    assert seen == whole["sessions"]


@pytest.mark.requirement("A-015", "A-022", "R-039")
def test_query_and_count_filter_alike(world):
    parent = world.sessions.create_with('{"title":"Gro\u00dfe Sache","tags":["a","b"]}')
    child = world.sessions.create_with(
        json.dumps({"parentId": parent.id, "description": "klein", "role": "r", "key": "k"})
    )
    world.sessions.update(child.id, '{"archived":true}')
    for query, expected in (
        ({}, [parent, child]),
        ({"text": "GROSSE"}, [parent]),
        ({"text": "Klein"}, [child]),
        ({"tags": ["b", "a"]}, [parent]),
        ({"tags": ["a", "c"]}, []),
        ({"parentId": parent.id}, [child]),
        ({"role": "r", "relayState": "CREATED"}, [child]),
        ({"role": "r", "relayState": "ACTIVE"}, []),
        ({"key": "k"}, [child]),
        ({"archived": True}, [child]),
        ({"archived": False}, [parent]),
        ({"status": ["active", "failed"]}, [parent, child]),
        ({"status": "failed"}, []),
        ({"createdAfter": START + 1}, []),
        ({"createdAfter": START}, [parent, child]),
        ({"createdBefore": START}, []),
        ({"createdBefore": START + 1, "limit": 5}, [parent, child]),
    ):
        found = json.loads(world.sessions.query(json.dumps(query)))["sessions"]
        assert [info["id"] for info in found] == [session.id for session in expected], query
        assert world.sessions.count(json.dumps(query)) == len(expected), query


@pytest.mark.requirement("A-023")
def test_the_most_recently_updated_come_first_on_request(world):
    made = []
    for _ in range(4):
        world.now += 1
        made.append(world.sessions.create().id)
    found = json.loads(world.sessions.query('{"order":"desc","limit":2}'))["sessions"]
    assert [info["id"] for info in found] == [made[3], made[2]]


def test_a_cursor_serves_its_own_query_only(world):
    world.sessions.create(), world.sessions.create()
    cursor = json.loads(world.sessions.query('{"limit":1}'))["nextCursor"]
    for call in (world.sessions.query, world.sessions.count):
        with pytest.raises(BadCursor):
            call(json.dumps({"sort": "title", "cursor": cursor}))


# -- change ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-013", "P-043", "P-130")
def test_a_title_shows_at_once_and_raises_updated(world):
    session = world.sessions.create()
    world.told.take()
    world.now += 7
    world.sessions.update_title(session.id, "new")
    info = world.info(session)
    assert info["title"] == "new" and info["time"] == {"created": START, "updated": START + 7}
    assert json.loads(world.told.infos[session.id]) == info
    assert world.told.take() == [
        ("session.updated", {"id": session.id, "title": "new", "fields": ["title", "time.updated"]})
    ]
    world.now -= 100
    world.sessions.update_title(session.id, "clock went back")
    assert world.info(session)["time"]["updated"] == START + 7


@pytest.mark.requirement("P-045")
@given(st.text())
def test_titles_round_trip(title):
    world = World()
    session = world.sessions.create()
    world.sessions.update_title(session.id, title)
    assert world.info(session)["title"] == title == world.told.events()[-1][1]["title"]


@pytest.mark.requirement("X-020")
def test_a_patch_is_one_change_with_one_event(world):
    session = world.sessions.create_with('{"tags":["a"],"description":"d"}')
    world.told.take()
    world.now += 1
    world.sessions.update(
        session.id, '{"addTags":["b"],"removeTags":["a","x"],"description":null,"archived":true,"metadata":{"k":1}}'
    )
    info = world.info(session)
    assert (info["tags"], info["metadata"], info["time"]["archived"]) == (
        ["b"],
        {"k": 1},
        START + 1,
    ) and "description" not in info
    changed = ["time.updated", "time.archived", "description", "tags", "metadata"]
    assert world.told.take() == [("session.updated", {"id": session.id, "fields": changed})]
    world.sessions.update(session.id, '{"title":"t","archived":false}')
    assert "archived" not in world.info(session)["time"]
    assert world.told.take() == [
        ("session.updated", {"id": session.id, "title": "t", "fields": ["title", "time.archived"]})
    ]


def test_a_patch_that_sets_nothing_is_no_event(world):
    session = world.sessions.create()
    before, _ = world.store.infos(), world.told.take()
    world.now += 1
    for patch in ("{}", '{"base":{"title":"Untitled"}}'):
        world.sessions.update(session.id, patch)
    assert world.store.infos() == before and world.told.calls == []
    world.unchanged_by(NotFound, world.sessions.update, "session_1", "{}")


def test_a_patch_that_fails_changes_nothing(world):
    session = world.sessions.create()
    world.unchanged_by(
        Conflict, world.sessions.update, session.id, '{"title":"x","base":{"title":"other"}}', match="title changed"
    )
    world.unchanged_by(InvalidParam, world.sessions.update, session.id, '{"title":"x","tags":[1]}')


@pytest.mark.requirement("P-015", "P-016")
def test_a_session_keeps_its_provider_and_model(world):
    session = world.sessions.create()
    for pair in (("", "m"), ("p", "")):
        world.unchanged_by(InvalidParam, world.sessions.initialize, session.id, *pair, match="is empty")
    world.sessions.initialize(session.id, "p", "m")
    assert world.info(session)["provider"] == {"providerId": "p", "modelId": "m"}
    assert world.told.take() == [("session.updated", {"id": session.id, "fields": ["provider"]})]
    world.sessions.initialize(session.id, "p", "m")
    assert world.told.calls == []
    world.unchanged_by(Conflict, world.sessions.initialize, session.id, "p", "other", match="bound to p/m, not p/other")


@pytest.mark.requirement("P-022", "P-064")
def test_an_abort_sets_the_flag_once(world):
    session = world.sessions.create()
    world.told.take()
    assert world.info(session)["aborted"] is False
    world.sessions.abort(session.id)
    assert world.info(session)["aborted"] is True and world.told.take() == [
        ("session.updated", {"id": session.id, "fields": ["aborted"]})
    ]
    world.sessions.abort(session.id)
    assert world.told.calls == []


# -- delete ------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-146", "A-019")
def test_delete_erases_descendants_before_their_parents(world):
    root, other = world.sessions.create(), world.sessions.create()
    left, right = world.sessions.create(root.id), world.sessions.create(root.id)
    leaf = world.sessions.create(left.id)
    world.sessions.create_share(leaf.id)
    world.told.take()
    world.sessions.delete(root.id)
    events = world.told.take()
    assert {kind for kind, _ in events} == {"session.deleted"} and len(events) == 4
    order = [data["id"] for _, data in events]
    assert order.index(leaf.id) < order.index(left.id) < order.index(root.id) > order.index(right.id)
    assert [info["id"] for info in json.loads(b"[%b]" % world.sessions.list())] == [other.id] and world.store.share(
        leaf.id
    ) is None


@pytest.mark.requirement("P-078")
def test_everything_answers_not_found_after_a_delete(world):
    session = world.sessions.get_or_create("k")
    world.sessions.delete(session.id)
    calls = world.sessions
    for call, *arguments in (
        (calls.update_title, "t"),
        (calls.update, '{"title":"t"}'),
        (calls.initialize, "p", "m"),
        (calls.abort,),
        (calls.delete,),
        (calls.open,),
        (calls.create_share,),
        (calls.unshare,),
    ):
        assert world.unchanged_by(NotFound, call, session.id, *arguments).session == session.id
    assert world.sessions.get_or_create("k").id != session.id


def test_a_cycle_of_parents_ends(world):
    first = world.sessions.create()
    second = world.sessions.create(first.id)
    world.set(first.id, parent_id=second.id)
    world.sessions.delete(first.id)
    assert world.sessions.list() == b"" and len(world.told.take()) == 2
