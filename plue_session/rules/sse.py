"""Server-sent events, from raw bytes to the data of each event
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

Works on bytes because text libraries cannot: `str.splitlines` also cuts at U+0085 and U+2028, which JSON may hold, and
a chunk may end inside a character. Lines end at CRLF, LF or CR, and nowhere else.
"""

#: Bytes that one event may have, its data and the line that is being read; one that has more is skipped.
MAX_EVENT = 10_000_000

_BOM = b"\xef\xbb\xbf"
_LF = 10
_PART = [b":"]  # stands for the beginning of a line that is not kept: no blank line, and no data


class Parser:
    """Cuts one stream into events, however it comes in pieces. Not thread-safe; one per connection.

    Only `data` counts: OpenCode sends no `event`, `id` or `retry` field, and all of them are skipped, like comments.
    """

    def __init__(self):
        self._start = b""  # what came of a BOM so far; None once that is settled
        self._after_cr = False  # a LF that comes next belongs to the line that CR has ended
        self._line = []  # pieces of the line that has not ended yet
        self._data = []  # data lines of the event that has not ended yet
        self._size = 0  # bytes in both
        self._skipping = False  # this event has too many
        self._between = False  # an event begins with the next byte

    def feed(self, chunk):
        """Take the next bytes and return the data (bytes) of each event that they complete, at once.

        An event ends with its blank line; what is unfinished when the stream ends was never sent. In place of an event
        of more than `MAX_EVENT` bytes there is None: it is not kept while it comes, and the stream goes on after it.
        """
        if self._between and chunk[:6] == b"data: ":  # most often the chunk is one event of one line
            lines = chunk[6:].splitlines()  # of bytes: at CR and LF, and nowhere else
            if len(lines) == 2 and not lines[1] and chunk[-1] == _LF and len(chunk) <= MAX_EVENT:
                del lines[1]
                return lines
        events = self._cut(chunk)
        self._between = not (self._line or self._data or self._skipping or self._after_cr) and self._start is None
        return events

    def _cut(self, chunk):
        if self._start is not None:
            chunk = self._start + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._start = chunk
                return []
            self._start = None
            if chunk.startswith(_BOM):
                chunk = chunk[len(_BOM) :]
        if self._after_cr or b"\r" in chunk:
            return self._lines(chunk)
        return self._bulk(chunk)

    def _bulk(self, chunk):
        """Cut many one-line events with one split: twice as fast as line by line."""
        events, start = [], 0
        if self._line or self._data or self._skipping:  # finish the event that the last chunk began
            if not self._line and chunk.startswith(b"\n"):
                start = 1
            else:
                start = chunk.find(b"\n\n") + 2
                if start == 1:
                    return self._lines(chunk)
            events = self._lines(chunk[:start])
        end = chunk.rfind(b"\n\n", start)
        if end > start:
            block = chunk[start + 6 : end]
            found = block.split(b"\n\ndata: ")
            if chunk.startswith(b"data: ", start) and block.count(b"\n") == 2 * len(found) - 2:
                events += (
                    found if len(block) <= MAX_EVENT else [each if len(each) <= MAX_EVENT else None for each in found]
                )
            else:
                events += self._lines(chunk[start : end + 2])
            start = end + 2
        return events + self._lines(chunk[start:])

    def _lines(self, chunk):
        """Cut line by line, by the whole of the rules."""
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events = []
        for line in lines:
            if self._line:
                self._size -= sum(map(len, self._line))
                line = b"".join(self._line) + line
                self._line = []
            if not line:
                if self._skipping:
                    events.append(None)
                elif self._data:
                    events.append(b"\n".join(self._data))
                self._data, self._size, self._skipping = [], 0, False
                continue
            if self._skipping:
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                value = value[1:] if value.startswith(b" ") else value
                self._data.append(value)
                self._size += len(value) + 1
                if self._size - 1 > MAX_EVENT:
                    self._skip()
        if rest:
            if not self._skipping:
                self._line.append(rest)
                self._size += len(rest)
                if self._size > MAX_EVENT:
                    self._skip()
            if self._skipping:
                self._line = _PART
        return events

    def _skip(self):
        """Keep nothing more of this event."""
        self._data, self._line, self._size, self._skipping = [], [], 0, True
