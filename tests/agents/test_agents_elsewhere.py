"""What an agent says is told in each process on the store, while it is said."""

import os

import pytest

from tests.agents.conftest import Attached, eventually


@pytest.fixture
def two(start, spawn):
    """A session with an agent in one process, and the same session in another: `two()`."""

    def make(*words, **options):
        one, other = start(), start()
        session = spawn(one)
        session.attach(*words, **options)
        seen = Attached(other, other.call("session_open", session.id), session.worktree)
        for each in (session, seen):
            each.observe_now()
        return session, seen

    return make


def pieces(events):
    """Return what was told of each part in pieces, and check that it is whole as far as it goes, and no piece comes
    before its message or after its part."""
    texts, whole, messages = {}, set(), set()
    for each in events:
        data = each["data"]
        if each["type"] == "message.created":
            messages.add(data["id"])
        if each["type"] == "message.part.updated" and "delta" in data:
            assert data["messageId"] in messages and data["partId"] not in whole
            text = texts.setdefault(data["partId"], "")
            assert data["offset"] == len(text.encode())
            texts[data["partId"]] = text + data["delta"]
        elif each["type"] == "message.part.updated":
            whole.add(data["part"]["id"])
    return texts


def activity(events):
    return [each["data"] for each in events if each["type"] == "turn.activity"]


def test_pieces_and_activity_reach_another_process_in_order(two):
    session, seen = two()
    session.enqueue_text("[pause=0.08][think=4][tool=bash][done][words=12][pause=0.4][words=1]")
    here, there = session.events("turn.finished"), seen.events("turn.finished")
    assert len(pieces(here)) == len(pieces(there)) == 2 and pieces(here).keys() == pieces(there).keys()
    for part, text in pieces(there).items():
        assert pieces(here)[part].startswith(text) and len(text) > len("word0 word1 ")
    assert activity(here) and activity(there) == activity(here)
    durable = [each["type"] for each in here if "delta" not in each["data"] and each["type"] != "turn.activity"]
    assert durable == [
        each["type"] for each in there if "delta" not in each["data"] and each["type"] != "turn.activity"
    ]


def listeners(host):
    folder = host.folder / "listeners"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_process_listens_only_while_an_agent_elsewhere_runs_a_turn(two):
    session, seen = two()
    assert listeners(session.host) == []
    for _ in range(2):
        session.enqueue_text("[words=1][wait]")
        assert eventually(lambda: len(listeners(session.host)) == 1)
        assert (session.host.folder / "listeners").stat().st_mode & 0o777 == 0o700
        seen.abort()
        assert eventually(lambda: listeners(session.host) == [])
    assert session.turn("[say=more]")["outcome"] == "finished"


def test_a_process_that_starts_in_the_midst_of_a_turn_hears_the_rest(two, start):
    session, _ = two()
    session.enqueue_text("[pause=0.08][words=60][pause=0.4][words=1]")
    session.events("message.part.updated")
    late = start()
    seen = Attached(late, late.call("session_open", session.id), session.worktree)
    seen.observe_now()
    deltas = [each["data"] for each in seen.events("turn.finished") if "delta" in each["data"]]
    whole = "".join(f"word{number} " for number in [*range(60), 0])
    for each in deltas:  # it may have heard some before it was observed
        assert whole[each["offset"] :].startswith(each["delta"])
    assert sum(len(each["delta"]) for each in deltas) == len(whole) - deltas[0]["offset"]


def test_what_a_dead_process_listened_with_is_removed(two):
    session, seen = two()
    session.enqueue_text("[pause=0.05][words=40][wait]")
    assert eventually(lambda: len(listeners(session.host)) == 1)
    seen.host.kill()
    assert eventually(lambda: listeners(session.host) == [])
    session.abort()


def test_a_flood_is_told_whole_elsewhere_whatever_becomes_of_its_pieces(two):
    session, seen = two()
    session.enqueue_text("[flood=20000][say=end]")
    here, there = session.events("turn.finished", 60), seen.events("turn.finished", 60)
    whole = [
        [each["data"]["part"]["text"] for each in events if "part" in each["data"] and "text" in each["data"]["part"]]
        for events in (here, there)
    ]
    assert whole[0] == whole[1] and len(whole[1][-1]) >= 2_000_000
    for each in there:  # an observer keeps the newest pieces that it has room for
        data = each["data"]
        if "delta" in data:
            assert whole[1][-1].encode()[data["offset"] :].startswith(data["delta"].encode())
