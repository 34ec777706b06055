"""What is said, as it is recorded, told, read and kept."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.opencode import events
from plue_session.adapters.opencode.events import Change
from plue_session.model import Ask, Turn
from plue_session.services.observations import Observations
from plue_session.services.sync.inbox import Told
from tests.remote_world import RemoteWorld, in_thread, until


@pytest.fixture(params=[True, False], ids=["numbered", "unnumbered"])
def said(request, world):
    """A world with a server that tells what is said with numbers, or without."""
    world.server.numbered = request.param
    return world


@pytest.fixture
def numbered(world):
    world.server.numbered = True
    return world


def told(world, *kinds):
    """Return what was told of messages since the last time."""
    wanted = kinds or ("message.created", "message.updated", "message.part.updated")
    return [event for event in world.told.take() if event[0] in wanted]


def page(world, session, **query):
    return json.loads(world.do(lambda on: on.messages.page(getattr(session, "id", session), json.dumps(query))))


def texts(found):
    return [[part.get("text") for part in message["parts"]] for message in found["messages"]]


def converse(world, session_id, count, first=0):
    """Have the user and the model say something in turn."""
    for number in range(first, first + count):
        user, model = f"msg_{number:05d}a", f"msg_{number:05d}b"
        world.server.say(session_id, user, "user", texts=[f"question {number}"])
        world.server.say(session_id, model, "assistant", user, texts=[f"answer {number}"])


# -- recording ---------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-141")
def test_what_is_said_is_stored_and_told_once_and_in_order(said):
    session = said.create()
    said.told.take()
    converse(said, session.id, 1)
    events = told(said)
    assert [kind for kind, _ in events] == [
        "message.created",
        "message.part.updated",
        "message.created",
        "message.part.updated",
        "message.updated",
    ]
    assert events[0][1] == {
        "id": "msg_00000a",
        "role": "user",
        "turnId": "msg_00000a",
        "parts": [],
        "time": {"created": events[0][1]["time"]["created"]},
    }
    part = {"id": "msg_00000b_0", "type": "text", "text": "answer 0"}
    assert events[3][1] == {"messageId": "msg_00000b", "turnId": "msg_00000a", "part": part}
    assert events[4][1]["parts"] == [part] and events[4][1]["time"]["completed"]
    assert said.info(session)["messageCount"] == 2
    found = page(said, session)
    assert texts(found) == [["question 0"], ["answer 0"]] and "nextCursor" not in found
    assert found["messages"][1] == events[4][1]


def test_the_same_once_more_changes_nothing_and_tells_nothing(said):
    session = said.create()
    converse(said, session.id, 2)
    before, _ = page(said, session), said.told.take()
    for change in said.server.logged.get(session.id, []):
        said.hear(change)
    for number in range(2):
        for message_id in (f"msg_{number:05d}a", f"msg_{number:05d}b"):
            said.server.numbered = False  # as plain events come: of those nothing tells that they are old
            said.hear(Change("message", session.id, said.server.said[session.id][message_id]))
            for part in said.server.parts[message_id].values():
                said.hear(Change("part", session.id, part))
    assert told(said) == [] and page(said, session) == before


@pytest.mark.requirement("P-141")
def test_two_processes_that_hear_the_same_record_and_tell_it_once(two):
    first, second, deliver = two
    first.server.numbered = True
    session = first.create()
    for number in (0, 1):
        deliver(number)
    first.told.take(), second.told.take()
    converse(first, session.id, 3)
    deliver(0)
    deliver(1)
    converse(first, session.id, 3, 3)
    deliver(1)
    deliver(0)
    for world in two[:2]:
        world.writer.catch_up()
        created = [data["id"] for kind, data in told(world) if kind == "message.created"]
        assert created == [f"msg_{number:05d}{who}" for number in range(6) for who in "ab"]
        assert world.info(session)["messageCount"] == 12


def test_after_a_restart_what_is_repeated_is_known(tmp_path, numbered):
    from plue_session.adapters.sqlite.store import SqliteStore

    before = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=numbered.server)
    before.server.tell = before.hear
    session = before.create()
    converse(before, session.id, 5)
    before.store.close()
    after = RemoteWorld(store=SqliteStore(str(tmp_path), "opencode"), server=numbered.server)
    for change in after.server.logged[session.id]:
        after.hear(change)
    assert told(after) == [] and after.info(session)["messageCount"] == 10
    after.store.close()


def test_parts_that_are_large_are_left_out_of_messages_events(numbered):
    session = numbered.create()
    numbered.told.take()
    numbered.server.say(session.id, "msg_1", texts=["a" * 70_000])
    events = told(numbered)
    assert "parts" not in events[-1][1] and len(events[1][1]["part"]["text"]) == 70_000
    assert len(texts(page(numbered, session))[0][0]) == 70_000


def test_a_message_belongs_to_the_turn_that_it_answers(numbered):
    session = numbered.create()

    def change(transaction):
        transaction.store.add_turn(Turn(number=session.number, id="turn_1", message_id="msg_00000a", started=1))

    numbered.writer.run(change)
    converse(numbered, session.id, 2)
    turns = [message["turnId"] for message in page(numbered, session)["messages"]]
    assert turns == ["turn_1", "turn_1", "msg_00001a", "msg_00001a"]
    found, usage = numbered.messages.of_turn(session.id, "turn_1")
    assert [message["id"] for message in json.loads(found)] == ["msg_00000a", "msg_00000b"] and "tokens" in usage


def test_what_is_removed_is_gone_and_counts_no_more(said):
    session = said.create()
    converse(said, session.id, 1)
    said.told.take()
    del said.server.parts["msg_00000b"], said.server.said[session.id]["msg_00000a"]
    for kind, value in (("part.removed", ("msg_00000b", "msg_00000b_0")), ("message.removed", "msg_00000a")):
        for _ in range(2):
            said.server._say(Change(kind, session.id, value))
    events = said.told.take()
    assert [kind for kind, _ in events] == ["message.updated", "session.updated"]
    assert events[0][1]["parts"] == [] and events[1][1]["fields"] == ["messageCount"]
    assert texts(page(said, session)) == [[]] and said.info(session)["messageCount"] == 1


@pytest.mark.requirement("L-070")
def test_usage_is_what_the_known_messages_have_used(said):
    session = said.create()
    used = {"model": ("fake", "m"), "tokens": (1, 2, 3, 4, 5), "cost": 0.5}
    said.server.say(session.id, "msg_1", "user", model=("fake", "m"))
    for message_id in ("msg_2", "msg_3", "msg_3"):
        said.server.say(session.id, message_id, parent_id="msg_1", **used)
    usage = json.loads(said.do(lambda on: on.messages.usage(session.id)))
    tokens = {"input": 2, "output": 4, "reasoning": 6, "cacheRead": 8, "cacheWrite": 10}
    assert usage == {
        "tokens": tokens,
        "cost": 1.0,
        "models": [{"providerId": "fake", "modelId": "m", "tokens": tokens, "cost": 1.0}],
    }
    said.server._say(Change("message.removed", session.id, "msg_3"))
    assert json.loads(said.do(lambda on: on.messages.usage(session.id)))["cost"] == 0.5


def test_a_recorded_stream_becomes_a_transcript(numbered):
    changes = []
    with open("tests/recorded/global_event.sse", "rb") as stream:
        for line in stream:
            change = line.startswith(b"data: ") and events.read(line[6:].strip(), True)
            if change and change.session_id and change.kind != "deleted":
                changes.append(change)
    session_id = next(change.session_id for change in changes if change.kind == "message")
    for change in changes:
        numbered.hear(change)
    assert json.loads(numbered.messages.usage(session_id))["tokens"]["output"] == 3
    found = numbered.store.read_messages(session_id, 5)
    assert [(message.role, [json.loads(part.body)["text"] for part in parts]) for message, parts in found] == [
        ("user", ["count 3"]),
        ("assistant", ["word0 word1 word2 "]),
    ]
    deltas = [
        json.loads(call[3][call[3].index('"data":') + 7 : -1]) for call in numbered.told.calls if call[0] == "transient"
    ]
    told = "".join(each.get("delta", "") for each in deltas)  # how far depends on how fast this runs
    assert told.startswith("word0 ") and "word0 word1 word2 ".startswith(told)
    assert [each for each in deltas if "kind" in each] == [{"turnId": found[0][0].id, "kind": "step"}]


# -- ends --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-049", "P-153")
def test_text_that_was_heard_of_an_answer_that_was_cut_off_survives(numbered):
    session = numbered.create()
    numbered.server.say(session.id, "msg_1", "user", texts=["go on"])
    numbered.server.say(session.id, "msg_2", parent_id="msg_1", ended=False)
    numbered.server.part(session.id, "msg_2", "prt_1", "", finished=False)
    for word in ("one ", "two "):
        numbered.server.delta(session.id, "msg_2", "prt_1", word)
    numbered.streams.missed()  # the server was killed
    numbered.server.delta(session.id, "msg_2", "prt_1", "of another life")
    numbered.do(
        lambda on: numbered.transcript.read(numbered.store.read(session.id), numbered.sync.worker.call.within(5))
    )
    numbered.told.take()

    def end(transaction):
        of = transaction.load(session.id)
        told = numbered.transcript.close(transaction, of, "msg_1", ("stopped", "incomplete", None))
        transaction.save_told(of, told)

    numbered.writer.run(end)
    (_, part), (_, message) = told(numbered)
    assert part["part"]["text"] == "one two " and message["error"]["code"] == "SERVER"
    assert texts(page(numbered, session)) == [["go on"], ["one two "]]
    # nothing that the server says of it makes it open again
    numbered.server.part(session.id, "msg_2", "prt_1", "", finished=False)
    numbered.server.say(session.id, "msg_2", parent_id="msg_1", ended=False)
    assert texts(page(numbered, session))[1] == ["one two "] and told(numbered) == []


@pytest.mark.requirement("O-049")
def test_text_that_grows_is_stored_now_and_then(numbered, monkeypatch):
    monkeypatch.setattr("plue_session.services.turns.streams.KEEPING", 0.01)
    session = numbered.create()
    numbered.server.say(session.id, "msg_2", ended=False)
    numbered.server.part(session.id, "msg_2", "prt_1", "", finished=False)
    numbered.server.delta(session.id, "msg_2", "prt_1", "one ")

    def stored():
        numbered.writer.lead()
        found = numbered.store.read_messages(session.id, 1)[0][1]
        return found and json.loads(found[0].body)["text"] == "one " and not found[0].finished

    until(stored)
    numbered.streams.end()


# -- pages -------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-056")
def test_pages_ascend_and_lead_to_older_ones(said):
    session = said.create()
    converse(said, session.id, 5)
    said.server.asked.clear()
    whole, cursor, pages = texts(page(said, session)), None, []
    while True:
        found = page(said, session, limit=3, **({"cursor": cursor} if cursor else {}))
        pages = texts(found) + pages
        cursor = found.get("nextCursor")
        if cursor is None:
            break
    assert pages == whole and len(whole) == 10
    assert "parts" not in page(said, session, parts=False)["messages"][0]


def test_a_cursor_is_of_its_session_and_a_bad_one_is_refused(said):
    one, other = said.create(), said.create()
    converse(said, one.id, 2)
    cursor = page(said, one, limit=1)["nextCursor"]
    for session, text in ((other, cursor), (one, "x"), (one, cursor.upper())):
        with pytest.raises(errors.BadCursor):
            page(said, session, cursor=text)


@pytest.mark.requirement("P-141", "O-056")
def test_the_transcript_of_another_client_is_read_when_asked_for_and_once(numbered):
    session_id = numbered.server.create(None, numbered.sync.worker.call.within(5)).id
    numbered.hold_back()
    converse(numbered, session_id, 150)
    numbered.held_back.clear()
    numbered.told.take()
    numbered.server.asked.clear()
    newest = page(numbered, session_id)
    assert texts(newest)[-1] == ["answer 149"] and len(newest["messages"]) == 100
    asked = [each for each in numbered.server.asked if each[0] == "messages"]
    assert len(asked) == 1 and page(numbered, session_id) == newest
    older = page(numbered, session_id, cursor=newest["nextCursor"], limit=50)
    oldest = page(numbered, session_id, cursor=older["nextCursor"])
    rest = page(numbered, session_id, cursor=oldest["nextCursor"])
    seen = texts(rest) + texts(oldest) + texts(older) + texts(newest)
    assert [each[0] for each in seen] == [f"{what} {n}" for n in range(150) for what in ("question", "answer")]
    assert "nextCursor" not in rest
    asked = [each for each in numbered.server.asked if each[0] == "messages"]
    page(numbered, session_id, cursor=older["nextCursor"])
    assert len(asked) == 3 == len([each for each in numbered.server.asked if each[0] == "messages"])
    # what was said before is shown, not told; that there is more of it is
    assert told(numbered) == [] and numbered.info(session_id)["messageCount"] == 300


def test_a_turn_that_runs_when_a_transcript_is_first_read_is_told(numbered):
    session_id = numbered.server.create(None, numbered.sync.worker.call.within(5)).id
    numbered.hold_back()
    converse(numbered, session_id, 2)
    numbered.server.say(session_id, "msg_9a", "user", texts=["now"])
    numbered.server.say(session_id, "msg_9b", parent_id="msg_9a", ended=False)
    late, numbered.held_back = numbered.held_back, []
    numbered.told.take()
    page(numbered, session_id)
    assert [data.get("id") for kind, data in told(numbered, "message.created")] == ["msg_9a", "msg_9b"]
    for change in late:
        numbered.hear(change)
    assert told(numbered, "message.created") == []


def test_away_what_is_known_is_answered_and_the_rest_is_not_there(numbered):
    session_id = numbered.server.create(None, numbered.sync.worker.call.within(5)).id
    numbered.hold_back()
    converse(numbered, session_id, 80)
    numbered.held_back.clear()
    newest = page(numbered, session_id)
    numbered.away()
    assert page(numbered, session_id) == newest
    with pytest.raises(errors.Connection):
        page(numbered, session_id, cursor=newest["nextCursor"])


def test_what_was_missed_is_read_before_the_newest_page_is_answered(numbered):
    session = numbered.create()
    converse(numbered, session.id, 1)
    numbered.hold_back()
    converse(numbered, session.id, 1, 1)
    numbered.held_back.clear()
    numbered.server.tell = numbered.hear
    numbered.hear(Told("missing", session.id))  # no history is to be had
    numbered.told.take()
    assert len(page(numbered, session)["messages"]) == 4
    assert [data["id"] for _, data in told(numbered, "message.created")] == ["msg_00001a", "msg_00001b"]
    assert "transcript" in numbered.jobs()


def test_a_server_without_numbers_is_asked_again_after_each_gap(world):
    session = world.create()
    converse(world, session.id, 1)
    world.hold_back()
    converse(world, session.id, 1, 1)
    world.held_back.clear()
    world.sync.missed()
    assert len(page(world, session)["messages"]) == 4
    world.server.asked.clear()
    page(world, session)
    assert not [each for each in world.server.asked if each[0] == "messages"]


def test_a_fork_is_not_taken_for_known(numbered):
    session = numbered.create()
    converse(numbered, session.id, 1)
    fork = numbered.do(lambda on: on.sessions.fork(session.id, None), session.id)
    numbered.server.said[fork.id] = {
        "msg_f": numbered.server.said[session.id]["msg_00000a"]._replace(id="msg_f", session_id=fork.id)
    }
    assert [each["id"] for each in page(numbered, fork)["messages"]] == ["msg_f"]


# -- observation -------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("L-072")
def test_an_observation_has_the_newest_messages_what_they_used_and_what_waits(numbered):
    session = numbered.create()
    converse(numbered, session.id, 60)
    numbered.server.say(session.id, "msg_large", texts=["a" * 70_000], model=("fake", "m"), tokens=(1, 2, 3, 4, 5))
    numbered.do(lambda on: on.inputs.enqueue(session.id, '{"text":"next"}'))

    def ask(transaction):
        for kind in ("permission", "question"):
            body = json.dumps({"id": kind})
            transaction.store.keep_ask(Ask(session.number, kind, kind, None, None, body, 1, 2, None))
        of = transaction.load(session.id)
        of.turn = '{"turnId":"turn_1","state":"running","since":5}'
        transaction.save(of, "session.updated", {"id": of.id})

    numbered.writer.run(ask)
    observations = Observations(numbered.store, 100, 1000, lambda: numbered.now)
    found = json.loads(observations.observation(session.id))
    newest = page(numbered, session)
    assert "parts" not in found["messages"][-1] and newest["messages"][-1]["parts"]
    assert found["messages"][:-1] == newest["messages"][:-1] and found["nextCursor"] == newest["nextCursor"]
    assert found["usage"]["tokens"]["output"] == 2 and found["queue"][0]["input"] == {"text": "next"}
    assert (found["permissions"], found["questions"]) == ([{"id": "permission"}], [{"id": "question"}])
    assert found["turn"]["turnId"] == "turn_1" == found["session"]["turn"]["turnId"] and found["todos"] == []
    assert found["cursor"].split(".")[2] == f"{numbered.store.log_state()[1]:x}"


# -- what a page costs -------------------------------------------------------------------------------------------------
@pytest.mark.requirement("T-07")
def test_a_page_costs_the_same_however_many_messages_there_are(numbered):
    from plue_session.model import Message, Part

    sessions = {count: numbered.create() for count in (200, 10_000)}

    def fill(transaction):
        for count, session in sessions.items():
            for number in range(count):
                id = f"msg_{number:05d}"
                transaction.store.keep_message(Message(session.number, id, "user", None, number))
                transaction.store.keep_part(Part(session.number, id, f"prt_{number}", True, '{"id":"p","type":"text"}'))

    numbered.writer.run(fill)
    steps = {}
    committed = numbered.store._connections._committed
    for count, session in sessions.items():
        cursor = page(numbered, session)["nextCursor"]
        for name, query in (("newest", {}), ("older", {"cursor": cursor})):
            done = []
            committed.set_progress_handler(lambda done=done: done.append(1), 10)
            assert len(page(numbered, session, **query)["messages"]) == 100
            committed.set_progress_handler(None, 0)
            steps[count, name] = len(done)
    assert steps[200, "newest"] > 0
    for name in ("newest", "older"):
        assert steps[10_000, name] <= steps[200, name] * 1.05 + 1


def test_what_a_reading_shows_of_a_message_that_is_known_is_told(numbered):
    session = numbered.create()
    numbered.server.say(session.id, "msg_1", ended=False)
    numbered.hold_back()
    numbered.server.part(session.id, "msg_1", "prt_1", "one")
    numbered.told.take()
    call = numbered.sync.worker.call.within(5)
    numbered.transcript.read(numbered.store.read(session.id), call)
    (part,) = told(numbered)
    assert part[1]["part"]["text"] == "one"
    numbered.deliver()
    assert told(numbered) == []


def test_what_was_missed_is_read_also_by_a_job_that_is_faster_than_the_commit(world, monkeypatch):
    world.server.numbered = True
    session = world.create()
    world.hold_back()
    world.server.say(session.id, "msg_1", "user", texts=("missed",))
    world.held_back.clear()
    commit, wait = world.store.commit, []

    def slow():
        if not wait:
            wait.append(in_thread(lambda: world.jobs(("transcript",))))
            until(lambda: world.writer._queue or not world.queue.waiting())  # it reads by now what is known
        commit()

    monkeypatch.setattr(world.store, "commit", slow)
    world.hear(Change("part", session.id, world.server.parts["msg_1"]["msg_1_0"]))
    assert wait[0]() == ["transcript"]
    assert [message.id for message, _ in world.store.read_messages(session.id, 9)] == ["msg_1"]
