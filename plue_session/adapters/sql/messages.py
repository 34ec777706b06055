"""Transcripts as rows. See ports/messages.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Message, Part, Transcript


class Messages:
    """Those of one scope. `change` and `read`: as for `Operations`; `snapshot(use)` returns `use(read)`, all read at
    one moment, text as UTF-8."""

    def __init__(self, sql, scope, change, read, snapshot):
        self._sql, self._scope, self._change, self._read, self._snapshot = sql, scope, change, read, snapshot

    def message(self, number, id):
        found = self._change(self._sql["message"], (number, id)).fetchone()
        return found and Message(*found)

    def keep_message(self, message):
        self._change(self._sql["keep_message"], message.VALUES(message))

    def drop_message(self, number, id):
        self._change(self._sql["drop_parts"], (number, id))
        self._change(self._sql["drop_message"], (number, id))

    def messages_of_turn(self, number, turn_id):
        found = self._change(self._sql["messages_of_turn"], (number, turn_id)).fetchall()
        return [Message(*row) for row in found]

    def parts(self, number, message_id):
        return [Part(*row) for row in self._change(self._sql["parts"], (number, message_id)).fetchall()]

    def part(self, number, message_id, id):
        found = self._change(self._sql["part"], (number, message_id, id)).fetchone()
        return found and Part(*found)

    def keep_part(self, part):
        self._change(self._sql["keep_part"], part.VALUES(part))

    def drop_part(self, number, message_id, id):
        self._change(self._sql["drop_part"], (number, message_id, id))

    def transcript(self, number):
        found = self._change(self._sql["transcript"], (number,)).fetchone()
        return found and Transcript(*found)

    def keep_transcript(self, transcript):
        self._change(self._sql["keep_transcript"], transcript.VALUES(transcript))

    def usage_of(self, number, model):
        found = self._change(self._sql["usage_of"], (number, model)).fetchone()
        return found and found[0]

    def keep_usage(self, number, model, sums):
        self._change(self._sql["keep_usage"], (number, model, sums))

    def read_messages(self, session_id, limit, before=None, parts=True):
        place = () if before is None else before
        name = "newest_messages" if before is None else "older_messages"
        return self._with_parts(name, self._values(session_id, limit, *place), parts)[::-1]

    def read_message(self, session_id, id):
        found = self._read(self._sql["read_message"], self._values(session_id, id))
        return Message(*found[0]) if found else None

    def read_turn_messages(self, session_id, turn_id):
        return self._with_parts("turn_messages", self._values(session_id, turn_id), True)

    def read_transcript(self, session_id):
        found = self._read(self._sql["read_transcript"], self._values(session_id))
        return Transcript(*found[0]) if found else None

    def read_usage(self, session_id):
        return self._read(self._sql["read_usage"], self._values(session_id))

    def _values(self, session_id, *more):
        return self._scope, session_id, rows.number_in(session_id), *more

    def _with_parts(self, name, values, parts):
        def look(read):
            found = [(Message(*map(text, row)), []) for row in read(self._sql[name], values)]
            for message, of in found if parts else ():
                of += [Part(*map(text, row)) for row in read(self._sql["parts"], (message.number, message.id))]
            return found

        return self._snapshot(look)


def text(value):
    """Return a value of a row as of a snapshot, which has text as bytes."""
    return value.decode() if type(value) is bytes else value
