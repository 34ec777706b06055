"""Processes that hold the library and work with a server, told from a test what to do."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests import support

HOST = Path(__file__).parent / "host.py"
#: An answer that takes longer is none, and an event that comes later did not come.
PATIENCE = 30.0


#: The sessions that `Host.fence` uses: no test is about them.
FENCES = set()


class Failed(Exception):
    """A call failed: `code` is the error's name, `message` its text, `details` its details, `retryable` whether it
    is."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.message, self.details, self.retryable = (
            error["code"],
            error["message"],
            error.get("details", {}),
            error["retryable"],
        )


class Answer:
    """What a call will have returned. `at`: when, on the monotonic clock."""

    def __init__(self):
        self._arrived, self._said = threading.Event(), None

    def arrive(self, said):
        self._said = said
        self._arrived.set()

    @property
    def is_there(self):
        return self._arrived.is_set()

    @property
    def at(self):
        self.result()
        return self._said["at"]

    def result(self):
        assert self._arrived.wait(PATIENCE), "no answer"
        assert self._said is not None, "the process died"
        if self._said["error"]:
            raise Failed(self._said["error"])
        return self._said["value"]

    def failure(self):
        """The error that the call must have failed with."""
        try:
            value = self.result()
        except Failed as error:
            return error
        raise AssertionError(f"it succeeded with {value!r}")


class Session:
    """A handle. A method for each function that takes one: `session.update_title("Title")`."""

    def __init__(self, host, handle):
        self.host, self.handle = host, handle

    def __getattr__(self, name):
        return lambda *arguments: self.host.call("session_" + name, self.handle, *arguments)

    @property
    def id(self):
        return self.get_id()

    def info(self):
        return json.loads(self.get_info())

    def peek(self):
        return json.loads(self.peek_info())

    def fails(self, name, *arguments):
        """The error that this function must fail with."""
        return self.host.fails("session_" + name, self.handle, *arguments)

    def start(self, name, *arguments):
        return self.host.start("session_" + name, self.handle, *arguments)


class Host:
    """A process with the library, started and listened to. Whatever fails raises `Failed`."""

    def __init__(self, library, folder, environ=None, init=True, program=None, **config):
        """`program`: the command of one in another language."""
        self._process = subprocess.Popen(
            program or [sys.executable, "-I", HOST, library.path, library.package / "prototypes.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=support.environment(folder, **environ or {}),
        )
        self.pid, self.config, self.folder = self._process.pid, json.dumps(config), folder
        self._numbers, self._waiting, self._writing = itertools.count(), {}, threading.Lock()
        self._events, self._draining = [], threading.Lock()
        self._rung, self._heard = 0, threading.Condition()  # how many events the subscription has heard
        self._fence, self._left = None, set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if init:
            self.call("init", self.config)
            self.call("event_subscribe")

    def __enter__(self):
        return self

    def end(self):
        """Begin to shut the library down and to end the process. Twice is harmless."""
        if not self._process.stdin.closed:
            if self._process.poll() is None:
                self.start("shutdown", wait=False)
            self._process.stdin.close()

    def __exit__(self, *_):
        """Shut the library down and end the process."""
        self.end()
        try:
            self._process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self):
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    # -- calls ---------------------------------------------------------------------------------------------------------
    def start(self, name, *arguments, wait=True):
        """Begin a call in a thread of its own, so that others can be made meanwhile; returns its `Answer`."""
        number, answer = next(self._numbers), Answer()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "call": name, "arguments": arguments, "async": wait}) + "\n"
        with self._writing:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        return answer

    def call(self, name, *arguments):
        return self.start(name, *arguments, wait=False).result()

    def fails(self, name, *arguments):
        """The error that this call must fail with."""
        return self.start(name, *arguments, wait=False).failure()

    def create(self, parent_id=None):
        return Session(self, self.call("session_create", parent_id))

    def create_with(self, **options):
        return Session(self, self.call("session_create_with", json.dumps(options)))

    def get_or_create(self, key):
        return Session(self, self.call("session_get_or_create", key))

    def open(self, id_or_key):
        return Session(self, self.call("session_open", id_or_key))

    def list(self):
        return {info["id"]: info for info in json.loads(self.call("session_list"))}

    def query(self, **query):
        return json.loads(self.call("session_query", json.dumps(query)))["sessions"]

    def status(self):
        return json.loads(self.call("session_sync_status"))

    def app_info(self):
        return json.loads(self.call("get_app_info"))

    def await_status(self, condition):
        """Wait until the synchronisation stands so, and return how it stands."""
        until = time.monotonic() + PATIENCE
        while not condition(status := self.status()):
            assert time.monotonic() < until, status
            time.sleep(0.02)
        return status

    def await_stream(self):
        """Wait until the server's events are heard."""
        self.await_status(lambda status: status["server"]["events"])

    # -- events --------------------------------------------------------------------------------------------------------
    def _drain(self):
        with contextlib.suppress(Failed):  # reading waits until what calls have returned with is committed, and told
            self.call("session_query", '{"limit":1}')
        with self._draining:
            self._events += self.call("drain")
            return len(self._events)

    def leave_behind(self):
        """Be told no more of the sessions that were told of until now: they are other tests'."""
        self._drain()
        self._left = {event["sessionId"] for event in self._events if "sessionId" in event}

    def mark(self):
        """The place in the events up to which they have been told."""
        return self._drain()

    def since(self, mark, session_id=None):
        """What was told of sessions since, of one or of all of this test's, as `(type, data)`; without `fields`: the
        clock decides whether that names `time.updated`."""
        self._drain()
        return [
            (event["type"], {name: value for name, value in event["data"].items() if name != "fields"})
            for event in self._events[mark:]
            if "sessionId" in event
            and event["sessionId"] not in FENCES | self._left
            and session_id in (None, event["sessionId"])
        ]

    def said(self, mark, kind):
        """The data of what was told since that concerns no session: "sync.state", "log"."""
        self._drain()
        return [event["data"] for event in self._events[mark:] if event["type"] == kind]

    def wait_for(self, kind, session_id=None, mark=0, **data):
        """Wait until an event like this is told; return its data."""
        until = time.monotonic() + PATIENCE
        while True:
            with self._heard:
                rung = self._rung
            self._drain()
            for event in self._events[mark:]:
                if (
                    event["type"] == kind
                    and session_id in (None, event.get("sessionId"))
                    and data.items() <= event["data"].items()
                ):
                    return event["data"]
            assert time.monotonic() < until, f"no {kind} {data} was told, but {self._events[mark:]}"
            with self._heard:
                self._heard.wait_for(lambda rung=rung: self._rung != rung, 0.5)

    def fence(self, client):
        """Wait until everything that the server has told by now is told here: its stream comes in order, and so do our
        events."""
        from tests.opencode.fixtures import soon

        if self._fence is None:
            self.await_stream()
            self._fence = client.create(f"fence-{self.pid}-{id(self)}", soon(), title="fence")
            FENCES.add(self._fence.id)
        title, mark = f"fence {next(self._numbers)}", self.mark()
        client.update(self._fence.id, soon(), title=title)
        self.wait_for("session.updated", self._fence.id, mark, title=title)

    def _read(self):
        for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                with self._heard:
                    self._rung += 1
                    self._heard.notify_all()
            else:
                self._waiting.pop(said["id"]).arrive(said)
        for answer in list(self._waiting.values()):
            answer.arrive(None)
