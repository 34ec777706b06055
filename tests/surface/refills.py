"""A host with queues of its own, for test_crossings.py: `refills.py TREE HOW`. It drains them by hand, so that it knows
which are behind and empty, and when."""

import os
import select
import sys
import threading
import time
from ctypes import string_at

sys.path.insert(0, sys.argv[1])
from plue_session.prototypes import load, take

CAPACITY, PAGE = 1024, 256
plue = load()


def begin(limit=8192, sessions=1, level="info"):
    replay, log = f'{{"limit":{limit},"ageMs":100000000}}', f'{{"level":"{level}"}}'
    config = f'{{"store":"memory","replay":{replay},"log":{log}}}'
    assert plue.plue_init(config.encode()) == 0, plue.plue_get_last_error()
    return [plue.plue_session_create(None) for _ in range(sessions)]


def change(session, count):
    for number in range(count):
        assert plue.plue_session_update_title(session, b"%d" % number) == 0, plue.plue_get_last_error()


def drain(readers):
    return [plue.plue_test_drain(reader) for reader in readers]


def await_all(readers, count):
    """Drain until each has got so many events, none of them twice or too early."""
    until = time.monotonic() + 60
    while any(got != count for got in drain(readers)):
        assert min(drain(readers)) >= 0 and max(drain(readers)) <= count and time.monotonic() < until, drain(readers)
        plue.plue_test_hungry()
        time.sleep(0.001)


def scans_for(rest):
    """Return how often the log is read for queues that are behind and empty, until they are live, and so many events
    wait in each."""
    assert plue.plue_test_scans() == 0
    plue.plue_test_hungry()
    until = time.monotonic() + 60
    while any(plue.plue_test_waiting(reader) != count for reader, count in rest.items()):
        assert time.monotonic() < until
    return plue.plue_test_scans()


def share():
    """1,000 queues that are behind at one place cost as many readings of the log as one."""
    (session,) = begin()
    plue.plue_test_scans()
    scans = {}
    for count in (1, 1000):
        plue.plue_test_readers(count)
        readers = range(count)
        change(session, CAPACITY + 2 * PAGE)
        assert drain(readers) == [CAPACITY] * count
        scans[count] = scans_for(dict.fromkeys(readers, 2 * PAGE))
        change(session, 5)  # they are live again
        assert drain(readers) == [CAPACITY + 2 * PAGE + 5] * count
        assert plue.plue_test_scans() == 0
        plue.plue_test_forget()
    assert scans == {1: 3, 1000: 3}, scans  # two pages, and that nothing follows


def join():
    """Queues that are further along join when the reading gets to them."""
    (session,) = begin()
    plue.plue_test_scans()
    plue.plue_test_readers(20)
    change(session, 300)
    plue.plue_test_readers(20)
    change(session, CAPACITY + 100)
    early, late = range(20), range(20, 40)
    assert drain(early) == [CAPACITY] * 20 and drain(late) == [CAPACITY] * 20
    scans = scans_for(dict.fromkeys(early, 400) | dict.fromkeys(late, 100))
    assert drain(early) == [CAPACITY + 400] * 20 and drain(late) == [CAPACITY + 100] * 20
    assert scans == 3, scans  # not 5


def full():
    """A queue whose reader does not read leaves the others, and gets the rest when it does."""
    (session,) = begin()
    plue.plue_test_scans()
    plue.plue_test_readers(9)
    change(session, 4 * CAPACITY)
    await_all(range(8), 4 * CAPACITY)
    assert plue.plue_test_drain(8) == CAPACITY
    await_all([8], 4 * CAPACITY)
    assert [plue.plue_test_gaps(reader) for reader in range(9)] == [0] * 9


def far():
    """A queue that is far behind, and whose reader is as fast as can be, does not keep another one from being live."""
    (session,) = begin(100_000)
    plue.plue_test_readers(1)
    change(session, 20_000)
    plue.plue_test_readers(1)
    change(session, CAPACITY + 10)
    assert drain(range(2)) == [CAPACITY] * 2
    had = plue.plue_test_race(0, 1)
    assert had <= 3 * CAPACITY, had
    await_all([0], 20_000 + CAPACITY + 10)
    await_all([1], CAPACITY + 10)


def trimmed():
    """Queues at different places whose next events are gone get a gap each, once."""
    (session,) = begin(16)
    for _ in range(3):
        plue.plue_test_readers(2)
        change(session, 50)
    plue.plue_test_readers(1)
    change(session, 2 * CAPACITY)
    drain(range(7))
    plue.plue_test_hungry()
    until = time.monotonic() + 60
    while [plue.plue_test_gaps(reader) for reader in range(7)] != [1] * 7:
        assert time.monotonic() < until
        assert min(drain(range(7))) >= 0
    before = drain(range(7))
    change(session, 5)
    while drain(range(7)) != [got + 5 for got in before]:
        assert time.monotonic() < until
    assert [plue.plue_test_gaps(reader) for reader in range(7)] == [1] * 7


def sessions():
    """An event comes with its session's id, live and from the log, and without one when it is of none."""
    one, other = begin(sessions=2)
    plue.plue_test_readers(1)
    for session in (one, other, one):
        change(session, 1)
        plue.plue_test_drain(0)
        assert take(plue, plue.plue_test_session(0)) == take(plue, plue.plue_session_get_id(session))
    change(one, 2 * CAPACITY)
    change(other, 1)
    await_all([0], 3 + 2 * CAPACITY + 1)
    assert take(plue, plue.plue_test_session(0)) == take(plue, plue.plue_session_get_id(other))
    plue.plue_shutdown()
    plue.plue_test_drain(0)
    assert take(plue, plue.plue_test_session(0)) in (None, "")  # library.shutdown


def failed():
    """A log that cannot be read: who waits for it hears why, once, and is over; another one goes on."""
    (session,) = begin()
    behind, live = (plue.plue_session_observe(session, None) for _ in range(2))
    for _ in range(200):
        change(session, 1)
        assert plue.plue_free(plue.plue_session_observer_next(live, 1000)) is None
    assert plue.plue_test_damage() == 0
    seen = 0
    while (item := take(plue, plue.plue_session_observer_next(behind, 5000))) is not None:
        assert f'"sequence":{seen},' in item
        seen += 1
    assert 0 < seen < 200 and plue.plue_get_last_error_code() == -23, (seen, plue.plue_get_last_error())
    assert b"plue_session_observer_next: the log is damaged" in plue.plue_get_last_error()
    for timeout in (0, 10, 0):
        assert plue.plue_session_observer_next(behind, timeout) is None and plue.plue_get_last_error_code() == -28
    change(session, 1)
    assert '"sequence":200,' in take(plue, plue.plue_session_observer_next(live, 1000))
    assert plue.plue_session_observer_next(behind, 0) is None and plue.plue_get_last_error_code() == -28


def apart():
    """What cannot be read for one queue leaves the others: who watches a descriptor hears of all."""
    (session,) = begin()
    observer = plue.plue_session_observe(session, None)
    descriptor, seen = plue.plue_session_observer_fd(observer), 0
    assert plue.plue_event_fd() >= 0 and plue.plue_test_damage_for_all() == 0
    change(session, 2 * CAPACITY)
    while take(plue, plue.plue_event_poll()):
        pass
    while seen < 2 * CAPACITY:
        assert select.select([descriptor], [], [], 10)[0] == [descriptor], seen
        while (item := take(plue, plue.plue_session_observer_next(observer, 0))) is not None:
            assert f'"sequence":{seen},' in item
            seen += 1


def again():
    """What could not be read is read a little later, and not sooner, though nobody asks and nothing happens."""
    (session,) = begin(level="error")  # that it failed is no event
    descriptor, seen = plue.plue_event_fd(), 0
    assert plue.plue_test_damage_for_all() == 0
    change(session, 2 * CAPACITY)
    while item := take(plue, plue.plue_event_poll()):
        seen += '"type":"session.updated"' in item
    began = time.monotonic()
    select.select([], [], [], 1)  # nothing asks meanwhile
    tried = plue.plue_test_damage_for_all()  # it is whole again
    assert tried < 10 + 10 * (time.monotonic() - began), tried
    while seen < 2 * CAPACITY:
        assert select.select([descriptor], [], [], 10)[0] == [descriptor], seen
        while item := take(plue, plue.plue_event_poll()):
            seen += '"type":"session.updated"' in item


def renamed():
    """Who observes a session follows it to another id: live, behind, and beside those who were there already."""
    one, two, three = begin(sessions=3)
    ids = [take(plue, plue.plue_session_get_id(session)) for session in (one, two, three)]
    live, behind, there = (plue.plue_session_observe(session, None) for session in (one, one, two))
    change(one, 100)
    for _ in range(100):
        assert ids[0] in take(plue, plue.plue_session_observer_next(live, 1000))
    assert plue.plue_test_follow(one, ids[1].encode()) == 0
    change(two, 3)
    change(one, 3)  # of that nobody hears
    for observer, numbers in ((live, range(100, 103)), (there, range(3))):
        for number in numbers:
            item = take(plue, plue.plue_session_observer_next(observer, 1000))
            assert ids[1] in item and f'"sequence":{number},' in item, item
        assert plue.plue_session_observer_next(observer, 0) is None
    told = [take(plue, plue.plue_session_observer_next(behind, 1000)) for _ in range(64)]
    assert all(ids[0] in item for item in told)
    assert ids[1] in take(plue, plue.plue_session_observer_next(behind, 1000))
    assert plue.plue_test_follow(two, ids[2].encode()) == 0  # to one that nobody observes
    change(three, 1)
    assert ids[2] in take(plue, plue.plue_session_observer_next(there, 1000))
    for observer in (live, behind, there):
        plue.plue_session_observer_close(observer)


def asleep():
    """Who sleeps, or watches a descriptor, hears of a session that gets another id meanwhile."""
    one, two = begin(sessions=2)
    other = take(plue, plue.plue_session_get_id(two))
    sleeper, watcher = (plue.plue_session_observe(one, None) for _ in range(2))
    descriptor, heard = plue.plue_session_observer_fd(watcher), []
    waits = threading.Thread(target=lambda: heard.append(take(plue, plue.plue_session_observer_next(sleeper, 30_000))))
    waits.start()
    time.sleep(0.2)
    began = time.monotonic()
    assert plue.plue_test_follow(one, other.encode()) == 0
    change(two, 1)
    assert select.select([descriptor], [], [], 10)[0] == [descriptor]
    waits.join()
    assert other in heard[0] and time.monotonic() - began < 10, heard
    assert other in take(plue, plue.plue_session_observer_next(watcher, 0))


def named():
    """A session has another id already, and that is yet to be told: who reads on from the log loses nothing."""
    session, other = begin(16, sessions=2)
    old = plue.plue_session_observe(session, None)
    cursor = plue.plue_session_observer_cursor(old)
    change(session, 100)
    behind, lapsed = plue.plue_session_observe(session, None), plue.plue_session_observe(session, string_at(cursor))
    change(session, 100)
    assert plue.plue_test_name(session, b"ses_named") == 0
    for number in range(101):
        text = take(plue, plue.plue_session_observer_next(behind, 5000))
        assert text and f'"sequence":{number},' in text, (number, text)
    assert '"aliases":["session_' in text
    gap = take(plue, plue.plue_session_observer_next(lapsed, 5000))
    assert '"type":"gap"' in gap and '"sessionId":"ses_named"' in gap, gap
    change(other, 1)  # tells
    change(session, 1)
    for observer in (behind, lapsed):
        text = take(plue, plue.plue_session_observer_next(observer, 5000))
        assert '"sessionId":"ses_named"' in text and '"title":"0"' in text, text
        assert plue.plue_session_observer_next(observer, 0) is None


def saturated():
    """Numbers of events stay at the largest one."""
    (session,) = begin()
    observer, largest = plue.plue_session_observe(session, None), (1 << 63) - 1
    plue.plue_test_count_from(observer, largest - 1)
    change(session, 4)
    told = [take(plue, plue.plue_session_observer_next(observer, 1000)) for _ in range(4)]
    assert [f'"sequence":{largest - (n == 0)},' in text for n, text in enumerate(told)] == [True] * 4, told


globals()[sys.argv[2]]()
plue.plue_shutdown()
sys.stdout.flush()
os._exit(0)
