"""Nothing that is in a session's sequence is missed, told twice or out of order, whatever happens on the way (O-078).

Each host looks at the server once, when it starts: what it knows later it was told, or has asked for by number.
"""

import json
import os
import random
import signal
import threading

import pytest

from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.history import History
from tests.opencode.fixtures import isolate, serve, soon
from tests.remote.hosts import Host
from tests.remote.proxy import Disturbance, Gate, Proxy, without_sequences
from tests.remote_world import until

#: Seconds in which everything must have been told.
QUIET = 20


class Place:
    """One of the servers, and another client of it."""

    def __init__(self, owned, directory):
        self.owned = owned
        self.client = Client(owned.url, directory, owned.username, owned.password)
        self.history = History(self.client)


@pytest.fixture(scope="module")
def places(opencode, guard, repository, model, tmp_path_factory):
    """Two servers on one database of their own."""
    environment = isolate(tmp_path_factory.mktemp("sequences"), model)
    made = [Place(serve(opencode, guard, repository, environment), repository) for _ in range(2)]
    yield made
    for place in made:
        place.client.close()
        place.owned.stop()


@pytest.fixture
def client(places):
    return places[0].client


@pytest.fixture
def begin(places, plain, repository, tmp_path):
    """`begin(place)` starts a host in step with one of the servers, reached through `host.proxy`, or `direct`.
    Another one on the same proxy has the same store."""
    hosts, proxies = [], []

    def start(place=places[0], proxy=None, rules=(), direct=False):
        if proxy is None:
            proxy = Proxy(lambda: place.owned.url(soon(30)))
            proxies.append(proxy)
            proxy.rules.extend(rules)
        backend = {"kind": "opencode", "url": place.owned.url(soon()) if direct else proxy.url, "directory": repository}
        backend |= {"username": place.owned.username, "password": place.owned.password}
        folder = tmp_path / str(proxies.index(proxy))
        host = Host(plain, folder, dataDir=str(folder), backend=backend, cacheTtlMs=600_000, syncIntervalMs=600_000)
        hosts.append(host)
        host.proxy = proxy
        host.await_stream()
        host.call("session_sync", 10_000)
        return host

    yield start
    for host in hosts:
        host.__exit__()
    for proxy in proxies:
        proxy.down()


@pytest.fixture
def host(begin):
    return begin()


def title_list(places, session_id):
    """The titles that the server's own sequence has for a session, in order; those of one kept title once."""
    found = []
    for change in places[0].history.read({session_id: -1}, soon(30))[session_id]:
        if change.kind in ("created", "session") and found[-1:] != [change.value.title]:
            found.append(change.value.title)
    return found


def told(host, mark, session_id):
    return [
        data["title"] for kind, data in host.since(mark, session_id) if kind == "session.updated" and "title" in data
    ]


def is_part(some, all_):
    """Return whether `some` are of `all_`, each once and in order."""
    rest = iter(all_)
    return all(each in rest for each in some)


def await_titles(host, mark, session, expected):
    """Wait until the last of these titles is told, and see that all were, once and in order, and what is shown."""
    until(lambda: told(host, mark, session.id)[-1:] == expected[-1:], QUIET)
    assert told(host, mark, session.id) == expected and session.info()["title"] == expected[-1]


def await_title(session, title):
    until(lambda: session.info()["title"] == title, QUIET)


def settle(host):
    """End what disturbs the stream, and let a reconnect tell what is missing."""
    host.proxy.disturbance.done()
    host.proxy.disturbance = None
    host.proxy.cut_streams()
    host.await_status(lambda status: not status["server"]["events"] or not host.proxy.streams)
    host.await_stream()


# -- the stream --------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078")
@pytest.mark.parametrize("seed", range(3))
def test_each_change_of_others_is_told_once_and_in_order_whatever_the_stream_does(host, client, places, seed):
    sessions = [host.create_with(title=f"S{number}") for number in range(3)]
    mark, host.proxy.disturbance = host.mark(), Disturbance(seed)
    for number in range(25):
        for place, session in enumerate(sessions):
            client.update(session.id, soon(), title=f"S{place} {number}")
    settle(host)
    for session in sessions:
        expected = title_list(places, session.id)[1:]
        assert len(expected) == 25
        await_titles(host, mark, session, expected)


@pytest.mark.requirement("O-078", "P-123")
@pytest.mark.parametrize("seed", range(2))
def test_ours_theirs_and_a_second_servers_changes_end_in_its_truth_each_told_at_most_once(host, places, seed):
    sessions = [host.create_with(title=f"S{number}") for number in range(3)]
    mark, host.proxy.disturbance = host.mark(), Disturbance(seed)

    def rename(name, change):
        for number in range(12):
            for session_id in [session.id for session in sessions]:
                change(session_id, f"{session_id[-4:]} {name} {number}")

    ours = {session.id: session for session in sessions}
    changes = {
        "ours": lambda session_id, title: ours[session_id].update_title(title),
        "first": lambda session_id, title: places[0].client.update(session_id, soon(), title=title),
        "second": lambda session_id, title: places[1].client.update(session_id, soon(), title=title),
    }
    threads = [threading.Thread(target=rename, args=each) for each in changes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(host)
    for session in sessions:
        expected = title_list(places, session.id)
        assert len(expected) == 37
        await_title(session, expected[-1])
        titles = told(host, mark, session.id)
        assert is_part(titles, expected[1:]) and titles[-1] == expected[-1]
        assert places[0].client.get(session.id, soon()).title == expected[-1]


@pytest.mark.requirement("O-078", "P-123")
def test_our_own_changes_are_told_once_though_the_stream_tells_of_them_twice_and_late(host):
    session, mark = host.create_with(title="T"), host.mark()
    host.proxy.disturbance = Disturbance(1, drop=0, double=1, delay=0.5, seconds=0.5)
    expected = [f"T {number}" for number in range(10)]
    for title in expected:
        assert session.update_title(title) == 0 and session.info()["title"] == title
    settle(host)
    assert told(host, mark, session.id) == expected and session.info()["title"] == expected[-1]


@pytest.mark.requirement("O-078", "P-130")
@pytest.mark.parametrize("seed", range(2))
def test_creates_and_deletes_are_told_once_and_nobody_returns(host, client, seed):
    kept, doomed = [], []
    mark, host.proxy.disturbance = host.mark(), Disturbance(seed, double=0.5)
    for number in range(8):
        made = client.create(f"token {seed} {number}", soon(), title=f"M{number}")
        client.update(made.id, soon(), title=f"M{number}, renamed")
        (kept if number % 2 else doomed).append(made.id)
        if number % 2 == 0:
            client.delete(made.id, soon())
    settle(host)
    until(lambda: {*kept} <= host.list().keys() and host.list().keys().isdisjoint(doomed), QUIET)
    said = host.since(mark)
    for kind in ("session.created", "session.deleted"):
        ids = [data["id"] for told_kind, data in said if told_kind == kind]
        assert len(ids) == len({*ids})
    assert {*kept} <= {data["id"] for kind, data in said if kind == "session.created"}
    assert all(host.list()[session_id]["title"].endswith("renamed") for session_id in kept)


# -- several who change one session ------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078", "P-123")
@pytest.mark.parametrize("seed", range(2))
def test_two_processes_tell_no_older_change_after_a_newer_where_both_and_another_client_rename(
    begin, client, places, seed
):
    """They did, a few of hundreds. Not through the proxy, which delays events."""
    host = begin(direct=True)
    hosts = [host, begin(proxy=host.proxy, direct=True)]
    session, marks = host.create_with(title="S"), [each.mark() for each in hosts]
    ways = [session.update_title, hosts[1].open(session.id).update_title]
    ways.append(lambda title: client.update(session.id, soon(), title=title))

    def rename(number, change):
        pause = random.Random(10 * seed + number)
        for each in range(60):
            change(f"{number} {each}")
            threading.Event().wait(pause.random() * 0.02)

    threads = [threading.Thread(target=rename, args=each) for each in enumerate(ways)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = title_list(places, session.id)[1:]
    assert len(expected) == 180
    for each, mark in zip(hosts, marks, strict=True):
        until(lambda each=each, mark=mark: told(each, mark, session.id)[-1] == expected[-1], QUIET)
        assert is_part(told(each, mark, session.id), expected)
    assert session.info()["title"] == expected[-1]


@pytest.mark.requirement("O-078", "P-123")
@pytest.mark.parametrize("who", ["another client", "the other process"])
def test_an_answer_that_comes_late_replaces_nothing_newer_that_another_process_has_recorded(begin, client, places, who):
    host = begin()
    other = begin(proxy=host.proxy)
    session, gate = host.create_with(title="S"), Gate("PATCH", "/session/ses_[^/]*", after=True)
    theirs = other.open(session.id)
    client.update(session.id, soon(), title="both heard of it")
    for each in (host, other):
        each.wait_for("session.updated", session.id, title="both heard of it")
    marks = [host.mark(), other.mark()]
    host.proxy.rules.append(gate)
    call = session.start("update", json.dumps({"title": "ours", "tags": ["ours"]}))
    assert gate.arrived.wait(QUIET)
    host.proxy.rules.remove(gate)
    if who == "another client":
        client.update(session.id, soon(), title="theirs")
    else:
        theirs.update_title("theirs")
    until(lambda: theirs.peek()["title"] == "theirs", QUIET)
    gate.open()
    assert call.result() == 0 and session.peek()["title"] == "theirs" and session.peek()["tags"] == ["ours"]
    client.update(session.id, soon(), title="last")
    for each, mark in zip((host, other), marks, strict=True):
        until(lambda each=each, mark=mark: told(each, mark, session.id)[-1:] == ["last"], QUIET)
        assert is_part(told(each, mark, session.id), ["ours", "theirs", "last"])


# -- other servers -----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078", "O-064")
def test_what_a_second_server_did_is_told_before_the_next_change_of_the_first(host, places):
    session, mark, asked = host.create_with(title="T"), host.mark(), host.proxy.mark()
    for number in range(3):
        places[1].client.update(session.id, soon(), title=f"T {number}")
    places[0].client.update(session.id, soon(), title="T 3")
    expected = [f"T {number}" for number in range(4)]
    await_titles(host, mark, session, expected)
    assert "POST /sync/history" in host.proxy.since(asked) and "GET /session" not in host.proxy.since(asked)


# -- away and back -----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078", "O-058")
def test_a_reconnect_tells_each_change_that_was_missed(host, client, places):
    session = host.create_with(title="T")
    client.update(session.id, soon(), title="before")
    host.wait_for("session.updated", session.id, title="before")
    mark = host.mark()
    host.proxy.down()
    expected = [f"T {number}" for number in range(4)]
    for place, title in enumerate(expected):
        places[place % 2].client.update(session.id, soon(), title=title)
    host.proxy.up()
    await_titles(host, mark, session, expected)


@pytest.mark.requirement("O-078")
def test_a_restart_tells_each_change_that_was_missed(begin, client):
    host = begin()
    session = host.create_with(title="T")
    client.update(session.id, soon(), title="before")
    host.wait_for("session.updated", session.id, title="before")
    session_id = session.id
    host.__exit__()
    expected = [f"T {number}" for number in range(4)]
    for title in expected:
        client.update(session_id, soon(), title=title)
    again = begin(proxy=host.proxy)
    await_title(again.open(session_id), expected[-1])
    assert told(again, 0, session_id) == expected


@pytest.mark.requirement("O-078", "O-065")
def test_a_kill_of_the_server_misses_nothing_of_what_another_one_did_meanwhile(begin, places):
    host = begin(places[1])
    sessions = [host.create_with(title=f"S{number}") for number in range(2)]
    places[1].client.update(sessions[0].id, soon(), title="before")
    host.wait_for("session.updated", sessions[0].id, title="before")
    mark = host.mark()
    os.killpg(places[1].owned.pid, signal.SIGKILL)
    expected = [f"T {number}" for number in range(4)]
    for session in sessions:
        for title in expected:
            places[0].client.update(session.id, soon(), title=title)
    for session in sessions:
        await_titles(host, mark, session, expected)


# -- older servers -----------------------------------------------------------------------------------------------------
@pytest.mark.requirement("O-078", "O-063")
def test_a_server_without_sequences_is_followed_by_its_plain_events_and_compared_after_a_reconnect(begin, client):
    host = begin(rules=[without_sequences])
    session, mark = host.create_with(title="T"), host.mark()
    expected = [f"T {number}" for number in range(5)]
    for title in expected:
        client.update(session.id, soon(), title=title)
    until(lambda: told(host, mark, session.id) == expected, QUIET)
    host.proxy.down()
    client.update(session.id, soon(), title="missed")
    client.update(session.id, soon(), title="last")
    host.proxy.up()
    until(lambda: told(host, mark, session.id) == [*expected, "last"], QUIET)
    assert session.info()["title"] == "last"
