"""A process that holds the library and does what it is told: a line of JSON in, a line of JSON out. See tests/peers.py.

{"id", "call", "arguments", "async"?} -> {"id", "value", "code", "error", "at"}. Events that a subscription hears come
as {"event", "at"}. Times are of the monotonic clock, which all processes of a machine share.
"""

import ctypes
import json
import sys
import threading
import time

plue = ctypes.CDLL(sys.argv[1])
pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
callback_type = ctypes.CFUNCTYPE(None, ctypes.c_uint8, text, pointer)
SESSION, OWNED, STATUS, NOTHING, STATIC = "session", "owned", "status", "nothing", "static"
KINDS = {
    "init": (STATUS, [text]),
    "shutdown": (NOTHING, []),
    "get_app_info": (OWNED, []),
    "json_quote": (OWNED, [text]),
    "session_create": (SESSION, [text]),
    "session_create_with": (SESSION, [text]),
    "session_get_or_create": (SESSION, [text]),
    "session_open": (SESSION, [text]),
    "session_get_info": (OWNED, [pointer]),
    "session_peek_info": (OWNED, [pointer]),
    "session_get_id": (OWNED, [pointer]),
    "session_list": (OWNED, []),
    "session_query": (OWNED, [text]),
    "session_count": (STATUS, [text]),
    "session_update_title": (STATUS, [pointer, text]),
    "session_update": (STATUS, [pointer, text]),
    "session_initialize": (STATUS, [pointer, text, text]),
    "session_delete": (STATUS, [pointer]),
    "session_abort": (STATUS, [pointer]),
    "session_create_share": (OWNED, [pointer]),
    "session_unshare": (STATUS, [pointer]),
    "session_validate_share": (STATUS, [text, text]),
    "session_destroy": (NOTHING, [pointer]),
    "session_observation": (OWNED, [pointer]),
    "session_observe": (SESSION, [pointer, text]),
    "session_observer_next": (OWNED, [pointer, integer]),
    "session_observer_cursor": (OWNED, [pointer]),
    "session_observer_close": (NOTHING, [pointer]),
    "session_sync_status": (OWNED, []),
    "session_relay_spawn": (STATUS, [pointer]),
    "session_relay_attach": (STATUS, [pointer, text]),
    "session_relay_heartbeat": (STATUS, [pointer]),
    "session_relay_count_message": (STATUS, [pointer]),
    "session_relay_terminate": (STATUS, [text, text]),
    "session_relay_clean": (STATUS, [text]),
    "session_relay_get": (SESSION, [text]),
    "session_metrics": (OWNED, [text]),
    "event_poll": (OWNED, []),
    "get_last_error_json": (STATIC, []),
}
RESULTS = {SESSION: pointer, OWNED: pointer, STATUS: integer, NOTHING: None, STATIC: text}
for name, (kind, parameters) in KINDS.items():
    function = getattr(plue, "plue_" + name)
    function.restype, function.argtypes = RESULTS[kind], parameters
plue.plue_free.argtypes = [pointer]
plue.plue_free.restype = None
plue.plue_get_last_error.restype = text
plue.plue_event_subscribe.argtypes = [callback_type, pointer]

printing = threading.Lock()


def say(**what):
    line = json.dumps(what) + "\n"
    with printing:
        sys.stdout.write(line)
        sys.stdout.flush()


@callback_type
def on_event(number, event, data):
    at = time.monotonic()
    say(event=event.decode(), at=at)


def perform(command):
    name, arguments = command["call"], command.get("arguments", [])
    if name == "subscribe":
        value = plue.plue_event_subscribe(on_event, None)
        code = 0 if value else plue.plue_get_last_error_code()
        say(id=command["id"], value=value, code=code, error=None, at=time.monotonic())
        return
    kind, _ = KINDS[name]
    arguments = [
        argument.encode("utf-8", "surrogateescape") if isinstance(argument, str) else argument for argument in arguments
    ]
    value = getattr(plue, "plue_" + name)(*arguments)
    at = time.monotonic()
    failed = kind in (SESSION, OWNED) and not value or kind == STATUS and value == -1
    code = plue.plue_get_last_error_code() if failed else 0
    error = plue.plue_get_last_error().decode() if code else None
    if kind == OWNED and value:
        address, value = value, ctypes.string_at(value).decode()
        plue.plue_free(address)
    elif kind == STATIC:
        value = value.decode()
    say(id=command["id"], value=value, code=code, error=error, at=at)


for line in sys.stdin:
    command = json.loads(line)
    if command.get("async"):
        threading.Thread(target=perform, args=(command,), daemon=True).start()
    else:
        perform(command)
