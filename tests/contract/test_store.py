"""What ports.Store promises, held against each store: whoever passes these may stand behind the services."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from plue_session import errors
from plue_session.model import LogRow, Query, Session, Share

FIELDS = {
    "key": "k", "parent_id": "session_1", "title": "Tïtle", "description": "About", "tags": ["a", "b\nc", "ü"],
    "metadata": '{"a":1}', "created": 11, "updated": 12, "archived": 13, "ended": 14, "version": "0.1.0",
    "status": "suspended", "aborted": True, "backend": "embedded", "directory": "/x", "provider_id": "p", "model_id": "m",
    "role": "r", "relay_state": "ACTIVE", "relay_messages": 3, "relay_active": 15, "residency": "resident",
    "message_count": 4, "artifact_count": 5, "share_url": "https://x/share/y", "share_expires": 16, "rev": 17,
    "remote_updated": 18, "token": "t", "titled": 19, "unshared": True, "abort_mark": "msg_1", "forked": True, "seen": True, "info": '{"id":"session_10"}',
}


def session(number, **fields):
    """Return a session with this number and plain values for what the store must have."""
    plain = {"id": f"session_{number}", "created": number, "updated": number, "version": "1",
             "info": f'{{"id":"session_{number}"}}'}
    return Session(number=number, **{**plain, **fields})


def values(record):
    return {name: getattr(record, name) for name in record.__slots__}


class transaction:
    """Begin, and commit at the end; roll back when the body raises."""

    def __init__(self, store):
        self.store = store

    def __enter__(self):
        self.store.begin()
        return self.store

    def __exit__(self, kind, *_):
        self.store.rollback() if kind else self.store.commit()


def put(store, *sessions):
    with transaction(store):
        for each in sessions:
            store.insert(each)


def log(store, *session_ids, time=0, kind=1):
    with transaction(store):
        for session_id in session_ids:
            store.append(LogRow(store.last_log_id() + 1, session_id, kind, time, ',"data":{}}'))


def numbers(infos):
    return [int(info[len('{"id":"session_'):-2]) for info in infos]


def ids(store):
    return [row.id for row in store.events_after(0, 10_000)]


# -- records -------------------------------------------------------------------------------------------------------
def test_a_session_comes_back_with_every_field_as_it_was(store):
    with transaction(store):
        store.insert(session(10, **FIELDS))
        assert values(store.find("session_10")) == values(session(10, **FIELDS))
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10, **FIELDS))


def test_a_session_with_nothing_set_comes_back_with_nothing_set(store):
    put(store, session(10))
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10))


def test_what_find_returns_is_the_callers_own(store):
    put(store, session(10, tags=["a"]))
    with transaction(store):
        store.find("session_10").tags.append("b")
        store.find("session_10").title = "Mine"
        assert store.find("session_10").tags == ["a"]
        assert store.find("session_10").title == "Untitled"


def test_what_was_stored_does_not_follow_the_callers_object(store):
    mine = session(10, tags=["a"])
    put(store, mine)
    mine.title, mine.status = "Changed later", "completed"
    mine.tags.append("b")
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10, tags=["a"]))


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"info"}))
def test_saving_replaces_each_field_alone(store, name):
    put(store, session(10))
    with transaction(store):
        changed = store.find("session_10")
        setattr(changed, name, FIELDS[name])
        store.save(changed)
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10, **{name: FIELDS[name]}))
        plain = store.find("session_10")
        setattr(plain, name, getattr(session(10), name))
        store.save(plain)
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10))


def test_saving_a_session_unchanged_is_harmless(store):
    put(store, session(10, **FIELDS))
    with transaction(store):
        store.save(store.find("session_10"))
        assert values(store.find("session_10")) == values(session(10, **FIELDS))


def test_saving_a_session_that_is_not_there_is_not_found(store):
    with pytest.raises(errors.NotFound), transaction(store):
        store.save(session(10))


TEXT = strategies.text(strategies.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXT, description=TEXT, tags=strategies.lists(TEXT, max_size=4))
def test_any_text_round_trips_exactly(store, title, description, tags):
    store.begin()
    try:
        store.insert(session(10, title=title, description=description, tags=tags))
        found = store.find("session_10")
        assert (found.title, found.description, found.tags) == (title, description, tags)
    finally:
        store.rollback()


def test_a_title_may_hold_nul_and_be_found_by_what_follows_it(store):
    put(store, session(10, title="a\0Zebra", description="d\0Yak", tags=["t\0u"]))
    with transaction(store):
        assert store.find("session_10").title == "a\0Zebra"
    for query in (Query(text="zebra"), Query(text="a\0z"), Query(text="yak"), Query(tags=("t\0u",))):
        assert store.count(query) == 1
    assert store.count(Query(tags=("t",))) == 0


def test_sessions_are_found_by_key_and_by_live_role(store):
    put(store, session(10, key="k", role="r", relay_state="READY"), session(11, role="r", relay_state="CLEANED"),
        session(12, role="r"))
    with transaction(store):
        assert store.find_key("k").id == "session_10"
        assert store.find_role("r").id == "session_10"
        assert store.find_key("other") is None
        assert store.find_role("other") is None
        assert store.find("session_99") is None
    assert store.id_of_key("k") == "session_10"
    assert store.id_of_key("other") is None


def test_a_role_is_free_again_when_its_relay_is_cleaned(store):
    put(store, session(10, role="r", relay_state="READY"))
    with transaction(store):
        first = store.find("session_10")
        first.relay_state = "CLEANED"
        store.save(first)
        assert store.find_role("r") is None
        store.insert(session(11, role="r", relay_state="READY"))
        assert store.find_role("r").id == "session_11"


@pytest.mark.parametrize("field, second", [
    ("id", dict(number=11, id="session_10")),
    ("key", dict(number=11, key="k")),
    ("role", dict(number=11, role="r", relay_state="CREATED")),
    ("number", dict(number=10, id="session_x")),
])
def test_a_duplicate_is_refused_and_the_error_says_of_what(store, field, second):
    put(store, session(10, key="k", role="r", relay_state="READY"))
    with pytest.raises(errors.AlreadyExists) as raised, transaction(store):
        store.insert(session(**second))
    assert raised.value.details["field"] == field
    assert field in raised.value.cause and raised.value.remedy
    assert store.count(Query()) == 1


def test_a_save_that_takes_anothers_key_is_refused(store):
    put(store, session(10, key="k"), session(11))
    with pytest.raises(errors.AlreadyExists) as raised, transaction(store):
        other = store.find("session_11")
        other.key = "k"
        store.save(other)
    assert raised.value.details == {"field": "key", "value": "k"}


def test_a_session_is_found_by_the_token_of_its_create(store):
    put(store, session(10, token="t"), session(11), session(12, token="u"))
    with transaction(store):
        assert values(store.find_token("t")) == values(session(10, token="t"))
        assert store.find_token("other") is None
        assert store.find_token(None) is None
        store.erase("session_10")
        assert store.find_token("t") is None
        found = store.find("session_12")
        found.token = None
        store.save(found)
        assert store.find_token("u") is None


def test_of_several_sessions_with_one_token_the_one_created_first_is_found(store):
    put(store, session(10, token="t", created=30), session(11, token="t", created=20), session(12, token="t", created=20))
    with transaction(store):
        assert store.find_token("t").id == "session_11"


def test_children_are_listed_oldest_first(store):
    put(store, session(1), session(30, parent_id="session_1", created=5), session(20, parent_id="session_1", created=9),
        session(40, parent_id="session_20"))
    with transaction(store):
        assert store.children("session_1") == ["session_20", "session_30"]
        assert store.children("session_40") == []
    assert store.look_at_children("session_1") == ["session_20", "session_30"] and store.look_at_children("session_40") == []


@pytest.mark.requirement("P-042")
def test_numbers_rise_and_are_never_used_again_even_after_erasing(store):
    with transaction(store):
        assert store.next_number(1000) == 1000
        store.insert(session(1000))
        assert store.next_number(1000) == 1001
        store.insert(session(1001))
        assert store.next_number(5000) == 5000
    with transaction(store):
        store.erase("session_1001")
        assert store.next_number(1000) == 1002
    with transaction(store):
        assert store.next_number(7) == 1002


def test_a_number_that_was_undone_is_free(store):
    with transaction(store):
        store.savepoint()
        store.insert(session(store.next_number(50)))
        store.undo()
        assert store.next_number(50) == 50


@pytest.mark.requirement("A-124")
def test_active_and_suspended_sessions_are_counted_as_they_change(store):
    with transaction(store):
        assert store.active_count() == 0
        store.insert(session(1))
        store.insert(session(2, status="suspended"))
        store.insert(session(3, status="completed"))
        assert store.active_count() == 2
        store.savepoint()
        first = store.find("session_1")
        first.status = "failed"
        store.save(first)
        store.erase("session_2")
        assert store.active_count() == 0
        store.undo()
        assert store.active_count() == 2
    with transaction(store):
        first = store.find("session_1")
        first.status = "completed"
        store.save(first)
        assert store.active_count() == 1
    with pytest.raises(ZeroDivisionError), transaction(store):
        store.erase("session_2")
        raise ZeroDivisionError
    with transaction(store):
        assert store.active_count() == 1
    assert store.check() == []


def test_a_reader_gets_a_whole_session_as_it_was_committed(store):
    with transaction(store):
        store.insert(session(1, id="ses_one", title="Whole", forked=True))
    found = store.look("ses_one")
    found.title = "mine"
    assert (store.look("ses_one").title, store.look("ses_one").forked, store.look("ses_two")) == ("Whole", True, None)


def test_forks_are_no_children(store):
    with transaction(store):
        store.insert(session(1))
        store.insert(session(2, parent_id="session_1"))
        store.insert(session(3, parent_id="session_1", forked=True))
        assert store.children("session_1") == ["session_2"]


@pytest.mark.requirement("A-124")
def test_sessions_that_were_only_seen_on_a_server_do_not_count_as_active(store):
    with transaction(store):
        store.insert(session(1))
        store.insert(session(2, seen=True))
        store.insert(session(3, seen=True, status="completed"))
        assert store.active_count() == 1
    with transaction(store):
        adopted = store.find("session_2")
        adopted.seen = False
        store.save(adopted)
        assert store.active_count() == 2
        store.savepoint()
        for session_id, fields in {"session_1": {"seen": True}, "session_3": {"seen": False, "status": "active"}}.items():
            changed = store.find(session_id)
            for name, value in fields.items():
                setattr(changed, name, value)
            store.save(changed)
            assert store.active_count() == (1 if session_id == "session_1" else 2)
        store.undo()
        assert store.active_count() == 2
        store.erase("session_3")
        assert store.active_count() == 2
    with transaction(store):
        assert store.active_count() == 2
        store.insert(session(4, seen=True))
        store.erase("session_4")
        assert store.active_count() == 2
    assert store.check() == []


# -- transactions --------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-143")
def test_readers_see_what_is_committed_and_nothing_else(store):
    store.begin()
    store.insert(session(10, key="k", tags=["t"]))
    store.append(LogRow(1, "session_10", 0, 0, ","))
    assert store.info("session_10") is store.look("session_10") is None
    assert store.id_of_key("k") is None
    assert store.list_text() == b"[]"
    assert store.ids() == []
    assert store.page(Query()) == ([], None)
    assert store.count(Query(tags=("t",))) == 0
    assert store.events_after(0, 10) == []
    assert store.log_state() == (0, 0)
    store.commit()
    assert store.info("session_10") == (0, '{"id":"session_10"}')
    assert store.id_of_key("k") == "session_10"
    assert store.list_text() == b'[{"id":"session_10"}]'
    assert store.count(Query(tags=("t",))) == 1
    assert ids(store) == [1]
    assert store.log_state() == (0, 1)


def test_another_thread_reads_the_committed_share_while_the_writer_sees_its_own(store):
    put(store, session(10))
    store.begin()
    store.put_share(Share("session_10", "s", "u", 1, None))
    seen = []
    reader = threading.Thread(target=lambda: seen.append(store.share("session_10")))
    reader.start()
    reader.join()
    assert seen == [None]
    assert store.share("session_10").share_id == "s"
    store.commit()
    assert store.share("session_10").share_id == "s"


@pytest.mark.requirement("P-144")
def test_a_rollback_leaves_nothing_of_the_transaction(store):
    put(store, session(10, title="Before", key="k", tags=["t"]))
    log(store, "session_10")
    store.begin()
    changed = store.find("session_10")
    changed.title, changed.key, changed.tags = "After", "l", ["u"]
    store.save(changed)
    store.insert(session(11))
    store.append(LogRow(store.last_log_id() + 1, "session_11", 0, 0, ","))
    store.put_share(Share("session_10", "s", "u", 1, None))
    store.erase("session_10")
    store.trim(0, 99, [])
    store.rollback()
    with transaction(store):
        assert values(store.find("session_10")) == values(session(10, title="Before", key="k", tags=["t"]))
        assert store.find("session_11") is None
        assert store.last_log_id() == 1
        assert store.share("session_10") is None
        assert store.next_number(0) == 11
    assert store.count(Query(tags=("t",))) == 1
    assert store.id_of_key("l") is None
    assert store.log_state() == (0, 1)


def test_undo_drops_its_part_and_keeps_the_neighbours(store):
    put(store, session(10))
    with transaction(store):
        store.savepoint()
        store.insert(session(11, key="k"))
        store.append(LogRow(store.last_log_id() + 1, "session_11", 0, 0, ","))
        store.release()
        store.savepoint()
        changed = store.find("session_11")
        changed.key = "l"
        store.save(changed)
        store.append(LogRow(store.last_log_id() + 1, "session_11", 1, 0, ","))
        store.erase("session_10")
        store.undo()
        assert store.last_log_id() == 1
        assert store.find("session_11").key == "k"
        store.savepoint()
        store.insert(session(12))
        store.append(LogRow(store.last_log_id() + 1, "session_12", 0, 0, ","))
        store.release()
    assert store.list_text() == b'[{"id":"session_10"},{"id":"session_11"},{"id":"session_12"}]'
    assert [(row.id, row.session_id) for row in store.events_after(0, 9)] == [(1, "session_11"), (2, "session_12")]
    assert store.id_of_key("k") == "session_11"


def test_a_refused_insert_can_be_undone_alone(store):
    put(store, session(10, key="k"))
    with transaction(store):
        store.savepoint()
        store.append(LogRow(1, "session_11", 0, 0, ","))
        with pytest.raises(errors.AlreadyExists):
            store.insert(session(11, key="k"))
        store.undo()
        store.savepoint()
        store.insert(session(11, key="l"))
        store.release()
    assert store.id_of_key("l") == "session_11"
    assert store.log_state() == (0, 0)


def test_rollback_with_nothing_begun_is_harmless(store):
    store.rollback()
    put(store, session(10))
    store.rollback()
    store.rollback()
    assert store.count(Query()) == 1


# -- erasing and shares --------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-146")
def test_erasing_removes_record_tags_share_and_events_but_no_one_elses(store):
    put(store, session(10, key="k", role="r", relay_state="READY", tags=["t"]), session(11, tags=["t"]))
    log(store, "session_10", "session_11", "session_10")
    with transaction(store):
        store.put_share(Share("session_10", "s10", "u", 1, 2))
        store.put_share(Share("session_11", "s11", "u", 1, 2))
        store.erase("session_10")
        assert store.find("session_10") is None
        assert store.find_role("r") is None
    assert store.info("session_10") is None
    assert store.share("session_10") is None
    assert store.share("session_11").share_id == "s11"
    assert store.count(Query(tags=("t",))) == 1
    assert ids(store) == [2]
    with transaction(store):
        store.insert(session(12, key="k", role="r", relay_state="READY"))
    assert store.check() == []


def test_erasing_what_is_not_there_is_harmless(store):
    with transaction(store):
        store.erase("session_10")
    assert store.log_state() == (0, 0)


def test_log_ids_are_not_used_again_after_the_newest_row_was_erased(store):
    put(store, session(10))
    log(store, "session_10", "session_10")
    with transaction(store):
        store.erase("session_10")
        assert store.last_log_id() == 2
    assert store.log_state() == (0, 2)
    with transaction(store):
        assert store.last_log_id() == 2
        store.append(LogRow(3, "session_10", 2, 0, ","))
    assert ids(store) == [3]
    assert store.log_state() == (0, 3)


def test_an_erasing_that_is_undone_leaves_the_log_as_it_was(store):
    put(store, session(10))
    log(store, "session_10", "session_10")
    with transaction(store):
        store.savepoint()
        store.append(LogRow(3, "session_10", 1, 0, ","))
        store.erase("session_10")
        assert store.last_log_id() == 3
        store.undo()
        assert store.last_log_id() == 2
    assert ids(store) == [1, 2]
    assert store.log_state() == (0, 2)


def test_a_share_is_stored_replaced_and_dropped(store):
    put(store, session(10))
    with transaction(store):
        assert store.share("session_10") is None
        store.put_share(Share("session_10", "first", "u1", 1, 2))
        store.put_share(Share("session_10", "second", "u2", 3, None))
    share = store.share("session_10")
    assert (share.session_id, share.share_id, share.url, share.created, share.expires) == ("session_10", "second", "u2", 3, None)
    with transaction(store):
        store.drop_share("session_10")
        store.drop_share("session_10")
        assert store.share("session_10") is None
    assert store.share("session_10") is None


# -- the log -------------------------------------------------------------------------------------------------------
def test_events_are_read_after_an_id_in_order_and_up_to_a_limit(store):
    with transaction(store):
        for number, session_id in enumerate(["a", None, "b", "a"], 1):
            store.append(LogRow(number, session_id, number + 5, number * 10, f',"n":{number}}}'))
    rows = store.events_after(1, 2)
    assert [(row.id, row.session_id, row.kind, row.time, row.tail) for row in rows] == [
        (2, None, 7, 20, ',"n":2}'), (3, "b", 8, 30, ',"n":3}')]
    assert ids(store) == [1, 2, 3, 4]
    assert store.events_after(4, 10) == []


def test_trimming_keeps_the_newest_rows_of_each_named_session(store):
    log(store, "a", "b", "a", None, "a", None, "b", "a")
    with transaction(store):
        store.trim(2, 0, ["a", None, "unknown"])
    assert ids(store) == [2, 4, 5, 6, 7, 8]
    assert store.log_state() == (3, 8)


def test_trimming_by_age_drops_old_rows_but_never_the_newest_of_all(store):
    log(store, "a", "b", time=10)
    log(store, "a", time=20)
    with transaction(store):
        store.trim(100, 20, [])
    assert ids(store) == [3]
    assert store.log_state() == (2, 3)
    with transaction(store):
        store.trim(0, 99, ["a"])
    assert ids(store) == [3]
    assert store.log_state() == (2, 3)


def test_trimming_by_age_is_bounded_and_gets_there_in_the_end(store):
    with transaction(store):
        for number in range(1, 2502):
            store.append(LogRow(number, "a", 1, 5, ","))
    left = []
    for _ in range(3):
        with transaction(store):
            store.trim(9999, 6, [])
        left.append(len(ids(store)))
    assert left == [1501, 501, 1]
    assert store.log_state() == (2500, 2501)


def test_erasing_does_not_raise_the_floor(store):
    put(store, session(10))
    log(store, "session_10", "b", "b")
    with transaction(store):
        store.erase("session_10")
    assert store.log_state() == (0, 3)
    with transaction(store):
        store.trim(1, 0, ["b"])
        store.trim(1, 0, ["b"])
    assert store.log_state() == (2, 3)


def test_trimming_an_empty_log_changes_nothing(store):
    with transaction(store):
        store.trim(1, 99, ["a"])
    assert store.log_state() == (0, 0)


# -- lists and pages -----------------------------------------------------------------------------------------------
@pytest.mark.requirement("A-016")
def test_the_list_is_a_json_array_by_update_then_number(store):
    put(store, session(1, updated=30), session(2, updated=10), session(3, updated=10))
    assert store.list_text() == b'[{"id":"session_2"},{"id":"session_3"},{"id":"session_1"}]'
    assert numbers(store.page(Query())[0]) == [2, 3, 1]


def test_the_ids_of_all_sessions_come_with_their_directories(store):
    assert store.ids() == []
    put(store, session(1, directory="/a b"), session(2), session(3, directory="/c"))
    with transaction(store):
        store.erase("session_3")
    assert sorted(store.ids()) == [("session_1", "/a b"), ("session_2", None)]


MANY = [session(n, title=title, updated=updated, created=100 - n, artifact_count=artifacts)
        for n, (title, updated, artifacts) in enumerate(
            [("b", 5, 1), ("A", 5, 0), ("a", 3, 0), ("Ä", 9, 2), ("B", 5, 1), ("c", 1, 0), ("C\0", 5, 7)], 1)]
ORDERS = {"updated": [6, 3, 1, 2, 5, 7, 4], "created": [7, 6, 5, 4, 3, 2, 1], "title": [2, 3, 1, 5, 6, 7, 4],
          "artifactCount": [2, 3, 6, 1, 5, 4, 7]}


@pytest.mark.requirement("A-015")
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ORDERS)
def test_pages_put_together_are_the_whole_order(store, sort, descending, limit):
    put(store, *MANY)
    seen, after = [], None
    while True:
        infos, after = store.page(Query(sort=sort, descending=descending, limit=limit, after=after))
        assert len(infos) == limit or after is None
        seen += numbers(infos)
        if after is None:
            break
    assert seen == (ORDERS[sort][::-1] if descending else ORDERS[sort])


@pytest.mark.requirement("A-023")
def test_the_most_recently_updated_come_from_one_query(store):
    put(store, *MANY)
    assert numbers(store.page(Query(descending=True, limit=3))[0]) == [4, 7, 5]


def test_a_page_goes_on_after_a_session_that_was_erased_meanwhile(store):
    put(store, *MANY)
    _, after = store.page(Query(limit=2))
    with transaction(store):
        store.erase("session_3")
    assert numbers(store.page(Query(after=after))[0]) == [1, 2, 5, 7, 4]


FILTERED = [
    session(1, status="active", relay_state="READY", residency="hot", role="r", key="k", tags=["x", "y"], created=10,
            updated=20, title="Straße", description="Nothing"),
    session(2, status="suspended", relay_state="CLEANED", role="r", parent_id="session_1", tags=["x"], created=20,
            updated=30, archived=5, title="Other", description="The STRASSE again"),
    session(3, status="completed", residency="cold", parent_id="session_1", created=30, updated=40, title="100%_"),
]


@pytest.mark.requirement("A-015")
@pytest.mark.parametrize("expected, filters", [
    ([1, 2, 3], {}),
    ([1, 2], {"status": ("active", "suspended")}),
    ([], {"status": ()}),
    ([2], {"relay_state": ("CLEANED",)}),
    ([1, 3], {"residency": ("hot", "cold")}),
    ([1, 2], {"role": "r"}),
    ([1], {"key": "k"}),
    ([2, 3], {"parent_id": "session_1"}),
    ([1, 2], {"tags": ("x",)}),
    ([1], {"tags": ("x", "y")}),
    ([], {"tags": ("X",)}),
    ([2, 3], {"created_after": 20}),
    ([1], {"created_before": 20}),
    ([2], {"created_after": 20, "created_before": 30}),
    ([2, 3], {"updated_after": 30}),
    ([1], {"updated_before": 30}),
    ([2], {"archived": True}),
    ([1, 3], {"archived": False}),
    ([1, 2], {"text": "strasse"}),
    ([3], {"text": "%_"}),
    ([1, 2, 3], {"text": ""}),
    ([2], {"text": "strasse", "parent_id": "session_1", "tags": ("x",), "status": ("suspended",)}),
])
def test_filters_select_for_pages_and_for_counts(store, expected, filters):
    put(store, *FILTERED)
    for sort in ("created", "updated"):
        assert numbers(store.page(Query(sort=sort, **filters))[0]) == expected
    assert numbers(store.page(Query(sort="created", descending=True, **filters))[0]) == expected[::-1]
    assert store.count(Query(limit=1, sort="title", after=("zzz", 9), **filters)) == len(expected)


def test_filters_and_pages_work_together(store):
    put(store, *(session(n, tags=["even"] if n % 2 == 0 else []) for n in range(1, 11)))
    infos, after = store.page(Query(tags=("even",), limit=3))
    assert (numbers(infos), after) == ([2, 4, 6], (6, 6))
    infos, after = store.page(Query(tags=("even",), limit=3, after=after))
    assert (numbers(infos), after) == ([8, 10], None)


def test_the_tag_filter_follows_changed_tags(store):
    put(store, session(1, tags=["a", "b", "b"]))
    with transaction(store):
        changed = store.find("session_1")
        changed.tags = ["b", "c"]
        store.save(changed)
    assert [store.count(Query(tags=(tag,))) for tag in "abc"] == [0, 1, 1]
    with transaction(store):
        store.erase("session_1")
        store.insert(session(2))
    assert store.count(Query(tags=("b",))) == 0


# -- scopes --------------------------------------------------------------------------------------------------------
SCOPES = ("opencode http://127.0.0.1:4096 /home/me/project", "opencode http://127.0.0.1:4096 /home/me/project/deep " + "é/ü x" * 200,
          "opencode http://127.0.0.1:4096 /home/me", "embedded")


def same_in(store, title):
    """Put a session, its child and two events: the same ids, keys, roles and tokens wherever it is called."""
    with transaction(store):
        number = store.next_number(10)
        store.insert(session(number, id="ses_one", key="k", role="r", relay_state="READY", token="t", tags=["x"], title=title,
                             directory="/" + title, info=f'{{"t":"{title}"}}'))
        store.insert(session(number + 1, id="ses_two", parent_id="ses_one", seen=True, title=title, info="{}"))
        for session_id in ("ses_one", None, "ses_one"):
            store.append(LogRow(store.last_log_id() + 1, session_id, 1, 5, f',"t":"{title}"}}'))
        store.put_share(Share("ses_one", "share_" + title, "u", 1, None))


def seen_of(store):
    """Return what a store shows of what `same_in` has put into it."""
    with transaction(store):
        found = [store.find(session_id) for session_id in ("ses_one", "ses_two")]
        by_other_names = [store.find_key("k"), store.find_role("r"), store.find_token("t")]
        return ([each and each.title for each in found + by_other_names], store.children("ses_one"), store.active_count(), store.list_text(),
                sorted(store.ids()), store.page(Query(tags=("x",)))[0], store.count(Query()), store.info("ses_one"), store.id_of_key("k"),
                store.look("ses_one") and store.look("ses_one").title, store.share("ses_one") and store.share("ses_one").share_id,
                [(row.session_id, row.tail) for row in store.events_after(0, 99)])


def shown(title):
    info, tail = f'{{"t":"{title}"}}', f',"t":"{title}"}}'
    return ([title] * 5, ["ses_two"], 1, f"[{info},{{}}]".encode(), [("ses_one", "/" + title), ("ses_two", None)], [info], 2,
            (0, info), "ses_one", title, "share_" + title, [("ses_one", tail), (None, tail), ("ses_one", tail)])


def test_equal_ids_keys_and_tokens_of_several_scopes_are_strangers_to_each_other(scopes):
    stores = [scopes(scope) for scope in SCOPES]
    for number, store in enumerate(stores):
        same_in(store, f"title{number}")
    assert [seen_of(store) for store in stores] == [shown(f"title{number}") for number in range(len(stores))]
    nearly = scopes(SCOPES[0] + "/")
    assert (nearly.ids(), nearly.count(Query()), nearly.list_text(), nearly.events_after(0, 99)) == ([], 0, b"[]", [])


@pytest.mark.requirement("P-146")
def test_erasing_and_trimming_in_one_scope_leave_equal_ids_of_the_others_alone(scopes):
    first, *others = stores = [scopes(scope) for scope in SCOPES]
    for number, store in enumerate(stores):
        same_in(store, f"title{number}")
    with transaction(first):
        first.trim(1, 0, ["ses_one", None, "ses_two"])
    assert [row.session_id for row in first.events_after(0, 99)] == [None, "ses_one"]
    with transaction(first):
        first.erase("ses_one")
        assert first.active_count() == 0
        assert first.share("ses_one") is None
    assert [row.session_id for row in first.events_after(0, 99)] == [None]
    assert first.ids() == [("ses_two", None)]
    assert [seen_of(store) for store in others] == [shown(f"title{number}") for number in range(1, len(stores))]
    assert [store.check() for store in stores] == [[]] * len(stores)


def test_a_duplicate_in_another_scope_is_none_and_in_this_one_is_refused(scopes):
    one, two = scopes(SCOPES[0]), scopes(SCOPES[1])
    same_in(one, "one")
    same_in(two, "two")
    for field, value in {"id": "ses_one", "key": "k"}.items():
        with pytest.raises(errors.AlreadyExists) as raised, transaction(one):
            one.insert(session(one.next_number(99), **{field: value}))
        assert raised.value.details["field"] == field
    assert seen_of(one) == shown("one") and seen_of(two) == shown("two")


# -- the store itself ----------------------------------------------------------------------------------------------
def test_a_store_has_an_id_of_eight_hex_digits_and_a_name(store):
    assert len(store.store_id) == 8 and set(store.store_id) <= set("0123456789abcdef")
    assert store.name in ("sqlite", "memory")
    assert store.check() == []
    assert store.wants_maintenance() is False
    store.maintain()


def test_threads_read_while_one_writes_and_see_whole_commits(store):
    put(store, session(1), session(2))
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            infos, _ = store.page(Query(status=("active",)))
            if len(infos) == 1:
                torn.append(infos)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for n in range(40):
        with transaction(store):
            for session_id in ("session_1", "session_2"):
                changed = store.find(session_id)
                changed.status = ("active", "completed")[n % 2]
                store.save(changed)
    stop.set()
    for thread in readers:
        thread.join()
    assert torn == []


def test_everything_but_closing_again_is_refused_after_close(store):
    store.close()
    store.close()
    assert store.lock_fds() == []
    for use in (store.begin, store.list_text, store.log_state, store.maintain, store.check, lambda: store.share("x"),
                store.ids, lambda: store.info("x"), lambda: store.page(Query()), lambda: store.events_after(0, 1)):
        with pytest.raises(errors.Closed):
            use()


def test_what_was_written_is_counted_and_what_was_read_is_not(store):
    store.begin()
    before = store.written()
    store.find("session_1"), store.find_key("k"), store.find_token("t"), store.children("session_1"), store.last_log_id(), store.share("session_1")
    assert store.written() == before
    number = store.next_number(10)
    store.insert(session(number))
    inserted = store.written()
    assert inserted != before
    store.put_share(Share(f"session_{number}", "share", "url", 1, None))
    assert store.written() != inserted
    store.rollback()


@pytest.mark.requirement("A-015")
def test_text_is_looked_for_in_the_title_and_in_the_description_but_not_across_them(store):
    store.begin()
    number = store.next_number(10)
    store.insert(session(number, title="a", description="b"))
    store.commit()
    found = {text: store.count(Query(text=text)) for text in ("a", "b", "a\nb", "\n", "ab")}
    assert found == {"a": 1, "b": 1, "a\nb": 0, "\n": 0, "ab": 0}
