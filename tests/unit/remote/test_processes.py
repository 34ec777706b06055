"""Two processes on one store and one server."""

import json

import pytest

from plue_session.call import Call
from plue_session.model import EVENTS


def log(world):
    return [
        (EVENTS[row.kind], json.loads('{"x":0' + row.tail)["data"].get("title"))
        for row in world.store.events_after(0, 100)
    ]


@pytest.mark.requirement("P-122", "P-133")
def test_the_slower_ones_events_do_not_undo_what_the_faster_one_has_recorded(two):
    first, second, deliver = two
    session_id = first.elsewhere(title="First")
    first.server.put(session_id, title="Second")
    deliver(0)
    deliver(1)
    second.jobs()
    assert log(first) == [("session.created", None), ("session.updated", "Second")]
    first.server.put(session_id, title="Third")
    deliver(1)
    second.jobs()
    deliver(0)
    first.jobs()
    assert log(first)[2:] == [("session.updated", "Third")] and second.info(session_id)["title"] == "Third"


def test_what_another_process_has_recorded_of_our_change_is_not_told_again(two):
    first, second, deliver = two
    session = first.create(title="T")
    deliver(0), deliver(1)
    first.server.during["update"] = lambda: deliver(1) or second.jobs()
    first.do(lambda on: on.sessions.update_title(session.id, "U"), session.id)
    deliver(0), deliver(1)
    assert log(first) == [("session.created", None), ("session.updated", "U")]


@pytest.mark.requirement("O-029")
def test_what_one_process_makes_the_other_leaves_to_it(two):
    first, second, deliver = two
    first.server.during["create"] = lambda: deliver(1)
    session = first.create(title="T", key="k", tags=["a"])
    deliver(0), deliver(1)
    assert log(first) == [("session.created", None)] and second.info(session)["key"] == "k"
    assert second.jobs() == ["reread"] and len(log(first)) == 1


def test_what_one_process_died_over_the_other_records(two):
    first, second, deliver = two
    made = first.server.create(f"{first.store.store_id}-x", Call())
    deliver(1)
    assert second.store.read(made.id) is None and second.jobs() == ["reread"]
    assert second.info(made.id)["title"] == made.title


def test_a_list_that_was_overtaken_by_another_process_changes_nothing(two):
    first, second, deliver = two
    session_id = first.elsewhere(title="First")
    deliver(0)

    def meanwhile():
        first.server.put(session_id, title="Second")
        deliver(1)
        second.jobs()

    first.reconcile()
    first.server.put(session_id, title="Between")
    first.server.during["survey"] = meanwhile
    first.reconcile()
    first.jobs()
    assert ("session.updated", "Second") in log(first) and log(first)[-1] == ("session.updated", "Second")
