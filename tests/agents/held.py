"""An agent that a test holds, and what was heard of it."""

import os
import sys
import threading
import time
from pathlib import Path

from plue_session.adapters.acp.agent import AcpAgent
from plue_session.call import Call
from plue_session.model.said import Answered, Gone, Said
from tests.agents import judge

FAKE = str(Path(__file__).parent / "fake_agent.py")
#: Seconds for what should be there at once, on a machine that is busy.
SOON = 20.0


class Heard:
    """An ear that keeps what it hears. `room`: how much it takes before it is full, until it is told to `make_room`."""

    def __init__(self, room=None):
        self.all, self.room, self._changed = [], room, threading.Condition()

    def hear(self, said, size):
        assert type(size) is int and size > 0
        with self._changed:
            self.all.append(said)
            self._changed.notify_all()
            if self.room is not None:
                self.room -= 1
            return self.room is None or self.room > 0

    def wait(self, found, since=0):
        """Wait until something is heard of a type, or for which `found(said)`, and return the first."""
        if isinstance(found, type):
            kind = found
            found = lambda said: isinstance(said, kind)  # noqa: E731
        deadline = time.monotonic() + SOON
        with self._changed:
            while not (matching := [each for each in self.all[since:] if found(each)]):
                left = deadline - time.monotonic()
                assert left > 0, f"not heard in time; heard was {[*map(str, self.all[-20:])]}"
                self._changed.wait(left)
            return matching[0]

    def text(self, kind="text"):
        return "".join(said.text for said in self.all if isinstance(said, Said) and said.kind == kind)

    def of(self, kind):
        return [said for said in self.all if isinstance(said, kind)]


class Held:
    """A fake agent, described by words (fake_agent.py), under its own guard."""

    def __init__(self, folder, guard, words, room=None, judged=True, **options):
        number = len(list(folder.glob("trace-*")))
        self.trace, self.pids = folder / f"trace-{number}", folder / f"pids-{number}"
        self.trace.touch()
        self.heard, self.judged = Heard(room), judged
        self.worktree = folder / "worktree"
        self.worktree.mkdir(exist_ok=True)
        options = {"command": [sys.executable, FAKE], "env": {}, "environment": dict(os.environ), **options}
        command = [*options.pop("command"), *words, f"trace={self.trace}", f"pids={self.pids}"]
        self.agent = AcpAgent(command, str(self.worktree), options.pop("env"), self.heard, program=guard, **options)

    def begin(self, conversation=None, seconds=SOON):
        """Start it and open a conversation, whose id is returned."""
        self.agent.start(call(seconds))
        return self.agent.open(conversation, call(seconds))

    def say(self, text):
        return self.agent.prompt([{"type": "text", "text": text}])

    def turn(self, text):
        """Say this, wait for the answer, and return it."""
        return self.answer(self.say(text))

    def answer(self, ticket):
        return self.heard.wait(lambda said: isinstance(said, Answered) and said.ticket == ticket)

    def end(self):
        """Close it, and check that nothing is left of it, that each ticket was answered once, and what was said."""
        self.agent.close()
        assert self.agent.join(SOON)
        assert self.agent.pid is None
        if self.heard.of(Gone):
            assert isinstance(self.heard.all[-1], Gone) and len(self.heard.of(Gone)) == 1
        tickets = [said.ticket for said in self.heard.of(Answered)]
        assert len(set(tickets)) == len(tickets)
        assert not self.alive()
        if self.judged:
            judge.judge(self.trace)

    def alive(self):
        """Return those of its processes, and of its grandchildren's, that are there; the dead that only the system's
        init has still to look at are not."""
        pids = self.pids.read_text().split() if self.pids.exists() else []
        return [pid for pid in pids if _stat(pid) not in (None, ("Z", 1))]

    def said(self, way, method=None):
        """Return the messages that went to it ("in") or came from it."""
        found = [message for each, message in judge.messages(self.trace) if each == way]
        return [each for each in found if each.get("method") == method] if method else found


def call(seconds=SOON):
    return Call(time.monotonic() + seconds)


def _stat(pid):
    """Return a process's state and its parent, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return state, int(parent)
