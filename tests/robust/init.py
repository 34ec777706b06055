"""A host that is process 1 of its namespace, for test_agents.py: `init.py LIBRARY PROTOTYPES FOLDER FAKE`.

It inherits whatever an agent leaves behind. Says whom waitpid() met, what lives at the end, and what of that is dead.
"""

import contextlib
import importlib.util
import json
import os
import sys
import time

library, prototypes_file, folder, fake = sys.argv[1:]
assert os.getpid() == 1
spec = importlib.util.spec_from_file_location("prototypes", prototypes_file)
prototypes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prototypes)
plue = prototypes.load(library)
met = []


def meet(when):
    """Note whom a host that waits for all of its children meets."""
    with contextlib.suppress(ChildProcessError):
        pid, _ = os.waitpid(-1, os.WNOHANG)
        met.append((when, pid))


def others():
    """Return `{pid: state}` of all other processes."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                found[int(name)] = file.read().rpartition(")")[2].split()[0]
    return found


def settled():
    """Wait until nothing else is there, and return what is there all the same."""
    until = time.monotonic() + 10
    while (found := others()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def take(text):
    assert text, plue.plue_get_last_error()
    return prototypes.take(plue, text)


def create(*words):
    """Return a session, and whether an agent was attached to it."""
    made = plue.plue_session_create_with(json.dumps({"role": f"role {time.monotonic_ns()}"}).encode())
    assert made and plue.plue_session_relay_spawn(made) == 0, plue.plue_get_last_error()
    agent = {"kind": "acp", "command": [sys.executable, "-S", fake, *words]}
    told = json.dumps({"worktree": folder, "agent": agent}).encode()
    return made, plue.plue_session_relay_attach(made, told) == 0


assert plue.plue_init(json.dumps({"dataDir": f"{folder}/store"}).encode()) == 0, plue.plue_get_last_error()
left, zombies = [], []
for words, text, end in (
    ([], "[grandchild=away][words=1]", "clean"),
    ([], "[grandchild=away][exit=3]", "delete"),
    (["exit=3"], None, "delete"),
):
    meet("before")
    session, is_attached = create(*words)
    assert is_attached == (text is not None), plue.plue_get_last_error()
    meet("attached")
    if text:
        take(plue.plue_session_run_turn(session, json.dumps({"text": text}).encode(), 20000))
    meet("after a turn")
    session_id = take(plue.plue_session_get_id(session)).encode()
    if end == "clean":
        assert plue.plue_session_relay_terminate(session_id, b"done") == 0
        assert plue.plue_session_relay_clean(session_id) == 0
        left += [pid for pid, state in others().items() if state not in "ZX"]
    assert plue.plue_session_delete(session) == 0
    found = settled()
    meet("after the end")
    left += [pid for pid, state in found.items() if state not in "ZX"]
    zombies += [pid for pid, state in found.items() if state in "ZX"]
assert create("stubborn")[1]
plue.plue_shutdown()
found = settled()
meet("after the shutdown")
left += list(found)
print(json.dumps({"met": met, "left": left, "zombies": zombies}), flush=True)
