"""A Python host in which somebody holds the interpreter lock. argv[3]: "other", a thread of it, for the seconds of
argv[4], while the library starts or serves a call; "sub", a sub-interpreter, which makes the call."""

import ctypes
import json
import sys
import threading
import time
from functools import partial

path, folder, who = sys.argv[1:4]
plue, holding = ctypes.CDLL(path), ctypes.PyDLL(path)
libc = ctypes.PyDLL(None)  # keeps the lock during calls
for library in (plue, holding):
    library.plue_get_last_error.restype = ctypes.c_char_p
config = f'{{"dataDir":"{folder}","requestTimeoutMs":1500}}'.encode()


def timed(call):
    begun = time.monotonic()
    result = call()
    return {"result": result, "code": plue.plue_get_last_error_code(), "took": time.monotonic() - begun}


if who == "other":
    seconds, when = float(sys.argv[4]), sys.argv[5]
    if when == "call":
        assert plue.plue_init(config) == 0
        call = partial(plue.plue_session_count, None)
    else:
        call = partial(plue.plue_init, config)
    for _ in range(20):  # the call may be over before the other thread has the lock
        begin = threading.Event()

        def hold(begin=begin):
            begin.wait()
            libc.usleep(int(seconds * 1e6))

        thread = threading.Thread(target=hold)
        thread.start()
        begin.set()
        answer = timed(call)
        thread.join()
        if answer["result"]:
            break
        if when != "call":
            plue.plue_shutdown()
    answer["again"] = call()
    print(json.dumps(answer))
else:
    try:
        import _interpreters as interpreters
    except ImportError:  # before Python 3.13
        import _xxsubinterpreters as interpreters
    assert plue.plue_init(config) == 0
    other = interpreters.create()
    interpreters.run_string(
        other,
        f"""if True:
        import ctypes, time
        holding = ctypes.PyDLL({path!r})
        holding.plue_get_last_error.restype = ctypes.c_char_p
        begun = time.monotonic()
        assert holding.plue_session_count(None) == -1
        assert holding.plue_get_last_error_code() == -26, holding.plue_get_last_error()
        assert time.monotonic() - begun < 1
        assert b"sub-interpreter" in holding.plue_get_last_error()
        free = ctypes.CDLL({path!r})
        assert free.plue_session_count(None) == 0
    """,
    )
    assert plue.plue_session_count(None) == 0 and holding.plue_session_count(None) == 0
    plue.plue_shutdown()
    print("refused")
