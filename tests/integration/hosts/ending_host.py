"""A Python host that calls the library when its interpreter is just ending: from __del__ of an object that lives until
then."""

import ctypes
import os
import sys
import time

plue = ctypes.CDLL(sys.argv[1])
plue.plue_get_last_error.restype = ctypes.c_char_p
plue.plue_session_create.restype = ctypes.c_void_p
assert plue.plue_init(f'{{"dataDir":"{sys.argv[2]}"}}'.encode()) == 0


class Late:
    def __init__(self):
        self.plue, self.write, self.monotonic = plue, os.write, time.monotonic

    def __del__(self):
        begun = self.monotonic()
        made = self.plue.plue_session_create(None)
        code = self.plue.plue_get_last_error_code()
        self.plue.plue_shutdown()
        self.write(1, b"%r %d %s\n" % (made, code, b"at once" if self.monotonic() - begun < 3 else b"late"))


sys.late = Late()  # the module sys goes last
sys.modules["late"] = sys.late
