"""Outcomes that come later."""

import threading

from plue_session.services.later import Later


def test_an_outcome_is_told_once_whichever_comes_first():
    for order in ("then", "end"):
        told, later = [], Later(0.0)
        for step in (order, "then" if order == "end" else "end"):
            if step == "then":
                later.then(told.append)
            else:
                later.end("first")
                later.end("second")
        assert told == ["first"]


def test_of_two_threads_that_end_it_one_counts():
    for _ in range(200):
        told, later, ready = [], Later(0.0), threading.Barrier(3)

        def end(outcome, later=later, ready=ready):
            ready.wait(10)
            later.end(outcome)

        threads = [threading.Thread(target=end, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        ready.wait(10)
        later.then(told.append)
        for thread in threads:
            thread.join()
        assert len(told) == 1


def test_what_it_is_for_begins_once_somebody_waits_and_not_if_it_is_known():
    begun, told = [], []
    later = Later(0.0, begin=lambda: begun.append(True))
    assert not begun
    later.then(told.append)
    later.then(told.append)
    assert begun == [True] and not told
    known = Later(0.0, begin=lambda: begun.append(True))
    known.end("known")
    known.then(told.append)
    assert begun == [True] and told == ["known"]
