"""A process that uses a shared command, for test_sharing.py: `user.py GUARD FOLDER NAME SCRIPT WHERE`. It prints a line
for each thing that it meets, and does what it is told: "stop", "fork", "exit"."""

import json
import os
import sys
import time

from plue_session.adapters.child.child import Child
from plue_session.adapters.child.guard import Command
from plue_session.adapters.child.share import Share
from plue_session.call import Call
from plue_session.errors import PlueError

guard, folder, name, script, where = sys.argv[1:]


class First:
    """Ready with the first line."""

    def __init__(self):
        self._text = b""

    def feed(self, data):
        self._text += data
        return self._text.partition(b"\n")[0].decode() if b"\n" in self._text else None


def tell(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


lifelines = set()
command = Command(
    ["sh", "-c", script], where, dict(os.environ), name="it", does="answer", key="command", install="Install it"
)
child = Child(
    command,
    First,
    on_change=lambda value: tell(changed=value, pid=child.pid if value else None),
    on_lifeline=lambda fd, opened: (lifelines.add if opened else lifelines.discard)(fd),
    program=guard,
    back_off=(0.05, 0.2),
    share=Share(folder, name) if name else None,
)
try:
    tell(ready=child.start(Call(time.monotonic() + 20)), pid=child.pid)
except PlueError as error:
    tell(failed=error.message("user"))
for line in sys.stdin:
    if line == "stop\n":
        began = time.monotonic()
        child.stop()
        tell(stopped=time.monotonic() - began)
    elif line == "fork\n":
        if not (pid := os.fork()):
            for fd in (0, 1, *lifelines):  # the lifelines as capi/forks.c does
                os.close(fd)
            time.sleep(60)
            os._exit(0)
        tell(forked=pid)
os._exit(0)
