"""An HTTP answer whose head is read plainly."""

from http.client import HTTPException, HTTPResponse, IncompleteRead, LineTooLong, UnknownProtocol

#: Bytes of the longest line of a head, and the most lines: http.client's own bounds.
LONGEST, MOST = 65_536, 100


class HttpResponse(HTTPResponse):
    """`http.client`'s, but for `headers`: a dict, names in lower case, of several of one name the first.

    http.client has the email package parse them, which takes a third of the time that a request takes here.
    """

    def begin(self):
        """Read the head, interim ones included."""
        version, status, reason = self._read_status()
        while 100 <= status < 200 and status != 101:
            _read_head(self.fp)
            version, status, reason = self._read_status()
        if not version.startswith("HTTP/1."):
            raise UnknownProtocol(version)
        self.code, self.status, self.reason, self.version = (
            status,
            status,
            reason.strip(),
            10 if version == "HTTP/1.0" else 11,
        )
        self.headers = self.msg = headers = _read_head(self.fp)
        self.chunked, self.chunk_left = headers.get("transfer-encoding", "").lower() == "chunked", None
        length = headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        if status in (101, 204, 304) or self._method == "HEAD":
            self.length = 0
        kept = headers.get("connection", "").lower()
        # Without a length the body ends with the connection.
        self.will_close = (
            status == 101
            or "close" in kept
            or self.version == 10
            and "keep-alive" not in kept
            or self.length is None
            and not self.chunked
        )


def _read_head(stream):
    """Return the headers up to the empty line. One that is folded over several lines is one; a line that is none is
    passed over."""
    headers, name = {}, None
    for _ in range(MOST + 1):
        line = stream.readline(LONGEST + 1)
        if len(line) > LONGEST:
            raise LineTooLong("header line")
        if line in (b"\r\n", b"\n"):
            return headers
        if not line.endswith(b"\n"):
            raise IncompleteRead(line)  # the connection has ended
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
    raise HTTPException(f"more than {MOST} headers")
