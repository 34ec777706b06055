"""A Python host that looks at a capsule before it starts the library: any attribute will do, as mocks, inspect and
gevent do."""

import ctypes
import datetime
import sys

hasattr(datetime.datetime_CAPI, "x")
plue = ctypes.CDLL(sys.argv[1])
assert plue.plue_init(f'{{"dataDir":"{sys.argv[2]}"}}'.encode()) == 0
assert plue.plue_session_count(None) == 0
assert not hasattr(datetime.datetime_CAPI, "x") and type(datetime.datetime_CAPI).__name__ == "PyCapsule"
plue.plue_shutdown()
print("started")
