"""What the model has said when its server, or the host, is killed in the middle of it."""

import json

import pytest

from tests.robust.host import Host, eventually


def texts(host, session):
    found = json.loads(host.session_messages(session, None))["messages"]
    return ["".join(part.get("text", "") for part in message["parts"]) for message in found]


def pieces(host, session_id):
    """Wait until pieces of text are heard; return them."""
    heard = []

    def some():
        for event in host.heard():
            if event.get("sessionId") == session_id and "delta" in event["data"]:
                heard.append(event["data"]["delta"])
        return len(heard) > 3

    assert eventually(some, 60)
    return "".join(heard)


def ended(host, session):
    """Wait for the end of the session's turn."""
    assert eventually(lambda: "turn" not in json.loads(host.session_peek_info(session)), 60)


@pytest.mark.requirement("O-048", "O-049", "P-153")
def test_the_text_of_a_server_that_was_killed_survives_and_is_marked(attached, daemon, model):
    host, session = attached, attached.session_create(None)
    host.subscribe()
    host.session_enqueue(session, '{"text":"[words=2000] [pause=0.02]"}')
    heard = pieces(host, host.session_get_id(session))
    daemon.kill()
    daemon.start()
    ended(host, session)
    asked, answer = json.loads(host.session_messages(session, None))["messages"]
    (text,) = [part["text"] for part in answer["parts"] if part["type"] == "text"]
    assert text.startswith(heard) and answer["error"]["code"] == "SERVER"
    result = json.loads(host.session_run_turn(session, '{"text":"[words=2]"}', 60_000))
    assert result["outcome"] == "finished"
    assert texts(host, session)[1] == text and texts(host, session)[3].startswith("word0 word1")


@pytest.mark.requirement("O-049", "P-141")
def test_the_text_that_a_host_had_heard_when_it_was_killed_is_there_and_then_whole(daemon, folder, model):
    config = {"dataDir": str(folder), "backend": daemon.backend}
    with Host(folder, config) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        session = host.session_create(None)
        session_id = host.session_get_id(session)
        host.subscribe()
        host.session_enqueue(session, '{"text":"[words=200] [pause=0.02]"}')
        heard = pieces(host, session_id)
        kept = eventually(lambda: len(found := texts(host, session)) == 2 and found[1], 10)
        assert kept.startswith("word0 ") and heard.startswith("word0 ")
        host.kill()
    with Host(folder, config) as host:
        session = host.session_open(session_id)
        assert texts(host, session)[1].startswith(kept)
        ended(host, session)
        whole = "".join(f"word{number} " for number in range(200))
        assert texts(host, session) == ["[words=200] [pause=0.02]", whole]
