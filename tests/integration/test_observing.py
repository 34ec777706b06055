"""Observers of several processes on one store, which come and go, and are killed."""

import json
import statistics

import pytest

from tests.peers import Peer

ALL, WINDOW = 1, {"limit": 100_000, "ageMs": 100_000_000}


def items(peer, observer, count):
    return [json.loads(peer.session_observer_next(observer, 20_000)) for _ in range(count)]


def titles(found):
    return [item["data"]["title"] for item in found if item["type"] == "session.updated"]


@pytest.mark.requirement("T-02", "L-161", "L-162")
@pytest.mark.parametrize("everybodys", [False, True])
def test_who_is_killed_goes_on_from_its_cursor_and_misses_nothing_of_a_writer_that_is_killed(plain, folder, everybodys):
    """The reader dies when it was given some of the events, the writer in the middle of a call."""
    seen, acknowledged, cursor, session_id = [], 0, None, None
    for life in range(4):
        with Peer(plain, folder, replay=WINDOW) as reader:
            if session_id is None:
                session_id = reader.session_get_id(reader.session_create(None))
            whose = ALL if everybodys else reader.session_open(session_id)
            observer = reader.session_observe(whose, cursor)
            with Peer(plain, folder, replay=WINDOW) as writer:
                mine = writer.session_open(session_id)
                for _ in range(30):
                    acknowledged += 1
                    writer.session_update_title(mine, str(acknowledged))
                writer.start("session_update_title", mine, f"late {life}")
                writer.kill()
            seen += items(reader, observer, 20)
            cursor = reader.session_observer_cursor(observer)
            assert cursor == seen[-1]["cursor"]
    with Peer(plain, folder, replay=WINDOW) as reader:
        observer = reader.session_observe(ALL if everybodys else reader.session_open(session_id), cursor)
        while (text := reader.session_observer_next(observer, 500)) is not None:
            seen.append(json.loads(text))
    told = [title for title in titles(seen) if not title.startswith("late")]
    assert told == [str(number) for number in range(1, acknowledged + 1)]
    assert len({item["cursor"] for item in seen}) == len(seen) and "gap" not in {item["type"] for item in seen}


@pytest.mark.requirement("T-02", "L-167", "L-171")
def test_who_was_away_for_longer_than_the_window_hears_how_things_stand(plain, folder):
    with Peer(plain, folder) as reader:
        session = reader.session_create(None)
        session_id, cursor = reader.session_get_id(session), json.loads(reader.session_observation(session))["cursor"]
    with Peer(plain, folder, replay={"limit": 16, "ageMs": 100_000_000}) as writer:
        mine = writer.session_open(session_id)
        for number in range(600):
            writer.session_update_title(mine, str(number))
        with Peer(plain, folder, replay={"limit": 16, "ageMs": 100_000_000}) as reader:
            observer = reader.session_observe(reader.session_open(session_id), cursor)
            (gap,) = items(reader, observer, 1)
            assert gap["type"] == "gap" and "sequence" not in gap and gap["sessionId"] == session_id
            data = gap["data"]
            assert data["reason"] == "trimmed" and data["requestedCursor"] == cursor
            assert data["latestCursor"] == data["observation"]["cursor"] == gap["cursor"]
            assert data["observation"]["session"]["title"] == "599" and data["latestRevision"] == 601
            writer.session_update_title(mine, "600")
            (item,) = items(reader, observer, 1)
            assert item["data"]["title"] == "600" and item["sequence"] == 0


@pytest.mark.requirement("P-076")
def test_what_another_process_does_is_observed_within_50_ms(plain, folder, record_property):
    """The machine is shared, so the median is judged."""
    with Peer(plain, folder) as one, Peer(plain, folder) as other:
        mine = one.session_create(None)
        observer = other.session_observe(other.session_open(one.session_get_id(mine)), None)
        delays = []
        for number in range(40):
            waiting = other.start("session_observer_next", observer, 20_000)
            done = one.start("session_update_title", mine, str(number), wait=False)
            done.result()
            assert json.loads(waiting.result())["data"]["title"] == str(number)
            delays.append(waiting.at - done.at)
        record_property("To an observer in the other process", f"median {statistics.median(delays) * 1000:.1f} ms")
        assert statistics.median(delays) < 0.05


@pytest.mark.requirement("L-178")
def test_observers_that_nobody_reads_hold_up_nobody(plain, folder):
    with Peer(plain, folder) as peer:
        session = peer.session_create(None)
        observers = [peer.session_observe(session if number % 2 else ALL, None) for number in range(50)]
        before = peer.resident_kib()
        for _ in range(100):
            peer.session_update_title(session, "x" * 100_000)
        assert peer.resident_kib() - before < 64 * 1024  # 50 queues share what they hold
        for observer in observers:
            assert len({item["cursor"] for item in items(peer, observer, 100)}) == 100
