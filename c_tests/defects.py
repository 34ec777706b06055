# Appended to plue_session/runtime.py by tests/integration/test_disturbed.py: defects in all that an executor does
# beside a request.
def _fail(*_):
    raise ZeroDivisionError("a defect")


_open_store = open_store


def open_store(settings, scope):
    """Return a store whose housekeeping fails."""
    store, keys = _open_store(settings, scope)
    store.wants_maintenance = store.maintain = _fail
    return store, keys


class _Runtime(Runtime):
    def begin(self):
        super().begin()
        self.writer.catch_up = self.publisher.snapshot = self.publisher.known_ids = self.log.write = _fail

    def farewell(self):
        del self.log.write
        super().farewell()

    def gap_tail(self, after, last):
        _fail()


Runtime = _Runtime
