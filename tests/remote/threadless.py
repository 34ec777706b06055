"""A host that can be left without threads: run by test_no_threads.py with tests/opencode/no_threads.c preloaded."""

import ctypes
import importlib.util
import json
import os
import sys

library, prototypes_file, config, walk = sys.argv[1:]
spec = importlib.util.spec_from_file_location("prototypes", prototypes_file)
prototypes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prototypes)
plue = prototypes.load(library)
threads_left = ctypes.CDLL(None).threads_left


def failure():
    return f"{plue.plue_get_last_error_code()} {(plue.plue_get_last_error() or b'').decode()}"


def server_pid():
    return json.loads(prototypes.take(plue, plue.plue_get_app_info()))["server"].get("pid")


def begin():
    if plue.plue_init(config.encode()) == 0:
        return None
    return failure()


said = {"refused": [], "calls": {}}
if walk == "init":
    for number in range(200):
        threads_left(number)
        problem = begin()
        threads_left(-1)
        said["refused"].append(problem)
        if problem is None:
            break
    pid = server_pid()
else:
    assert begin() is None, failure()
    pid = server_pid()
    session = plue.plue_session_create(None) if walk == "warm" else None
    threads_left(0)
    for name, call in {
        "create": lambda: plue.plue_session_create(None),
        "sync": lambda: plue.plue_session_sync(0) + 1,
        "abort": lambda: plue.plue_session_abort(session) + 1 if session else 1,
    }.items():
        said["calls"][name] = "ok" if call() else failure()
plue.plue_shutdown()
said["shutdown"] = failure() if "plue_shutdown" in failure() else "ok"
said["left"] = (
    os.path.exists(f"/proc/{pid}/stat") and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
)
threads_left(-1)
said["again"] = begin() or "ok"
plue.plue_shutdown()
print(json.dumps(said))
