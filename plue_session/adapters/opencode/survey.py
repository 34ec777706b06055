"""A list of all sessions, told apart from the list before: of thousands, few change between two looks."""

import re

from plue_session import errors
from plue_session.adapters.opencode import shapes


class Survey:
    """What `GET /session` answered.

    `ids` are the sessions in it, `changed` those whose text is another one than in the survey `before`, as `RemoteSession`s. One
    that cannot be read costs itself alone: it is in `ids`, and in `unreadable` once. Those with an id that no call could name are
    left out. It keeps hashes, not texts.
    """

    __slots__ = ("ids", "changed", "unreadable", "_hashes", "_whole")

    def __init__(self, body, before=None):
        self._whole = hash(body)
        self.changed, self.unreadable = [], []
        if before is not None and before._whole == self._whole:
            self.ids, self._hashes = before.ids, before._hashes
            return
        known, self._hashes = before._hashes if before is not None else {}, {}
        for text_hash, data in _elements(body):
            session_id = data.get("id") if type(data) is dict else None
            if type(session_id) is not str:
                raise shapes.malformed("a list of sessions", "one has no id")
            if known.get(session_id) != text_hash:
                if not shapes.nameable(session_id):
                    continue
                try:
                    self.changed.append(shapes.session(data))
                except errors.Server:
                    self.unreadable.append(session_id)
            self._hashes[session_id] = text_hash
        self.ids = self._hashes.keys()

    def forget(self, session_ids):
        """Have the next survey tell these anew, whether or not they change: more is known of them by now, or was not used. Any thread."""
        self._whole = None
        for session_id in session_ids:
            if session_id in self._hashes:
                self._hashes[session_id] = None


def _elements(body):
    """Yield each element of a JSON array as `(hash of its text, value)`; of one that is nested too deep the value is its id alone."""
    text = body.decode("utf-8", "replace").strip(" \t\r\n")
    if not text.startswith("["):
        raise shapes.malformed("a list of sessions", "it is not an array")
    place = _skip(text, 1)
    if text[place:] == "]":
        return
    while True:
        try:
            value, end = shapes.scan(text, place)
        except RecursionError:
            value, end = _too_deep(text, place)
        except (ValueError, StopIteration):
            raise shapes.malformed("a list of sessions", "it is not JSON") from None
        yield hash(text[place:end]), value
        place = _skip(text, end)
        if text[place:place + 1] != ",":
            break
        place = _skip(text, place + 1)
    if text[place:] != "]":
        raise shapes.malformed("a list of sessions", "it is not JSON")


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_ID = re.compile(r'\{\s*"id"\s*:\s*"(\w+)"')


def _too_deep(text, place):
    """Return `({"id": its id}, where it ends)` of an object that is nested deeper than can be parsed."""
    depth = 0
    for found in _BRACKETS.finditer(text, place):
        mark = found.group()
        depth += (mark in "[{") - (mark in "]}")
        if depth == 0:
            session_id = _ID.match(text, place)
            return {"id": session_id and session_id.group(1)}, found.end()
    raise shapes.malformed("a list of sessions", "it is not JSON")


def _skip(text, place):
    """Return the place of the next character that is not blank."""
    while text[place:place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place
