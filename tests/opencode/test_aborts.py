"""An abort is sent whatever cannot be read, is of one turn, and leaves what a later turn has asked for alone."""

import base64
import json
import threading
import time

import pytest

from plue_session import errors
from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from plue_session.adapters.opencode.turns import Turns
from tests.opencode.fixtures import permissions, soon
from tests.opencode.stub import Stub, reply
from tests.opencode.test_turns import answers, finished, prompt

SESSION = "ses_1"
ANSWERED = {"sent": True}


@pytest.fixture
def session(client, model):
    made = client.create(f"{time.monotonic()}", soon(), title="Aborts")
    finished(
        client, made, None, prompt(client, made, "warm [words=1]")
    )  # the first turn of a server's life takes seconds (O-050)
    for happenings in (model.started, model.ended):
        while not happenings.empty():
            happenings.get()
    return made


def await_that(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.05)


@pytest.mark.requirement("T-01")
@pytest.mark.parametrize(
    "trouble",
    [
        errors.Server("500"),
        errors.LimitExceeded("64 MB"),
        errors.Connection("cut", details=ANSWERED),
        errors.Timeout("stalled"),
    ],
)
def test_a_turn_ends_though_its_transcript_cannot_be_read(client, turns, session, model, monkeypatch, trouble):
    aborted = prompt(client, session, "unread [wait]")
    model.started.get(timeout=10)

    def fail(*_, **__):
        raise trouble

    with monkeypatch.context() as broken:
        broken.setattr(client, "messages", fail)
        broken.setattr(client, "message", fail)
        assert turns.abort(session.id, soon(), directory=session.directory) is True
        assert (
            turns.abort(session.id, soon(), directory=session.directory) is False
        )  # the status says that nothing runs
    assert (
        session.id not in client.status(soon())
        and answers(client, session, aborted)[-1].ended
        and model.ended.get(timeout=2)[1] == "left"
    )


@pytest.mark.requirement("T-01")
def test_which_turn_runs_must_be_known_to_end_one_turn_only(client, turns, session, model, monkeypatch):
    aborted = prompt(client, session, "named [wait]")
    model.started.get(timeout=10)
    with monkeypatch.context() as broken:
        broken.setattr(client, "messages", lambda *_, **__: shrug())
        with pytest.raises(errors.Server):
            turns.abort(session.id, soon(), directory=session.directory, turn_id=aborted)
    assert session.id in client.status(soon())
    assert turns.abort(session.id, soon(), directory=session.directory, turn_id=aborted) is True
    model.ended.get(timeout=2)


def shrug():
    raise errors.Server("500")


@pytest.mark.requirement("T-01", "O-039")
def test_a_turn_is_ended_by_name_though_many_prompts_are_queued_behind_it(client, turns, session, model):
    first = prompt(client, session, "first [wait]")
    model.started.get(timeout=10)
    queued = [prompt(client, session, f"queued {number}") for number in range(20)]
    assert turns.abort(session.id, soon(), directory=session.directory, turn_id=queued[0]) is False
    assert not answers(client, session, first)[-1].ended
    assert turns.abort(session.id, soon(), directory=session.directory, turn_id=first) is True
    assert (
        answers(client, session, first)[-1].failure.name == "MessageAbortedError"
        and model.ended.get(timeout=2)[1] == "left"
    )


@pytest.mark.requirement("O-037", "T-01")
def test_a_permission_that_a_later_turn_asks_for_is_left_to_be_answered(client, turns, session, model, monkeypatch):
    refuse, before, later = client.refuse_permissions, [], []

    def late(*arguments):
        later.append(prompt(client, session, "later [bash=true]"))
        await_that(lambda: set(asked(client, session)) - set(before))
        refuse(*arguments)

    prompt(client, session, "asks [bash=false]")
    await_that(lambda: set(asked(client, session)) - set(before))
    before += asked(client, session)
    monkeypatch.setattr(client, "refuse_permissions", late)
    assert turns.abort(session.id, soon(), directory=session.directory) is True
    monkeypatch.undo()
    left = asked(client, session)
    assert set(left) - set(before) and session.id in client.status(soon())
    assert turns.abort(session.id, soon(), directory=session.directory, turn_id=later[0]) is True
    assert asked(client, session) == []


@pytest.mark.requirement("O-075", "T-01")
def test_an_abort_leaves_no_question_on_the_server(client, turns, session):
    questions = {"questions": [{"question": "Which?", "header": "H", "options": [{"label": "A", "description": "a"}]}]}
    arguments = base64.b64encode(json.dumps(questions).encode()).decode()
    prompt(client, session, f"[tool64=question:{arguments}]")

    def pending():
        return [each for each in client._call("GET", "/question", None, soon()) if each["sessionID"] == session.id]

    await_that(pending)
    assert turns.abort(session.id, soon(), directory=session.directory) is True
    assert pending() == []


def asked(client, session):
    return [each["id"] for each in permissions(client, session.directory) if each["sessionID"] == session.id]


class Faulty:
    """A server of which one session runs a turn until it is told to abort; `ways` answers in its place what it
    names."""

    def __init__(self, stub, **ways):
        self.stub, self.ways, self.busy, self.aborts = stub, ways, True, 0
        stub.default = self.answer

    def answer(self, method, target):
        name = target.partition("?")[0].rpartition("/")[2]
        if name == "abort":
            self.aborts += 1
            self.busy = False
        if name in self.ways:
            return self.ways[name]
        return reply(200, {"status": {SESSION: {"type": "busy"}} if self.busy else {}, "abort": True}.get(name, []))


@pytest.fixture
def faulty():
    """Returns `(server, turns)` for the ways of a `Faulty` one."""
    with Stub() as stub:
        clients = []

        def make(**ways):
            heard = EventSignal()
            clients.append(Client(lambda call: stub.url, "/", heard=heard))
            return Faulty(stub, **ways), Turns(clients[-1], heard)

        make.stub = stub
        yield make
        for each in clients:
            each.close()


@pytest.mark.requirement("T-01")
def test_whatever_stalls_before_it_the_abort_is_sent_in_time(faulty):
    server, turns = faulty(message=faulty.stub.stall(), status=faulty.stub.stall())
    with pytest.raises(errors.Timeout):
        turns.abort(SESSION, soon(2), directory="/")
    assert server.aborts == 1


@pytest.mark.requirement("T-01")
def test_an_abort_of_which_nothing_can_be_seen_fails_with_what_the_server_says(faulty):
    server, turns = faulty(message=reply(500), status=reply(500))
    began = time.monotonic()
    with pytest.raises(errors.Server, match="500"):
        turns.abort(SESSION, soon(30), directory="/")
    assert server.aborts == 1 and time.monotonic() - began < 3


@pytest.mark.requirement("T-01")
def test_nothing_is_sent_when_the_status_says_that_nothing_runs(faulty):
    server, turns = faulty(message=reply(500))
    server.busy = False
    assert turns.abort(SESSION, soon(), directory="/") is False and server.aborts == 0


@pytest.mark.requirement("T-01")
def test_what_goes_on_unseen_is_not_aborted_twice(faulty):
    server, turns = faulty(message=reply(500), status=reply(200, {SESSION: {"type": "busy"}}))
    with pytest.raises(errors.Timeout):
        turns.abort(SESSION, soon(2.5), directory="/")
    assert server.aborts == 1


def test_a_server_that_cannot_be_reached_is_told_of_at_once():
    with Stub() as stub:
        url = stub.url
    client = Client(lambda call: url, "/")
    began = time.monotonic()
    with pytest.raises(errors.Connection):
        Turns(client, EventSignal()).abort(SESSION, soon(30), directory="/")
    assert time.monotonic() - began < 5
    client.close()
