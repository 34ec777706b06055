"""asyncio: a reader of the loop, by ctypes. Run it, with the package installed, as

    python reader.py

Alone, a thread of it makes a session and deletes it. With an argument it waits for somebody who does:
plue-session create; plue-session delete ID
"""

import asyncio
import json
import sys

from plue_session.prototypes import load, take

ALL_SESSIONS = 1  # PLUE_ALL_SESSIONS of the header
plue = load()
counted = {"events": 0, "wake-ups": 0}


def fail():
    raise SystemExit(f"Error: {plue.plue_get_last_error().decode()}")


def change():
    """These calls may wait for the disk, or for a server: not on the loop's thread."""
    session = plue.plue_session_create(None)
    if not session or plue.plue_session_update_title(session, b"Made elsewhere") or plue.plue_session_delete(session):
        fail()
    plue.plue_session_destroy(session)


def on_events(observer, ended):
    """Take all events that there are, until a session is deleted.

    Who needs no cursors may read the default queue: with plue_event_fd() and plue_event_poll() the rest is the same.
    """
    counted["wake-ups"] += 1
    while event := plue.plue_session_observer_next(observer, 0):
        kind = json.loads(take(plue, event))["type"]
        print(kind, flush=True)
        counted["events"] += 1
        if kind == "session.deleted" and not ended.done():
            ended.set_result(None)
    if plue.plue_get_last_error_code() and not ended.done():
        ended.set_exception(RuntimeError(plue.plue_get_last_error().decode()))


async def main(alone):
    loop = asyncio.get_running_loop()
    ended, observer = loop.create_future(), plue.plue_session_observe(ALL_SESSIONS, None)
    descriptor = plue.plue_session_observer_fd(observer) if observer else -1
    if descriptor < 0:
        fail()
    loop.add_reader(descriptor, on_events, observer, ended)
    print("watching", flush=True)
    try:
        if alone:
            await asyncio.to_thread(change)
        await ended
    finally:
        loop.remove_reader(descriptor)  # before it is closed
        plue.plue_session_observer_close(observer)


if plue.plue_init(None):
    fail()
try:
    asyncio.run(main(len(sys.argv) == 1))
finally:
    plue.plue_shutdown()
print(f"{counted['events']} events, {counted['wake-ups']} wake-ups")
