"""A cancel token ends what waits on it, once."""

import pytest

from plue_session.cancel import Cancel
from plue_session.errors import Aborted, Closed


def test_the_first_error_counts_and_wakes_each_watcher_once():
    cancel, woken = Cancel(), []
    cancel.check()
    cancel.watch(lambda: woken.append(1))
    cancel.set(Aborted("a"))
    cancel.set(Closed("b"))
    assert woken == [1]
    with pytest.raises(Aborted):
        cancel.check()


def test_who_watches_too_late_is_woken_at_once_and_who_has_left_is_not():
    cancel, woken = Cancel(), []

    def wake():
        woken.append(1)

    cancel.watch(wake)
    cancel.unwatch(wake)
    cancel.unwatch(wake)
    cancel.set(Aborted("a"))
    assert woken == []
    cancel.watch(wake)
    assert woken == [1]
