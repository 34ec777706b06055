"""What ports.Store promises of records, held against each store: whoever passes these may stand behind the services."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from plue_session import errors
from plue_session.model import Query
from tests.contract.stored import FIELDS, put, session, transaction, values


def test_a_session_comes_back_with_every_field_as_it_was(store):
    with transaction(store):
        store.insert(session(10, **FIELDS))
        assert values(store.load("session_10")) == values(session(10, **FIELDS))
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10, **FIELDS))


def test_a_session_with_nothing_set_comes_back_with_nothing_set(store):
    put(store, session(10))
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10))


def test_what_find_returns_is_the_callers_own(store):
    put(store, session(10, tags=["a"]))
    with transaction(store):
        store.load("session_10").tags.append("b")
        store.load("session_10").title = "Mine"
        assert store.load("session_10").tags == ["a"]
        assert store.load("session_10").title == "Untitled"


def test_what_was_stored_does_not_follow_the_callers_object(store):
    mine = session(10, tags=["a"])
    put(store, mine)
    mine.title, mine.status = "Changed later", "completed"
    mine.tags.append("b")
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10, tags=["a"]))


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"info"}))
def test_saving_replaces_each_field_alone(store, name):
    put(store, session(10))
    with transaction(store):
        changed = store.load("session_10")
        setattr(changed, name, FIELDS[name])
        store.save(changed)
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10, **{name: FIELDS[name]}))
        plain = store.load("session_10")
        setattr(plain, name, getattr(session(10), name))
        store.save(plain)
    with transaction(store):
        assert values(store.load("session_10")) == values(session(10))


def test_saving_a_session_unchanged_is_harmless(store):
    put(store, session(10, **FIELDS))
    with transaction(store):
        store.save(store.load("session_10"))
        assert values(store.load("session_10")) == values(session(10, **FIELDS))


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
        found = store.load("session_10")
        assert (found.title, found.description, found.tags) == (title, description, tags)
    finally:
        store.rollback()


def test_a_title_may_hold_nul_and_be_found_by_what_follows_it(store):
    put(store, session(10, title="a\0Zebra", description="d\0Yak", tags=["t\0u"]))
    with transaction(store):
        assert store.load("session_10").title == "a\0Zebra"
    for query in (Query(text="zebra"), Query(text="a\0z"), Query(text="yak"), Query(tags=("t\0u",))):
        assert store.count(query) == 1
    assert store.count(Query(tags=("t",))) == 0


def test_sessions_are_found_by_key_and_by_live_role(store):
    put(
        store,
        session(10, key="k", role="r", relay_state="READY"),
        session(11, role="r", relay_state="CLEANED"),
        session(12, role="r"),
    )
    with transaction(store):
        assert store.load_by_key("k").id == "session_10"
        assert store.load_by_role("r").id == "session_10"
        assert store.load_by_key("other") is None
        assert store.load_by_role("other") is None
        assert store.load("session_99") is None
    assert store.id_of_key("k") == "session_10"
    assert store.id_of_key("other") is None


def test_a_role_is_free_again_when_its_relay_is_cleaned(store):
    put(store, session(10, role="r", relay_state="READY"))
    with transaction(store):
        first = store.load("session_10")
        first.relay_state = "CLEANED"
        store.save(first)
        assert store.load_by_role("r") is None
        store.insert(session(11, role="r", relay_state="READY"))
        assert store.load_by_role("r").id == "session_11"


@pytest.mark.parametrize(
    "field, second",
    [
        ("id", {"number": 11, "id": "session_10"}),
        ("key", {"number": 11, "key": "k"}),
        ("role", {"number": 11, "role": "r", "relay_state": "CREATED"}),
        ("number", {"number": 10, "id": "session_x"}),
    ],
)
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
        other = store.load("session_11")
        other.key = "k"
        store.save(other)
    assert raised.value.details == {"field": "key", "value": "k"}


def test_a_session_is_found_by_the_token_of_its_create(store):
    put(store, session(10, token="t"), session(11), session(12, token="u"))
    with transaction(store):
        assert values(store.load_by_token("t")) == values(session(10, token="t"))
        assert store.load_by_token("other") is None
        assert store.load_by_token(None) is None
        store.erase("session_10")
        assert store.load_by_token("t") is None
        found = store.load("session_12")
        found.token = None
        store.save(found)
        assert store.load_by_token("u") is None


def test_of_several_sessions_with_one_token_the_one_created_first_is_found(store):
    put(
        store,
        session(10, token="t", created=30),
        session(11, token="t", created=20),
        session(12, token="t", created=20),
    )
    with transaction(store):
        assert store.load_by_token("t").id == "session_11"


def test_children_are_listed_oldest_first(store):
    put(
        store,
        session(1),
        session(30, parent_id="session_1", created=5),
        session(20, parent_id="session_1", created=9),
        session(40, parent_id="session_20"),
    )
    with transaction(store):
        assert store.children("session_1") == ["session_20", "session_30"]
        assert store.children("session_40") == []
    assert store.read_children("session_1") == ["session_20", "session_30"] and store.read_children("session_40") == []


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
        first = store.load("session_1")
        first.status = "failed"
        store.save(first)
        store.erase("session_2")
        assert store.active_count() == 0
        store.undo()
        assert store.active_count() == 2
    with transaction(store):
        first = store.load("session_1")
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
        store.insert(session(1, id="ses_one", title="Whole", is_fork=True))
    found = store.read("ses_one")
    found.title = "mine"
    assert (store.read("ses_one").title, store.read("ses_one").is_fork, store.read("ses_two")) == ("Whole", True, None)


def test_forks_are_no_children(store):
    with transaction(store):
        store.insert(session(1))
        store.insert(session(2, parent_id="session_1"))
        store.insert(session(3, parent_id="session_1", is_fork=True))
        assert store.children("session_1") == ["session_2"]


@pytest.mark.requirement("A-124")
def test_sessions_that_were_only_seen_on_a_server_do_not_count_as_active(store):
    with transaction(store):
        store.insert(session(1))
        store.insert(session(2, imported=True))
        store.insert(session(3, imported=True, status="completed"))
        assert store.active_count() == 1
    with transaction(store):
        adopted = store.load("session_2")
        adopted.imported = False
        store.save(adopted)
        assert store.active_count() == 2
        store.savepoint()
        for session_id, fields in {
            "session_1": {"imported": True},
            "session_3": {"imported": False, "status": "active"},
        }.items():
            changed = store.load(session_id)
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
        store.insert(session(4, imported=True))
        store.erase("session_4")
        assert store.active_count() == 2
    assert store.check() == []
