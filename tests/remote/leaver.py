"""A host that inherits what loses its parent, for test_children.py: `leaver.py LIBRARY PROTOTYPES URL FOLDER`. Told
"init" or "shutdown" it does so; it answers with how long that took, and whom a host meets that waits for its children,
those included that end without a word."""

import ctypes
import importlib.util
import json
import os
import sys
import time

library, prototypes_file, url, folder = sys.argv[1:]
WALL = 0x40000000
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
spec = importlib.util.spec_from_file_location("prototypes", prototypes_file)
prototypes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prototypes)
plue = prototypes.load(library)
script = f"echo opencode server listening on {url}; exec sleep 600"
config = {
    "dataDir": f"{folder}/store",
    "requestTimeoutMs": 5000,
    "backend": {"kind": "opencode", "spawn": {"command": ["sh", "-c", script, "sh"], "directory": folder}},
}


def meets(options):
    try:
        return os.waitpid(-1, os.WNOHANG | options) and "somebody"
    except ChildProcessError:
        return "nobody"


def init():
    assert plue.plue_init(json.dumps(config).encode()) == 0, plue.plue_get_last_error()


for line in sys.stdin:
    began = time.monotonic()
    {"init": init, "shutdown": plue.plue_shutdown}[line.strip()]()
    print(json.dumps({"took": time.monotonic() - began, "usual": meets(0), "silent": meets(WALL)}), flush=True)
