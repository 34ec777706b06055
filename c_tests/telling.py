"""Takes the place of plue_session/runtime.py in libraries that c_tests/farewell.c and instant.c test: the one that is
shipped, which also does, when a title says so, what otherwise happens when it likes:

    "log N"   tells N log events, numbered
    "server away", "server back"   tells of a sync.state
    "survey"   asks which sessions there are handles to, as a listing of a server's does
    "no gap"   from now on a gap cannot be put together
    "no log"   from now on the log is not read in time
"""

import time

from plue_session.shipped_runtime import *  # noqa: F403  what else the package takes from there

from plue_session import errors, shipped_runtime


class Runtime(shipped_runtime.Runtime):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.set_title, self.sessions.update_title = self.sessions.update_title, self.update_title

    def update_title(self, session_id, title):
        word, _, rest = title.partition(" ")
        if word == "log":
            for number in range(int(rest)):
                self._tell_log("warning", str(number))
        elif word == "server":
            self._tell_state(rest == "back", None)
        elif word == "survey":
            assert session_id in set(self.publisher.known_ids())
        elif word == "no":
            setattr(
                *((self.observations, "gap", self.fail) if rest == "gap" else (self.store, "events_after", self.stall))
            )
        else:
            return self.set_title(session_id, title)
        return None

    def fail(self, *_):
        raise errors.StoreIo("the stand-in was asked to fail", "Ask for something else.")

    def stall(self, *_):
        time.sleep(9)
        return []
