"""How a session stands as of one moment, read from rows."""

from plue_session.adapters.sql import rows
from plue_session.adapters.sql.messages import text
from plue_session.model import Input, Message, Observed, Part, Transcript
from plue_session.model.ask import PERMISSION, QUESTION

_BODY = Part.__slots__.index("body")


def observe(sql, scope, session_id, now, limit, small, read):
    """Return `Observed` as ports.SessionReader.observe() says; `read` reads one moment, text as UTF-8."""
    place = scope, session_id, rows.number_in(session_id)

    def rows_of(name, *values):
        return [tuple(map(text, row)) for row in read(sql[name], (*place, *values))]

    state = rows_of("state")
    if not state:
        return None
    found = [Message(*row) for row in rows_of("newest_messages", limit + 1)]
    transcript = rows_of("read_transcript")
    last = read(sql["log_state"], (scope,))[0][1]
    messages = [(message, _small(sql, read, message, small)) for message in reversed(found[:limit])]
    inputs = [Input(*row) for row in rows_of("read_inputs", now)]
    asks = [[body for (body,) in rows_of("read_ask_bodies", kind)] for kind in (PERMISSION, QUESTION)]
    usage, kept = rows_of("read_usage"), Transcript(*transcript[0]) if transcript else None
    return Observed._make((last, *state[0], messages, len(found) > limit, usage, inputs, *asks, kept))


def _small(sql, read, message, most):
    """Return the parts of a message; None if they have more than so many bytes: then they are in memory no longer."""
    found = read(sql["parts"], (message.number, message.id))
    if sum([len(row[_BODY]) for row in found]) > most:
        return None
    return [Part(*map(text, row)) for row in found]
