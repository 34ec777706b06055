"""An HTTP answer, read plainly from a connection.

http.client has the email package parse the head, which takes a third of the time that a request takes here, and urllib3
waits for a full buffer of the body, which holds an event back for seconds.
"""

import mmap
import re
import zlib

from plue_session import errors

#: Bytes of the longest line of a head, and the most lines: http.client's own bounds.
LONGEST, MOST = 65_536, 100
#: Bytes of a body that are read at a time.
PIECE = 1 << 16
#: Bytes from which on a body is in memory of its own, which goes with it: the allocator would keep some for each
#: thread.
LARGE = 1 << 17
_STATUS = re.compile(rb"HTTP/(1\.\d)[ \t]+([1-9]\d\d)(?=\s)")


class HttpResponse:
    """An answer of which the head was read. `headers` is a dict, names in lower case, of several of one name the first;
    `type` the media type in lower case. The body is read piece by piece, or at once into `body`.

    What is not HTTP is a `ValueError`, an early end of the connection a `ConnectionResetError`.
    """

    __slots__ = ("status", "headers", "type", "body", "is_kept", "_source", "_left", "_chunks", "_inflate")

    def __init__(self, source):
        """Read the head from a buffered reader; interim ones before it are passed over."""
        self._source, self.body = source, b""
        version, self.status = self._read_status()
        while 100 <= self.status < 200 and self.status != 101:
            self._read_head()
            version, self.status = self._read_status()
        self.headers = headers = self._read_head()
        self.type = headers.get("content-type", "").partition(";")[0].strip().lower()
        length, connection = headers.get("content-length", ""), headers.get("connection", "").lower()
        #: the body comes in chunks; None: it does not, or is at its end
        self._chunks = _Chunks() if headers.get("transfer-encoding", "").lower() == "chunked" else None
        if self.status in (101, 204, 304):
            self._chunks, length = None, "0"
        #: bytes to come of a body without chunks; None: it ends with the connection
        self._left = 0 if self._chunks else int(length) if length.isdecimal() else None
        #: whether the connection may be used again, once the body was read
        self.is_kept = (
            self.status != 101
            and self._left is not None
            and "close" not in connection
            and (version != b"1.0" or "keep-alive" in connection)
        )
        self._inflate = _inflater(headers.get("content-encoding", "identity"))

    def read(self):
        """Return the next bytes of the body as they come, b"" at its end. What something on the way has compressed,
        although nobody asked it to, is inflated."""
        piece = self._read_piece()
        if self._inflate:
            while piece and not (inflated := self._inflate(piece)):
                piece = self._read_piece()
            return inflated if piece else piece
        return piece

    def read_all(self, most):
        """Read the whole body into `body`: bytes, or for a long one a `mmap`, whose slices are. `LIMIT_EXCEEDED` beyond
        `most` bytes."""
        size, got, pieces = self._left or 0, 0, []
        if self._left is not None and not self._chunks and not self._inflate and size <= most:
            self.body = self._map(size) if size >= LARGE else self._source.read(size)
            if len(self.body) < size:
                raise ConnectionResetError
            return
        while max(size, got) <= most and (piece := self.read()):
            pieces.append(piece)
            got += len(piece)
        if max(size, got) > most:
            raise errors.LimitExceeded(f"the server's answer has more than {most} bytes", "Ask for less at a time.")
        self.body = b"".join(pieces)

    def _read_piece(self):
        while self._chunks is not None:
            data = self._source.read1(PIECE)
            if not data:
                raise ConnectionResetError
            piece = self._chunks.take_out(data)
            if self._chunks.ended:
                self._chunks = None
            if piece:
                return piece
        if self._left is None:
            return self._source.read1(PIECE)
        piece = self._source.read1(min(PIECE, self._left)) if self._left else b""
        if self._left and not piece:
            raise ConnectionResetError
        self._left -= len(piece)
        return piece

    def _map(self, size):
        body, read = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
        with memoryview(body) as view:
            while read < size:
                with view[read:] as rest:
                    got = self._source.readinto(rest)
                if not got:
                    raise ConnectionResetError
                read += got
        return body

    def _read_status(self):
        line = self._source.readline(LONGEST + 1)
        found = _STATUS.match(line)
        if found:
            return found[1], int(found[2])
        if line.endswith(b"\n") or not b"HTTP/1.".startswith(line[:7]):
            raise ValueError("no HTTP")
        raise ConnectionResetError

    def _read_head(self):
        """Return the headers up to the empty line. One that is folded over several lines is one; a line that is none is
        passed over."""
        headers, name = {}, None
        for _ in range(MOST + 1):
            line = self._read_line()
            if line in (b"\r\n", b"\n"):
                return headers
            text = line.decode("latin-1")
            if text[0] in " \t":
                if name is not None:
                    headers[name] = f"{headers[name]} {text.strip()}".strip()
                continue
            name, colon, value = text.partition(":")
            name = name.strip().lower()
            if not colon or name in headers:
                name = None
            else:
                headers[name] = value.strip()
        raise ValueError(f"more than {MOST} headers")

    def _read_line(self):
        line = self._source.readline(LONGEST + 1)
        if len(line) > LONGEST:
            raise ValueError("a line is too long")
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        return line


class _Chunks:
    """Takes a body out of its chunks, of all that have come together: a burst of events has one for each. What follows
    the last one is none of the body's."""

    def __init__(self):
        self._rest = b""  # of a line that has not come whole
        self._left = 0  # bytes to come of a chunk
        self._behind = False  # a line end comes, behind a chunk
        self._lines = None  # left of those behind the last chunk
        self.ended = False

    def take_out(self, data):
        """Return what the bytes that come next hold of the body."""
        data, place, pieces = self._rest + data, 0, []
        self._rest = b""
        while not self.ended:
            if self._left:
                pieces.append(data[place : place + self._left])
                place += self._left
                self._left, self._behind = max(place - len(data), 0), True
                if self._left:
                    break
            end = data.find(b"\n", place)
            if (end if end >= 0 else len(data)) - place >= LONGEST:
                raise ValueError("a line is too long")
            if end < 0:
                self._rest = data[place:]
                break
            self._read_line(data[place:end].rstrip(b"\r"))
            place = end + 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, line):
        if self._lines is not None:
            self._lines -= 1
            if self._lines < 0:
                raise ValueError(f"more than {MOST} headers")
            self.ended = not line
        elif self._behind:
            if line:
                raise ValueError("a chunk is longer than it says")
            self._behind = False
        else:
            self._left = int(line.partition(b";")[0], 16)
            if self._left < 0:
                raise ValueError("a chunk has a negative length")
            if not self._left:
                self._lines = MOST


def _inflater(encoding):
    """Return a function that inflates piece after piece, or None where there is nothing to inflate."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise errors.Server(
            f"the answer is encoded in a way that cannot be read ({encoding[:40]})",
            "See what lies between here and the server.",
        )
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress  # either of them, by its first bytes

    def inflated(piece):
        try:
            return inflate(piece)
        except zlib.error:
            raise errors.Server(
                "the answer is not what it says that it is", "See what lies between here and the server."
            ) from None

    return inflated
