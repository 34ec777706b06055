"""A host that counts its children, for test_children.py: `parent.py LIBRARY PROTOTYPES URL FOLDER KIND`, KIND "plain",
"subreaper" or "init"."""

import contextlib
import ctypes
import importlib.util
import json
import os
import signal
import sys
import time

library, prototypes_file, url, folder, kind = sys.argv[1:]
told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append(1))
if kind == "subreaper":
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
elif kind == "init":
    assert os.getpid() == 1
spec = importlib.util.spec_from_file_location("prototypes", prototypes_file)
prototypes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prototypes)
plue = prototypes.load(library)
said = {"met": [], "sets": []}


def config(script):
    return json.dumps(
        {
            "dataDir": f"{folder}/store",
            "requestTimeoutMs": 5000,
            "backend": {"kind": "opencode", "spawn": {"command": ["sh", "-c", script, "sh"], "directory": folder}},
        }
    ).encode()


def meet(when):
    """Note whom a host that waits for all of its children meets."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        said["met"].append((when, pid))
    except ChildProcessError:
        pass


def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/self/task/{task}/children") as file,
        ):  # a thread may just have ended
            found += map(int, file.read().split())
    return found


def server_pid():
    return json.loads(prototypes.take(plue, plue.plue_get_app_info()))["server"].get("pid")


def parent_of(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        meet("meanwhile")
        time.sleep(0.005)


# What it leaves behind has left its group.
orphan = (
    ""
    if kind == "plain"
    else f"setsid sh -c 'echo $$ > {folder}/orphan; exec sleep 601' & "
    f"while [ ! -s {folder}/orphan ]; do sleep 0.01; done; "
)
listening = f"rm -f {folder}/orphan; {orphan}echo opencode server listening on {url}; exec sleep 602"
for round in range(2):
    assert plue.plue_init(config("exit 3")) == -1
    meet("after a start that failed")
    assert plue.plue_init(config("exec /nonexistent/program")) == -1
    meet("after another")
    assert children() == [], children()
    assert plue.plue_init(config(listening)) == 0, plue.plue_get_last_error()
    meet("after the start")
    said["sets"].append(len(children()))
    for victim in ("server", "guard"):
        pid, left = server_pid(), None if kind == "plain" else int(open(f"{folder}/orphan").read())
        os.kill(pid if victim == "server" else parent_of(pid), signal.SIGKILL)
        until(lambda pid=pid, left=left: server_pid() not in (pid, None) and not os.path.exists(f"/proc/{left}"))
        meet(f"after the {victim} was killed")
        said["sets"].append(len(children()))
    if round == 1 and "stay" in os.environ:
        print(json.dumps({"pid": server_pid(), "guard": parent_of(server_pid())}), flush=True)
        signal.pause()
    plue.plue_shutdown()
    meet("after the shutdown")
    assert children() == [], children()
said["signals"] = len(told)
print(json.dumps(said), flush=True)
