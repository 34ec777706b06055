"""A list of all sessions, told apart from the list before: of thousands, few change between two looks."""

from plue_session.adapters.opencode import shapes


class Survey:
    """What `GET /session` answered.

    `ids` are the sessions in it, `changed` those whose text is another one than in the survey `before`, as `RemoteSession`s.
    Sessions with an id that no call could name are left out; any other flaw is `SERVER`. It keeps hashes, not texts.
    """

    __slots__ = ("ids", "changed", "_hashes", "_whole")

    def __init__(self, body, before=None):
        self._whole = hash(body)
        if before is not None and before._whole == self._whole:
            self.ids, self.changed, self._hashes = before.ids, [], before._hashes
            return
        known = before._hashes if before is not None else {}
        self.changed, self._hashes = [], {}
        for text_hash, data in _elements(body):
            session_id = data.get("id") if type(data) is dict else None
            if type(session_id) is not str or known.get(session_id) != text_hash:
                if type(session_id) is str and not shapes.nameable(session_id):
                    continue
                self.changed.append(shapes.session(data))
            self._hashes[session_id] = text_hash
        self.ids = self._hashes.keys()

    def forget(self, session_ids):
        """Have the next survey tell these anew, whether or not they change: more is known of them by now, or was not used. Any thread."""
        self._whole = None
        for session_id in session_ids:
            if session_id in self._hashes:
                self._hashes[session_id] = None


def _elements(body):
    """Yield each element of a JSON array as `(hash of its text, value)`."""
    text = body.decode("utf-8", "replace").strip(" \t\r\n")
    if not text.startswith("["):
        raise shapes.malformed("a list of sessions", "it is not an array")
    place = _skip(text, 1)
    if text[place:] == "]":
        return
    while True:
        try:
            value, end = shapes.scan(text, place)
        except (ValueError, StopIteration, RecursionError):
            raise shapes.malformed("a list of sessions", "it is not JSON") from None
        yield hash(text[place:end]), value
        place = _skip(text, end)
        if text[place:place + 1] != ",":
            break
        place = _skip(text, place + 1)
    if text[place:] != "]":
        raise shapes.malformed("a list of sessions", "it is not JSON")


def _skip(text, place):
    """Return the place of the next character that is not blank."""
    while text[place:place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place
