"""How a submission ends: once, whatever fails on the way."""

import json

import pytest

from plue_session.capi.submissions import Submission
from plue_session.errors import closed
from plue_session.rules import steps
from plue_session.rules.steps import Op

OPS = {name: Op(name, []) for name in ("make", "create_share")}


class Lists:
    """What a submission is of: remembers what was told; `fails` are the next events that there is no memory for."""

    def __init__(self, fails=0):
        self.told, self.left, self.fails, self._ended = [], [], fails, set()

    def tell(self, kind, data):
        if self.fails:
            self.fails -= 1
            raise MemoryError
        self.told.append((kind, json.loads(data)))

    def guarded(self, work, name):
        try:
            work()
        except MemoryError:
            self.told.append(("log", name))

    def refusal(self, error):
        return json.dumps({"error": type(error).__name__})

    def end(self, number):
        first = number not in self._ended
        self._ended.add(number)
        return first

    def leave(self, number):
        self.left.append(number)


def submission(lists, *tags):
    made = Submission(7, "", lists)
    made.steps = steps.read(json.dumps([{"op": "make", **({"tag": tag} if tag else {})} for tag in tags]), OPS)
    return made


@pytest.mark.requirement("P-171")
def test_the_last_event_comes_once_with_the_first_tag():
    lists = Lists()
    made = submission(lists, None, "a", "b")
    made.progress(made.steps[2], 3)
    made.results, made.has_run = ['{"ok":1}', '{"ok":2}', '{"ok":3}'], True
    made.end()
    made.end()
    made.abandon(closed())
    assert lists.told == [
        ("progress", {"operation": 7, "tag": "b", "done": 3, "of": 3}),
        ("completed", {"operation": 7, "tag": "a", "results": [{"ok": 1}, {"ok": 2}, {"ok": 3}]}),
    ]
    assert lists.left == [7]


@pytest.mark.requirement("P-171")
def test_what_is_stuck_at_the_end_has_a_result_for_each_operation():
    lists = Lists()
    made = submission(lists, None, None, None)
    made.results = ['{"ok":1}']
    made.abandon(closed())
    assert lists.told == [("cancelled", {"operation": 7, "results": [{"ok": 1}, *[{"error": "Closed"}] * 2]})]


@pytest.mark.requirement("P-171")
def test_it_has_failed_only_if_nothing_was_done():
    for has_run, kind, count in ((False, "failed", 1), (True, "cancelled", 2)):
        lists = Lists()
        made = submission(lists, None, None)
        made.has_run = has_run
        made.refuse(MemoryError())
        assert lists.told == [(kind, {"operation": 7, "results": [{"error": "MemoryError"}] * count})]


@pytest.mark.requirement("P-171")
def test_where_there_is_no_memory_for_the_results_the_last_event_comes_all_the_same():
    lists = Lists(fails=2)
    made = submission(lists, "a")
    made.progress(made.steps[0], 1)
    made.results, made.has_run = ['{"ok":1}'], True
    made.end()
    assert lists.told == [
        ("log", "plue_session_submit"),
        ("completed", {"operation": 7, "tag": "a", "results": [{"error": "MemoryError"}]}),
    ]
    assert lists.left == [7]


def test_only_a_share_of_our_own_has_something_to_hide():
    made, share = submission(Lists()), OPS["create_share"]
    own = '{"url":"u","secret":"s","link":"u#s","expiresAt":1}'
    assert json.loads(made.shown(share, own)) == {"url": "u", "expiresAt": 1}
    for op, answer in ((share, '{"url":"u","link":"u"}'), (OPS["make"], own)):
        assert made.shown(op, answer) == answer
