"""Objects that hosts hold through handles of other kinds than a session's, until they let go of them."""

from itertools import count

from plue_session import errors


class Held(dict):
    """The objects by number, which is what the C side knows of them (handles.c). `close()` ends one; `guarded(work)`
    does what may fail."""

    def __init__(self, ffi, lib, guarded):
        self._ffi, self._lib, self._guarded, self._numbers = ffi, lib, guarded, count(1)

    def handle(self, kind, held):
        """Return a new handle of a kind, its place in `types.KINDS`, to an object."""
        number = next(self._numbers)
        self[number] = held
        handle = self._lib.core__handle_make(kind, number)
        if not handle:
            self.pop(number).close()
            raise errors.StoreIo("no memory, or no handle, is left", "Release handles that are not needed.")
        return handle

    def __missing__(self, number):
        raise errors.BadHandle("the handle was released during the call", "Release it when its calls are over.")

    def collect(self):
        """Close what hosts have let go of."""
        number = self._ffi.new("uint64_t *")
        while self._lib.core__handle_released(number):
            if held := self.pop(number[0], None):
                self._guarded(held.close)
