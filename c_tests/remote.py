"""Takes the place of plue_session/runtime.py in a library that c_tests/remote.c tests: a server that does what it is
told.

Sessions are texts in a dict; what a "server" does to a call is in its title:

    "wait MS"   waits, until the call is cancelled or its time is up
    "deaf MS"   waits, whatever comes
    "late MS"   a thread of the runtime's tells after so long of a title that nobody gave
    "away", "back"   the server goes, and returns
"""

import json
import threading
import time

from plue_session import errors
from plue_session.model import EVENT_NUMBER
from plue_session.rules import cursors
from plue_session.services.later import Later


class Store:
    """What the boundary reads of a store."""

    name, store_id = "memory", "00000000"

    def __init__(self):
        self.infos, self.rev = {}, 0

    def put(self, session_id, title, asked=0):
        self.rev += 1
        info = (
            json.dumps({"id": session_id, "title": title, "asked": asked})[:-1]
            + ',"sync":{"state":"synced","pending":0}}'
        )
        self.infos[session_id] = self.rev, info
        return self.rev, info

    def info(self, session_id):
        return self.infos.get(session_id)

    def log_state(self):
        return 0, 0

    def lock_fds(self):
        return []

    def wants_maintenance(self):
        return False

    def maintain(self):
        """Never due."""


class Quiet:
    trace = None

    def write(self, level, message):
        pass

    def catch_up(self):
        pass

    def lead(self, *_):
        pass


class Call:
    """A call under way."""

    def __init__(self, runtime, session, deadline):
        self.runtime, self.session, self.deadline, self.why = runtime, session, deadline, threading.Event()

    def __enter__(self):
        self.runtime.running.add(self)
        return self

    def __exit__(self, *_):
        self.runtime.running.discard(self)

    def dawdle(self, command):
        """Return the title that the command does not stand for, or None."""
        word, _, number = command.partition(" ")
        if word == "deaf":
            time.sleep(int(number) / 1000)
        elif word == "wait":
            end = time.monotonic() + int(number) / 1000
            if self.why.wait(min(end, self.deadline) - time.monotonic()):
                raise self.reason
            if end > self.deadline:
                raise errors.Timeout("the stand-in was asked to wait for longer", "Ask for less.")
        else:
            return command
        return None


class Calls:
    def __init__(self, runtime):
        self.runtime = runtime

    def begin(self, name, session, deadline, since):
        return Call(self.runtime, session, deadline)


class Sessions:
    """What the surface calls. What may take long is a function of the call that it is for."""

    def __init__(self, runtime):
        self.runtime = runtime

    def resolve(self, session_id):
        return session_id

    def fresh_info(self, session_id, age_ns):
        return None

    def create(self, parent_id):
        return self.create_with({})

    def create_with(self, fields):
        def create(call):
            call.dawdle(fields.get("title", ""))
            runtime = self.runtime
            with runtime.lock:
                session_id = f"ses_{len(runtime.asked) + 1}"
                runtime.asked[session_id] = 0
                runtime.store.put(session_id, "new")
            return session_id

        return create

    def get_or_create(self, key):
        return self.create_with({"title": key})

    def open(self, session_id):
        return session_id

    def get_info(self, session_id):
        with self.runtime.lock:
            self.runtime.asked[session_id] += 1
            shown = self.runtime.store.put(session_id, "asked", self.runtime.asked[session_id])
        self.runtime.publisher.snapshot(session_id, *shown)
        self.runtime.publisher.fresh(session_id)
        return shown[1]

    def update_title(self, session_id, title):
        def update(call):
            runtime = self.runtime
            if title in ("away", "back"):
                runtime.publisher.away(title == "away")
            elif title.startswith("late "):
                late = session_id, int(title[5:]) / 1000
                threading.Thread(target=runtime.tell_late, args=late, daemon=True).start()
            elif call.dawdle(title):
                with runtime.lock:
                    shown = runtime.store.put(session_id, title)
                runtime.publisher.snapshot(session_id, *shown)

        return update

    def delete(self, session_id):
        del self.runtime.store.infos[session_id]
        self.runtime.publisher.gone(session_id)

    def abort(self, session_id):
        def abort(call):
            self.runtime.end(errors.Aborted("the stand-in was told to end it", "Try again."), session_id, call)

        return abort

    def abort_turn(self, session_id, turn_id):
        pass

    def count(self, query_json):
        return len(self.runtime.store.infos)


class Settings:
    def __init__(self, request_timeout_ms):
        self.request_timeout_ms = request_timeout_ms


class Runtime:
    remote = True

    def __init__(self, config_json, environment, publisher, library_path="", *, environ, lifeline, given_up, **unused):
        self.publisher, self.environ, self.lifeline = publisher, environ, lifeline
        config = json.loads(config_json)
        self.settings, self.cache_ttl_ns = Settings(config["requestTimeoutMs"]), config["cacheTtlMs"] * 1_000_000
        self.store, self.log, self.writer, self.lock = Store(), Quiet(), Quiet(), threading.Lock()
        self.writer.store = self.store
        self.asked, self.running, self.steps, self.waiting = {}, set(), [], []
        self.sessions, self.sync, self.calls, self.executor = Sessions(self), self, Calls(self), None

    def tell_late(self, session_id, seconds):
        self.publisher.adopt()
        time.sleep(seconds)
        self.publisher.snapshot(session_id, 1000, '{"title":"from a runtime that is gone"}')
        self.publisher.transient(
            EVENT_NUMBER["log"],
            None,
            ',"data":{"message":"from a runtime that is gone"}}',
            cursors.render("00000000", 0, None),
        )
        self.publisher.away(True)

    def end(self, reason, session_id=None, by=None):
        for call in list(self.running):
            if call is not by and (session_id is None or call.session == session_id):
                call.reason = reason
                call.why.set()

    def refreshed(self, session_id):
        return 0

    # -- what stays local --
    def run(self, timeout_ms):
        if timeout_ms:
            self.waiting.append(Later(time.monotonic() + timeout_ms / 1000))
            return self.waiting[-1]
        return None

    def status(self):
        return "{}"

    def app_info(self):
        host = self.environ()
        return json.dumps(
            {
                "known": sorted(self.publisher.known_ids()),
                "steps": self.steps,
                "running": len(self.running),
                "folder": host["CHECK_DIR"],
                "none": host.get("NONE"),
                "lifeline": self.ends[1],
            }
        )

    # -- its life --
    def watched(self):
        self.steps.append("watched")

    def greet(self):
        self.steps.append("greet")

    def begin(self):
        self.steps.append("begin")
        import os

        self.ends = os.pipe()
        self.lifeline(self.ends[1], True)

    def hang_up(self):
        self.end(errors.Closed("the stand-in hung up", "Start again."))
        for later in self.waiting:
            later.end(errors.Closed("the stand-in hung up", "Start again."))

    def farewell(self):
        pass

    def close(self):
        import os

        self.lifeline(self.ends[1], False)
        for end in self.ends:
            os.close(end)
