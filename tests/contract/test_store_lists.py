"""What ports.Store promises of lists and pages."""

import pytest

from plue_session.model import Query
from tests.contract.stored import numbers, put, session, transaction


@pytest.mark.requirement("A-016")
def test_the_list_is_by_creation_then_number_and_a_page_by_update(store):
    put(store, session(1, updated=30, created=2), session(2, updated=20, created=1), session(3, updated=10, created=1))
    assert store.infos() == b'{"id":"session_2"},{"id":"session_3"},{"id":"session_1"}'
    assert numbers(store.page(Query())[0]) == [3, 2, 1]


@pytest.mark.parametrize("part", [1, 2, 128])
def test_a_list_in_memory_of_its_own_says_the_same(store, monkeypatch, part):
    monkeypatch.setattr("plue_session.adapters.sqlite.store.PART", part)
    assert store.infos_apart() == b""
    put(store, *(session(n, updated=n, created=n // 3) for n in range(1, 9)), session(9, updated=1, created=0))
    assert store.infos_apart()[:] == store.infos() and store.infos().count(b"{") == 9


def test_the_ids_of_all_sessions_come_with_their_directories(store):
    assert store.ids() == []
    put(store, session(1, directory="/a b"), session(2), session(3, directory="/c"))
    with transaction(store):
        store.erase("session_3")
    assert sorted(store.ids()) == [("session_1", "/a b"), ("session_2", None)]


MANY = [
    session(n, title=title, updated=updated, created=100 - n, artifact_count=artifacts)
    for n, (title, updated, artifacts) in enumerate(
        [("b", 5, 1), ("A", 5, 0), ("a", 3, 0), ("Ä", 9, 2), ("B", 5, 1), ("c", 1, 0), ("C\0", 5, 7)], 1
    )
]
ORDERS = {
    "updated": [6, 3, 1, 2, 5, 7, 4],
    "created": [7, 6, 5, 4, 3, 2, 1],
    "title": [2, 3, 1, 5, 6, 7, 4],
    "artifactCount": [2, 3, 6, 1, 5, 4, 7],
}


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
    session(
        1,
        status="active",
        relay_state="READY",
        residency="hot",
        role="r",
        key="k",
        tags=["x", "y"],
        created=10,
        updated=20,
        title="Straße",
        description="Nothing",
    ),
    session(
        2,
        status="suspended",
        relay_state="CLEANED",
        role="r",
        parent_id="session_1",
        tags=["x"],
        created=20,
        updated=30,
        archived=5,
        title="Other",
        description="The STRASSE again",
    ),
    session(3, status="completed", residency="cold", parent_id="session_1", created=30, updated=40, title="100%_"),
]


@pytest.mark.requirement("A-015")
@pytest.mark.parametrize(
    "expected, filters",
    [
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
    ],
)
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
        changed = store.load("session_1")
        changed.tags = ["b", "c"]
        store.save(changed)
    assert [store.count(Query(tags=(tag,))) for tag in "abc"] == [0, 1, 1]
    with transaction(store):
        store.erase("session_1")
        store.insert(session(2))
    assert store.count(Query(tags=("b",))) == 0
