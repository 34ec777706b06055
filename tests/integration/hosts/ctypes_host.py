"""A Python host. Arguments: the library, "cdll" or "pydll" (calls keep the interpreter lock), a folder for the store.

Uses nothing of the package, so that any Python can run it. Prints one line of JSON: how it went.
"""

import ctypes
import json
import sys
import threading

path, kind, folder = sys.argv[1:4]
plue = (ctypes.PyDLL if kind == "pydll" else ctypes.CDLL)(path)
callback_type = ctypes.CFUNCTYPE(None, ctypes.c_uint8, ctypes.c_char_p, ctypes.c_void_p)
pointer, text = ctypes.c_void_p, ctypes.c_char_p
for name, result, parameters in (
    ("init", ctypes.c_int, [text]),
    ("shutdown", None, []),
    ("get_last_error", text, []),
    ("get_last_error_code", ctypes.c_int, []),
    ("session_create", pointer, [text]),
    ("session_get_info", pointer, [pointer]),
    ("session_list", pointer, []),
    ("session_update_title", ctypes.c_int, [pointer, text]),
    ("session_create_share", pointer, [pointer]),
    ("session_delete", ctypes.c_int, [pointer]),
    ("session_destroy", None, [pointer]),
    ("free_json", None, [pointer]),
    ("event_subscribe", ctypes.c_uint32, [callback_type, pointer]),
    ("event_unsubscribe", None, [ctypes.c_uint32]),
    ("event_poll", pointer, []),
    ("get_version", text, []),
):
    function = getattr(plue, "plue_" + name)
    function.restype, function.argtypes = result, parameters


def interruptible():
    """Whether SIGINT still is a KeyboardInterrupt here."""
    try:
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):
            pass
    except KeyboardInterrupt:
        return True
    return False


def take(address):
    value = ctypes.string_at(address).decode()
    plue.plue_free_json(address)
    return json.loads(value)


import signal  # noqa: E402

handler = signal.getsignal(signal.SIGINT)
started = plue.plue_init(json.dumps({"dataDir": folder}).encode())
if started != 0:
    print(
        json.dumps(
            {
                "code": plue.plue_get_last_error_code(),
                "error": plue.plue_get_last_error().decode(),
                "alive": sum(range(10)),
                "interruptible": interruptible(),
            }
        )
    )
    sys.exit(0)

titles = []
enough = threading.Event()


@callback_type
def on_event(number, event, data):
    title = json.loads(event)["data"].get("title")
    if title:
        # Re-entering from a callback: on a library thread, with or without the interpreter lock.
        assert take(plue.plue_session_get_info(session))["id"]
        assert isinstance(take(plue.plue_session_list()), list)
        titles.append(title)
        if len(titles) == 41:
            enough.set()


subscription = plue.plue_event_subscribe(on_event, None)
session = plue.plue_session_create(None)


def work(number):
    for i in range(10):
        assert plue.plue_session_update_title(session, f"{number}.{i}".encode()) == 0


workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert plue.plue_session_update_title(session, "Ä \U0001f40d".encode()) == 0
assert enough.wait(20), titles
plue.plue_event_unsubscribe(subscription)
info = take(plue.plue_session_get_info(session))
secret = take(plue.plue_session_create_share(session))["secret"]
assert plue.plue_session_get_info(None) is None and plue.plue_get_last_error_code() == -1
assert plue.plue_session_get_info(12345) is None and plue.plue_get_last_error_code() == -12
assert plue.plue_session_delete(session) == 0
assert plue.plue_session_get_info(session) is None and plue.plue_get_last_error_code() == -2
plue.plue_session_destroy(session)
first = take(plue.plue_event_poll())
plue.plue_shutdown()
assert plue.plue_init(json.dumps({"dataDir": folder}).encode()) == 0
remaining = take(plue.plue_session_list())
plue.plue_shutdown()
print(
    json.dumps(
        {
            "code": 0,
            "title": info["title"],
            "secret": len(secret),
            "titles": len(titles),
            "first": first["type"],
            "remaining": len(remaining),
            "version": plue.plue_get_version().decode(),
        }
    )
)
