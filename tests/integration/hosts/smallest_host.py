"""The smallest Python host: it imports nothing but ctypes, least of all threading, and ends without a shutdown."""

import ctypes
import sys

plue = ctypes.CDLL(sys.argv[1])
assert plue.plue_init(f'{{"dataDir":"{sys.argv[2]}"}}'.encode()) == 0
plue.plue_session_create.restype = ctypes.c_void_p
assert plue.plue_session_create(None)
assert plue.plue_session_count(None) == 1
sys.stdout.write("ended\n")
