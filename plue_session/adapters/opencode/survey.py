"""A list of all sessions, told apart from the list before: of thousands, few change between two of them.

It is read piece by piece: neither the whole text nor all that it says is ever in memory beside the answer itself. Where
it is written as OpenCode does, it is cut at what stands between two sessions, and only those are decoded whose text is
another one than before. In no text of JSON does that stand within a string, and one that is cut where it stands inside
of a session has brackets left open: it cannot be decoded, and then the whole list is read value by value.
"""

import codecs
import re
from hashlib import blake2b

from plue_session import errors
from plue_session.adapters.opencode import shapes

#: Bytes that are read at a time; more where one session has more.
PIECE = 1 << 16


class Survey:
    """What `GET /session` answered.

    `ids` are the sessions in it, `changed` those whose text is another one than in the survey `before`, as
    `RemoteSession`s. One that cannot be read costs itself alone: it is in `ids`, and in `unreadable` once. Those with
    an id that no call could name are left out. It keeps hashes, not texts.
    """

    __slots__ = ("ids", "changed", "unreadable", "_hashes", "_whole")

    def __init__(self, body, before=None):
        self._whole = blake2b(body, digest_size=16).digest()
        self.changed, self.unreadable = [], []
        if before is not None and before._whole == self._whole:
            self.ids, self._hashes = before.ids, before._hashes
            return
        known, self._hashes = before._hashes if before is not None else {}, {}
        try:
            names = dict(zip(known.values(), known, strict=True))
            for texts in _cut(body):
                self._compare(texts, names)
        except ValueError:  # it is written in another way
            self._hashes, self.changed, self.unreadable = {}, [], []
            for text_hash, data in _elements(body):
                self._take(data, text_hash, known)
        self.ids = self._hashes.keys()

    def _compare(self, texts, names):
        """Take sessions as they are written; `names` tells whose text has this hash. `ValueError`: one is none."""
        hashes = list(map(hash, texts))
        for text, text_hash, session_id in zip(texts, hashes, map(names.get, hashes), strict=True):
            if session_id is None:
                self._take(shapes.parse(b"%b%b}" % (_BEGIN, text)), text_hash, {})
            else:
                self._hashes[session_id] = text_hash

    def _take(self, data, text_hash, known):
        """Take a session, `known` being the hashes of before."""
        session_id = data.get("id") if type(data) is dict else None
        if type(session_id) is not str:
            raise shapes.malformed("a list of sessions", "one has no id")
        if known.get(session_id) != text_hash:
            if not shapes.nameable(session_id):
                return
            try:
                self.changed.append(shapes.session(data))
            except errors.Server:
                self.unreadable.append(session_id)
        self._hashes[session_id] = text_hash

    def forget(self, session_ids):
        """Have the next survey tell these anew, whether or not they change: more is known of them by now, or was not
        used. Any thread."""
        self._whole = None
        for session_id in session_ids:
            if session_id in self._hashes:
                self._hashes[session_id] = None


#: How a session begins, and what stands between two.
_BEGIN = b'{"id":"ses_'
_BETWEEN = b"}," + _BEGIN


def _cut(body):
    """Yield lists of the texts of sessions, without `_BEGIN` and the last brace. `ValueError`: it is none such."""
    place, size, rest = len(_BEGIN) + 1, PIECE, b""
    if body[:place] != b"[" + _BEGIN or body[-2:] != b"}]":
        raise ValueError("not as expected")
    while place < len(body) - 2:
        end = min(place + size, len(body) - 2)
        texts, place = (rest + body[place:end]).split(_BETWEEN), end
        rest = texts.pop()
        size = PIECE if texts else 2 * size  # a long one is not searched again and again
        yield texts
    yield [rest]


def _elements(body):
    """Yield each element of a JSON array as `(hash of its text, value)`; of one that is nested too deep the value is
    its id alone."""
    text = _Text(body)
    if text.next() != "[":
        raise shapes.malformed("a list of sessions", "it is not an array")
    text.place += 1
    if text.next() == "]":
        text.place += 1
    else:
        while True:
            yield text.element()
            mark = text.next()
            text.place += 1
            if mark == "]":
                break
            if mark != ",":
                raise shapes.malformed("a list of sessions", "it is not JSON")
            text.next()
    if text.next():
        raise shapes.malformed("a list of sessions", "it is not JSON")


class _Text:
    """A long JSON text in bytes, of which a piece is decoded at a time; `place` is where in it we are."""

    def __init__(self, body):
        self._body, self._read, self._size = body, 0, PIECE
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._piece, self.place = "", 0

    def _more(self):
        """Go on to the next piece, keeping what is not done with; returns whether there was one."""
        if self._read >= len(self._body):
            return False
        data = self._body[self._read : self._read + self._size]
        self._read += len(data)
        self._piece, self.place = self._piece[self.place :] + self._decode(data, self._read >= len(self._body)), 0
        return True

    def next(self):
        """Skip what is blank and return the next character; "" at the end."""
        while True:
            self.place = _BLANK.match(self._piece, self.place).end()
            if self.place < len(self._piece) or not self._more():
                return self._piece[self.place : self.place + 1]

    def element(self):
        """Pass over the value that begins here, and return the hash of its text, and the value."""
        while True:
            try:
                try:
                    value, end = shapes.scan(self._piece, self.place)
                except RecursionError:
                    value, end = _too_deep(self._piece, self.place)
            except (ValueError, StopIteration, errors.Server):
                # Cut off, or no JSON? More tells; twice as much each time, for all of it is read again.
                self._size *= 2
                if not self._more():
                    raise shapes.malformed("a list of sessions", "it is not JSON") from None
            else:
                text = self._piece[self.place : end]
                self.place, self._size = end, PIECE
                return hash(text), value


_BLANK = re.compile(r"[ \t\r\n]*")
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
