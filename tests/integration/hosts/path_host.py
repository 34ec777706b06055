"""A Python host without cffi whose other thread adds to sys.path, again and again, while the library starts: nothing of
that is lost, nothing stays."""

import ctypes
import sys
import threading
import time

sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]  # no cffi there
before, added, over = list(sys.path), [], threading.Event()


def add():
    while not over.is_set():
        added.append(f"/nowhere/{len(added)}")
        sys.path.append(added[-1])
        time.sleep(0)  # others have the lock now


thread = threading.Thread(target=add)
thread.start()
plue = ctypes.CDLL(sys.argv[1])
plue.plue_get_last_error.restype = ctypes.c_char_p
started = plue.plue_init(f'{{"dataDir":"{sys.argv[2]}"}}'.encode())
over.set()
thread.join()
assert started == 0, plue.plue_get_last_error()
assert sys.path == before + added, [entry for entry in sys.path if entry not in before + added] or "some are lost"
plue.plue_shutdown()
print(f"kept {len(added) > 0}")
