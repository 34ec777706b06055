"""A call ends in time, and cancelling it ends what waits in it, once."""

import threading
import time

import pytest

from plue_session.call import Call
from plue_session.errors import Aborted, Closed


def test_the_first_error_counts_and_wakes_each_watcher_once():
    call, woken = Call(), []
    call.check()
    call.watch(lambda: woken.append(1))
    call.set(Aborted("a"))
    call.set(Closed("b"))
    assert woken == [1]
    with pytest.raises(Aborted):
        call.check()


def test_who_watches_too_late_is_woken_at_once_and_who_has_left_is_not():
    call, woken = Call(), []

    def wake():
        woken.append(1)

    call.watch(wake)
    call.unwatch(wake)
    call.unwatch(wake)
    call.set(Aborted("a"))
    assert woken == []
    call.watch(wake)
    assert woken == [1]


def test_a_part_of_a_call_ends_no_later_and_is_cancelled_with_it():
    now = time.monotonic()
    call = Call(now + 10)
    part, woken = call.within(5), []
    assert now + 5 <= part.deadline <= time.monotonic() + 5 and call.within(60).deadline == call.deadline
    part.watch(lambda: woken.append(1))
    call.set(Closed("a"))
    assert woken == [1] and part.error is call.error
    with pytest.raises(Closed):
        part.within(1).check()


def test_a_call_without_a_deadline_can_be_waited_in():
    call, changed, asked, found, got = Call(), threading.Condition(), threading.Event(), [], []

    def ready():
        asked.set()
        return found or None

    thread = threading.Thread(target=lambda: got.append(call.wait(changed, ready)))
    thread.start()
    assert asked.wait(10)
    with changed:
        found.append(1)
        changed.notify_all()
    thread.join(10)
    assert got == [[1]]


def test_who_cancels_a_part_cancels_the_call():
    call = Call(0.0)
    call.within(1).set(Aborted("a"))
    with pytest.raises(Aborted):
        call.check()
