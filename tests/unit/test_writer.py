"""The writer: groups of changes, one commit, and only then the news."""

import json
import threading

import pytest

from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.errors import Busy, NotFound, StoreIo
from plue_session.model import EVENT_NUMBER, Session
from plue_session.services import writer as module
from plue_session.services.queued import Queued
from plue_session.services.writer import Writer
from tests.recording import RecordingPublisher


def create(transaction):
    number = transaction.store.next_number(transaction.now)
    session = Session(
        number=number, id=f"session_{number}", version="1", created=transaction.now, updated=transaction.now
    )
    transaction.insert(session)
    return session.id


def rename(session_id, title):
    def change(transaction):
        session = transaction.load(session_id)
        session.title = title
        transaction.save(session, "session.updated", {"id": session_id, "title": title})

    return change


def refuse(transaction):
    create(transaction)
    raise NotFound("nothing there")


def second_writer(world):
    """Return another process's writer on the same store, as far as one process can have one."""
    return Writer(world.store, RecordingPublisher(), lambda: world.now)


@pytest.mark.requirement("P-144", "P-132")
def test_a_change_that_fails_leaves_no_trace_and_does_not_disturb_its_neighbours(world):
    first, failed, last = world.writer.run_all([create, refuse, create])
    assert isinstance(failed, NotFound)
    assert world.told.take() == [("session.created", {"id": first}), ("session.created", {"id": last})]
    assert [row.id for row in world.store.events_after(0, 10)] == [1, 2]


def test_a_change_that_fails_before_it_writes_does_not_make_the_others_run_again(world):
    runs = []

    def count(transaction):
        runs.append(transaction)
        return create(transaction)

    def fail(transaction):
        transaction.load("session_1")

    outcomes = world.writer.run_all([count, fail, count])
    assert len(runs) == 2 and isinstance(outcomes[1], NotFound) and len(world.told.take()) == 2


def test_a_change_that_fails_half_way_makes_the_others_run_again_with_the_same_result(world):
    first = world.writer.run(create)
    world.told.take()
    second, failed, renamed = world.writer.run_all([create, refuse, rename(first, "kept")])
    assert isinstance(failed, NotFound) and renamed is None
    assert world.told.take() == [
        ("session.created", {"id": second}),
        ("session.updated", {"id": first, "title": "kept", "fields": ["title"]}),
    ]
    assert [row.id for row in world.store.events_after(0, 10)] == [1, 2, 3]


@pytest.mark.requirement("P-144", "P-132")
def test_what_a_change_has_told_before_it_fails_is_not_told_nor_in_the_log(world):
    def fail(transaction):
        transaction.emit("log", None, {"kept": False})
        raise NotFound("nothing there")

    def tell(transaction):
        transaction.emit("log", None, {"kept": True})

    for also in ([], [refuse]):  # without savepoints, and with them
        outcomes = world.writer.run_all([tell, fail, tell, *also])
        assert isinstance(outcomes[1], NotFound)
        assert world.told.take() == [("log", {"kept": True})] * 2
        rows = world.store.events_after(0, 10)
        assert [row.id for row in rows] == [*range(1, len(rows) + 1)] and all('"kept":true' in row.tail for row in rows)


def test_the_events_of_a_group_are_appended_to_the_log_together(world, monkeypatch):
    appended, append = [], world.store.append
    monkeypatch.setattr(world.store, "append", lambda *rows: (appended.append(len(rows)), append(*rows)))
    first = world.writer.run(create)
    world.writer.run_all([create, rename(first, "one"), rename(first, "two")])
    assert appended == [1, 3] and len(world.told.take()) == 4
    assert world.store.log_state() == (0, 4)


@pytest.mark.parametrize("also", [[], [refuse]])
def test_of_a_session_that_is_erased_in_the_group_that_changes_it_the_log_has_its_end_alone(world, also):
    first = world.writer.run(create)
    world.told.take()
    world.writer.run_all([rename(first, "one"), lambda transaction: transaction.erase(first), *also])
    assert [(row.id, row.kind) for row in world.store.events_after(0, 10)] == [(3, EVENT_NUMBER["session.deleted"])]
    assert [call[0] for call in world.told.calls] == ["gone", "event", "event"]
    assert [kind for kind, _ in world.told.take()] == ["session.updated", "session.deleted"]


@pytest.mark.requirement("P-133")
def test_a_session_that_was_brought_up_to_date_is_stored_once_and_shown_before_its_events_are_told(world):
    first = world.writer.run(create)
    world.told.take()

    def bring(transaction):
        session = transaction.load(first)
        session.title = "two"
        told = [("session.updated", {"title": title}) for title in ("one", "two")]
        transaction.save_told(session, told)

    world.writer.run(bring)
    assert [call[0] for call in world.told.calls] == ["snapshot", "event", "event"]
    assert world.told.calls[0][2] == 3 and json.loads(world.told.calls[0][3])["title"] == "two"
    assert [data["title"] for _, data in world.told.take()] == ["one", "two"]
    assert world.store.read(first).rev == 3 and world.info(first)["title"] == "two"


@pytest.mark.requirement("P-133", "P-143")
def test_nothing_is_told_before_it_is_durable_and_then_in_the_order_of_the_changes(world):
    session_id = world.writer.run(create)
    seen = []
    commit = world.store.commit
    world.store.commit = lambda: (seen.append(list(world.told.calls)), commit())
    world.told.take()
    world.writer.run_all([rename(session_id, "one"), rename(session_id, "two")])
    assert seen == [[]]
    assert [data["title"] for _, data in world.told.take()] == ["one", "two"]


def test_a_commit_that_fails_fails_the_whole_group_and_tells_nobody(world):
    world.writer.run(create)
    world.told.take()
    commit, world.store.commit = world.store.commit, fail_with(StoreIo("disk full"))
    first, second = world.writer.run_all([create, refuse])
    world.store.commit = commit
    assert isinstance(first, StoreIo) and isinstance(second, NotFound)
    assert world.told.calls == []
    assert len(world.store.events_after(0, 10)) == 1
    world.writer.run(create)
    assert [row.id for row in world.store.events_after(0, 10)] == [1, 2]


def fail_with(error):
    def fail():
        raise error

    return fail


def test_a_store_that_cannot_be_locked_fails_the_group(world):
    world.store.begin = fail_with(Busy("locked"))
    outcomes = world.writer.run_all([create, create])
    assert [type(outcome) for outcome in outcomes] == [Busy, Busy]
    with pytest.raises(Busy):
        world.writer.run(create)


class Noted(Queued):
    """A change whose outcome nobody's thread waits for."""

    def __init__(self, change, outcomes, wanted=True):
        super().__init__(change)
        self._outcomes, self._wanted = outcomes, wanted

    def start(self):
        return self._wanted

    def is_wanted(self):
        return self._wanted

    def end(self):
        self._outcomes.append(self.outcome)


def test_changes_that_arrive_while_the_store_is_waited_for_join_the_group(world):
    outcomes, late = [], [create, create]
    world.writer.queue(Noted(create, outcomes))
    world.writer.lead(lambda: [world.writer.queue(Noted(late.pop(), outcomes)) for _ in list(late)])
    assert len(set(outcomes)) == 3
    assert len({row.time for row in world.store.events_after(0, 10)}) == 1


def test_a_change_that_is_no_longer_wanted_when_its_group_begins_is_not_made(world):
    outcomes = []
    for wanted in (True, False, True):
        world.writer.queue(Noted(create, outcomes, wanted))
    world.writer.lead()
    assert len(outcomes) == 2 and len(world.told.take()) == 2


def test_what_is_no_longer_wanted_does_not_wait_for_a_store_that_is_locked_for_long(world):
    outcomes = []
    for wanted in (True, False, True, False):
        world.writer.queue(Noted(create, outcomes, wanted))
    world.writer.drop_unwanted()
    assert len(world.writer._queue) == 2  # memory that nothing else shows
    world.writer.lead()
    assert len(outcomes) == 2


def test_who_comes_while_catching_up_fails_is_not_left_waiting(world):
    """Only whoever holds the writer can lead: the one that fails must do so, too."""
    entered, go = threading.Event(), threading.Event()

    def fail():
        entered.set()
        assert go.wait(10)
        raise StoreIo("no descriptor is left")

    state, world.store.log_state = world.store.log_state, fail
    failing = threading.Thread(target=lambda: pytest.raises(StoreIo, world.writer.catch_up))
    failing.start()
    assert entered.wait(10)
    outcomes = []
    waiting = threading.Thread(target=lambda: outcomes.append(world.writer.run(create)))
    waiting.start()
    while not world.writer._queue:  # it has come, and has nothing else to say
        threading.Event().wait(0.001)
    world.store.log_state = state
    go.set()
    waiting.join(10)
    failing.join(10)
    assert len(outcomes) == 1


@pytest.mark.requirement("P-144")
def test_threads_that_come_while_another_one_writes_share_the_next_commit(world):
    """Each would have one of its own otherwise: that is what a burst of events costs."""
    commit, commits, entered, go = world.store.commit, [], threading.Event(), threading.Event()

    def slow():
        commits.append(threading.get_ident())
        if len(commits) == 1:
            entered.set()
            assert go.wait(10)
        commit()

    world.store.commit = slow
    first = threading.Thread(target=world.writer.run, args=(create,))
    first.start()
    assert entered.wait(10)
    others = [threading.Thread(target=world.writer.run, args=(create,)) for _ in range(20)]
    for thread in others:
        thread.start()
    while len(world.writer._queue) < len(others):  # they have nothing else to say
        threading.Event().wait(0.001)
    go.set()
    for thread in (first, *others):
        thread.join(10)
        assert not thread.is_alive()
    assert len(commits) == 2 and len(world.store.events_after(0, 100)) == 21


def test_who_came_with_a_change_leaves_what_others_have_queued_meanwhile_to_the_one_who_is_there_for_it(build):
    world = build()
    woken, outcomes = [], []
    writer = Writer(world.store, world.told, lambda: world.now, wake=lambda: woken.append(True) or True)

    def change(transaction):
        writer.queue(Noted(create, outcomes))

    writer.run(change)
    assert woken == [True] and outcomes == []
    writer.lead()
    assert len(outcomes) == 1


def test_where_nobody_is_there_for_it_whoever_leads_writes_it_all(build):
    world = build()
    outcomes = []
    writer = Writer(world.store, world.told, lambda: world.now, wake=lambda: False)
    writer.run(lambda transaction: writer.queue(Noted(create, outcomes)))
    assert len(outcomes) == 1


def test_an_event_of_another_kind_than_sessions_is_told_with_the_change_that_it_is_of(world):
    def change(transaction):
        transaction.emit("operation.completed", None, {"operation": 7})

    world.writer.run(change)
    assert world.told.take() == [("operation.completed", {"operation": 7})]
    assert [row.session_id for row in world.store.events_after(0, 10)] == [None]


def test_the_events_of_one_operation_share_a_correlation_id_and_others_do_not(world):
    def two(transaction):
        create(transaction)
        create(transaction)

    world.writer.run_all([two, create])
    ids = [row.tail.split('"correlationId":')[1].split(",")[0] for row in world.store.events_after(0, 10)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.requirement("P-042", "P-075")
def test_threads_that_write_at_once_get_their_own_results(world):
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(world.writer.run(create) for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 160


def test_what_another_process_committed_is_told_before_our_own(world):
    other = second_writer(world)
    session_id = world.writer.run(create)
    world.told.take()
    other.run(rename(session_id, "theirs"))
    world.writer.run(rename(session_id, "ours"))
    assert [data["title"] for _, data in world.told.take()] == ["theirs", "ours"]


@pytest.mark.requirement("P-061")
def test_catching_up_refreshes_snapshots_and_tells_events_once(world):
    other = second_writer(world)
    session_id = world.writer.run(create)
    world.told.take()
    other.run(rename(session_id, "theirs"))
    world.writer.catch_up()
    world.writer.catch_up()
    assert world.told.take() == [("session.updated", {"id": session_id, "title": "theirs", "fields": ["title"]})]
    assert '"title":"theirs"' in world.told.infos[session_id]


@pytest.mark.requirement("P-078")
def test_a_session_that_another_process_deleted_is_gone_here(world):
    other = second_writer(world)
    session_id = world.writer.run(create)
    world.told.take()
    other.run(lambda transaction: transaction.erase(session_id))
    world.writer.catch_up()
    assert ("gone", session_id) in world.told.calls
    assert world.told.take() == [("session.deleted", {"id": session_id})]


def test_a_log_that_was_trimmed_past_us_is_made_up_for_by_comparing_everything(world):
    other = Writer(world.store, RecordingPublisher(), lambda: world.now, 2, 120_000)
    kept, lost = world.writer.run(create), world.writer.run(create)
    world.told.take()
    other.run(lambda transaction: transaction.erase(lost))
    for number in range(module.TRIM_EVERY):
        other.run(rename(kept, f"title {number}"))
    assert world.store.log_state()[0] > 2
    world.writer.catch_up()
    assert ("gone", lost) in world.told.calls
    assert '"title":"title 255"' in world.told.infos[kept]
    assert world.told.calls[-1] == ("lost", world.store.log_state()[1])
    world.told.take()
    other.run(rename(kept, "and on"))
    world.writer.catch_up()
    assert world.told.take() == [("session.updated", {"id": kept, "title": "and on", "fields": ["title"]})]


def test_rows_that_are_trimmed_while_we_come_to_read_them_are_not_jumped_over(world):
    other = second_writer(world)
    session_id = world.writer.run(create)
    world.told.take()
    for number in range(20):
        other.run(rename(session_id, str(number)))
    read = world.store.events_after

    def trimmed_first(*arguments):
        world.store.begin()
        world.store.trim(4, 0, [session_id])
        world.store.commit()
        return read(*arguments)

    world.store.events_after = trimmed_first
    world.writer.catch_up()
    assert ("lost", 21) in world.told.calls and world.told.events() == []
    assert '"title":"19"' in world.told.infos[session_id]


def test_what_could_not_be_read_of_the_others_is_made_up_for_and_fails_nobody(world):
    other = second_writer(world)
    ours, theirs = world.writer.run(create), world.writer.run(create)
    world.told.take()
    other.run(rename(theirs, "theirs"))
    read, world.store.events_after = world.store.events_after, lambda *_: fail_with(StoreIo("no descriptor is left"))()
    world.writer.run(rename(ours, "ours"))
    world.store.events_after = read
    assert '"title":"ours"' in world.told.infos[ours] and '"title":"theirs"' not in world.told.infos[theirs]
    assert ("lost", 3) in world.told.calls
    world.writer.catch_up()
    assert '"title":"theirs"' in world.told.infos[theirs]
    world.told.take()
    world.writer.catch_up()
    assert world.told.calls == []


@pytest.mark.requirement("L-172")
def test_the_log_of_a_busy_session_is_kept_near_its_limit(build):
    world = build({"replay": {"limit": 16}})
    writer = Writer(world.store, RecordingPublisher(), lambda: world.now, 16, 120_000)
    session_id = writer.run(create)
    for number in range(2 * module.TRIM_EVERY):
        writer.run(rename(session_id, str(number)))
    assert 16 <= len(world.store.events_after(0, 10_000)) <= 16 + module.TRIM_EVERY


def test_the_counting_of_quiet_sessions_is_bounded(world, monkeypatch):
    monkeypatch.setattr(module, "TRIM_SESSIONS", 10)
    monkeypatch.setattr(module, "TRIM_EVERY", 4)
    for _ in range(40):
        world.writer.run(create)
    assert len(world.writer._counts) <= 14  # memory that nothing else shows


@pytest.mark.requirement("P-043")
def test_time_does_not_run_backwards_when_the_clock_does(world):
    session_id = world.writer.run(create)
    world.now -= 5000
    world.writer.run(rename(session_id, "x"))
    time = world.info(session_id)["time"]
    assert time["created"] == time["updated"]


def test_a_record_is_the_newest_until_anything_else_is_written_or_told(tmp_path):
    stores = [SqliteStore(str(tmp_path), "embedded") for _ in range(2)]
    here, there = [Writer(store, RecordingPublisher(), lambda: 1) for store in stores]

    def made(transaction):
        return transaction.load(create(transaction))

    session = here.run(made)
    assert here.is_newest(session)
    here.run(create)
    assert not here.is_newest(session)
    session = here.run(made)
    there.run(rename(session.id, "theirs"))
    assert here.is_newest(session)  # of which nothing is known here yet: it will be told
    here.catch_up()
    assert not here.is_newest(session)
    for store in stores:
        store.close()
