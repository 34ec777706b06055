"""Cursors: a place in the event log as opaque text, `1.<store id>.<log id>.<session id or *>`."""

from collections import namedtuple

from plue_session.errors import BadCursor

VERSION = "1"

#: A place in the log of a store, after the event `log_id`; `session_id` None: of no one session.
Cursor = namedtuple("Cursor", "store_id log_id session_id")


def render(store_id, log_id, session_id):
    """Write the cursor of an event; `session_id` None stands for "of no one session"."""
    return f"{VERSION}.{store_id}.{log_id:x}.{session_id or '*'}"


def parse(text):
    """Read a cursor back; `BAD_CURSOR` when it is none of ours."""
    parts = text.split(".", 3)
    if len(parts) == 4 and parts[0] == VERSION and parts[1] and parts[3]:
        try:
            log_id = int(parts[2], 16)
        except ValueError:
            log_id = -1
        if 0 <= log_id < 1 << 63 and f"{log_id:x}" == parts[2]:
            return Cursor(parts[1], log_id, None if parts[3] == "*" else parts[3])
    if parts[0].isdigit() and parts[0] != VERSION and len(parts) > 1:
        raise BadCursor(
            f"the cursor has format {parts[0][:8]}, this library reads {VERSION}", "Start again from an observation."
        )
    raise BadCursor("the cursor is malformed", "Pass a cursor exactly as it was received.")
