"""The first example from Python's ctypes: no build step, prototypes come with the package."""

import json

from plue_session.prototypes import load, take

plue = load()
if plue.plue_init(None):
    raise SystemExit(plue.plue_get_last_error().decode())

session = plue.plue_session_create(None)
if not session:
    raise SystemExit(plue.plue_get_last_error().decode())
plue.plue_session_update_title(session, b"My Coding Session")
info = json.loads(take(plue, plue.plue_session_get_info(session)))
print(info["id"], info["title"])

plue.plue_session_destroy(session)
plue.plue_shutdown()
