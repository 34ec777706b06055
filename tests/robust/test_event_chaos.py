"""An event path that drops, stalls, doubles, reorders and ends half-open: each reader is handed each event once and in
its order, or a gap, and when it is over the store is what the server is."""

import contextlib
import json
import random
import sqlite3
import threading
import time

import pytest

from plue_session.model import EVENTS
from plue_session.rules import cursors
from tests.opencode.stub import reply
from tests.remote.proxy import Disturbance, Proxy, without_sequences
from tests.robust.conftest import TORTURE, patience
from tests.robust.host import Host, eventually
from tests.robust.test_concurrency import differences, known, on_server

SEEDS = range(1000 if TORTURE else 30)
#: Changes that are made beside each other in one storm.
CHANGES = 24


class Weather(Disturbance):
    """What it does to single events, and to the stream: it stalls, it goes on as if it lived and brings nothing until
    it is cut, or it is cut within an event."""

    def __init__(self, seed):
        super().__init__(seed, drop=0.1, double=0.15, delay=0.2, seconds=0.15)
        self._dead_since = None
        self._left = self._random.choice((0, 0, 1, 2))  # how often it may still be cut: each reconnect takes a second
        self.over = False

    def __call__(self, event, send):
        if self.over or b'"server.' in event:
            send(event)
            return
        if self._dead_since is not None:
            if time.monotonic() - self._dead_since > 0.2:
                self._dead_since = None
                raise OSError("the half-open connection ends")
            return
        chance = self._random.random()
        if chance < 0.03:
            time.sleep(self._random.uniform(0, 0.2))
        elif chance < 0.06 and self._left:
            self._left -= 1
            if self._random.random() < 0.5:
                self._dead_since = time.monotonic()
                return
            send(event[: self._random.randrange(1, len(event))])
            raise OSError("cut within an event")
        super().__call__(event, send)


def without_history(request):
    """Be a server that numbers its events, and fails when it is asked for those that were missed."""
    return reply(500) if request.path == "/sync/history" and request.body not in (b"", b"[]") else None


class Reader:
    """One reader of events, by whichever function: `take` is given what it was handed, as it comes. `place` is the log
    id up to which it has all."""

    def __init__(self, name, place=0):
        self.name, self.place, self._first = name, place, place
        self.events = []

    def take(self, events):
        for event in events:
            self.events.append(event)
            if event["type"] == "gap":
                self.place = cursors.parse(event["data"]["latestCursor"])[1]
            elif event["type"] in DURABLE:
                self.place = cursors.parse(event["cursor"])[1]

    def check(self, log, ended):
        """Check that this is what the `log` holds, `{id: (type, session id)}`: each event once and in order, or a gap
        in its place. Of sessions that have `ended` it holds the end alone."""
        numbers = [event["sequence"] for event in self.events if event["type"] != "gap"]
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))], f"{self.name}: a hole in the sequence"
        place = self._first
        for event in self.events:
            if event["type"] == "gap":
                after, place = (cursors.parse(event["data"][f"{name}Cursor"])[1] for name in ("requested", "latest"))
                assert not [each for each in log if place < each <= after], f"{self.name}: lost before a gap"
            elif event["type"] in DURABLE:
                log_id = cursors.parse(event["cursor"])[1]
                assert log_id > place, f"{self.name}: {event} was told twice, or after a later one"
                lost = [log[each] for each in log if place < each < log_id]
                assert not lost, f"{self.name}: lost {lost} before {event}"
                assert log.get(log_id, (event["type"], event["sessionId"])) == (event["type"], event["sessionId"])
                assert log_id in log or event["sessionId"] in ended, f"{self.name}: {event} is not in the log"
                place = log_id
        assert not [each for each in log if each > place], f"{self.name}: lost {log} after {place}"

    def read(self, following):
        """Take what `following()` hands out, one event a call, until it has none."""
        while (event := following()) is not None:
            self.take([json.loads(event)])

    def titles(self, session_id):
        """The titles that were told of a session, in order."""
        mine = [event for event in self.events if event.get("sessionId") == session_id]
        return [event["data"]["title"] for event in mine if "title" in event["data"]]


class Observer(Reader):
    """One that a `host` opens anew, from the cursor where it has come to, each time that it is read."""

    def __init__(self, name, host):
        super().__init__(name)
        self._host, self._cursor, self._count = host, None, 0
        self._open()
        self.place = self._first = cursors.parse(self._cursor)[1]

    def _open(self):
        self._observer = self._host.session_observe(ALL_SESSIONS, self._cursor)
        self._cursor = self._host.session_observer_cursor(self._observer)

    def take(self, events):
        for event in events:
            if event["type"] != "gap":  # each of its observers counts for itself
                event["sequence"] = self._count = self._count + 1
        super().take(events)

    def follow(self):
        """Take what there is, and go on with another observer."""
        self.read(lambda: self._host.session_observer_next(self._observer, 0))
        self._cursor = self._host.session_observer_cursor(self._observer)
        self._host.session_observer_close(self._observer)
        self._open()


ALL_SESSIONS = 1
#: The kinds of events that are in the log here.
DURABLE = ("session.created", "session.updated", "session.deleted")


def read_log(folder):
    """Return what the store's log holds: `{id: (type, session id)}`."""
    with contextlib.closing(sqlite3.connect(folder / "sessions.db")) as store:
        rows = store.execute("SELECT id, kind, session_id FROM log ORDER BY id").fetchall()
    return {log_id: (EVENTS[kind], session_id) for log_id, kind, session_id in rows}


def is_part(part, whole):
    """Return whether a list is another one with some left out."""
    rest = iter(whole)
    return all(each in rest for each in part)


class Storm:
    """Two clients of one server make changes at once, each of its own sessions and both of a shared one."""

    def __init__(self, seed, host, other):
        self._seed, self._host, self._other = seed, host, other
        self.made, self.deleted = {}, set()  # session id: the titles that it was given by one client, in order

    def rage(self):
        """Make all changes, and raise what a client has met."""
        met = []

        def run(work, seed):
            try:
                work(random.Random(seed))
            except BaseException as error:
                met.append(error)

        threads = [threading.Thread(target=run, args=each) for each in ((self._theirs, self._seed), (self._ours, -1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if met:
            raise met[0]

    def _theirs(self, chance):
        mine = []
        for number in range(CHANGES):
            title = f"theirs {self._seed} {number}"
            if len(mine) < 2 or chance.random() < 0.1:
                mine.append(self._other.create(title))
                self.made[mine[-1]] = [title]
            elif chance.random() < 0.1:
                self.deleted.add(mine[0])
                self._other.delete(mine.pop(0))
            else:
                session_id = chance.choice(mine)
                self._other.rename(session_id, title)
                self.made[session_id].append(title)

    def _ours(self, chance):
        handle = self._host.session_create_with(json.dumps({"title": f"ours {self._seed}"}))
        session_id = self._host.session_get_id(handle)
        self.made[session_id] = [f"ours {self._seed}"]
        for number in range(CHANGES // 4):
            self.made[session_id].append(f"ours {self._seed} {number}")
            self._host.session_update_title(handle, self.made[session_id][-1])

    def clear(self):
        """Delete all, for the next one."""
        for session_id in self.made.keys() - self.deleted:
            self._other.delete(session_id)


@contextlib.contextmanager
def following(observer):
    """Have an observer followed by a thread meanwhile."""
    over, failed = threading.Event(), []

    def follow():
        try:
            while not over.wait(0.05):
                observer.follow()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failed, failed


@pytest.mark.requirement("P-114", "P-132", "L-162", "T-02", "O-078")
@pytest.mark.parametrize("seed", SEEDS)
def test_each_reader_is_handed_each_event_once_or_a_gap(daemon, other, folder, seed):
    rule = (None, without_history, without_sequences)[seed % 3]
    kept = other.create("kept")  # of a server that has none of the known sessions the library waits to see if it is one
    replay = {"limit": 1_000_000, "ageMs": 1_000_000_000}
    with Proxy(daemon.url) as proxy:
        if rule is not None:
            proxy.rules.append(rule)
        backend = {**daemon.backend, "url": proxy.url}
        with Host(folder, {"dataDir": str(folder), "backend": backend, "replay": replay}) as host:
            assert eventually(lambda: host.status()["server"]["events"], patience(10))
            host.session_sync(10_000)
            default, observer = Reader("the default queue"), Observer("an observer", host)
            subscription = Reader("a subscription", max(read_log(folder), default=0))
            host.subscribe()
            proxy.disturbance = weather = Weather(seed)
            storm = Storm(seed, host, other)
            with following(observer):
                storm.rage()
            weather.over = True
            weather.done()
            proxy.cut_streams()  # what was lost is found when the stream begins anew, or by comparing

            def settled():
                host.session_sync(10_000)
                subscription.take(host.heard())
                default.read(host.event_poll)
                observer.follow()
                here, there = known(host), on_server(other)
                last = max(read_log(folder), default=0)
                places = {subscription.place, default.place, observer.place}
                return here == there and places == {last} and proxy.streams == 1

            assert eventually(settled, patience(20)), differences(known(host), on_server(other))
            log, made = read_log(folder), storm.made
            for reader in (default, subscription, observer):
                reader.check({each: told for each, told in log.items() if each > reader._first}, storm.deleted)
                for session_id, titles in made.items():
                    told = reader.titles(session_id)
                    # Without numbers nothing tells the older of two events of one millisecond.
                    in_order = rule is without_sequences or is_part(told, titles)
                    assert in_order, f"{reader.name}: {told}, not of {titles}"
            assert len(subscription.events) > len(made) and made.keys() - storm.deleted <= known(host).keys()
        storm.clear()
        other.delete(kept)
