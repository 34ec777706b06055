"""A Python host with a sub-interpreter: CPython's check of its own lock answers "held" from then on."""

import ctypes
import sys
import threading  # noqa: F401  (see smallest_host.py)

try:
    import _interpreters as interpreters
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters

path, folder = sys.argv[1:3]
plue = ctypes.CDLL(path)
other = interpreters.create()
interpreters.run_string(other, "x = 1")
plue.plue_init.argtypes = [ctypes.c_char_p]
plue.plue_session_create.restype = ctypes.c_void_p
assert plue.plue_init(f'{{"dataDir":"{folder}"}}'.encode()) == 0
assert plue.plue_session_create(None)
assert plue.plue_session_count(None) == 1
interpreters.destroy(other)
assert plue.plue_session_create(None)
plue.plue_shutdown()
print("lived")
