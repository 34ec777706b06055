"""A host that is Python itself, and so can have the library fail once to tell of a commit, as when memory is short."""

import gc
import json
import sys
import time

from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.model import LogRow
from plue_session.prototypes import load, plue_event_callback

folder, plue, heard = sys.argv[1], load(), []
callback = plue_event_callback(lambda kind, event, data: heard.append(json.loads(event)))


def processor_seconds(seconds):
    before = time.process_time()
    time.sleep(seconds)
    return time.process_time() - before


assert plue.plue_init(json.dumps({"dataDir": folder}).encode()) == 0, plue.plue_get_last_error()
session = plue.plue_session_create(None)
assert plue.plue_event_subscribe(callback, None)
(writer,) = (each for each in gc.get_objects() if type(each).__name__ == "Writer")
publish = writer._publish  # no host can have memory end at this very place


def miss(effects):
    writer._publish = publish
    raise MemoryError


writer._publish = miss
assert plue.plue_session_update_title(session, b"missed") == 0
other = SqliteStore(folder, "another backend's")  # whose row is the newest of the log from now on
other.begin()
other.append(LogRow(other.last_log_id() + 1, None, 1, int(time.time() * 1000), ","))
other.commit()
other.close()
until = time.monotonic() + 10
while not any(event["type"] == "session.updated" for event in heard) and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.2)
print(json.dumps({"heard": [event["type"] for event in heard], "busy": processor_seconds(0.5) > 0.25}))
assert plue.plue_session_update_title(session, b"told") == 0
plue.plue_shutdown()
print(json.dumps([event["type"] for event in heard]))
