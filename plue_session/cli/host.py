"""The library as this command uses it: through C, by ctypes, like any host."""

import json
import math
import os
import queue
import time

from plue_session.prototypes import ERRORS, load, plue_event_callback, take

#: PLUE_ALL_SESSIONS.
ALL = 1
#: Seconds that one call waits.
PATIENCE = 60


class Failure(Exception):
    """A call that failed, or anything else that ends the command: one line of what, why and what to do."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code

    @classmethod
    def of(cls, error):
        """Return the failure that a `PlueError` says."""
        return cls(f"{error.cause.rstrip('.')}. {error.remedy}".rstrip(), error.name)


class Host:
    """A running library. Use it in a `with` statement; `config` are keys of plue_init's configuration."""

    def __init__(self, **config):
        self.library = open_library()
        self._callbacks = {}
        if self.library.plue_init(
            json.dumps({key: value for key, value in config.items() if value is not None}).encode()
        ):
            raise self.failure()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for subscription in self._callbacks:
            self.library.plue_event_unsubscribe(subscription)
        self.library.plue_shutdown()

    def text(self, function, *arguments):
        """Call a function that returns text."""
        return take(self.library, self._call(function, arguments, lambda text: not text))

    def json(self, function, *arguments):
        """Call a function that returns JSON."""
        return json.loads(self.text(function, *arguments))

    def number(self, function, *arguments):
        """Call a function that returns 0, or a count."""
        return self._call(function, arguments, lambda number: number < 0)

    def session(self, function, *arguments):
        """Call a function that returns a handle."""
        return self._call(function, arguments, lambda handle: not handle)

    def page(self, query):
        """Return a page of matching sessions."""
        return self.json("plue_session_query", query)

    def info(self, id_or_key):
        """Return a session's info as JSON."""
        return self.text("plue_session_get_info", self.session("plue_session_open", id_or_key))

    def attached(self):
        """Return what is attached to sessions, as the metrics tell that."""
        return self.json("plue_session_metrics", "json")["agents"]["sessions"]

    def _call(self, function, arguments, has_failed):
        result = getattr(self.library, function)(
            *[each.encode("utf-8", "surrogateescape") if isinstance(each, str) else each for each in arguments]
        )
        if has_failed(result):
            raise self.failure()
        return result

    def events(self):
        """Subscribe; returns a queue of JSON texts."""
        heard = queue.SimpleQueue()
        callback = plue_event_callback(lambda number, text, user_data: heard.put(text.decode()))
        subscription = self.library.plue_event_subscribe(callback, None)
        if not subscription:
            raise self.failure()
        self._callbacks[subscription] = callback  # must live as long as C may call it
        return heard

    def observe(self, cursor, session=ALL):
        """Observe all sessions, or one, from a cursor on or (None) from now on."""
        return Observer(
            self.library, self._call("plue_session_observe", (session, cursor), lambda made: not made), self
        )

    def failure(self):
        """Return the failure of the last call of this thread."""
        return Failure(
            self.library.plue_get_last_error().decode("utf-8", "replace"),
            ERRORS.get(self.library.plue_get_last_error_code()),
        )


class Observer:
    """What follows a cursor; it ends with its host."""

    def __init__(self, library, handle, host):
        self._library, self._handle, self._host = library, handle, host

    def cursor(self):
        """Return where it is."""
        return self._host.text("plue_session_observer_cursor", self._handle)

    def descriptor(self):
        """Return what is readable while there is an item."""
        return self._host.number("plue_session_observer_fd", self._handle)

    def next(self, seconds):
        """Return the next item, or None if none comes within that time (None: however long that takes)."""
        until = math.inf if seconds is None else time.monotonic() + seconds
        while True:
            left = max(0, min(until - time.monotonic(), PATIENCE))
            item = take(self._library, self._library.plue_session_observer_next(self._handle, math.ceil(left * 1000)))
            if item is None and self._library.plue_get_last_error_code():
                raise self._host.failure()
            if item is not None or time.monotonic() >= until:
                return item


def open_library():
    """Load the library that is installed with this package; `Failure` when there is none or it cannot be loaded."""
    path = library_path()
    if not os.path.exists(path):
        raise Failure(f"there is no library at {path}. Build it (make library) or install the package (pip install .).")
    try:
        return load(path)
    except (OSError, AttributeError) as error:
        raise Failure(
            f"the library cannot be loaded: {error}. Install the package again with the Python that is to run it "
            "(pip install --force-reinstall .)."
        ) from None


def library_path():
    """Return where the library that belongs to this package lies."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib", "libplue_session.so")
