"""Many threads, several processes and another client change the same sessions: nothing locks up, everybody knows the
same afterwards."""

import collections
import json
import random
import threading
import uuid
from itertools import pairwise

import pytest

from tests import support
from tests.robust.conftest import TORTURE
from tests.robust.host import Host, eventually, outcome

ROUNDS = 200 if TORTURE else 12
THREADS = 8
#: What calls may end with that meet a deletion, or an abort of their session.
EXPECTED = {"OK", "NOT_FOUND", "ABORTED"}


class Crowd:
    """Threads that do anything to anybody's sessions through one host."""

    def __init__(self, host, pool, lock, seed):
        self._host, self._pool, self._lock = host, pool, lock
        self.codes = collections.Counter()
        self.surprises = []
        self._handles = {}
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed * 100 + number),)) for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a call hangs"

    def _call(self, name, *arguments):
        answer = self._host.start(name, *arguments)
        code = outcome(answer)
        self.codes[name, code] += 1
        if code not in EXPECTED:
            self.surprises.append((name, code, str(answer.failure()) if code != "DIED" else ""))
        return answer.result() if code == "OK" else None

    def _some(self, chance):
        """Return `(handle, id)` of a session of the pool, or None."""
        with self._lock:
            if not self._pool:
                return None
            session_id = chance.choice(self._pool)
        if session_id not in self._handles:
            handle = self._call("session_open", session_id)
            if handle is None:
                return None
            self._handles[session_id] = handle
        return self._handles[session_id], session_id

    def _work(self, chance):
        for _ in range(ROUNDS):
            action = chance.choice(
                ["create", "create", "title", "title", "patch", "list", "get", "query", "delete", "abort", "destroy"]
            )
            some = self._some(chance)
            if action == "create" or some is None:
                handle = self._call("session_create_with", json.dumps({"title": f"made {chance.random()}"}))
                if handle:
                    session_id = self._host.session_get_id(handle)
                    with self._lock:
                        self._pool.append(session_id)
                continue
            handle, session_id = some
            if action == "title":
                self._call("session_update_title", handle, f"renamed {chance.random()}")
            elif action == "patch":
                self._call(
                    "session_update",
                    handle,
                    json.dumps({"metadata": {"at": chance.random()}, "archived": chance.random() < 0.5}),
                )
            elif action == "list":
                json.loads(self._call("session_list"))
            elif action == "query":
                json.loads(self._call("session_query", '{"limit":10}'))
            elif action == "get":
                self._call("session_get_info", handle)
            elif action == "abort":
                self._call("session_abort", handle)
            elif action == "destroy":
                second = self._call("session_open", session_id)
                if second:
                    self._call("session_destroy", second)
            else:
                with self._lock:
                    if session_id in self._pool:
                        self._pool.remove(session_id)
                self._call("session_delete", handle)


def meddle(other, pool, lock, stop):
    """Be another client that renames, creates and deletes what the crowd works with."""
    chance = random.Random(7)
    while not stop.wait(0.02):
        with lock:
            session_id = chance.choice(pool) if pool else None
        try:
            if session_id is None or chance.random() < 0.2:
                made = other.create(f"elsewhere {chance.random()}")
                with lock:
                    pool.append(made)
            elif chance.random() < 0.8:
                other.rename(session_id, f"by another {chance.random()}")
            else:
                with lock:
                    if session_id in pool:
                        pool.remove(session_id)
                other.delete(session_id)
        except Exception as error:  # the crowd deletes, too
            assert type(error).__name__ == "NotFound", error


def known(host):
    """Return what the store knows, without asking the server: {id: (title, archived, metadata)}."""
    sessions, cursor = [], {}
    while True:
        page = json.loads(host.session_query(json.dumps({"limit": 500, **cursor})))
        sessions += page["sessions"]
        if "nextCursor" not in page:
            return {
                each["id"]: seen(each["title"], each["time"].get("archived"), each["metadata"]) for each in sessions
            }
        cursor = {"cursor": page["nextCursor"]}


def seen(title, archived, metadata):
    return title, bool(archived), json.dumps(metadata, sort_keys=True)


def on_server(other):
    return {each.id: seen(each.title, each.archived, each.metadata) for each in other.everything()}


def check_story(events, final):
    """Each session is created once and deleted once at most, nothing is told after its end, and what was told last is
    what it is."""
    lives, titles = {}, {}
    for event in events:
        session_id, kind = event.get("sessionId"), event["type"]
        if session_id is None or kind not in ("session.created", "session.updated", "session.deleted"):
            continue
        if kind == "session.created":
            assert session_id not in lives, f"{session_id} was created twice"
            lives[session_id] = "alive"
        else:
            assert lives.get(session_id, "alive") == "alive", f"{session_id}: {kind} after its end"
            lives.setdefault(session_id, "alive")
            if kind == "session.deleted":
                lives[session_id] = "dead"
            elif "title" in event["data"]:
                titles.setdefault(session_id, []).append(event["data"]["title"])
    for session_id, (title, _, _) in final.items():
        assert lives.get(session_id, "alive") == "alive"
        if session_id in titles:
            assert titles[session_id][-1] == title
        # One event per change: nothing is told twice in a row.
        told = titles.get(session_id, [])
        assert all(first != second for first, second in pairwise(told)), told
    assert not {session_id for session_id, state in lives.items() if state == "alive"} - final.keys()


def crowd(hosts, other, seed=1):
    """Let the hosts and another client work on one pool; then hold all that is known against the server."""
    pool, lock, stop = [other.create(f"first {number}") for number in range(8)], threading.Lock(), threading.Event()
    for host in hosts:
        host.session_sync(20000)
        host.subscribe()
    meddler = threading.Thread(target=meddle, args=(other, pool, lock, stop))
    meddler.start()
    crowds = [Crowd(host, pool, lock, seed + number) for number, host in enumerate(hosts)]
    for each in crowds:
        each.join()
    stop.set()
    meddler.join(20)
    assert not meddler.is_alive()
    assert not [surprise for each in crowds for surprise in each.surprises]
    for host in hosts:
        host.session_sync(20000)
    final = on_server(other)
    for host in hosts:
        assert eventually(lambda host=host: known(host) == final, 10), differences(known(host), final)
    return final


def differences(here, there):
    return {
        each: (here.get(each), there.get(each))
        for each in here.keys() | there.keys()
        if here.get(each) != there.get(each)
    }


@pytest.mark.requirement("P-075", "P-114", "P-132")
@pytest.mark.parametrize("build", ["plain", "thread"] if TORTURE else ["plain"])
def test_eight_threads_and_another_client_end_with_one_truth_and_one_story(daemon, other, folder, build):
    """Also with ThreadSanitizer on both sides of the boundary."""
    with Host(
        folder,
        {"dataDir": str(folder), "backend": daemon.backend},
        build,
        TSAN_OPTIONS=f"{support.TSAN}:exitcode=66",
    ) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        final = crowd([host], other)
        # The last event of all: what came before it has come.
        mark = uuid.uuid4().hex
        host.session_create_with(json.dumps({"title": mark, "key": mark}))
        story = []
        assert eventually(lambda: story.extend(host.heard()) or any(marked(host, event, mark) for event in story))
        check_story(story, final | known(host))
        host.shutdown()
        host.close_input()
        assert host.wait(20) == 0


def marked(host, event, mark):
    return event["type"] == "session.created" and host.query(key=mark)[0]["id"] == event["sessionId"]


@pytest.mark.requirement("P-075")
def test_two_processes_on_one_store_and_one_server_end_with_one_truth(daemon, other, folder):
    config = {"dataDir": str(folder), "backend": daemon.backend}
    with Host(folder, config) as first, Host(folder, config) as second:
        for host in first, second:
            assert eventually(lambda host=host: host.status()["server"]["events"])
        crowd([first, second], other, seed=11)
