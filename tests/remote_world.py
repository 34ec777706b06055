"""The services with a server, as the runtime builds them, over a fake server: what their unit tests act in."""

import json
import queue
import threading
import time

import pytest

from plue_session import config, errors
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.share_key import ShareKeyMemory
from plue_session.call import Call
from plue_session.services.operations import Operation
from plue_session.services.sharing import Sharing
from plue_session.services.writer import Writer
from plue_session.wiring import RemoteHalf
from tests.checked import Checked
from tests.fake_server import START, FakeServer
from tests.recording import RecordingPublisher

#: How a server that cannot be reached, and one that answers nonsense, fail.
AWAY = errors.Connection("the server cannot be reached")
ANSWERED = {"status": 500, "server": "no"}


class Quiet:
    """A log that remembers."""

    def __init__(self):
        self.lines = []

    def write(self, level, message):
        self.lines.append((level, message))


class On:
    """What one call works with: the services, which take text, and synchronisation, which is waited for."""

    def __init__(self, world, call):
        def perform(work):
            if isinstance(work, Operation):
                return world.executor.run(work, call)
            return work(call) if callable(work) else work

        self.sessions, self.sharing = Checked(world.sessions, perform), Checked(world.sharing, perform)
        self.asks = Checked(world.asks, perform)
        self.inputs, self.messages = Checked(world.inputs, perform), Checked(world.messages, perform)
        self.sync = Waited(world.sync)


class Waited:
    """Synchronisation as a C caller sees it."""

    def __init__(self, sync):
        self._sync = sync

    def run(self, timeout_ms):
        later = self._sync.run(timeout_ms)
        if later is None:
            return
        ended = queue.SimpleQueue()
        later.then(ended.put)
        outcome = ended.get(timeout=10)
        if outcome is not None:
            raise outcome


class RemoteWorld:
    """The services over a fake server whose events come at once, or by hand (`deliver`) after `hold_back`."""

    def __init__(self, settings=None, store=None, server=None):
        self.settings = config.load(
            json.dumps(
                {"backend": {"kind": "opencode", "url": "http://fake", "directory": "/tmp"}, **(settings or {})}
            ),
            {},
        )
        self.now = START
        self.store, self.server = store or MemoryStore("opencode"), server or FakeServer()
        self.told, self.log, self.states = RecordingPublisher(), Quiet(), []
        self.writer = Writer(self.store, self.told, lambda: self.now)
        self.sharing = Sharing(self.store, ShareKeyMemory(), lambda: self.now, self.settings)
        half = RemoteHalf(
            self.server,
            self.writer,
            self.store,
            self.told,
            self.sharing,
            self.settings,
            self.log,
            lambda connected, reason: self.states.append((connected, reason)),
            lambda: self.now,
            "0.1.0",
        )
        self.sync, self.link, self.queue, self.mirror = half.sync, half.link, half.jobs, half.mirror
        self.calls, self.session_locks, self.outbox = half.calls, half.session_locks, half.outbox
        self.executor, self.sessions, self.inputs = half.executor, half.sessions, half.inputs
        self.messages, self.transcript, self.streams = half.messages, half.transcript, half.streams
        self.asks = half.asks
        self.driver, self.turns = half.driver, half.turns
        self.server.tell = self.hear
        self.held_back = []

    def do(self, work, session=None, seconds=5.0, name="test"):
        """Carry out `work(on)` as one call of a host's."""
        with self.calls.begin(name, session, time.monotonic() + seconds) as call:
            return work(On(self, call))

    def create(self, **options):
        return self.do(lambda on: on.sessions.create_with(json.dumps(options)))

    def info(self, session):
        return json.loads(self.store.info(getattr(session, "id", session))[1])

    def hear(self, change):
        """Take in something that the server tells."""
        self.sync.apply_all([change])

    def hold_back(self):
        """Let events wait for `deliver`."""
        self.server.tell = self.held_back.append

    def deliver(self):
        """Let the events that waited come."""
        late, self.held_back = self.held_back, []
        self.server.tell = self.hear
        for change in late:
            self.hear(change)

    def jobs(self, kinds=None):
        """Do what is to be done behind the callers' backs but to reconcile and to see what turns ask, also what has
        time, and return its kinds; or what is of these `kinds`."""
        jobs = [
            job
            for job in self.queue.waiting()
            if (job.kind in kinds if kinds else job.kind not in ("reconcile", "asks", "deadline"))
        ]
        for job in jobs:
            self.queue.drop(job.kind, job.session_id)
            self.sync.worker.do(job)
        return sorted(job.kind for job in jobs)

    def away(self, error=AWAY):
        """Have the server be away."""
        self.link.contact(error)

    def back(self):
        """Have the server be back, and send what has waited; fail as the first does that cannot be sent."""
        self.link.contact()
        self.replay()

    def replay(self, seconds=5):
        """Send what waits, also what has time."""
        for session_id in dict.fromkeys(row.session_id for row in self.store.all_outgoing(1 << 30)):
            with self.calls.begin("outbox", session_id, time.monotonic() + seconds) as call:
                self.outbox.replay(session_id, call)

    def operations(self):
        """Return what waits, as `sync_status` tells it."""
        return json.loads(self.sync.status())["operations"]

    def reconcile(self, seconds=5):
        """Compare all once; fail as that does."""
        error = self.sync.compare(None, self.sync.worker.call.within(seconds))
        if error is not None:
            raise error

    def reconciles_soon(self):
        """Return whether all will be compared at once."""
        return any(job.kind == "reconcile" and job.due <= time.monotonic() for job in self.queue.waiting())

    def elsewhere(self, **fields):
        """Have another client create a session; return its id."""
        return self.server.create(None, Call(), **fields).id


def in_thread(work):
    """Run `work` in a thread; the function returned waits for it and returns what it returned or raised."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result(seconds=10):
        thread.join(seconds)
        assert not thread.is_alive()
        return outcome[0]

    return result


def asked(world):
    names, world.server.asked[:] = [each[0] for each in world.server.asked], []
    return names


def unchanged_by(world, error, work, session=None, match=""):
    """Check that a call fails so, changes nothing here and tells nobody; return the error."""
    before, _ = world.store.infos(), world.told.take()
    with pytest.raises(error, match=match or None) as caught:
        world.do(work, session)
    assert world.store.infos() == before and world.told.take() == []
    return caught.value


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def titles(world):
    return sorted(each["title"] for each in json.loads(b"[%b]" % world.store.infos()))
