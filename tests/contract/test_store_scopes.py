"""What ports.Store promises of scopes: backends that share one store."""

import pytest

from plue_session import errors
from plue_session.model import LogRow, Query, Share
from tests.contract.stored import session, transaction

SCOPES = (
    "opencode http://127.0.0.1:4096 /home/me/project",
    "opencode http://127.0.0.1:4096 /home/me/project/deep " + "é/ü x" * 200,
    "opencode http://127.0.0.1:4096 /home/me",
    "embedded",
)


def same_in(store, title):
    """Put a session, its child and two events: the same ids, keys, roles and tokens wherever it is called."""
    with transaction(store):
        number = store.next_number(10)
        store.insert(
            session(
                number,
                id="ses_one",
                key="k",
                role="r",
                relay_state="READY",
                token="t",
                tags=["x"],
                title=title,
                directory="/" + title,
                info=f'{{"t":"{title}"}}',
            )
        )
        store.insert(session(number + 1, id="ses_two", parent_id="ses_one", imported=True, title=title, info="{}"))
        for session_id in ("ses_one", None, "ses_one"):
            store.append(LogRow(store.last_log_id() + 1, session_id, 1, 5, f',"t":"{title}"}}'))
        store.put_share(Share("ses_one", "share_" + title, "u", 1, None))


def seen_of(store):
    """Return what a store shows of what `same_in` has put into it."""
    with transaction(store):
        found = [store.load(session_id) for session_id in ("ses_one", "ses_two")]
        by_other_names = [store.load_by_key("k"), store.load_by_role("r"), store.load_by_token("t")]
        return (
            [each and each.title for each in found + by_other_names],
            store.children("ses_one"),
            store.active_count(),
            store.infos(),
            sorted(store.ids()),
            store.page(Query(tags=("x",)))[0],
            store.count(Query()),
            store.info("ses_one"),
            store.id_of_key("k"),
            store.read("ses_one") and store.read("ses_one").title,
            store.share("ses_one") and store.share("ses_one").share_id,
            [(row.session_id, row.tail) for row in store.events_after(0, 99)],
        )


def shown(title):
    info, tail = f'{{"t":"{title}"}}', f',"t":"{title}"}}'
    return (
        [title] * 5,
        ["ses_two"],
        1,
        f"{info},{{}}".encode(),
        [("ses_one", "/" + title), ("ses_two", None)],
        [info],
        2,
        (0, info),
        "ses_one",
        title,
        "share_" + title,
        [("ses_one", tail), (None, tail), ("ses_one", tail)],
    )


def test_equal_ids_keys_and_tokens_of_several_scopes_are_strangers_to_each_other(scopes):
    stores = [scopes(scope) for scope in SCOPES]
    for number, store in enumerate(stores):
        same_in(store, f"title{number}")
    assert [seen_of(store) for store in stores] == [shown(f"title{number}") for number in range(len(stores))]
    nearly = scopes(SCOPES[0] + "/")
    assert (nearly.ids(), nearly.count(Query()), nearly.infos(), nearly.events_after(0, 99)) == ([], 0, b"", [])


@pytest.mark.requirement("P-146")
def test_erasing_and_trimming_in_one_scope_leave_equal_ids_of_the_others_alone(scopes):
    first, *others = stores = [scopes(scope) for scope in SCOPES]
    for number, store in enumerate(stores):
        same_in(store, f"title{number}")
    with transaction(first):
        first.trim(1, 0, ["ses_one", None, "ses_two"])
    assert [row.session_id for row in first.events_after(0, 99)] == [None, "ses_one"]
    # What was trimmed is missing there alone: elsewhere nobody who is behind need give up what is left to be read.
    assert first.log_state()[0] == 1 and [store.log_state()[0] for store in others] == [0] * len(others)
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
