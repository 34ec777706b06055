"""The server's parts of messages, as callers get them."""

import pytest

from plue_session import errors
from plue_session.adapters.opencode import parts

PLACE = {"id": "prt_1", "sessionID": "ses_a", "messageID": "msg_1"}


def read(**more):
    part = parts.part({**PLACE, **more})
    assert (part.id, part.session_id, part.message_id, part.body["id"]) == ("prt_1", "ses_a", "msg_1", "prt_1")
    return {key: value for key, value in part.body.items() if key != "id"}, part.finished


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_text_is_finished_when_it_has_an_end_or_no_times_at_all(kind):
    assert read(type=kind, text="a") == ({"type": kind, "text": "a"}, True)
    assert read(type=kind, text="", time={"start": 1}) == ({"type": kind, "text": ""}, False)
    assert read(type=kind, text="a", time={"start": 1, "end": 2}) == ({"type": kind, "text": "a"}, True)


def test_a_tool_is_finished_when_it_has_answered_or_failed():
    for state, output, finished in (
        ({"status": "pending", "input": {}, "raw": ""}, None, False),
        ({"status": "running", "input": {"a": 1}, "time": {"start": 1}}, None, False),
        ({"status": "completed", "input": {"a": 1}, "output": "done"}, "done", True),
        ({"status": "error", "input": {"a": 1}, "error": "no"}, "no", True),
    ):
        tool = {"callId": "call_1", "name": "bash", "state": state["status"], "input": state["input"]}
        if output is not None:
            tool["output"] = output
        assert read(type="tool", tool="bash", callID="call_1", state=state) == (
            {"type": "tool", "tool": tool},
            finished,
        )


def test_what_a_tool_attaches_is_kept_beside_its_output():
    state = {"status": "completed", "input": {}, "output": "", "attachments": [{"url": "data:,"}]}
    body, _ = read(type="tool", tool="read", callID="c", state=state)
    assert body["raw"] == {"attachments": [{"url": "data:,"}]}


def test_a_file_comes_back_as_an_input_names_it():
    for url, file in (
        ("data:image/png;base64,iVBO", {"data": "iVBO"}),
        ("file:///tmp/a%20b.txt?start=1", {"path": "/tmp/a b.txt"}),
        ("https://example.org/a.png", {"url": "https://example.org/a.png"}),
        ("data:,plain", {"url": "data:,plain"}),
    ):
        body, finished = read(type="file", url=url, mime="image/png", filename="a.png")
        assert finished and body == {"type": "file", "file": {**file, "mimeType": "image/png", "name": "a.png"}}


def test_other_parts_are_passed_on_as_they_are():
    for more in (
        {"type": "step-start"},
        {"type": "text", "text": "Called", "synthetic": True},
        {"type": "new", "x": 1},
    ):
        assert read(**more) == ({"type": "other", "raw": {**PLACE, **more}}, True)
    for status in ("odd", ["completed"], {}, None):
        assert read(type="tool", tool="bash", state={"status": status})[0]["type"] == "other"
    assert read(type="file", url=5)[0]["type"] == "other"


def test_what_cannot_be_used_is_refused_and_left_out_of_lists():
    deep = {}
    for _ in range(200):
        deep = {"a": deep}
    for bad in (5, {}, {**PLACE, "type": 5}, {**PLACE, "id": "", "type": "text"}, {**PLACE, "type": "x", "deep": deep}):
        with pytest.raises(errors.Server):
            parts.part(bad)
        assert [each.id for each in parts.parts([bad, {**PLACE, "type": "text", "text": "a"}])] == ["prt_1"]
    assert parts.parts(None) == []


def test_a_page_of_messages_has_their_parts():
    info = {"id": "msg_1", "sessionID": "ses_a", "role": "user", "time": {"created": 1}}
    ((message, found),) = parts.messages([{"info": info, "parts": [{**PLACE, "type": "text", "text": "\ud800"}]}])
    assert message.id == "msg_1" and found[0].body["text"] == "\\ud800"
    odd = [[{"info": {**info, "id": id}}] for id in ("", "msg 1", 5)]
    for bad in ({}, [5], [{"parts": []}], *odd):
        with pytest.raises(errors.Server):
            parts.messages(bad)
