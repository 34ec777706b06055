"""Numbered events: whatever is lost, doubled, delayed and reordered, the record ends as the server's, told in order."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plue_session.rules import sequences
from plue_session.rules.sequences import ABSENT, CREATED, HOLD, Sequence, ahead, last


def event(seq, kind="session", value=None):
    return SimpleNamespace(seq=seq, kind=kind, value=f"title {seq}" if value is None else value)


def numbers(step):
    return [each.seq for each in step.apply]


def not_shown(_):
    return False


# -- one thing each ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seq", [-1, 0, 1, 77])
def test_a_mark_says_how_far_and_whether_an_answer_came_since(seq):
    assert last(seq) == seq == last(ahead(seq)) and not sequences.is_ahead(seq)
    assert sequences.is_ahead(ahead(seq)) and ahead(ahead(seq)) == ahead(seq)
    assert last(None) is None is ahead(None) and ahead(ABSENT) == CREATED


@pytest.mark.requirement("O-078")
def test_the_next_is_applied_the_old_is_dropped_and_a_hole_is_asked_for_once():
    sequence = Sequence()
    step = sequence.hear(4, [event(5)], not_shown, 0)
    assert numbers(step) == [5] and (step.mark, step.ask) == (5, None)
    assert numbers(sequence.hear(5, [event(5), event(2)], not_shown, 0)) == []
    step = sequence.hear(5, [event(8)], not_shown, 0)
    assert numbers(step) == [] and (step.mark, step.ask) == (5, 5)
    assert sequence.hear(5, [event(9), event(9)], not_shown, 0).ask is None
    step = sequence.history(5, [event(seq) for seq in (6, 7, 8)], not_shown, 0)
    assert numbers(step) == [6, 7, 8, 9] and (step.mark, step.ask) == (9, None) and sequence.is_idle(0)


@pytest.mark.requirement("O-078")
def test_what_is_heard_in_disorder_is_applied_in_order_and_what_fills_a_hole_makes_the_history_needless():
    sequence = Sequence()
    assert sequence.hear(0, [event(3), event(2)], not_shown, 0).ask == 0
    step = sequence.hear(0, [event(1)], not_shown, 0)
    assert numbers(step) == [1, 2, 3] and step.mark == 3
    assert numbers(sequence.history(3, [event(1), event(2), event(3)], not_shown, 0)) == []


@pytest.mark.requirement("O-078", "P-123")
def test_the_event_of_an_answer_is_waited_for_and_those_before_it_are_not_told():
    sequence, mark = Sequence(), 4
    mark = sequence.answered(mark, 10)
    assert mark == ahead(4)
    ours = lambda event: event.value == "ours"  # noqa: E731
    step = sequence.hear(mark, [event(5, value="theirs"), event(6, "message")], ours, 10.1)
    assert numbers(step) == [] and (step.mark, step.ask, step.wake) == (mark, None, 10 + HOLD)
    step = sequence.hear(mark, [event(8, value="later"), event(7, value="ours")], ours, 10.2)
    assert numbers(step) == [6, 8] and step.mark == 8


@pytest.mark.requirement("O-078")
def test_what_waits_for_the_event_of_an_answer_is_asked_for_after_2_s_and_applied_whatever_that_says():
    sequence = Sequence()
    mark = sequence.answered(4, 10)
    sequence.hear(mark, [event(5)], not_shown, 10)
    assert sequence.wake(mark, not_shown, 11).wake == 12
    step = sequence.wake(mark, not_shown, 12)
    assert (step.mark, step.ask, step.wake) == (mark, 4, None)
    step = sequence.history(mark, [event(5), event(6)], not_shown, 12.1)
    assert numbers(step) == [5, 6] and step.mark == 6


@pytest.mark.requirement("O-078")
def test_a_history_that_is_older_than_the_last_answer_does_not_tell_what_came_before_that():
    sequence = Sequence()
    assert sequence.hear(4, [event(6)], not_shown, 0).ask == 4
    mark = sequence.answered(4, 1)
    step = sequence.history(mark, [event(5), event(6)], not_shown, 1.1)
    assert numbers(step) == [] and step.wake == 3
    assert numbers(sequence.hear(mark, [event(7, value="ours")], lambda each: each.value == "ours", 1.2)) == []


@pytest.mark.requirement("O-078")
def test_a_session_that_was_only_listed_finds_its_place_by_its_first_event():
    sequence = Sequence()
    step = sequence.hear(None, [event(5)], lambda each: each.seq == 5, 0)
    assert (numbers(step), step.mark, step.ask) == ([], 5, None)
    sequence = Sequence()
    step = sequence.hear(None, [event(5)], not_shown, 0)
    assert (numbers(step), step.mark, step.ask) == ([], None, 5)
    step = sequence.history(None, [event(6), event(7)], lambda each: each.seq == 6, 0)
    assert (numbers(step), step.mark, step.read) == ([7], 7, False)
    sequence = Sequence()
    assert sequence.hear(None, [event(5, "message")], not_shown, 0).ask == 5
    step = sequence.history(None, [], not_shown, 0)
    assert (numbers(step), step.mark, step.read) == ([5], 5, True)


def test_a_new_session_is_taken_as_its_events_come_and_one_of_ours_waits_for_none():
    assert numbers(Sequence().hear(ABSENT, [event(0, "created")], not_shown, 0)) == [0]
    assert Sequence().hear(ABSENT, [event(3)], not_shown, 0).ask == -1
    step = Sequence().hear(CREATED, [event(0, "created")], lambda each: True, 0)
    assert (numbers(step), step.mark) == ([], 0)


@pytest.mark.requirement("O-078")
def test_a_history_that_lacks_what_was_asked_for_is_another_databases():
    sequence = Sequence()
    assert sequence.hear(7, [event(9)], not_shown, 0).ask == 7
    step = sequence.history(7, [event(9), event(10)], not_shown, 0)
    assert (numbers(step), step.mark, step.read) == ([], None, True) and sequence.is_idle(0)


@pytest.mark.requirement("O-078")
@pytest.mark.parametrize("mark", [4, ahead(4), None])
def test_without_a_history_the_session_is_read_and_what_may_be_older_than_the_record_is_not_applied(mark):
    sequence = Sequence()
    assert sequence.hear(mark, [event(9), event(7)], not_shown, 0).ask is not None
    step = sequence.history(mark, None, not_shown, 0)
    assert (numbers(step), step.mark, step.read) == (([7, 9], 9, True) if mark == 4 else ([], ahead(9), True))


def test_too_much_that_is_held_is_applied_and_the_session_read():
    sequence = Sequence()
    step = sequence.hear(0, [event(seq) for seq in range(2, sequences.MOST + 3)], not_shown, 0)
    assert len(step.apply) == sequences.MOST + 1 and step.read and step.mark == sequences.MOST + 2


def test_a_change_that_is_run_again_works_on_another_copy():
    sequence = Sequence()
    sequence.hear(0, [event(2)], not_shown, 0)
    for _ in range(2):
        assert numbers(sequence.copy().history(0, [event(1)], not_shown, 0)) == [1, 2]
    assert not sequence.is_idle(0)


def test_a_deletion_waits_for_nothing_and_nothing_waits_after_it():
    sequence = Sequence()
    sequence.hear(4, [event(9), event(8)], not_shown, 0)
    step = sequence.hear(4, [event(7, "deleted")], not_shown, 0)
    assert [each.kind for each in step.apply] == ["deleted"] and sequence.is_idle(0)


# -- everything at once ------------------------------------------------------------------------------------------------
class World:
    """One session of a server's, what is on its way from there, and a record that follows it."""

    def __init__(self, chance, start, asks_fail):
        self.chance, self.asks_fail = chance, asks_fail
        self.log, self.now = [], 0.0  # what the server has logged
        self.way, self.asked, self.served = [], None, None  # events under way · a question · its answer
        self.reply, self.deferred = None, []  # the answer to our change, and what is heard until it is recorded
        self.told, self.applied = [], []  # the numbers of what was told of the session, and of its messages
        self.readings, self.resets, self.waking = 0, 0, None
        self.sequence = Sequence()
        self.change("created")
        for _ in range(start):
            self.theirs()
        self.way.clear()
        self.record, self.mark = self.log[-1].value, {"listed": None, "known": start}[chance(["listed", "known"])]

    # -- the server
    def change(self, kind, value=None):
        made = event(len(self.log), kind, value)
        self.log.append(made)
        self.way.append(made)
        return made

    def theirs(self):
        self.change("session")

    def message(self):
        self.change("message")

    def ours(self):
        if self.reply is None:
            self.reply = self.change("session")

    def answer(self):
        """Our change's answer comes, or is lost."""
        if self.reply is None:
            return
        if self.chance([True, True, False]):
            self.record = self.reply.value
            self.told.append(self.reply.seq)
            self.mark = self.sequence.answered(self.mark, self.now)
        self.reply, late, self.deferred = None, self.deferred, []
        for each in late:
            self.hear(each)

    def serve(self):
        if self.asked is not None and self.served is None:
            self.served = [None] if self.asks_fail else [self.log[self.asked + 1 :]]

    def bring(self):
        """The history comes, unless a change of ours is under way."""
        if self.served is not None and self.reply is None:
            (events,), self.asked, self.served = self.served, None, None
            self.do(self.sequence.history(self.mark, events, self.shown, self.now))

    # -- the way
    def deliver(self):
        if self.way:
            self.hear(self.way.pop(self.chance(range(len(self.way)))))

    def double(self):
        if self.way:
            self.way.append(self.way[self.chance(range(len(self.way)))])

    def lose(self):
        if self.way:
            self.way.pop(self.chance(range(len(self.way))))

    def tick(self):
        self.now += self.chance([0.5, HOLD])
        if self.waking is not None and self.now >= self.waking and self.reply is None:
            self.waking = None
            self.do(self.sequence.wake(self.mark, self.shown, self.now))

    # -- the library
    def shown(self, each):
        return self.record == each.value

    def hear(self, each):
        if self.reply is not None:
            self.deferred.append(each)
        else:
            self.do(self.sequence.hear(self.mark, [each], self.shown, self.now))

    def do(self, step):
        for each in step.apply:
            if each.kind == "message":
                self.applied.append(each.seq)
            elif each.value != self.record:
                self.record = each.value
                self.told.append(each.seq)
        self.resets += self.mark is not None and step.mark is None
        self.mark = step.mark
        if step.ask is not None:
            assert self.asked is None and step.ask >= -1
            self.asked = step.ask
        self.waking = step.wake if step.wake is not None else self.waking
        if step.read:
            self.readings += 1
            whole = next(each for each in reversed(self.log) if each.kind != "message")
            if self.record != whole.value:
                self.record, self.mark = whole.value, ahead(self.mark)
                self.told.append(whole.seq)

    def restart(self):
        if self.reply is not None:  # it is not known here any more
            self.reply, self.deferred = None, []
        self.sequence, self.asked, self.served, self.waking = Sequence(), None, None, None
        self.reconnect()

    def reconnect(self):
        self.way.clear()
        if self.reply is None:
            number = self.sequence.ask(self.mark)
            if number is None:
                self.list()
            else:
                self.asked, self.served = number, None

    def list(self):
        """A session without a number is compared with the list, as ever."""
        self.sequence, self.asked, self.served = Sequence(), None, None
        whole = next(each for each in reversed(self.log) if each.kind != "message")
        if self.record != whole.value:
            self.record = whole.value
            self.told.append(whole.seq)

    def end(self):
        """All is quiet, and a last reconnect."""
        self.answer()
        self.reconnect()
        for _ in range(20):
            self.serve()
            self.bring()
            while self.way:
                self.deliver()
            self.tick()


OPERATIONS = ["theirs", "message", "ours", "serve", "double", "lose", "tick", "reconnect", "restart"]
OPERATIONS += ["deliver"] * 4 + ["answer", "bring"] * 2


def run(chance, steps, asks_fail=False):
    world = World(chance, chance(range(4)), asks_fail)
    for _ in range(steps):
        getattr(world, chance(OPERATIONS))()
    world.end()
    whole = next(each for each in reversed(world.log) if each.kind != "message")
    assert world.record == whole.value
    return world


def check(world):
    assert world.told == sorted(set(world.told))
    assert world.applied == sorted(set(world.applied))
    if world.mark is not None and not world.readings:
        assert world.mark == len(world.log) - 1
    if world.mark is not None and world.applied and not world.readings:  # none after the first is missed
        messages = [each.seq for each in world.log if each.kind == "message" and each.seq >= world.applied[0]]
        assert world.applied == messages


@pytest.mark.requirement("O-078")
@settings(max_examples=600, deadline=None)
@given(st.data(), st.integers(0, 60))
def test_any_interleaving_ends_in_the_servers_truth_told_once_and_in_order(data, steps):
    check(run(lambda choices: data.draw(st.sampled_from(choices)), steps))


@pytest.mark.requirement("O-078")
def test_long_interleavings_end_so_too_and_no_session_is_taken_for_another_databases():
    for seed in range(2000):
        world = run(random.Random(seed).choice, 200)
        check(world)
        assert world.resets == 0, f"seed {seed}"


@pytest.mark.requirement("O-078")
def test_titles_that_come_again_end_in_the_servers_truth_too(monkeypatch):
    change = World.change
    monkeypatch.setattr(World, "change", lambda self, kind: change(self, kind, self.chance("AB")))
    for seed in range(1000):
        run(random.Random(seed).choice, 100)


@pytest.mark.requirement("O-078")
def test_without_a_history_any_interleaving_ends_in_the_servers_truth_once_the_session_is_listed():
    for seed in range(1000):
        world = World(random.Random(seed).choice, 2, True)
        for _ in range(100):
            getattr(world, world.chance(OPERATIONS))()
        world.end()
        world.list()
        assert world.record == next(each for each in reversed(world.log) if each.kind != "message").value
        assert world.applied == sorted(set(world.applied))
