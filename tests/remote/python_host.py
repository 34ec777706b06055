"""A Python process that holds the library through ctypes, for test_python_hosts.py: `python_host.py LIBRARY CONFIG
PRELUDE AFTER`.

PRELUDE is run before anything else, AFTER once the library has started. It prints, as JSON, what came of it all.
"""

import sys

library, config, prelude, after = sys.argv[1:]
exec(prelude)

import ctypes  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402

plue = ctypes.CDLL(library)
plue.plue_get_last_error.restype = ctypes.c_char_p
plue.plue_session_create.restype = plue.plue_session_open.restype = plue.plue_session_get_or_create.restype = (
    ctypes.c_size_t
)
texts = {}
for name in ("list", "get_info", "query", "sync_status", "create_share", "fork"):
    texts[name] = getattr(plue, f"plue_session_{name}")
    texts[name].restype = ctypes.c_void_p
for name in (
    "destroy",
    "get_info",
    "update_title",
    "update",
    "initialize",
    "abort",
    "abort_turn",
    "create_share",
    "unshare",
    "fork",
    "delete",
):
    function = getattr(plue, f"plue_session_{name}")
    function.argtypes = {
        "update_title": [ctypes.c_size_t, ctypes.c_char_p],
        "update": [ctypes.c_size_t, ctypes.c_char_p],
        "fork": [ctypes.c_size_t, ctypes.c_char_p],
        "abort_turn": [ctypes.c_size_t, ctypes.c_char_p],
        "initialize": [ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p],
    }.get(name, [ctypes.c_size_t])
plue.plue_session_fork.restype = ctypes.c_size_t

path, said = list(sys.path), {"calls": {}}


def tell(name, worked):
    said["calls"][name] = (
        "ok" if worked else f"{plue.plue_get_last_error_code()} {(plue.plue_get_last_error() or b'').decode()}"
    )


started = plue.plue_init(config.encode()) == 0
said["init"] = "ok" if started else f"{plue.plue_get_last_error_code()} {plue.plue_get_last_error().decode()}"
said["path is kept"] = sys.path == path
if started:
    exec(after)
    before = set(sys.modules)
    tell("sync", plue.plue_session_sync(5000) == 0)
    one = plue.plue_session_create(None)
    tell("create", one)
    tell("get_or_create", plue.plue_session_get_or_create(b"key"))
    tell("create_with", plue.plue_session_create_with(b'{"title":"x","metadata":{"a":1}}'))
    tell("list", texts["list"]())
    tell("query", texts["query"](b"{}"))
    tell("sync_status", texts["sync_status"]())
    if one:
        tell("get_info", texts["get_info"](one))
        tell("update_title", plue.plue_session_update_title(one, b"Title") == 0)
        tell("update", plue.plue_session_update(one, b'{"tags":["a"]}') == 0)
        tell("abort", plue.plue_session_abort(one) == 0)
        tell("abort_turn", plue.plue_session_abort_turn(one, b"msg_1") == 0)
        tell("initialize", plue.plue_session_initialize(one, b"fake", b"fake-model") == 0)
        tell("create_share", texts["create_share"](one))
        tell("unshare", plue.plue_session_unshare(one) == 0)
        tell("fork", plue.plue_session_fork(one, None))
        tell("delete", plue.plue_session_delete(one) == 0)
    said["imported later"] = sorted(set(sys.modules) - before)
    said["has"] = sorted(
        {"requests", "http.client", "ssl", "email", "plue_session.adapters.opencode"} & set(sys.modules)
    )
    plue.plue_shutdown()
print(json.dumps(said), flush=True)
os._exit(0) if "os._exit" in after else None
