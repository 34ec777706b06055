"""What is set for a time: it is called then, unless it is dropped."""

import queue
import threading
import time

import pytest

from plue_session import errors, threads
from plue_session.services.alarms import Alarms
from tests.remote_world import until


def keepers():
    return [each for each in threading.enumerate() if each.name == "plue-alarms"]


@pytest.fixture
def alarms():
    until(lambda: not keepers())
    return Alarms(lambda: None)


def test_they_are_called_in_the_order_of_their_times_by_one_thread_that_then_ends(alarms):
    rung, now = queue.SimpleQueue(), time.monotonic()
    for number in 3, 1, 2:
        alarms.set(now + number / 20, lambda number=number: rung.put((number, time.monotonic())))
    assert len(keepers()) == 1
    for number in 1, 2, 3:
        found, at = rung.get(timeout=10)
        assert found == number and at >= now + number / 20
    until(lambda: not keepers())


def test_one_that_is_dropped_is_not_called_and_keeps_no_thread(alarms):
    rung = queue.SimpleQueue()
    late, soon = alarms.set(time.monotonic() + 3600, rung.put), alarms.set(time.monotonic() + 60, rung.put)
    alarms.drop(soon)
    alarms.drop(late)
    alarms.drop(None)
    until(lambda: not keepers())
    alarms.set(0, lambda: rung.put("due"))
    assert rung.get(timeout=10) == "due" and rung.empty()


def test_one_that_fails_takes_only_its_thread_along(alarms, monkeypatch):
    rung = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", lambda given: rung.put(given.exc_type))
    alarms.set(0, lambda: 1 // 0)
    assert rung.get(timeout=10) is ZeroDivisionError
    alarms.set(0, lambda: rung.put("next"))
    assert rung.get(timeout=10) == "next"


def test_without_a_thread_none_is_set(alarms, monkeypatch):
    def fail(name, run):
        raise RuntimeError

    monkeypatch.setattr(threads, "make", fail)
    with pytest.raises(errors.StoreIo, match="no thread"):
        alarms.set(0, lambda: None)
    monkeypatch.undo()
    rung = queue.SimpleQueue()
    alarms.set(0, lambda: rung.put("next"))
    assert rung.get(timeout=10) == "next" and rung.empty()
