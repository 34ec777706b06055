"""Pieces of text between processes: what listeners get, and what they make of it."""

import json

import pytest

from plue_session.model import Attachment, LogRow
from plue_session.services.agents.echo import LONGEST, MOST_AT_ONCE, MOST_BEHIND, Echo, Piece
from plue_session.services.turns.streams import Streams
from tests.recording import RecordingLog


class Wire:
    """A channel to two listeners, which get what they have room for: `room[name]` messages."""

    most = 60_000

    def __init__(self):
        self.got, self.room, self.listens = {"a": [], "b": []}, {"a": 1 << 30, "b": 1 << 30}, None

    def listeners(self):
        return list(self.got)

    def send(self, listener, message):
        assert len(message) <= self.most
        if not self.room[listener]:
            return False
        self.room[listener] -= 1
        self.got[listener].append(json.loads(message))
        return True

    def listen(self, hear):
        self.listens = hear
        return True

    def leave(self):
        self.listens = None

    def close(self):
        self.leave()

    def text(self, listener):
        """What a listener has of the part, in one piece."""
        text = ""
        for each in self.got[listener]:
            assert each["offset"] <= len(text)
            text = text[: each["offset"]] + each["text"]
        return text


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def echo(world, wire):
    streams = Streams(world.store, world.writer, world.told, lambda: world.now)
    made = Echo(world.store, world.writer, RecordingLog(), lambda: (wire, streams))
    made.streams, streams.echo = streams, made
    yield made
    streams.end()


def begun(echo, session="session_1"):
    """Begin a part of this process's, and return it as the streams have it."""
    echo.streams.begin(session, "turn_1", Piece("prt_1", "msg_1", {"id": "prt_1", "type": "text", "text": ""}))
    return echo.streams._growing["prt_1"]


def grow(echo, part, text):
    """Have it grow, and be told at once."""
    part.due = 0.0
    echo.streams.grow("prt_1", text)


def test_each_listener_gets_each_piece_once(echo, wire):
    part = begun(echo)
    for text in ("one ", "tŵo ", "th€ee"):
        grow(echo, part, text)
    for name in wire.got:
        assert wire.text(name) == "one tŵo th€ee" and [each["offset"] for each in wire.got[name]] == [0, 4, 8]
    first = wire.got["a"][0]
    assert {name: first[name] for name in ("session", "turn", "message", "part", "kind")} == {
        "session": "session_1",
        "turn": "turn_1",
        "message": "msg_1",
        "part": "prt_1",
        "kind": "text",
    }


def test_who_had_no_room_gets_the_rest_with_the_next_piece_and_keeps_nobody_waiting(echo, wire):
    part = begun(echo)
    grow(echo, part, "one ")
    wire.room["b"] = 0
    grow(echo, part, "two ")
    wire.room["b"] = 1
    grow(echo, part, "three ")
    assert wire.text("a") == wire.text("b") == "one two three "
    assert [each["text"] for each in wire.got["b"]] == ["one ", "two three "]


def test_who_comes_late_gets_all_and_who_leaves_is_forgotten(echo, wire):
    part = begun(echo)
    del wire.got["b"]
    grow(echo, part, "one ")
    wire.got["b"] = []
    grow(echo, part, "two ")
    assert wire.text("b") == "one two "
    del wire.got["a"]
    grow(echo, part, "three")
    assert list(echo._sent) == ["b"]


def test_who_comes_late_or_had_no_room_gets_what_the_turn_is_about(echo, wire):
    del wire.got["b"]
    wire.room["a"] = 0
    echo.streams.active("session_1", {"kind": "step"})
    wire.got["b"], wire.room["a"] = [], 9
    echo.streams.active("session_1", {"kind": "tool"})
    assert [[each["active"]["kind"] for each in got] for got in wire.got.values()] == [["step", "tool"]] * 2
    del wire.got["b"]
    echo._over(LogRow(1, "session_1", 17, 0, ""))
    wire.got["b"] = []
    echo.streams.active("session_2", {"kind": "step"})
    assert [each["session"] for each in wire.got["b"]] == ["session_2"]  # the other turn is over


def test_what_is_long_is_cut_and_no_more_is_sent_at_once_than_so_much(echo, wire):
    part = begun(echo)
    text = "\x01€" * (LONGEST * (MOST_AT_ONCE + 1) // 2)
    grow(echo, part, text)
    assert len(wire.got["a"]) == MOST_AT_ONCE and wire.text("a") == text[: LONGEST * MOST_AT_ONCE]
    grow(echo, part, "end")
    assert wire.text("a") == text + "end"


def test_who_is_far_behind_gets_no_more_pieces(echo, wire):
    part = begun(echo)
    wire.room["b"] = 0
    for _ in range(MOST_BEHIND // LONGEST + 1):
        grow(echo, part, "x" * LONGEST)
    wire.room["b"] = 100
    grow(echo, part, "y")
    assert wire.got["b"] == [] and wire.text("a") == "x" * (part.size - 1) + "y"


def test_a_part_that_has_ended_is_forgotten(echo, wire):
    part = begun(echo)
    grow(echo, part, "one")
    assert echo._sent["a"] == {None: 0, "prt_1": 3}
    row = '"data":{"messageId":"msg_1","turnId":"turn_1","part":{"id":"prt_1","text":"one"}}}'
    echo.streams._told([LogRow(1, "session_1", 5, 0, row)])
    assert echo._sent["a"] == {None: 0}


def test_what_a_server_s_stream_tells_is_handed_to_nobody(echo, wire):
    """Each process hears that itself."""
    part = begun(echo)
    part.is_own = False
    grow(echo, part, "one")
    assert wire.got["a"] == []


def test_activity_is_handed_on(echo, wire):
    echo.streams.active("session_1", {"kind": "step", "turnId": "turn_1"})
    assert [each["active"] for each in wire.got["b"]] == [{"kind": "step", "turnId": "turn_1"}]


# -- hearing -----------------------------------------------------------------------------------------------------------
def told(world):
    """Return the pieces and the activity that were told here."""
    found = [json.loads('{"x":0' + call[3])["data"] for call in world.told.calls if call[0] == "transient"]
    return [each.get("delta", each.get("kind")) for each in found]


def message(offset, text, after=0, part="prt_9"):
    return json.dumps(
        {
            "session": "session_1",
            "turn": "turn_1",
            "message": "msg_1",
            "part": part,
            "kind": "text",
            "after": after,
            "offset": offset,
            "text": text,
        }
    ).encode()


def flush(echo):
    """Have told what waits for its pace, as the thread would."""
    for each in list(echo.streams._growing.values()):
        each.due = 0.0
        echo.streams._tell_soon(each.id)


def test_what_is_heard_is_told_once_and_in_order(world, echo):
    for offset, text in ((0, "one "), (0, "one "), (0, "one two "), (8, "three")):
        echo._hear(message(offset, text))
        flush(echo)
    assert "".join(told(world)) == "one two three"


def test_of_a_part_whose_beginning_was_missed_nothing_is_told(world, echo):
    echo._hear(message(4, "two"))
    flush(echo)
    echo._hear(message(0, "one ", part="prt_8"))
    echo._hear(message(9, "three", part="prt_8"))
    flush(echo)
    assert told(world) == ["one "]


def test_what_belongs_to_something_that_has_not_come_yet_waits_for_it(world, echo):
    session = world.sessions.create()
    after = world.writer.published + 1
    echo._hear(message(0, "one", after))
    echo._hear(json.dumps({"session": session.id, "after": after, "active": {"kind": "tool"}}).encode())
    flush(echo)
    assert told(world) == []
    world.sessions.update_title(session.id, "which is what it belongs to")
    assert world.writer.published == after
    flush(echo)
    with echo.streams._changed:
        echo.streams._tell_pending()
    assert sorted(told(world)) == ["one", "tool"]


def test_of_a_part_that_was_told_whole_no_piece_follows(world, echo):
    row = '"data":{"messageId":"msg_1","part":{"id":"prt_9","text":"one"}}}'
    echo.streams._told([LogRow(1, "session_1", 5, 0, row)])
    echo._hear(message(0, "one"))
    flush(echo)
    assert told(world) == []


def test_what_is_heard_of_others_is_not_stored_here(world, echo):
    echo._hear(message(0, "one"))
    flush(echo)
    assert not any(echo.streams._is_unkept(each) for each in echo.streams._growing.values())


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b"{}", b"\xff", b'{"part":1}', b'{"active":1,"session":2}'])
def test_what_is_malformed_is_dropped_and_logged(world, echo, said):
    echo._hear(said)
    assert told(world) == [] and len(echo._log.records) == 1


# -- when a process listens --------------------------------------------------------------------------------------------
def attached(world, kind, owner):
    session = world.sessions.create_with(json.dumps({"role": f"r{world.store.count_operations()}{owner}{kind}"}))
    row = Attachment(kind=kind, command=[], worktree="/t", attached=world.now, owner=owner)
    row.number = session.number
    world.writer.run(lambda transaction: transaction.store.keep_attachment(row))
    return session


def started(world, session, turn='{"turnId":"turn_1"}'):
    """A row of the log as another process has written it."""
    world.set(session.id, turn=turn)
    return LogRow(world.writer.published, session.id, 15, 0, ',"data":{"turnId":"turn_1"}}')


def test_a_process_listens_while_an_agent_elsewhere_runs_a_turn(world, echo, wire):
    elsewhere = world.store.owner() + 1
    one, other = attached(world, "acp", elsewhere), attached(world, "acp", elsewhere + 1)
    echo._started(started(world, one))
    assert wire.listens
    echo._started(started(world, other))
    echo._over(LogRow(1, one.id, 17, 0, ""))
    assert wire.listens
    echo._over(LogRow(1, "session_5", 17, 0, ""))
    echo._over(LogRow(1, other.id, 17, 0, ""))
    assert wire.listens is None


def test_nobody_listens_to_agents_of_its_own_or_of_hosts_or_to_none(world, echo, wire):
    own = attached(world, "acp", world.store.owner())
    hosts = attached(world, "host", world.store.owner() + 1)
    lost = attached(world, "acp", None)
    for session in (own, hosts, lost, world.sessions.create()):
        echo._started(started(world, session))
    echo.look()
    assert wire.listens is None


def test_a_process_that_starts_in_the_midst_of_a_turn_listens(world, echo, wire):
    attached(world, "acp", world.store.owner() + 2)
    echo.look()
    assert wire.listens is None
    started(world, attached(world, "acp", world.store.owner() + 1))
    echo.look()
    assert wire.listens


def test_where_not_all_was_told_the_sessions_say_whether_their_turns_run(world, echo, wire):
    session = attached(world, "acp", world.store.owner() + 1)
    echo._started(started(world, session))
    echo._started(None)
    assert wire.listens
    world.set(session.id, turn=None)
    echo._started(None)
    assert wire.listens is None


def test_where_nobody_can_listen_that_is_logged(world, echo, wire):
    wire.listen = lambda hear: False
    echo._started(started(world, attached(world, "acp", world.store.owner() + 1)))
    assert [level for level, _ in echo._log.take()] == ["warning"]
