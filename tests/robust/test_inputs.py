"""Inputs of sessions whose server is away, through hosts that die and hosts that share a store."""

import json
import socket
import threading

import pytest

from tests.peers import Failed
from tests.robust.host import Host, eventually


@pytest.fixture
def settings(folder, tmp_path):
    """Return a configuration whose server's port refuses whoever comes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    backend = {"kind": "opencode", "url": url, "directory": str(tmp_path)}
    return {"dataDir": str(folder), "backend": backend, "requestTimeoutMs": 5000}


def enqueue(host, session, text, **more):
    return json.loads(host.session_enqueue(session, json.dumps({"text": text, **more})))


def listed(host, session):
    return json.loads(host.session_inputs(session))


@pytest.mark.requirement("P-173", "L-080", "L-084", "L-093")
def test_inputs_for_a_server_that_is_away_outlive_their_host(folder, settings):
    with Host(folder, settings) as host:
        session = host.session_create_with('{"key":"k","title":"Offline"}')
        assert host.info(session)["sync"]["state"] == "pending"
        made = [enqueue(host, session, str(number), id=str(number)) for number in range(3)]
        host.kill()
    with Host(folder, settings) as host:
        session = host.session_open("k")
        assert listed(host, session) == made
        assert enqueue(host, session, "1", id="1") == made[1]
        with pytest.raises(Failed) as failed:
            enqueue(host, session, "other", id="1")
        assert failed.value.code == "CONFLICT" and made[1]["inputId"] in str(failed.value)
        (outcome,) = json.loads(host.session_cancel_inputs(session, '[{"sourceKey":"host:1"}]'))
        assert outcome["outcome"] == "cancelled"
        host.kill()
    with Host(folder, settings) as host:
        session = host.session_open("k")
        assert [each["inputId"] for each in listed(host, session)] == [made[0]["inputId"], made[2]["inputId"]]
        assert host.session_vacuum(session) == 1
        again = enqueue(host, session, "1", id="1")
        assert again["enqueueSeq"] > made[2]["enqueueSeq"]
        assert (
            len(json.loads(host.session_cancel_inputs_from(session, json.dumps({"inputId": made[0]["inputId"]})))) == 3
        )
        assert listed(host, session) == []


@pytest.mark.requirement("L-082", "L-087")
def test_two_hosts_on_one_store_fill_one_queue_and_hear_of_each_others_inputs(folder, settings):
    with Host(folder, settings) as one, Host(folder, settings) as two:
        session = one.session_create_with('{"key":"k"}')
        handles = {one: session, two: two.session_open("k")}
        for host in handles:
            host.subscribe()
        made = {host: [] for host in handles}

        def fill(host):
            for number in range(40):
                made[host].append(enqueue(host, handles[host], str(number))["enqueueSeq"])

        threads = [threading.Thread(target=fill, args=(host,)) for host in handles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for own in made.values():
            assert own == sorted(own)
        every = sorted(made[one] + made[two])
        assert len(set(every)) == 80
        for host, handle in handles.items():
            assert [each["enqueueSeq"] for each in listed(host, handle)] == every
            told = []

            def all_told(host=host, told=told):
                told += [each for each in host.heard() if each["type"] == "queue.changed"]
                return len(told) >= 80

            assert eventually(all_told, 10, 0.02), len(told)
            assert [each["data"]["ids"] for each in told] == [[f"input_{seq}"] for seq in every]
