import random
import threading
from collections import Counter

import pytest

from plue_session import errors
from plue_session.services.work_queue import WORKERS, DueTimes, WorkQueue
from tests.remote_world import until


def test_what_is_due_first_comes_first_however_often_it_was_set():
    times, expected, chance = DueTimes(), {}, random.Random(5)
    for _ in range(3000):
        session_id, at = f"ses_{chance.randrange(40)}", chance.random()
        if chance.random() < 0.2:
            assert times.pop(session_id) == expected.pop(session_id, None)
        else:
            times.set(session_id, at)
            expected[session_id] = at
        assert times.first() == min(((at, each) for each, at in expected.items()), default=None)
        assert len(times) == len(expected) and times.get(session_id) == expected.get(session_id)
        assert len(times._heap) <= 2 * 40 + 64  # what holds no more is not kept for ever
    times.clear()
    assert times.first() is None and not times


class Publisher:
    def adopt(self):
        pass


class Log:
    def __init__(self):
        self.written = []

    def write(self, level, text):
        self.written.append((level, text))


class Queue(WorkQueue):
    """One whose work is to note that it was done, and to wait for `free`."""

    name = "test"

    def __init__(self):
        super().__init__(Publisher(), Log())
        self.ready, self.may_lead, self.found, self.leads = True, True, {}, 0
        self.free, self.begun, self.at_once, self.most = threading.Event(), Counter(), Counter(), 0
        self.again, self.fails = {}, []

    def _is_ready(self):
        return self.ready

    def _find(self):
        if isinstance(self.found, Exception):
            raise self.found
        return dict(self.found)

    def _take_lead(self):
        self.leads += self.may_lead
        return self.may_lead

    def _leave_lead(self):
        self.leads -= 1

    def _attend(self, session_id):
        with self._changed:
            self.begun[session_id] += 1
            self.at_once[session_id] += 1
            assert self.at_once[session_id] == 1
            self.most = max(self.most, self.at_once.total())
        assert self.free.wait(10)
        with self._changed:
            self.at_once[session_id] -= 1
        if self.fails:
            raise self.fails.pop()
        return self.again.pop(session_id, None)


@pytest.fixture
def queue():
    made = Queue()
    made.begin()
    yield made
    made.free.set()
    made.end()
    until(lambda: made._workers == 0)


def is_at_rest(queue):
    return queue._workers == queue.leads == 0 and not queue._busy


def test_each_session_is_attended_to_by_one_thread_at_a_time_and_some_sessions_at_once(queue):
    for number in range(40):
        queue.poke(f"ses_{number}")
    until(lambda: queue.most == WORKERS)
    for _ in range(3):  # also those that are busy: once more, however often they were poked
        for number in range(40):
            queue.poke(f"ses_{number}")
    busy = set(queue._busy)
    queue.free.set()
    until(lambda: is_at_rest(queue))
    assert queue.begun == {f"ses_{number}": 1 + (f"ses_{number}" in busy) for number in range(40)}
    assert queue.most == WORKERS and len(busy) == WORKERS


def test_the_work_says_when_it_is_due_again(queue):
    queue.free.set()
    queue.again = {"ses_1": 0.01}
    queue.poke("ses_1")
    until(lambda: queue.begun["ses_1"] == 2 and is_at_rest(queue))


def test_what_nobody_has_told_of_is_found_also_while_nothing_is_due(queue):
    queue.free.set()
    queue.found = {"ses_1": 0.0}
    queue._look_soon()
    until(lambda: queue.begun["ses_1"])
    queue.found = {}
    until(lambda: is_at_rest(queue))


def test_what_is_put_there_before_the_store_has_it_is_not_forgotten(queue):
    queue.free.set()
    queue.poke("ses_1", 0.05)
    queue._look()  # it is not committed yet
    until(lambda: queue.begun["ses_1"] == 1 and is_at_rest(queue))


def test_what_was_postponed_waits_unless_it_is_poked(queue):
    queue.poke("ses_1")
    until(lambda: queue._busy)
    queue.poke("ses_1")
    assert queue._is_due("ses_1")
    queue._postpone("ses_1", 60)
    queue.free.set()
    until(lambda: queue._idle == 1)
    assert queue.begun["ses_1"] == 1 and queue._is_due("ses_1")
    queue.poke("ses_1", 50)
    queue.poke("ses_1")
    until(lambda: queue.begun["ses_1"] == 2 and is_at_rest(queue))


def test_a_session_that_gets_another_id_meanwhile_is_still_one(queue):
    queue.found = {"old": 0.0}
    queue.look()
    until(lambda: queue._busy)
    queue._rename("old", "new")
    queue.look()
    queue.found = {"new": 0.0}
    queue.look()
    queue.poke("old")
    assert queue._busy == {"new"} and not queue._due and queue._is_due("old")
    queue._postpone("new", 60)
    queue.free.set()
    until(lambda: list(queue._due) == ["new"] and not queue._busy)
    assert queue.begun == {"old": 1} and not queue._renamed
    queue.poke("new")
    until(lambda: queue.begun["new"] == 1)


def test_what_the_store_tells_is_done_once_it_can_be(queue):
    queue.free.set()
    queue.ready, queue.found = False, {"ses_1": 0.0, "ses_2": 0.0}
    queue.look()
    assert not queue.begun and not queue._workers
    queue.found, queue.ready = errors.StoreIo("the disk is gone"), True
    queue.look()
    assert [level for level, text in queue._log.written if "test: the disk is gone" in text] == ["warning"]
    until(lambda: set(queue.begun) == {"ses_1", "ses_2"})
    queue.found = {}
    until(lambda: is_at_rest(queue))


@pytest.mark.parametrize("failure", [MemoryError(), errors.StoreIo("the disk is gone"), ValueError()])
def test_work_that_fails_is_told_and_done_again(queue, failure):
    queue.fails = [failure, failure]
    queue.free.set()
    queue.poke("ses_1")
    until(lambda: queue.begun["ses_1"] == 3 and is_at_rest(queue))
    assert len(queue._log.written) == 2 and all("test ses_1: " in text for _, text in queue._log.written)


def test_a_process_without_the_lead_waits_for_it_and_one_that_ends_takes_nothing_more(queue):
    queue.may_lead = False
    queue.poke("ses_1")
    until(lambda: queue._idle == 1)
    assert not queue.begun
    queue.may_lead = True
    queue.free.set()
    until(lambda: queue.begun["ses_1"] == 1 and is_at_rest(queue))
    queue.end()
    queue.poke("ses_2")
    assert not queue._workers and not queue.begun["ses_2"]
