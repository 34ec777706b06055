"""A process that holds the library and does what tests/remote/hosts.py tells it: a line of JSON in, a line of JSON out.

{"id", "call", "arguments", "async"?} -> {"id", "value", "error", "at"}, where error is what plue_get_last_error_json()
says. An argument {"times"} is text of that length. Events that the subscription hears come as {"event", "at"}. Times
are of the monotonic clock, which all processes of a machine share.
"""

import ctypes
import importlib.util
import json
import sys
import threading
import time

spec = importlib.util.spec_from_file_location("prototypes", sys.argv[2])
prototypes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prototypes)
plue = prototypes.load(sys.argv[1])
HANDLES = {
    f"plue_session_{name}"
    for name in ("create", "create_with", "get_or_create", "open", "fork", "observe", "relay_get")
}
printing = threading.Lock()


def say(**what):
    line = json.dumps(what) + "\n"
    with printing:
        sys.stdout.write(line)
        sys.stdout.flush()


@prototypes.plue_event_callback
def on_event(number, event, data):
    say(event=number)


def drain():
    while (event := prototypes.take(plue, plue.plue_event_poll())) is not None:
        yield json.loads(event)


def perform(command):
    if command["call"] == "drain":
        say(id=command["id"], value=list(drain()), error=None, at=time.monotonic())
        return
    name, arguments = "plue_" + command["call"], command["arguments"]
    arguments = [
        argument.encode("utf-8", "surrogateescape") if isinstance(argument, str) else argument for argument in arguments
    ]
    arguments = [b"x" * argument["times"] if isinstance(argument, dict) else argument for argument in arguments]
    if name == "plue_event_subscribe":  # with arguments: none to be called
        arguments = [prototypes.plue_event_callback() if arguments else on_event, None]
    kind = prototypes.PROTOTYPES[name][0]
    value = getattr(plue, name)(*arguments)
    at, error = time.monotonic(), None
    if value == -1 if kind is ctypes.c_int else not value and kind is not None:
        error = json.loads(plue.plue_get_last_error_json()).get("error") if plue.plue_get_last_error_code() else None
    if kind is ctypes.c_void_p and name not in HANDLES:
        value = prototypes.take(plue, value)
    elif isinstance(value, bytes):
        value = value.decode()
    say(id=command["id"], value=value, error=error, at=at)


for line in sys.stdin:
    command = json.loads(line)
    if command["async"]:
        threading.Thread(target=perform, args=(command,), daemon=True).start()
    else:
        perform(command)
