"""Objects that hosts hold through handles of other kinds than a session's, until they let go of them."""

from itertools import count

from plue_session import errors


class Held:
    """Each object under a number, which is what the C side knows of it (handles.c). `close()` ends an object;
    `guarded(work)` does something that may fail."""

    def __init__(self, ffi, lib, guarded):
        self._ffi, self._lib, self._guarded = ffi, lib, guarded
        self._objects, self._numbers = {}, count(1)

    def handle(self, kind, held):
        """Return a new handle of a kind, its place in `types.KINDS`, to an object."""
        number = next(self._numbers)
        self._objects[number] = held
        handle = self._lib.core__handle_make(kind, number)
        if not handle:
            self._objects.pop(number).close()
            raise errors.StoreIo("no memory, or no handle, is left", "Release handles that are not needed.")
        return handle

    def get(self, number):
        """Return the object behind a handle that was live when the call began."""
        held = self._objects.get(number)
        if not held:
            raise errors.BadHandle("the handle was released during the call", "Release it when its calls are over.")
        return held

    def collect(self):
        """Close what hosts have let go of."""
        number = self._ffi.new("uint64_t *")
        while self._lib.core__handle_released(number):
            if held := self._objects.pop(number[0], None):
                self._guarded(held.close)

    def forget(self):
        """The library stops, and with it all that the objects stood for."""
        self._objects.clear()
