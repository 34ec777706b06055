"""How a submission ends: once, whatever fails on the way."""

import json
from types import SimpleNamespace

import pytest

from plue_session.capi.submissions import Submission, Submissions
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
    made = Submission(7, lists)
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
    lists = Lists()
    Submission(8, lists).abandon(closed())  # nobody has read it yet
    assert lists.told == [("cancelled", {"operation": 8, "results": [{"error": "Closed"}]})]


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


class Core:
    """The C half: hands out what was submitted; of an event with a long text nobody hears, as there is no memory."""

    NULL = None

    def __init__(self, *texts):
        self.pending, self.ended, self.left, self.told = dict(enumerate(texts, 1)), [], [], []

    def core__submission_take(self, number, length):
        if not self.pending:
            return None
        number[0] = next(iter(self.pending))
        text = self.pending.pop(number[0])
        length[0] = len(text)
        return text

    def core__submission_forget(self, text):
        assert text

    def core__submission_end(self, number):
        self.ended.append(number)
        return 0

    def core__submission_leave(self, number):
        self.left.append(number)

    def core__submission_is_cancelled(self, number):
        return False

    # -- of cffi -------------------------------------------------------------------------------------------------------
    def new(self, kind):
        return [0]

    def buffer(self, text, length):
        if length > 100:
            raise MemoryError
        return text

    # -- of a runtime --------------------------------------------------------------------------------------------------
    def tell(self, kind, data):
        if len(data) <= 200:
            self.told.append((kind, json.loads(data)))
        return len(data) <= 200


def submissions(core, start):
    boundary = SimpleNamespace(ffi=core, lib=core, guarded=lambda work, name: work())
    boundary.describe = lambda error, function, session_id: json.dumps(type(error).__name__)
    return Submissions(boundary, SimpleNamespace(tell=core.tell, batches=SimpleNamespace(start=start)))


@pytest.mark.requirement("P-171")
def test_one_that_there_is_no_memory_to_read_fails_and_keeps_no_place():
    core, started = Core(b"x" * 101, b"[]"), []
    submissions(core, started.append).look()
    assert core.told == [("operation.failed", {"operation": 1, "results": [{"error": "MemoryError"}]})]
    assert core.left == [1] and [(each.number, each.text) for each in started] == [(2, "[]")]


@pytest.mark.requirement("P-171")
def test_one_that_cannot_be_started_for_lack_of_memory_fails():
    def start(batch):
        raise MemoryError

    core = Core(b"[]", b"[]")
    submissions(core, start).look()
    assert [kind for kind, _ in core.told] == ["operation.failed"] * 2 and core.left == [1, 2]


@pytest.mark.requirement("P-171")
def test_an_event_that_no_queue_can_take_is_told_without_the_results():
    core, started = Core(b"[]"), []
    submissions(core, started.append).look()
    started[0].steps, started[0].results, started[0].has_run = [], ['{"ok":"%s"}' % ("x" * 200)], True
    started[0].end()
    assert core.told == [("operation.completed", {"operation": 1, "results": [{"error": "MemoryError"}]})]
    assert core.left == [1]


def test_only_a_share_of_our_own_has_something_to_hide():
    made, share = submission(Lists()), OPS["create_share"]
    own = '{"url":"u","secret":"s","link":"u#s","expiresAt":1}'
    assert json.loads(made.shown(share, own)) == {"url": "u", "expiresAt": 1}
    for op, answer in ((share, '{"url":"u","link":"u"}'), (OPS["make"], own)):
        assert made.shown(op, answer) == answer
