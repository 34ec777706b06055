"""What an agent says piece by piece, folded into messages and parts."""

import pytest


def shape(session):
    """Return what the agent's messages hold: the kinds of their parts, and their texts."""
    answers = [message for message in session.said() if message["role"] == "assistant"]
    return [[(part["type"], part.get("text")) for part in message["parts"]] for message in answers]


@pytest.mark.parametrize(
    "order, messages",
    [
        # as OpenCode does: its thoughts have ids of their own
        (
            "[message=p1][thought=a][message=m1][say=b][message=p2][thought=c][message=m2][say=d]",
            [[("reasoning", "a"), ("text", "b")], [("reasoning", "c"), ("text", "d")]],
        ),
        # as Claude does
        (
            "[message=m1][thought=a][say=b][message=m2][thought=c][say=d]",
            [[("reasoning", "a"), ("text", "b")], [("reasoning", "c"), ("text", "d")]],
        ),
        ("[message=m1][say=a][message=m2][say=b]", [[("text", "a")], [("text", "b")]]),
        ("[say=a][message=m1][say=b]", [[("text", "ab")]]),
        ("[message=m1][thought=a][message=p1][thought=b]", [[("reasoning", "a")], [("reasoning", "b")]]),
    ],
)
def test_ids_tell_messages_of_one_kind_apart(attached, order, messages):
    session = attached()
    session.turn(order)
    assert shape(session) == messages


def test_a_tool_is_called_what_it_was_first_called(attached):
    """Titles become what a tool does: "bash", then "echo hello"."""
    session = attached()
    session.turn("[unseen][tool=bash][done]")
    tools = [part for message in session.said() for part in message["parts"] if part["type"] == "tool"]
    assert [part["tool"]["name"] for part in tools] == ["read", "execute"]
    assert tools[1]["raw"]["title"] == "Run bash"
