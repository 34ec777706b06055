"""The agent's plan, what turns changed in files, and what an input may name."""

import json

import pytest

from plue_session import errors
from plue_session.model import Transcript, Turn
from tests.fake_server import START
from tests.remote_world import AWAY, RemoteWorld, asked


@pytest.fixture
def session(world):
    made = world.create(title="T")
    world.told.take()
    asked(world)
    return made


def read(world, session, name, *arguments):
    found = world.do(lambda on: getattr(on.asks, name)(session.id, *arguments), session.id)
    return json.loads(found)


def plans(world):
    return [[each["content"] for each in data["todos"]] for kind, data in world.told.take() if kind == "todo.updated"]


def todo(content):
    return {"content": content, "status": "pending", "priority": "high"}


def change(name):
    return {"file": name, "status": "added", "additions": 1, "deletions": 0, "patch": "+"}


# -- the plan ----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-076")
def test_each_change_of_the_plan_is_told_once(world, session):
    world.server.plan(session.id, "a")
    world.server.plan(session.id, "a")
    world.server.plan(session.id, "a", "b")
    world.server.plan(session.id)
    assert plans(world) == [["a"], ["a", "b"], []]


@pytest.mark.requirement("O-076")
def test_the_plan_is_asked_for_once_where_it_is_not_known(world, session):
    world.server.plans[session.id] = [todo("a")]
    assert read(world, session, "todos") == [todo("a")] and plans(world) == [["a"]]
    assert read(world, session, "todos") == [todo("a")] and plans(world) == []
    assert asked(world).count("todos") == 1


def test_an_empty_plan_is_no_change(world, session):
    assert read(world, session, "todos") == [] and plans(world) == []
    assert read(world, session, "todos") == [] and asked(world).count("todos") == 1


def test_a_plan_that_was_heard_while_it_was_asked_for_is_the_newer_one(world, session):
    world.server.plans[session.id] = []
    world.server.during["todos"] = lambda: world.server.plan(session.id, "new")
    assert read(world, session, "todos") == [todo("new")] and plans(world) == [["new"]]


def test_without_the_server_the_plan_is_what_is_known(world, session):
    world.server.fail["todos"] = AWAY
    with pytest.raises(errors.Connection):
        read(world, session, "todos")
    world.server.plan(session.id, "a")
    world.server.fail["todos"] = AWAY
    assert read(world, session, "todos") == [todo("a")]


@pytest.mark.requirement("O-076")
def test_a_plan_that_changed_while_nothing_was_heard_is_asked_for_and_told(world, session):
    world.server.plan(session.id, "a")
    world.sync.missed()
    world.server.plans[session.id] = [todo("b")]
    assert read(world, session, "todos") == [todo("b")] == read(world, session, "todos")
    assert plans(world) == [["a"], ["b"]] and asked(world).count("todos") == 1
    world.sync.missed()
    world.server.fail["todos"] = AWAY
    assert read(world, session, "todos") == [todo("b")]
    world.link.stream(AWAY)  # it has no event stream: it is asked each time
    world.back()
    for content in ("c", "d"):
        world.server.plans[session.id] = [todo(content)]
        assert read(world, session, "todos") == [todo(content)]


def test_the_plan_of_a_turn_that_runs_is_read_when_the_stream_begins_anew(world, session):
    turn(world, session, "turn_1", "msg_1")
    world.server.plan(session.id, "a")
    world.sync.missed()
    world.server.plans[session.id] = [todo("b")]
    assert world.jobs(("todos",)) == ["todos"] and plans(world) == [["a"], ["b"]]


@pytest.mark.requirement("O-076")
def test_two_processes_tell_of_a_plan_once(two):
    first, second, deliver = two
    session = first.create(title="T")
    first.server.plan(session.id, "a")
    deliver(0), deliver(1)
    first.writer.catch_up(), second.writer.catch_up()
    assert plans(first) == [["a"]] == plans(second)


# -- changes of files --------------------------------------------------------------------------------------------------
def turn(world, session, id, message_id):
    def add(transaction):
        number = transaction.load(session.id).number
        transaction.store.add_turn(Turn(number=number, id=id, message_id=message_id, started=START))

    world.writer.run(add)


def complete(world, session):
    def keep(transaction):
        transaction.store.keep_transcript(Transcript(transaction.load(session.id).number, 1))

    world.writer.run(keep)


@pytest.mark.requirement("O-077")
def test_a_turn_is_named_by_its_id_or_by_its_message(world, session):
    turn(world, session, "turn_1", "msg_1")
    world.server.changes = {"msg_1": [change("a")], "msg_2": [change("b")]}
    world.server.say(session.id, "msg_2", "user")
    world.server.say(session.id, "msg_3")
    assert read(world, session, "diff", '{"turnId":"turn_1"}') == {"files": [change("a")]}
    assert read(world, session, "diff", '{"messageId":"msg_1"}') == {"files": [change("a")]}
    assert read(world, session, "diff", '{"messageId":"msg_2"}') == {"files": [change("b")]}
    assert read(world, session, "diff", '{"turnId":"msg_2"}') == {"files": [change("b")]}
    for name in ("turn_9", "msg_9", "msg_3", "../x"):
        with pytest.raises(errors.NotFound, match="no turn"):
            read(world, session, "diff", json.dumps({"turnId": name}))
    with pytest.raises(errors.InvalidParam):
        read(world, session, "diff", '{"turnId":"a","messageId":"b"}')


@pytest.mark.requirement("O-077")
@pytest.mark.parametrize("query", [None, "{}"])
def test_without_a_name_all_turns_follow_each_other(world, session, query):
    turn(world, session, "turn_1", "msg_2")
    for message in ("msg_1", "msg_2"):
        world.server.say(session.id, message, "user")
        world.server.say(session.id, f"{message}a")
    world.server.changes = {"msg_1": [change("a"), change("b")], "msg_2": [change("a")]}
    expected = [{**change("a"), "turnId": "msg_1"}, {**change("b"), "turnId": "msg_1"}]
    assert read(world, session, "diff", query) == {"files": [*expected, {**change("a"), "turnId": "turn_1"}]}


def test_where_all_turns_are_known_no_message_is_read(world, session):
    turn(world, session, "turn_1", "msg_1")
    complete(world, session)
    world.server.changes = {"msg_1": [change("a")]}
    assert read(world, session, "diff") == {"files": [{**change("a"), "turnId": "turn_1"}]}
    assert asked(world) == ["diff"]


def test_without_the_server_there_is_no_diff_and_no_choice(world, session):
    for name in ("diff", "choices"):
        world.server.fail.update(messages=AWAY, choices=AWAY)
        with pytest.raises(errors.Connection):
            read(world, session, name)


# -- what an input may name --------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-077")
def test_the_default_is_the_sessions_model_then_the_configured_one_then_the_servers(world):
    models = [("a", "1"), ("b", "2"), ("fake", "fake-model")]
    offer = [{"providerId": one, "modelId": two, "name": two} for one, two in models]
    configured = RemoteWorld({"defaultModel": {"providerId": "b", "modelId": "2"}})
    for where, bound, expected in (
        (world, {}, models[2]),
        (configured, {}, models[1]),
        (configured, {"provider": {"providerId": "a", "modelId": "1"}}, models[0]),
        (configured, {"provider": {"providerId": "a", "modelId": "9"}}, None),
    ):
        where.server.offer = {**where.server.offer, "models": offer}
        where.server.models.update(models, {("a", "9")})
        found = read(where, where.create(title="T", **bound), "choices")
        assert found["models"] == offer
        named = found.get("default")
        assert (named and (named["providerId"], named["modelId"])) == expected


@pytest.mark.requirement("O-077")
def test_the_command_that_shortens_the_context_is_offered_once(world, session):
    names = [each["name"] for each in read(world, session, "choices")["commands"]]
    assert names == ["init", "compact"]
    world.server.offer["commands"] = [{"name": "compact", "description": "theirs"}]
    assert read(world, session, "choices")["commands"] == [{"name": "compact", "description": "theirs"}]


def test_of_a_deleted_session_nothing_is_shown(world, session):
    world.do(lambda on: on.sessions.delete(session.id), session.id)
    for name in ("todos", "diff", "choices", "permissions", "questions"):
        with pytest.raises(errors.NotFound):
            read(world, session, name)
    with pytest.raises(errors.NotFound, match="deleted"):
        read(world, session, "reply_permission", "per_1", "once")
