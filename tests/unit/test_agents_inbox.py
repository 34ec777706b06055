"""What an agent has said and nobody has taken yet: bounded, and nothing is lost."""

import threading

from plue_session.services.agents.inbox import MOST_BYTES, MOST_SAID, Inbox


def test_it_takes_all_and_says_when_there_is_no_room_for_more():
    inbox, read_on = Inbox(), []
    inbox.go_on = lambda: read_on.append(True)
    assert inbox.hear("small", 10)
    assert not inbox.hear("large", MOST_BYTES)
    assert not inbox.hear("one more", 1)  # what comes all the same is not lost
    said, is_poked = inbox.take(None)
    assert list(said) == ["small", "large", "one more"] and not is_poked and read_on == [True]
    assert all(inbox.hear(number, 1) for number in range(MOST_SAID - 1)) and not inbox.hear("last", 1)
    inbox.take(None)
    assert read_on == [True, True]


def test_a_poke_wakes_and_is_kept():
    inbox = Inbox()
    assert not any(inbox.take(0.0))
    inbox.poke()
    assert inbox.take(None)[1] and not inbox.take(0.0)[1]
    threading.Timer(0.05, inbox.poke).start()
    assert inbox.take(30)[1]
