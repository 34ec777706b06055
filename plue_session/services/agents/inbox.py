"""What an agent has said and its actor has not yet taken: bounded, so that a flood stops in the agent's own pipe."""

import threading
import time
from collections import deque

#: Bytes, and things said, from which on the agent is not read further.
MOST_BYTES, MOST_SAID = 1 << 20, 1024


class Inbox:
    """The ear of one agent (ports/agent.py), and what wakes its actor. Thread-safe."""

    def __init__(self):
        self._changed = threading.Condition()
        self._said, self._bytes, self._is_poked, self._is_full = deque(), 0, False, False
        #: has the agent be read on; set once there is one
        self.go_on = lambda: None

    def hear(self, said, size):
        """Take what the agent says; False: it is not to be read until `go_on`."""
        with self._changed:
            self._said.append(said)
            self._bytes += size
            self._is_full = self._bytes >= MOST_BYTES or len(self._said) >= MOST_SAID
            self._changed.notify()
            return not self._is_full

    def poke(self):
        """Have the actor look at its session's rows. Must not wait."""
        with self._changed:
            self._is_poked = True
            self._changed.notify()

    def take(self, seconds):
        """Wait for something, at most so long (None: for ever); return what was said, and whether somebody has
        poked."""
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while not (self._said or self._is_poked):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            said, self._said = self._said, deque()
            is_poked, self._is_poked = self._is_poked, False
            was_full, self._is_full, self._bytes = self._is_full, False, 0
        if was_full:
            self.go_on()
        return said, is_poked
