"""What is told before its commit: a note on disk says what was asked for, and a restart recovers it."""

import json
import subprocess
import threading

import pytest

from plue_session import errors
from plue_session.adapters.sqlite.store import SqliteStore
from tests.checked import Checked
from tests.remote_world import RemoteWorld, in_thread

STEPS = ["noted, not sent", "sent, not answered", "answered, not recorded", "told, not recorded"]


class Disk:
    """A world on a disk whose process may die at each step of a call, and what the next process finds."""

    def __init__(self, folder):
        self.folder = folder
        self.store = SqliteStore(str(folder / "data"), "opencode")
        self.world = RemoteWorld(store=self.store)
        self.world.writer._wake = lambda: self.world.writer.lead() or True
        self.told, self.found, self.at = [], {}, lambda step: None

    def close(self):
        self.store.close()

    def perform(self, work):
        with self.world.calls.begin("test", None, threading.TIMEOUT_MAX) as call:
            return self.world.executor.run(work, call, self._tell)

    @property
    def sessions(self):
        """The sessions as a caller in C has them, who is told first."""
        return Checked(self.world.sessions, self.perform)

    def _tell(self, outcome):
        self.told.append(outcome)
        self.at("told, not recorded")

    def walk(self, request, look):
        """Have the process die at each step of the next call that makes this request; note what `look(world)` sees
        after a restart."""
        promise, server = self.store.promise, self.world.server

        def at(step):
            self.found[step] = self._restarted(look, len(self.found))

        def promised():
            at("answered, not recorded")
            promise()

        self.at, self.store.promise = at, promised
        server.fail[request] = lambda: at("noted, not sent")
        server.during[request] = lambda: at("sent, not answered")

    def _restarted(self, look, number):
        folder, server = self.folder / str(number), self.world.server
        # Another process copies: closing the files here would release their locks.
        subprocess.run(["cp", "-r", self.folder / "data", folder], check=True)
        store = SqliteStore(str(folder), "opencode")
        tell = server.tell
        try:
            world = RemoteWorld(store=store, server=server)
            world.mirror.take_up()
            world.reconcile()
            world.jobs()
            seen = look(world)
            seen["notes"] = store.count_operations()
            world.reconcile()
            world.jobs()
            assert store.check() == []
            return seen
        finally:
            server.tell = tell
            store.close()


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path)
    yield made
    made.close()


def shown(world):
    """Return what there is, by id, without what differs from run to run."""
    infos = json.loads(b"[%b]" % world.store.infos())
    names = "title", "key", "tags", "description", "imported", "metadata"
    return {"shown": [{name: info[name] for name in names if name in info} for info in infos]}


OPTIONS = {"title": "T", "tags": ["a"], "description": "D", "metadata": {"n": 1}}


@pytest.mark.requirement("P-071", "P-143", "P-176")
def test_a_create_that_was_told_is_found_whole_by_the_next_process(disk):
    disk.walk("create", shown)
    made = disk.sessions.create_with(json.dumps(OPTIONS))
    assert disk.told == [made] and list(disk.found) == STEPS
    (now,) = shown(disk.world)["shown"]
    assert {name: now[name] for name in OPTIONS} == OPTIONS
    not_sent = disk.found.pop("noted, not sent")
    assert not_sent == {"shown": [], "notes": 1}  # nobody knows that it will not be made
    assert all(found == {"shown": [now], "notes": 0} for found in disk.found.values())
    assert len(disk.world.server.sessions) == 1 and disk.store.count_operations() == 0


@pytest.mark.requirement("P-143")
def test_a_rename_that_was_told_is_shown_by_the_next_process(disk):
    """Also where the title before it is defended: it is no title that the server gave (O-027)."""
    session = disk.sessions.create()
    disk.sessions.update_title(session.id, "First")  # over an automatic one

    def look(world):
        return {"title": world.info(session)["title"], "there": world.server.sessions[session.id].title}

    disk.walk("update", look)
    disk.told.clear()
    disk.sessions.update_title(session.id, "Mine")
    assert [each.title for each in disk.told] == ["Mine"] and list(disk.found) == STEPS
    assert disk.found.pop("noted, not sent") == {"title": "First", "there": "First", "notes": 0}
    assert all(found == {"title": "Mine", "there": "Mine", "notes": 0} for found in disk.found.values())
    assert disk.store.count_operations() == 0


@pytest.mark.requirement("P-071")
@pytest.mark.parametrize(
    "make",
    [
        lambda sessions: sessions.create_with('{"key":"k"}'),
        lambda sessions: sessions.create_with('{"role":"r"}'),
        lambda sessions: sessions.create_with('{"title":"T (fork #1)"}'),
        lambda sessions: sessions.create_with('{"directory":"/tmp"}'),
        lambda sessions: sessions.get_or_create("k"),
        lambda sessions: sessions.update_title(sessions.create_with("{}").id, "over an automatic one"),
    ],
)
def test_what_a_restart_might_not_recover_whole_is_recorded_first(disk, make):
    make(disk.sessions)
    assert all(disk.world.server.is_automatic(each.title) and each.key is None for each in disk.told)


def test_a_note_that_another_process_has_seen_to_lets_nobody_go_early(disk):
    session = disk.sessions.create_with('{"title":"T"}')
    disk.told.clear()
    disk.world.server.during["update"] = lambda: disk.world.writer.run(
        lambda transaction: transaction.store.drop_operation("intent", session.id)
    )
    disk.sessions.update_title(session.id, "U")
    assert disk.told == [] and shown(disk.world)["shown"][0]["title"] == "U"


@pytest.mark.requirement("P-143", "P-146")
def test_a_delete_that_was_told_is_done_by_the_next_process(disk):
    session = disk.sessions.create()
    disk.sessions.create()  # a server that has none of ours would be in doubt
    disk.walk("delete", lambda world: {"there": len(world.store.ids())})
    disk.told.clear()
    disk.sessions.delete(session.id)
    assert disk.told == [None] and list(disk.found) == STEPS
    assert disk.found.pop("noted, not sent") == {"there": 2, "notes": 0}
    assert all(found == {"there": 1, "notes": 0} for found in disk.found.values())
    assert disk.store.count_operations() == 0 and len(disk.store.ids()) == 1


@pytest.mark.requirement("P-143")
def test_who_was_told_reads_what_was_told(disk):
    """Reading waits for the commit, and what handles show does not."""
    read = []

    def told(step):
        read.append(in_thread(lambda: disk.store.infos()))
        (shown,) = disk.world.told.infos.values()
        assert json.loads(shown)["title"] == "T" and not disk.world.told.events()

    disk.at = told
    disk.sessions.create_with('{"title":"T"}')
    (infos,) = read
    assert json.loads(b"[%b]" % infos())[0]["title"] == "T"
    assert [kind for kind, _ in disk.world.told.events()] == ["session.created"]


@pytest.mark.requirement("P-143")
def test_nobody_is_told_before_the_note_is_on_disk(disk):
    disk.world.writer._wake = None
    disk.sessions.create()
    assert disk.told == [] and len(disk.store.ids()) == 1 and disk.store.count_operations() == 0


def full(*_):
    raise errors.StoreIo("the disk is full")


@pytest.mark.requirement("P-143", "P-144")
@pytest.mark.parametrize("what", ["create", "update", "delete"])
def test_what_was_told_and_cannot_be_committed_is_recorded_later(disk, what):
    session = disk.sessions.create_with('{"title":"Before"}')
    disk.told.clear()
    disk.world.hold_back()  # the events tell it, too
    commit = disk.store.commit

    def fail_once():
        disk.store.commit = commit
        disk.store.rollback()
        full()

    disk.at = lambda step: setattr(disk.store, "commit", fail_once)
    if what == "create":
        disk.sessions.create_with(json.dumps(OPTIONS))
    elif what == "update":
        disk.sessions.update_title(session.id, "After")
    else:
        disk.sessions.delete(session.id)
    world = disk.world
    assert len(disk.told) == 1 and [line[0] for line in world.log.lines] == ["warning"]
    before = [info["title"] for info in shown(world)["shown"]]
    world.told.take()
    world.jobs()
    events = [kind for kind, _ in world.told.take()]
    after = shown(world)["shown"]
    assert before == ["Before"] and disk.store.count_operations() == 0
    if what == "create":
        assert {name: after[-1][name] for name in OPTIONS} == OPTIONS and events == ["session.created"]
    elif what == "update":
        assert [info["title"] for info in after] == ["After"] and events == ["session.updated"]
    else:
        assert after == [] and events == ["session.deleted"]


@pytest.mark.parametrize("what", ["create", "update", "delete"])
def test_what_the_server_refuses_leaves_no_note(disk, what):
    session = disk.sessions.create()
    disk.told.clear()
    disk.world.server.fail[what] = errors.Server("no", details={"status": 500})
    with pytest.raises(errors.Server):
        {
            "create": lambda: disk.sessions.create(),
            "update": lambda: disk.sessions.update_title(session.id, "T"),
            "delete": lambda: disk.sessions.delete(session.id),
        }[what]()
    assert disk.told == [] and [each.kind for each in disk.store.operations()] in ([], ["take back"])


@pytest.mark.parametrize("what", ["create", "update", "delete"])
def test_what_cannot_be_sent_is_queued_in_place_of_its_note(disk, what):
    session = disk.sessions.create()
    disk.told.clear()
    disk.world.server.fail[what] = errors.Connection("nobody is there", details={"sent": False})
    {
        "create": lambda: disk.sessions.create(),
        "update": lambda: disk.sessions.update_title(session.id, "T"),
        "delete": lambda: disk.sessions.delete(session.id),
    }[what]()
    assert disk.told == [] and disk.store.count_operations() == 0
    assert [each["op"] for each in disk.world.operations()] == [what]
