"""Changes made while a real server is away: shown at once, kept through every kill, sent once when it is back."""

import json
import os
import random
import signal
import threading

import pytest

from tests import support
from tests.peers import Failed, Peer
from tests.robust.conftest import TORTURE
from tests.robust.gate import Gate, cut, cut_after, of, once, refuse, stall, stall_after
from tests.robust.host import Host, alive, eventually

#: How often the host and the server are killed.
HOSTS, SERVERS = (200, 50) if TORTURE else (10, 5)
SETTINGS = {"retry": {"baseMs": 100, "maxMs": 1000}, "syncIntervalMs": 2000, "requestTimeoutMs": 10_000}


def web_page(gate, connection, forward):
    """Answer as a server does that has no such route."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")


#: What a server does to the changes of one session.
SICK = {
    "500": refuse(500),
    "502": refuse(502),
    "a web page": web_page,
    "silence": stall,
    "silence afterwards": stall_after,
    "cut off": cut,
    "cut off afterwards": cut_after,
}


def settings(folder, backend, **more):
    return {"dataDir": str(folder), "backend": backend, **SETTINGS, **more}


def settled(host, seconds=30):
    """Wait until nothing waits any more."""
    assert eventually(lambda: host.status()["connected"] and host.status()["pending"] == 0, seconds, 0.05), (
        host.status()
    )


def away(host):
    assert eventually(lambda: not host.status()["connected"], 20, 0.05)


def alias_of(info):
    return info.get("aliases", [info["id"]])[0]


@pytest.fixture
def host(daemon, folder):
    with Host(folder, settings(folder, daemon.backend)) as made:
        assert eventually(lambda: made.status()["server"]["events"])
        made.start("subscribe").result()
        yield made
    if not alive(daemon.pid):
        daemon.start()


@pytest.mark.requirement("P-170", "P-173", "P-177")
def test_an_app_keeps_working_while_the_server_is_gone(host, daemon, other):
    there = host.session_create_with(json.dumps({"title": "There"}))
    there_id = host.session_get_id(there)
    doomed = host.session_create_with(json.dumps({"title": "Doomed"}))
    doomed_id = host.session_get_id(doomed)
    daemon.kill()
    away(host)
    parent = host.session_create_with(json.dumps({"title": "Offline", "key": "mine", "tags": ["t"]}))
    alias = host.session_get_id(parent)
    child = host.session_create(alias)
    host.session_update_title(parent, "Offline, renamed")
    host.session_update_title(there, "There, renamed")
    host.session_update(there, json.dumps({"metadata": {"n": 1}}))
    host.session_delete(doomed)
    with pytest.raises(Failed) as caught:
        host.session_fork(parent, None)
    assert caught.value.code == "CONNECTION"
    assert host.info(there)["sync"] == {"state": "pending", "pending": 2} and alias.startswith("session_")
    assert [each["op"] for each in host.status()["operations"]] == [
        "create",
        "create",
        "update",
        "update",
        "update",
        "delete",
    ]
    daemon.start()
    settled(host)
    titles = other.titles()
    new = host.session_get_id(parent)
    assert new.startswith("ses_") and titles[new] == "Offline, renamed" and titles[there_id] == "There, renamed"
    assert doomed_id not in titles
    info = json.loads(host.session_peek_id(alias))
    assert (info["id"], info["aliases"], info["key"]) == (new, [alias], "mine") and info["sync"]["state"] == "synced"
    assert host.info(child)["parentId"] == new
    again = host.session_open(alias)
    assert host.session_get_id(again) == new and host.info(again) == host.info(parent)
    host.session_update_title(again, "By alias")
    assert host.info(parent)["title"] == "By alias" and other.titles()[new] == "By alias"
    (both,) = [each for each in host.heard() if each["data"].get("aliases") == [alias]]
    assert both["type"] == "session.updated" and both["sessionId"] == both["data"]["id"] == new


@pytest.mark.requirement("P-172", "P-120")
def test_conflicts_with_another_client_are_told_and_settled(daemon, folder, other):
    with Gate(daemon.url) as gate:
        config = settings(folder.parent / "second", gate.backend(daemon))
        (folder.parent / "second").mkdir()
        with Host(folder.parent / "second", config) as second:
            eventually(lambda: second.status()["server"]["events"])
            made = [second.session_create_with(json.dumps({"title": f"T{number}"})) for number in range(2)]
            ids = [second.session_get_id(each) for each in made]
            second.start("subscribe").result()
            gate.events = False
            gate.rules.append((of(None), cut))
            gate.cut_all()
            away(second)
            second.session_update_title(made[0], "Ours")
            second.session_update(made[1], json.dumps({"title": "Ours", "base": {"title": "T1"}}))
            for each in ids:
                other.rename(each, "Theirs")
            gate.events = True
            gate.clear()
            settled(second)
            assert other.titles()[ids[0]] == "Ours" and other.titles()[ids[1]] == "Theirs"
            (conflict,) = second.status()["conflicts"]
            assert conflict["session"] == ids[1]
            assert conflict["fields"] == [{"field": "title", "ours": "Ours", "theirs": "Theirs"}]
            assert second.info(made[1])["sync"]["state"] == "conflict" and second.info(made[1])["title"] == "Ours"
            told = [each for each in second.heard() if each["type"] == "sync.conflict"]
            assert {each["sessionId"] for each in told} == set(ids) and len(told) == 2
            second.session_discard_pending(made[1], conflict["id"])
            assert second.info(made[1])["title"] == "Theirs" and second.info(made[1])["sync"]["state"] == "synced"
            with pytest.raises(Failed) as caught:
                second.session_discard_pending(made[1], conflict["id"])
            assert caught.value.code == "NOT_FOUND"


@pytest.mark.requirement("P-170", "P-173")
def test_a_spawned_server_that_comes_back_on_another_port_gets_what_waited(spawned, folder, mark):
    with Host(folder, settings(folder, spawned)) as host:
        session = host.session_create_with(json.dumps({"title": "T"}))
        before = host.status()["server"]
        os.killpg(before["pid"], signal.SIGKILL)
        away(host)
        host.session_update_title(session, "While it was gone")
        offline = host.session_create_with(json.dumps({"title": "Offline"}))
        settled(host, 60)
        assert host.status()["server"]["pid"] != before["pid"]
        listed = {each["title"] for each in host.list()}
        assert listed == {"While it was gone", "Offline"}
        assert host.session_get_id(offline).startswith("ses_")


@pytest.mark.requirement("P-173")
@pytest.mark.parametrize("sick", SICK.values(), ids=SICK)
def test_what_a_sick_server_does_to_one_session_holds_up_no_other_and_passes(daemon, folder, other, sick):
    with Gate(daemon.url) as gate, Host(folder, settings(folder, gate.backend(daemon), requestTimeoutMs=1500)) as host:
        assert eventually(lambda: host.status()["server"]["events"])
        ill, well = (host.session_create_with(json.dumps({"title": "T"})) for _ in range(2))
        ill_id, well_id = host.session_get_id(ill), host.session_get_id(well)
        gate.events = False
        gate.rules.append((of(None), cut))
        gate.cut_all()
        away(host)
        host.session_update_title(ill, "Ill")
        host.session_update_title(well, "Well")
        gate.rules.insert(0, (of("PATCH", ill_id), sick))
        gate.rules.pop()
        gate.events = True
        assert eventually(lambda: other.titles()[well_id] == "Well", 20)
        threading.Event().wait(0.3)
        gate.clear()
        settled(host)
        assert other.titles()[ill_id] == "Ill" == host.info(ill)["title"]


@pytest.mark.requirement("P-176", "P-173")
@pytest.mark.parametrize("lost", [cut, cut_after, stall_after], ids=lambda each: each.__name__)
def test_a_queued_create_whose_answer_is_lost_is_made_once(daemon, folder, other, lost):
    before = set(other.titles())
    with Gate(daemon.url) as gate, Host(folder, settings(folder, gate.backend(daemon), requestTimeoutMs=3000)) as host:
        gate.events = False
        gate.rules.append((of(None), cut))
        gate.cut_all()
        away(host)
        session = host.session_create_with(json.dumps({"title": "Once"}))
        gate.rules.insert(0, once(of("POST", "/session"), lost))
        gate.rules.pop()
        gate.events = True
        settled(host)
        made = set(other.titles()) - before
        assert made == {host.session_get_id(session)}


@pytest.mark.requirement("P-176", "P-144")
def test_a_create_that_arrives_late_of_a_host_that_was_killed_is_made_once(daemon, folder, other):
    def late(gate, connection, forward):
        arrives.wait(30)
        forward()
        raise OSError

    before, arrives = set(other.titles()), threading.Event()
    with Gate(daemon.url) as gate:
        config = settings(folder, gate.backend(daemon), requestTimeoutMs=30_000)
        gate.events = False
        gate.rules.append((of(None), cut))
        gate.cut_all()
        with Host(folder, config) as host:
            away(host)
            alias = host.session_get_id(host.session_create_with(json.dumps({"title": "Once"})))
            gate.rules.insert(0, once(of("POST", "/session"), late))
            gate.rules.pop()
            gate.events = True
            assert eventually(lambda: ("POST", "/session") in gate.requests, 20, 0.005)
            host.kill()
        gate.clear()
        with Host(folder, config) as host:
            assert eventually(lambda: "may make the session yet" in str(host.status()["operations"]), 20, 0.02)
            arrives.set()
            settled(host)
            (made,) = set(other.titles()) - before
            assert host.session_get_id(host.session_open(alias)) == made
            assert gate.requests.count(("POST", "/session")) == 1


def work(host, wanted, deleted, number):
    """Make three sessions, rename them, and delete one of those that the server has; all of it is acknowledged."""
    for part in range(3):
        handle = host.session_create_with(json.dumps({"title": f"{number}.{part}"}))
        alias = host.session_get_id(handle)
        wanted[alias] = f"{number}.{part}"
        host.session_update_title(handle, f"{number}.{part} renamed")
        wanted[alias] += " renamed"
    known = [each for each in host.query() if alias_of(each) in wanted and each["id"].startswith("ses_")]
    if known:
        victim = known[number % len(known)]
        host.session_delete(host.session_open(victim["id"]))
        del wanted[alias_of(victim)]
        deleted.add(victim["id"])


def strikes_at(step):
    """Match the requests of a replay from this one on."""
    counted = []

    def matches(method, path):
        if method == "GET" and path != "/session" and not path.startswith("/session/"):
            return False
        counted.append(path)
        return len(counted) > step

    return matches


@pytest.mark.requirement("P-173", "P-144", "P-176")
def test_kills_of_host_and_server_lose_nothing_acknowledged_and_make_nothing_twice(daemon, folder, other):
    """A replay is cut at each of its requests, before or after the server has heard of it, and at any time between
    them; every fourth time the server dies, too."""
    first, wanted, deleted, chance = set(other.titles()), {}, set(), random.Random(13)
    servers = 0
    with Gate(daemon.url) as gate:
        config = settings(folder, gate.backend(daemon))
        for number in range(HOSTS):
            gate.rules.append((of(None), cut))
            gate.events = False
            gate.cut_all()
            with Host(folder, config) as host:
                away(host)
                work(host, wanted, deleted, number)
                while not gate.asked.empty():
                    gate.asked.get()
                if number % 3:
                    gate.rules.insert(0, (strikes_at(number // 3 % 12), stall if number % 3 == 1 else stall_after))
                gate.rules.pop()
                gate.events = True
                host.session_sync(0)
                if number % 3:
                    eventually(lambda: not gate.asked.empty() or not host.status()["pending"], 5, 0.005)
                else:
                    eventually(lambda: host.status()["connected"], 5, 0.001)
                    threading.Event().wait(chance.uniform(0, 0.1))
                if number % (HOSTS // SERVERS) == 0:
                    daemon.kill()
                    servers += 1
                host.kill()
            if not alive(daemon.pid):
                daemon.start()
            gate.clear()
        assert servers >= SERVERS
        with Host(folder, config) as host:
            settled(host, 120)
            host.session_sync(20_000)
            shown = {alias_of(each): (each["id"], each["title"]) for each in host.list() if each["id"] not in first}
            assert {alias: title for alias, (_, title) in shown.items()} == wanted
            there = {key: title for key, title in other.titles().items() if key not in first}
            assert there == dict(shown.values()) and not deleted & set(there)


def test_two_hosts_on_a_store_send_each_change_once(daemon, folder, other):
    before = set(other.titles())
    with Host(folder, settings(folder, daemon.backend)) as one, Host(folder, settings(folder, daemon.backend)) as two:
        for host in (one, two):
            assert eventually(lambda host=host: host.status()["server"]["events"])
        daemon.kill()
        for host in (one, two):
            away(host)
        made = [(one, two)[n % 2].session_create_with(json.dumps({"title": f"{n}"})) for n in range(20)]
        opened = two.session_open(one.session_get_id(made[0]))  # made by the other one, which is renamed here, too
        daemon.start()
        for host in (one, two):
            settled(host)
        there = {key: title for key, title in other.titles().items() if key not in before}
        assert sorted(there.values(), key=int) == [str(n) for n in range(20)]
        assert eventually(lambda: two.session_get_id(opened) == one.session_get_id(made[0]))
        assert {(one, two)[n % 2].session_get_id(each) for n, each in enumerate(made)} == set(there)


@pytest.mark.requirement("P-177", "T-02")
def test_who_slept_while_a_session_was_named_and_deleted_hears_of_its_end(daemon, folder):
    """The other process knows it by its first id alone, and what told of the second one goes with it."""
    config = {"backend": daemon.backend, **SETTINGS}
    library = support.library("plain")
    with Peer(library, folder, **config) as one, Peer(library, folder, **config) as other:
        daemon.kill()
        try:
            assert eventually(lambda: one.status()["connected"] is False, 20, 0.05)
            made = one.session_create(None)
            known = other.session_open(one.session_get_id(made))
            observer = other.session_observe(known, None)
            waits = other.start("session_observer_next", observer, 60_000)
            other.stop()
        finally:
            daemon.start()
        assert eventually(lambda: one.session_get_id(made).startswith("ses_"), 30, 0.05)
        there = one.session_get_id(made)
        one.session_delete(made)
        one.session_list()  # it waits for the commit, before which the delete may have returned
        other.resume()
        item = json.loads(waits.result())
        assert item["type"] == "session.deleted" and item["sessionId"] == there, item
        assert other.start("session_peek_info", known).failure().code == "NOT_FOUND"
