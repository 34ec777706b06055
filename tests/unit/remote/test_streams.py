"""Pieces of text, as they are told: in order, after what they belong to, and never after their part is whole."""

import json
import random
import threading
import time

import pytest

from plue_session.adapters.opencode import parts
from plue_session.adapters.opencode.events import Change
from plue_session.model import EVENTS
from plue_session.services.turns import streams
from tests.remote_world import until


@pytest.fixture
def world(world):
    world.server.numbered = True
    yield world
    world.streams.end()


@pytest.fixture
def session(world):
    made = world.create()
    world.server.say(made.id, "msg_1", "user")
    world.server.say(made.id, "msg_2", parent_id="msg_1", ended=False)
    world.told.calls.clear()
    return made


def begin(world, session, part_id="prt_1", text=""):
    world.server.part(session.id, "msg_2", part_id, text, finished=False)


def grow(world, session, *texts, part_id="prt_1"):
    for text in texts:
        world.server.delta(session.id, "msg_2", part_id, text)


def events(world):
    """Return what was told, durable and not, in order, as `(kind, data, whether it is durable)`."""
    found = []
    for call in list(world.told.calls):
        if call[0] == "event":
            found.append((EVENTS[call[1].kind], json.loads('{"x":0' + call[1].tail)["data"], True))
        elif call[0] == "transient":
            found.append((EVENTS[call[1]], json.loads('{"x":0' + call[3])["data"], False))
    return found


def pieces(world, part_id="prt_1"):
    return [data for kind, data, durable in events(world) if data.get("partId") == part_id and not durable]


def test_the_first_piece_is_told_at_once_and_those_that_follow_together(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.2)
    begin(world, session)
    grow(world, session, "one ", "two ", "three ")
    first = {"messageId": "msg_2", "turnId": "msg_1", "partId": "prt_1", "offset": 0, "delta": "one "}
    assert pieces(world) == [first]
    until(lambda: len(pieces(world)) == 2)
    assert pieces(world)[1] == {**first, "offset": 4, "delta": "two three "}
    grow(world, session, "four")
    until(lambda: len(pieces(world)) == 3)
    assert (pieces(world)[2]["offset"], pieces(world)[2]["delta"]) == (14, "four")


def test_offsets_count_bytes(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.0)
    begin(world, session, text="ä")
    grow(world, session, "€", "x")
    assert [(piece["offset"], piece["delta"]) for piece in pieces(world)] == [(2, "€"), (5, "x")]


def test_of_a_part_whose_beginning_was_not_heard_nothing_is_told(world, session):
    grow(world, session, "late")
    begin(world, session)
    world.streams.missed()  # the connection was lost: what came meanwhile is not known
    grow(world, session, "later")
    assert pieces(world) == []
    world.server.part(session.id, "msg_2", "prt_1", "late and later")
    assert [data["part"]["text"] for kind, data, _ in events(world) if "part" in data] == ["late and later"]


def test_nothing_of_a_part_is_told_after_it_was_told_whole(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.05)
    begin(world, session)
    grow(world, session, "one ", "two ")
    world.server.part(session.id, "msg_2", "prt_1", "one two ")
    grow(world, session, "three ")
    begin(world, session)  # as a stream that lags behind another process's tells it
    grow(world, session, "four ")
    threading.Event().wait(0.15)
    told = [data for kind, data, _ in events(world) if kind == "message.part.updated"]
    said = "".join(data["delta"] for data in told[:-1])
    assert "part" in told[-1] and said in ("one ", "one two ")  # its second piece has waited long enough, or not
    assert world.streams.heard("msg_2") == {}


def test_pieces_that_come_together_with_the_whole_are_left_to_it(world, session):
    world.hold_back()
    begin(world, session)
    grow(world, session, "one ")
    world.server.part(session.id, "msg_2", "prt_1", "one ")
    world.sync.apply_all(world.held_back)
    assert pieces(world) == [] and any("part" in data for _, data, _ in events(world))


def test_what_a_piece_belongs_to_is_told_before_it(world, session):
    with world.session_locks.hold(session.id, world.sync.worker.call.within(5)):
        world.server.say(session.id, "msg_3", parent_id="msg_1", ended=False)
        world.server.part(session.id, "msg_3", "prt_3", "", finished=False)
        world.server.delta(session.id, "msg_3", "prt_3", "one ")
        assert pieces(world, "prt_3") == []
    found = events(world)
    created = next(
        at for at, (kind, data, _) in enumerate(found) if kind == "message.created" and data["id"] == "msg_3"
    )
    piece = next(at for at, (_, data, _) in enumerate(found) if data.get("partId") == "prt_3")
    assert created < piece


def test_steps_and_tools_are_told_as_activity_and_once(world, session):
    def tool(state, **more):
        part = {
            "id": "prt_t",
            "sessionID": session.id,
            "messageID": "msg_2",
            "type": "tool",
            "tool": "bash",
            "callID": "c",
        }
        world.server._say(
            Change("part", session.id, streams_part({**part, "state": {"status": state, "input": {}, **more}}))
        )

    from plue_session.adapters.opencode.parts import part as streams_part

    step = {"id": "prt_s", "sessionID": session.id, "messageID": "msg_2", "type": "step-start"}
    world.server._say(Change("part", session.id, streams_part(step)))
    for state in ("pending", "running", "running"):
        tool(state)
    tool("completed", output="done")
    activity = [data for kind, data, durable in events(world) if kind == "turn.activity" and not durable]
    assert activity == [{"turnId": "msg_1", "kind": "step"}, {"turnId": "msg_1", "kind": "tool", "text": "bash"}]


def test_another_text_in_place_of_what_was_heard_is_told_when_it_is_whole(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.0)
    begin(world, session)
    grow(world, session, "one ")
    begin(world, session, text="one two ")
    begin(world, session, text="one ")
    assert [piece["delta"] for piece in pieces(world)] == ["one ", "two "]
    begin(world, session, text="another")
    grow(world, session, "x")
    assert len(pieces(world)) == 2


def test_what_is_held_is_bounded(world, session, monkeypatch):
    monkeypatch.setattr(streams, "MOST_PARTS", 4)
    monkeypatch.setattr(streams, "MOST_TEXT", 1000)
    for number in range(10):
        begin(world, session, f"prt_{number}")
    assert len(world.streams.heard("msg_2")) == 4
    grow(world, session, "a" * 600, part_id="prt_9")
    grow(world, session, "a" * 600, part_id="prt_8")
    assert set(world.streams.heard("msg_2")) == {"prt_6", "prt_7", "prt_9"}
    world.server.part(session.id, "msg_2", "prt_9", "a" * 600)
    grow(world, session, "a" * 600, part_id="prt_7")
    assert len(world.streams.heard("msg_2")["prt_7"]["text"]) == 600


def test_many_parts_beside_each_other_keep_their_order(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.005)
    said = {f"prt_{number}": [f"{number}.{place} " for place in range(50)] for number in range(8)}
    for part_id in said:
        begin(world, session, part_id)
    left = {part_id: list(texts) for part_id, texts in said.items()}
    choose = random.Random(5)
    while left:
        part_id = choose.choice(list(left))
        grow(world, session, left[part_id].pop(0), part_id=part_id)
        if not left[part_id]:
            del left[part_id]
            world.server.part(session.id, "msg_2", part_id, "".join(said[part_id]))
        time.sleep(0.0005)
    for part_id, texts in said.items():
        of = [
            data for kind, data, _ in events(world) if part_id in (data.get("partId"), data.get("part", {}).get("id"))
        ]
        assert [("part" in data) for data in of].count(True) == 1 and "part" in of[-1]
        heard = ""
        for data in of[:-1]:
            assert data["offset"] == len(heard)
            heard += data["delta"]
        assert "".join(texts).startswith(heard) and heard


@pytest.mark.parametrize(
    "kind, value",
    [("deleted", None), ("message.removed", "msg_2"), ("part.removed", ("msg_2", "prt_1"))],
)
def test_of_what_another_client_deletes_while_it_grows_nothing_more_is_told(world, session, monkeypatch, kind, value):
    monkeypatch.setattr(streams, "PACE", 0.0)
    begin(world, session)
    grow(world, session, "one ")
    world.server._say(Change(kind, session.id, value))
    before = events(world)
    grow(world, session, "two ")  # the server runs the turn on (O-030)
    assert events(world) == before and not world.streams._growing


def test_a_character_that_the_server_has_cut_in_two_is_told_whole(world, session, monkeypatch):
    monkeypatch.setattr(streams, "PACE", 0.0)
    begin(world, session)
    for text in ("a\ud83d", "\ude00b\ud83d", "c\udc00"):  # the last two halves have no other
        given = {"messageID": "msg_2", "partID": "prt_1", "field": "text", "delta": text}
        world.hear(Change("part.delta", session.id, parts.delta(given)))
    assert [(each["offset"], each["delta"]) for each in pieces(world)] == [(0, "a"), (1, "😀b"), (6, "\\ud83dc\\udc00")]
