"""What turns ask: announced once, answered once, and ended with their turn."""

import json
import threading

import pytest

from plue_session import errors
from plue_session.model import Turn
from plue_session.services.turns import ask_rows
from tests.fake_server import QUESTION
from tests.remote_world import AWAY, RemoteWorld, in_thread

LONG = 600_000


@pytest.fixture
def session(world):
    made = world.create(title="T")
    world.told.take()
    return made


def begin(world, session, turn_id="turn_1", message_id="msg_user", inputs='["input_1"]'):
    """Have a turn of ours run."""

    def change(transaction):
        number = transaction.load(session.id).number
        turn = Turn(number=number, id=turn_id, message_id=message_id, state="running", started=1, inputs=inputs)
        transaction.store.add_turn(turn)

    world.writer.run(change)


def end(world, session, by="abort", turn_id="turn_1"):
    """Have that end, as the driver does."""

    def change(transaction):
        found = transaction.load(session.id)
        turn = transaction.store.turn(found.number, turn_id)
        turn.state, found.turn = "ended", None
        transaction.store.keep_turn(turn)
        transaction.save_told(found, [*ask_rows.end_all(transaction, found, turn, by), ("turn.finished", {})])

    world.writer.run(change)


def listed(world, session, kind="permissions"):
    return json.loads(getattr(world.asks, kind)(session.id))


def told(world):
    return [(kind, data) for kind, data in world.told.take() if not kind.startswith("session.")]


def reply(world, session, id="per_1", given="once", name="reply_permission", seconds=5.0):
    return world.do(lambda on: getattr(on.asks, name)(session.id, id, given), session.id, seconds)


def record(world, session, id="per_1"):
    return world.store.read_ask(session.id, id)


# -- asked -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-06")
def test_a_permission_is_announced_once_with_its_turn_and_its_deadline(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1", action="bash", title="ls", patterns=["ls"])
    world.hear(_change(world, "per_1"))
    expected = {
        "id": "per_1",
        "turnId": "turn_1",
        "action": "bash",
        "title": "ls",
        "patterns": ["ls"],
        "deadline": world.now + LONG,
    }
    assert told(world) == [("permission.asked", expected)] and listed(world, session) == [expected]
    assert listed(world, session, "questions") == []


@pytest.mark.requirement("T-06", "O-075")
def test_a_turn_that_asks_is_shown_to_wait_until_all_is_answered(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    world.server.ask(session.id, "que_1")
    assert world.info(session)["turn"] == {"turnId": "turn_1", "state": "waiting", "since": 1}
    reply(world, session)
    assert world.info(session)["turn"]["state"] == "waiting"
    reply(world, session, "que_1", '[["A"]]', "reply_question")
    assert world.info(session)["turn"]["state"] == "running"
    assert world.server.replies == [("per_1", "once"), ("que_1", [["A"]])]


@pytest.mark.requirement("O-075")
def test_a_question_is_listed_as_it_was_asked(world, session):
    begin(world, session)
    world.server.ask(session.id, "que_1")
    expected = {"id": "que_1", "turnId": "turn_1", "questions": [QUESTION], "deadline": world.now + LONG}
    assert told(world) == [("question.asked", expected)] and listed(world, session, "questions") == [expected]


def test_a_turn_that_nobody_knows_yet_is_asked_for(world, session):
    world.hold_back()
    world.server.say(session.id, "msg_model", ended=False, parent_id="msg_other")
    world.held_back.clear()
    world.server.tell = world.hear
    world.server.ask(session.id, "per_1", "msg_model")
    assert told(world) == [] and world.jobs(["asks"]) == ["asks"]
    assert [data["turnId"] for _, data in told(world)] == ["msg_other"]


def test_what_an_ended_turn_has_asked_is_not_announced(world, session):
    begin(world, session)
    end(world, session)
    world.server.say(session.id, "msg_model", ended=True, parent_id="msg_user")
    world.told.take()
    world.server.ask(session.id, "per_1", "msg_model")
    world.jobs(["asks"])
    assert told(world) == [] == listed(world, session)


def test_what_a_session_without_a_record_asks_is_looked_for(world):
    other = world.elsewhere(title="A")
    world.do(lambda on: on.sessions.delete(other), other)
    world.server.ask("ses_none", "per_1")
    assert any(job.kind == "asks" for job in world.queue.waiting()) and told(world) == []
    world.jobs(["asks"])
    assert told(world) == []


# -- answered ----------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-052")
@pytest.mark.parametrize("given", ["once", "always", "reject"])
def test_an_answer_counts_when_the_server_has_taken_it(world, session, given):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)
    world.server.fail["reply_permission"] = errors.Server("the server answered 500", details={"status": 500})
    with pytest.raises(errors.Server):
        reply(world, session, given=given)
    assert listed(world, session) and told(world) == []
    reply(world, session, given=given)
    assert told(world) == [("permission.replied", {"id": "per_1", "reply": given, "by": "host"})]
    assert listed(world, session) == [] and world.server.replies == [("per_1", given)]


@pytest.mark.requirement("O-052")
def test_a_second_answer_finds_nothing(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    reply(world, session)
    with pytest.raises(errors.NotFound, match="no permission per_1 waits"):
        reply(world, session, given="reject")
    with pytest.raises(errors.NotFound, match="no permission per_9"):
        reply(world, session, "per_9")
    with pytest.raises(errors.NotFound, match="no question per_1"):
        reply(world, session, "per_1", None, "reply_question")
    assert len(world.server.replies) == 1


@pytest.mark.requirement("O-075")
def test_a_question_is_answered_or_rejected_once(world, session):
    begin(world, session)
    world.server.ask(session.id, "que_1")
    world.server.ask(session.id, "que_2")
    told(world)
    reply(world, session, "que_1", '[["B"]]', "reply_question")
    reply(world, session, "que_2", None, "reply_question")
    assert told(world) == [
        ("question.replied", {"id": "que_1", "answers": [["B"]], "by": "host"}),
        ("question.replied", {"id": "que_2", "by": "host"}),
    ]
    with pytest.raises(errors.NotFound):
        reply(world, session, "que_1", '[["B"]]', "reply_question")


@pytest.mark.parametrize(
    "given, why",
    [
        ("[]", "0 lists of answers to 1 questions"),
        ('[["A"],["B"]]', "2 lists"),
        ('[["A","B"]]', "takes one"),
        ('[["C"]]', "none of its options"),
        ('["A"]', "not an array of arrays"),
        ("{}", "not an array of arrays"),
    ],
)
def test_answers_that_the_question_does_not_allow_are_refused_before_the_server(world, session, given, why):
    begin(world, session)
    world.server.ask(session.id, "que_1")
    with pytest.raises(errors.InvalidParam, match=why):
        reply(world, session, "que_1", given, "reply_question")
    assert world.server.replies == [] and listed(world, session, "questions")


def test_other_text_and_several_labels_pass_where_the_question_allows_them(world, session):
    begin(world, session)
    world.server.ask(session.id, "que_1", questions=[{**QUESTION, "multiple": True, "custom": True}])
    reply(world, session, "que_1", '[["A","else"]]', "reply_question")
    assert world.server.replies == [("que_1", [["A", "else"]])]


def test_another_reply_than_the_three_is_refused(world, session):
    with pytest.raises(errors.InvalidParam, match="reply cannot be"):
        reply(world, session, given="yes")


def test_of_two_threads_that_answer_one_wins(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)
    held, others = threading.Event(), []

    def second():
        others.append(in_thread(lambda: reply(world, session, given="reject")))
        held.wait(0.1)

    world.server.during["reply_permission"] = second
    reply(world, session)
    (result,) = (other() for other in others)
    assert isinstance(result, errors.NotFound)
    assert told(world) == [("permission.replied", {"id": "per_1", "reply": "once", "by": "host"})]


def test_another_clients_answer_is_told_so(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    world.server.ask(session.id, "que_1")
    told(world)
    world.server.reply("per_1", "always")
    world.server.reply("que_1", None)
    assert told(world) == [
        ("permission.replied", {"id": "per_1", "reply": "always", "by": "other"}),
        ("question.replied", {"id": "que_1", "by": "other"}),
    ]
    with pytest.raises(errors.NotFound):
        reply(world, session)


def test_an_answer_to_what_the_server_no_longer_has_ends_it(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)
    world.server.waiting.clear()
    with pytest.raises(errors.NotFound):
        reply(world, session)
    assert told(world) == [("permission.replied", {"id": "per_1", "reply": "reject", "by": "other"})]


@pytest.mark.requirement("O-052")
def test_an_answer_that_got_lost_on_the_way_is_found_by_what_the_server_still_asks(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)

    def lost():
        raise errors.Connection("the server went away", details={"sent": True})

    world.server.during["reply_permission"] = lost
    with pytest.raises(errors.Connection):
        reply(world, session)
    assert told(world) == []
    world.now += 100_000
    assert world.jobs(["asks"]) == ["asks"]
    assert told(world) == [("permission.replied", {"id": "per_1", "reply": "once", "by": "host"})]


def test_an_answer_that_the_server_never_got_can_be_given_again_at_once(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    world.server.fail["reply_permission"] = AWAY
    with pytest.raises(errors.Connection):
        reply(world, session)
    reply(world, session, given="reject")
    assert world.server.replies == [("per_1", "reject")]


# -- the deadline ------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-06", "O-075")
def test_what_nobody_answers_is_rejected_at_its_deadline(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    world.server.ask(session.id, "que_1")
    told(world)
    world.now += LONG - 1
    world.jobs(["deadline"])
    assert told(world) == []
    world.now += 1
    world.jobs(["deadline"])
    assert sorted(told(world), key=str) == [
        ("permission.replied", {"id": "per_1", "reply": "reject", "by": "deadline"}),
        ("question.replied", {"id": "que_1", "by": "deadline"}),
    ]
    assert sorted(world.server.replies, key=str) == [("per_1", "reject"), ("que_1", None)]
    for id, name, given in (("per_1", "reply_permission", "once"), ("que_1", "reply_question", '[["A"]]')):
        with pytest.raises(errors.Conflict, match="deadline"):
            reply(world, session, id, given, name)


@pytest.mark.requirement("T-06")
def test_the_deadline_is_kept_when_the_server_is_back(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)
    world.now += LONG
    world.server.fail["reply_permission"] = AWAY
    world.jobs(["deadline"])
    assert told(world) == [] and any(job.kind == "deadline" for job in world.queue.waiting())
    world.jobs(["deadline"])
    assert [data["by"] for _, data in told(world)] == ["deadline"]


@pytest.mark.parametrize("default, given", [("allow", "once"), ("deny", "reject")])
def test_what_is_configured_answers_for_the_host_in_its_own_turns(default, given):
    world = RemoteWorld({"permissions": {"default": default}})
    session, other = world.create(title="T"), world.create(title="O")
    begin(world, session)
    begin(world, other, "msg_x", "msg_x", "[]")  # another client's
    world.told.take()
    world.server.ask(session.id, "per_1")
    world.server.ask(other.id, "per_2")
    world.server.ask(session.id, "que_1")
    world.jobs(["deadline"])
    replied = [each for each in told(world) if each[0] == "permission.replied"]
    assert replied == [("permission.replied", {"id": "per_1", "reply": given, "by": "host"})]
    assert listed(world, other) and listed(world, session, "questions")


def test_the_agents_that_a_turn_of_ours_calls_are_answered_for_too():
    world = RemoteWorld({"permissions": {"default": "allow"}})
    session = world.create(title="T")
    child = world.create(parentId=session.id)
    begin(world, session)
    begin(world, child, "msg_x", "msg_x", "[]")
    world.server.ask(child.id, "per_1")
    world.jobs(["deadline"])
    assert world.server.replies == [("per_1", "once")]


# -- the end of turns --------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-037", "O-075", "P-153")
def test_what_a_turn_asks_ends_with_it_here_and_on_the_server(world, session):
    begin(world, session)
    world.server.say(session.id, "msg_model", ended=False, parent_id="msg_user")
    world.server.ask(session.id, "per_1", "msg_model")
    world.server.ask(session.id, "que_1", "msg_model")
    told(world)
    end(world, session)
    assert told(world) == [
        ("permission.replied", {"id": "per_1", "reply": "reject", "by": "abort"}),
        ("question.replied", {"id": "que_1", "by": "abort"}),
        ("turn.finished", {}),
    ]
    world.asks.withdraw(session.id, world.sync.worker.call.within(5))
    assert world.server.waiting == {} and told(world) == []
    with pytest.raises(errors.Conflict, match="aborted"):
        reply(world, session)


@pytest.mark.requirement("O-037")
def test_what_another_turn_asks_by_now_is_not_withdrawn(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    end(world, session)
    begin(world, session, "turn_2", "msg_user2")
    world.server.say(session.id, "msg_later", ended=False, parent_id="msg_user2")
    world.server.ask(session.id, "per_2", "msg_later")
    world.server.ask(session.id, "que_2", "msg_later")
    world.asks.withdraw(session.id, world.sync.worker.call.within(5))
    assert set(world.server.waiting) == {"per_1", "per_2", "que_2"}  # a refusal is taken for all


def test_the_refusal_of_an_abort_is_not_taken_for_another_clients_answer(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)

    def cancel(transaction):
        turn = transaction.store.open_turn(transaction.load(session.id).number)
        turn.cancelled = transaction.now
        transaction.store.keep_turn(turn)

    world.writer.run(cancel)
    world.server.reply("per_1", "reject")
    assert told(world) == [("permission.replied", {"id": "per_1", "reply": "reject", "by": "abort"})]


# -- reading -----------------------------------------------------------------------------------------------------------
def test_what_was_asked_and_answered_while_nobody_listened_is_made_up_for(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)
    world.hold_back()
    world.server.reply("per_1", "once")
    world.server.ask(session.id, "que_2")
    world.held_back.clear()
    world.server.tell = world.hear
    world.sync.snapshot()
    world.jobs(["asks"])
    found = told(world)
    assert found[0] == ("permission.replied", {"id": "per_1", "reply": "reject", "by": "other"})
    assert [(kind, data["id"]) for kind, data in found[1:]] == [("question.asked", "que_2")]


def test_what_is_heard_while_the_server_is_asked_is_not_undone(world, session):
    begin(world, session)
    world.server.ask(session.id, "per_1")
    told(world)

    def meanwhile():
        world.server.reply("per_1", "once")
        world.server.ask(session.id, "per_2")

    world.server.during["pending"] = meanwhile
    world.sync.snapshot()
    world.jobs(["asks"])
    assert [(kind, data["id"]) for kind, data in told(world)] == [
        ("permission.replied", "per_1"),
        ("permission.asked", "per_2"),
    ]


def test_an_answer_that_came_before_its_question_is_remembered(world, session):
    world.hold_back()
    world.server.ask(session.id, "per_1")
    late = world.held_back.pop()
    world.server.tell = world.hear
    world.server.reply("per_1", "once")
    world.hear(late)
    assert told(world) == []


@pytest.mark.requirement("T-06")
def test_two_processes_record_and_answer_once(two):
    first, second, deliver = two
    session = first.create(title="T")
    deliver(0), deliver(1)
    begin(first, session)
    first.server.ask(session.id, "per_1")
    deliver(0), deliver(1)
    second.writer.catch_up()
    assert [kind for kind, _ in told(first)] == ["permission.asked"]
    assert [kind for kind, _ in told(second)].count("permission.asked") == 1
    reply(second, session)
    deliver(0), deliver(1)
    first.writer.catch_up()
    events = [data for kind, data in told(first) if kind == "permission.replied"]
    assert events == [{"id": "per_1", "reply": "once", "by": "host"}]
    first.now += LONG
    first.jobs(["deadline"]), second.jobs(["deadline"])
    assert first.server.replies == [("per_1", "once")]


def test_another_process_leaves_the_end_to_who_answers(two):
    first, second, deliver = two
    session = first.create(title="T")
    begin(first, session)
    first.server.ask(session.id, "per_1")
    deliver(0), deliver(1)
    first.server.during["reply_permission"] = lambda: deliver(0)  # before the second has recorded its answer
    reply(second, session)
    deliver(1)
    first.writer.catch_up()
    events = [data["by"] for kind, data in told(first) if kind == "permission.replied"]
    assert events == ["host"]


def _change(world, id):
    from plue_session.adapters.opencode.events import Change

    asked = world.server.waiting[id]
    return Change(f"{asked.kind}.asked", asked.session_id, asked)
