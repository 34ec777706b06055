"""What becomes of calls, for the log: stands before the library's C half where debug records are wanted, and nowhere
else, so that calls ask nothing."""

from plue_session.errors import NAMES


class Traced:
    """The C half `lib`: as such, but that `log` hears of each call before its caller does. `exports` are the functions
    by their numbers."""

    def __init__(self, ffi, lib, exports, log):
        self._ffi, self._lib, self._exports, self._log = ffi, lib, exports, log
        self._opened = {}  # the id of the session that a request opens or has made

    def __getattr__(self, name):
        return getattr(self._lib, name)

    def core__session_acquire(self, request, session_id):
        self._opened[request] = session_id
        return self._lib.core__session_acquire(request, session_id)

    def core__finish_text(self, request, *result):
        self._tell(request, "OK")
        self._lib.core__finish_text(request, *result)

    def core__finish_number(self, request, number):
        self._tell(request, "OK")
        return self._lib.core__finish_number(request, number)

    def core__finish_handle(self, request, handle):
        self._tell(request, "OK")
        self._lib.core__finish_handle(request, handle)

    def core__finish_error(self, request, number, *rest):
        self._tell(request, NAMES[number])
        self._lib.core__finish_error(request, number, *rest)

    def _tell(self, request, outcome):
        """Never with a text that the caller passed: a session's id is one that the library knows."""
        try:
            place = request.operation
            name = "plue_init" if place < 0 else self._exports[place].name
            known = self._ffi.string(request.session) if request.session else b""
            session = self._opened.pop(request, known).decode()
            began = request.value if place < 0 else request.until - request.span
            self._log.trace_call(name, began, outcome, session, self._lib.core__is_left(request))
        except MemoryError:  # it costs the line, not the call
            return
