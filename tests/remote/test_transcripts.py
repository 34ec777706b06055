"""What a real server's model says: streamed, stored, told once, and read again."""

import base64
import json
import struct
import time
import zlib

import pytest

from tests.opencode.fixtures import soon


@pytest.fixture
def session(quiet, title):
    return quiet.create_with(title=title)


def run(session, text, timeout=60_000, **more):
    given = {"text": text, **more} if text is not None else more
    result = json.loads(session.run_turn(json.dumps(given), timeout))
    assert result["outcome"] == "finished", result
    return result


def page(session, **query):
    return json.loads(session.messages(json.dumps(query)))


def events(host, mark, session_id, kind=None):
    return [each for each in host.since(mark, session_id) if kind in (None, each[0])]


def deltas(told, part_id=None):
    return [
        data
        for kind, data in told
        if kind == "message.part.updated" and "delta" in data and part_id in (None, data["partId"])
    ]


def wholes(told):
    return [data["part"] for kind, data in told if kind == "message.part.updated" and "part" in data]


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.mark.requirement("P-141", "L-070")
def test_text_streams_and_is_whole_at_its_end(quiet, session):
    run(session, "[words=1]")  # the first turn of a server's life comes in one piece
    mark = quiet.mark()
    result = run(session, "[words=60] [pause=0.03]")
    told = events(quiet, mark, session.id)
    answer = result["messages"][-1]
    (text,) = [part for part in answer["parts"] if part["type"] == "text"]
    pieces, size = deltas(told, text["id"]), 0
    assert len(pieces) > 1
    for piece in pieces:  # in order, without a hole
        assert piece["offset"] == size and piece["messageId"] == answer["id"] and piece["turnId"] == result["turnId"]
        size += len(piece["delta"].encode())
    assert text["text"].startswith("".join(piece["delta"] for piece in pieces))
    places = [
        at for at, (_, data) in enumerate(told) if text["id"] in (data.get("partId"), data.get("part", {}).get("id"))
    ]
    assert "part" in told[places[-1]][1] and [part for part in wholes(told) if part["id"] == text["id"]] == [text]
    begun = [at for at, (kind, data) in enumerate(told) if kind == "message.created" and data["id"] == answer["id"]]
    assert len(begun) == 1 and begun[0] < places[0]
    assert page(session)["messages"][2:] == result["messages"]
    assert json.loads(session.usage())["tokens"]["output"] == 61 and session.info()["messageCount"] == 4


def test_reasoning_streams_and_is_a_part_of_its_own(quiet, session):
    mark = quiet.mark()
    result = run(session, "[think=3] [words=2]")
    parts = result["messages"][-1]["parts"]
    assert [part["type"] for part in parts] == ["reasoning", "text"] and parts[0]["text"].startswith("thought0 ")
    assert "reasoning" in {part["type"] for part in wholes(events(quiet, mark, session.id))}


def test_a_tool_is_a_part_with_its_input_and_output(quiet, session, raw):
    mark, answer = quiet.mark(), session.start("run_turn", '{"text":"[bash=echo hello]"}', 60_000)
    until = time.monotonic() + 60
    while not answer.is_there:  # the server asks whether it may
        for each in raw("GET", "/permission")[1]:
            if each["sessionID"] == session.id:
                raw("POST", f"/permission/{each['id']}/reply", {"reply": "once"})
        assert time.monotonic() < until
        time.sleep(0.05)
    result = json.loads(answer.result())
    assert result["outcome"] == "finished"
    tools = [part["tool"] for message in result["messages"] for part in message["parts"] if part["type"] == "tool"]
    (tool,) = tools
    assert (tool["name"], tool["state"], tool["output"].strip()) == ("bash", "completed", "hello")
    assert tool["input"]["command"] == "echo hello"
    told = events(quiet, mark, session.id)
    kinds = [data["kind"] for kind, data in told if kind == "turn.activity"]
    assert "step" in kinds and "tool" in kinds
    assert len(wholes(told)) == len({part["id"] for part in wholes(told)})


def test_files_and_images_come_back_as_they_were_sent(quiet, session):
    image = base64.b64encode(png()).decode()
    parts = [
        {"type": "text", "text": "see this [words=1]"},
        {"type": "file", "file": {"data": image, "mimeType": "image/png", "name": "dot.png"}},
    ]
    result = run(session, None, parts=parts)
    (file,) = [part["file"] for part in result["messages"][0]["parts"] if part["type"] == "file"]
    assert file == {"data": image, "mimeType": "image/png", "name": "dot.png"}
    assert page(session, limit=2)["messages"][0]["parts"] == result["messages"][0]["parts"]


@pytest.mark.requirement("O-056")
def test_what_another_client_said_is_read_page_by_page(quiet, client, model, title):
    remote = client.create("paged", soon(), title=title)
    for number in range(3):
        client.prompt(
            remote.id, f"msg_{number:026d}", [{"type": "text", "text": "[words=1]"}], ("fake", "fake-model"), soon(60)
        )
        until = time.monotonic() + 60
        while sum(message.ended for message, _ in client.messages(remote.id, soon())[0]) <= number:
            assert time.monotonic() < until
            time.sleep(0.05)
    session, found, cursor = quiet.open(remote.id), [], {}
    while True:
        got = page(session, limit=2, **cursor)
        found = got["messages"] + found
        if "nextCursor" not in got:
            break
        cursor = {"cursor": got["nextCursor"]}
    theirs, _ = client.messages(remote.id, soon())
    assert [message["id"] for message in found] == [message.id for message, _ in theirs]


@pytest.mark.requirement("P-141")
def test_two_processes_both_hear_the_pieces_and_the_same_durable_events(pair, title):
    first, second = pair
    session = first.create_with(title=title)
    other = second.open(session.id)
    marks = [host.mark() for host in pair]
    result = run(session, "[words=30] [pause=0.02]")
    for host, mark in zip(pair, marks, strict=True):
        host.wait_for("turn.finished", session.id, mark)
    told = [events(host, mark, session.id) for host, mark in zip(pair, marks, strict=True)]
    durable = [[each for each in of if each[0] != "turn.activity" and "delta" not in each[1]] for of in told]
    assert durable[0] == durable[1]
    created = [data["id"] for kind, data in durable[0] if kind == "message.created"]
    assert len(created) == len(set(created)) == 2
    for of in told:
        assert deltas(of) and "".join(each["delta"] for each in deltas(of)).startswith("word0 ")
        text = deltas(of)[-1]["partId"]
        mine = [("part" in data) for kind, data in of if text in (data.get("partId"), data.get("part", {}).get("id"))]
        assert mine[-1] is True and mine.count(True) == 1
    assert page(other)["messages"] == result["messages"]


@pytest.mark.requirement("P-141")
def test_a_restart_tells_nothing_twice(connected, tmp_path, title):
    first = connected(folder=tmp_path, direct=True)
    session = first.create_with(title=title)
    before = run(session, "[words=3]")["messages"]
    id = session.id
    first.end()
    first.__exit__()
    second = connected(folder=tmp_path, direct=True)
    second.await_stream()
    again = second.open(id)
    second.call("session_sync", 10_000)
    assert page(again)["messages"] == before and again.info()["messageCount"] == 2
    assert [kind for kind, _ in second.since(0, id) if kind.startswith("message.")] == []


@pytest.mark.requirement("P-141")
def test_what_another_client_says_in_a_session_of_its_own_is_told_here(connected, client, model, title):
    remote = client.create("theirs", soon(), title=title)
    host = connected(direct=True)
    host.await_stream()
    host.call("session_sync", 10_000)
    session, mark, asked = host.open(remote.id), host.mark(), f"msg_{'7' * 26}"
    client.prompt(remote.id, asked, [{"type": "text", "text": "[words=3]"}], ("fake", "fake-model"), soon(60))
    host.wait_for("turn.finished", remote.id, mark, turnId=asked)
    told = host.since(mark, remote.id)
    created = [data["id"] for kind, data in told if kind == "message.created"]
    found = page(session)["messages"]
    assert created == [message["id"] for message in found] and len(created) == 2
    assert [message["turnId"] for message in found] == [asked, asked] and "nextCursor" not in page(session)
    assert [part["text"] for part in wholes(told)] == ["[words=3]", "word0 word1 word2 "]


@pytest.mark.requirement("P-141")
def test_of_a_server_without_sequences_the_same_is_told_and_once(older, title):
    session = older.create_with(title=title)
    run(session, "[words=1]")  # the first turn of a server's life comes in one piece
    mark = older.mark()
    result = run(session, "[words=20] [pause=0.03]")
    told = events(older, mark, session.id)
    created = [data["id"] for kind, data in told if kind == "message.created"]
    assert created == [message["id"] for message in result["messages"]]
    (text,) = [part for part in result["messages"][-1]["parts"] if part["type"] == "text"]
    assert len(deltas(told, text["id"])) > 1 and [part for part in wholes(told) if part["id"] == text["id"]] == [text]
    assert page(session)["messages"][2:] == result["messages"]


def test_where_nothing_tells_of_it_what_another_client_says_is_read_each_time(deaf, say, title):
    session = deaf.create_with(title=title)
    for said in (["one"], ["one", "two"]):
        say(session.id, said[-1])
        assert [part["text"] for message in page(session)["messages"] for part in message["parts"]] == said
