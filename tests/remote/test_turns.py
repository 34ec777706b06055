"""Turns: what is enqueued is answered by the real server, in order, once."""

import json

import pytest


@pytest.fixture
def session(quiet, title):
    handle = quiet.call("session_create_with", json.dumps({"title": title}))
    return handle


def run(host, session, text, timeout=30_000, **more):
    return json.loads(host.call("session_run_turn", session, json.dumps({"text": text, **more}), timeout))


def test_a_turn_is_run_to_its_end(quiet, session, model):
    result = run(quiet, session, "hello [words=2]")
    assert result["outcome"] == "finished" and "error" not in result
    assert json.loads(quiet.call("session_inputs", session)) == []
