"""How many Python calls two walks take: a change by a caller, embedded and with a server, and an event of a server's.

    .venv/bin/python benchmarks/walks.py

The library runs in this interpreter (a host that is Python itself, through ctypes), so that a profiler sees its
threads. What is counted are calls of Python functions, not time: the same on any machine. The server is a stub that
answers at once; the event goes to the services as the runtime builds them.
"""

import collections
import json
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plue_session.prototypes import load
from tests.opencode.stub import Stub, reply

SESSION = {"id": "ses_1", "title": "One", "version": "1", "time": {"created": 1000, "updated": 2000}}


class Walks:
    """Profiles the library's threads: a walk of one begins when it has waited for requests, and ends when it waits
    again, or sends."""

    def __init__(self):
        self.ended, self._local = [], threading.local()

    def note(self, frame, event, argument):
        calls = getattr(self._local, "calls", None)
        if event == "call" and calls is not None:
            calls.append(frame.f_code)
        elif event == "c_return" and argument.__name__ == "core__wait":
            self._local.calls = []
        elif event == "c_call" and argument.__name__ in ("core__wait", "sendall") and calls is not None:
            self.ended.append(calls)
            self._local.calls = None

    def of(self, name):
        """Return the last walk that has passed the function of the surface with this name."""
        return next(walk for walk in reversed(self.ended) if any(code.co_name == name for code in walk))


def walk(plue, walks, folder, **config):
    """Return the calls of one `plue_session_update_title`, the tenth: what is made once has been made."""
    if plue.plue_init(json.dumps({"dataDir": folder, **config}).encode()):
        raise SystemExit(plue.plue_get_last_error().decode())
    session = plue.plue_session_open(b"ses_1") if config else plue.plue_session_create(None)
    for number in range(10):
        if plue.plue_session_update_title(session, b"title %d" % number):
            raise SystemExit(plue.plue_get_last_error().decode())
    plue.plue_shutdown()
    return walks.of("plue_session_update_title")


#: What is done for a group of changes, however many they are: to take them, to begin, to commit, to go on.
GROUP = (
    "guarded change gather taken lead _write _take _run_all _begin begin lock_writing is_ours last_log_id _trim commit "
    "verify missing ring leave unlock_writing _publish tidy wal_is_long"
).split()


def print_walk(name, calls, ends=()):
    """Print how many calls there are; `ends`: those that are made for the group."""
    modules, shared = len({code.co_filename for code in calls}), sum(code.co_name in ends for code in calls)
    parts = f", {len(calls) - shared} of them for this change alone, the others for its group" if shared else ""
    print(f"{name}: {len(calls)} Python calls in {modules} modules{parts}")
    if "-v" in sys.argv:
        for code in calls:
            print(f"    {code.co_filename.rpartition('plue_session/')[2]}:{code.co_firstlineno} {code.co_name}")


def event(numbered):
    """Return what the services ask of the store, and how often they merge, for an event that brings something new."""
    from plue_session.rules import merge
    from tests.remote_world import RemoteWorld

    counted, world = collections.Counter(), RemoteWorld()
    world.server.numbered = numbered
    session = world.elsewhere(title="One")

    def count(owner, name):
        function = getattr(owner, name)

        def counting(*given, **named):
            counted[name] += 1
            return function(*given, **named)

        setattr(owner, name, counting)

    for name in ("read", "load", "info", "load_by_token", "share", "commit"):
        count(world.store, name)
    count(merge, "merge")
    world.server.put(session, title="Two")
    return counted


def main():
    walks = Walks()
    threading.setprofile(walks.note)
    plue = load()
    with tempfile.TemporaryDirectory() as folder:
        print_walk("update_title, embedded (goal 40 for a change)", walk(plue, walks, f"{folder}/embedded"), GROUP)
        answer = reply(200, {**SESSION, "directory": folder})
        answering = {"/session": reply(200, [{**SESSION, "directory": folder}])}
        with Stub(lambda method, target: answering.get(target.partition("?")[0], answer)) as stub:
            backend = {"kind": "opencode", "url": stub.url, "directory": folder}
            print_walk(
                "update_title, OpenCode, before it is sent (goal 80)",
                walk(plue, walks, f"{folder}/remote", backend=backend),
            )
    threading.setprofile(None)
    for numbered in (True, False):
        name = "with" if numbered else "without"
        print(f"a server's event, {name} a number (goal: 1 read, 1 merge):", dict(event(numbered)))


if __name__ == "__main__":
    main()
