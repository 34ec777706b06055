"""What thousands of sessions of a server cost in memory, whatever is done with them."""

import json

import pytest

from tests.opencode.stub import Stub, reply
from tests.robust.host import Host, outcome

COUNT = 5_000
#: KiB that they may take beside the same library with a server that has none.
MOST = 40 * 1024


def listed(number, title):
    return {
        "id": f"ses_{number:026x}",
        "slug": f"brave-fox-{number}",
        "projectID": "0" * 40,
        "directory": "/work",
        "title": title,
        "version": "1.18.33",
        "cost": 0,
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}},
        "time": {"created": 1_795_915_603_293 + number, "updated": 1_795_915_603_293 + number},
    }


@pytest.mark.requirement("P-114")
def test_five_thousand_sessions_of_a_server_take_no_more_than_40_mb(tmp_path):
    """They took 63: each thread that had listed them kept some, and the text of its last list. How many lists are read
    at once is the machine's matter, so the median of five counts."""
    taken: list = []
    while len(taken) < 5 and sum(each < MOST for each in taken) < 3:
        (folder := tmp_path / str(len(taken))).mkdir()
        taken.append(grown(folder))
    assert sum(each < MOST for each in taken) >= 3, taken


def grown(folder):
    """Return how many KiB a library grows by that is told of so many sessions, again and again."""
    bodies = [b"[]"]

    def answer(method, target):
        return (
            reply(200, bodies[0] if target.startswith("/session?") else {})
            if target.startswith("/session")
            else reply(404)
        )

    with (
        Stub(answer) as stub,
        Host(
            folder,
            {
                "dataDir": str(folder),
                "cacheTtlMs": 0,
                "backend": {"kind": "opencode", "url": stub.url, "directory": str(folder)},
            },
        ) as host,
    ):
        host.session_sync(10_000)
        for _ in range(3):
            host.session_list()
        idle, titles = host.resident_kib(), {number: f"Session {number}" for number in range(COUNT)}
        for turn in range(10):
            titles[turn] = f"renamed in turn {turn}"
            order = [turn, *(number for number in titles if number != turn)]
            bodies[0] = json.dumps([listed(number, titles[number]) for number in order]).encode()
            assert [session["title"] for session in host.list() if session["id"] == f"ses_{turn:026x}"] == [
                titles[turn]
            ]
        for answers in [[host.start("session_list") for _ in range(12)] for _ in range(2)]:
            assert {outcome(each) for each in answers} == {"OK"}
        assert host.session_count(None) == COUNT
        return host.resident_kib() - idle
