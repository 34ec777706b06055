"""agents: what is attached to sessions, and how it is."""

import contextlib
import json
import os
import shlex
import sys
import time

from plue_session.cli import show

#: Relay states of sessions whose agent is to come, is there, or is about to go.
LIVE = ["CREATED", "SPAWNING", "ACTIVE", "TERMINATING"]


def agents(options):
    """List the sessions that have an agent, or are to have one."""
    with show.reading(options) as sessions:
        attached = {each["session"]: each for each in sessions.attached()}
        found = [Attached(info, attached.get(info["id"], {})) for info in show.pages(sessions, relayState=LIVE)]
    if options.json:
        print(json.dumps([each.json() for each in found], ensure_ascii=False))
        return 0
    for each in found:
        print(show.printable(each.line()))
    if not found:
        print("No session has an agent.", file=sys.stderr)
    return 0


class Attached:
    """A session's agent: `info` of the session, and what is attached, as the metrics tell that; {}: nothing yet."""

    def __init__(self, info, agent):
        self.info, self.agent = info, agent
        self.memory = memory(agent["pid"]) if "pid" in agent and not agent["isLost"] else None

    def json(self):
        relay = self.info["relay"]
        shown = {name: self.agent[name] for name in ("kind", "command", "pid", "isLost", "error") if name in self.agent}
        more = {} if self.memory is None else {"memoryBytes": self.memory}
        return {"session": self.info["id"], "role": self.info["role"], **relay, **shown, **more}

    def line(self):
        """Return it as one line of text."""
        relay, agent = self.info["relay"], self.agent
        memory = "-" if self.memory is None else f"{self.memory / 1e6:,.0f} MB"
        state = relay["state"] + (" (lost)" if agent.get("isLost") else "")
        what = shlex.join(agent.get("command", [])) or agent.get("kind", "-")
        where = f" in {relay['worktree']}" if "worktree" in relay else ""
        pid = f"pid {agent['pid']}  " if "pid" in agent else ""
        return (
            f"{self.info['id']}  {self.info['role']}  {state:<12}  {memory:>9}  active {ago(relay['lastActive'])}  "
            f"{pid}{what}{where}"
        )


def ago(ms):
    """Return how long ago that was."""
    seconds = max(0, time.time() - ms / 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def memory(group):
    """Return the resident bytes of a process group; None if it has no process here any more."""
    total = None
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            with open(f"/proc/{name}/stat") as file:
                told = file.read().rpartition(")")[2].split()
            if int(told[2]) == group and told[0] not in "ZX":
                total = (total or 0) + int(told[21]) * os.sysconf("SC_PAGESIZE")
    return total
