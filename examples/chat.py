"""A conversation in a terminal, by ctypes: one thread, one poll() on what is typed and on what happens.

    python chat.py [ID_OR_KEY]    that session or a new one, of the server that PLUE_OPENCODE_URL names, or with the
                                  agent in this folder whose command PLUE_AGENT is: codex-acp, claude-agent-acp

Ctrl-C ends the turn, and between two turns the program; so does the end of the input.
"""

import json
import os
import select
import signal
import sys

from plue_session.prototypes import load, take

plue = load()


def fail():
    raise SystemExit(plue.plue_get_last_error().decode())


def find(name):
    """Return the session of this name; without one a new session, with the agent if there is one."""
    agent = os.environ.get("PLUE_AGENT")
    if name or not agent:
        return plue.plue_session_open(name.encode()) if name else plue.plue_session_create(None)
    options = {"agent": {"kind": "acp", "worktree": os.getcwd(), "command": agent}}
    return plue.plue_session_create_with(json.dumps(options).encode())


class Chat:
    """A session, and how its conversation stands."""

    def __init__(self, name):
        self.session = find(name)
        self.observer = plue.plue_session_observe(self.session, None) if self.session else None
        if not self.observer:
            fail()
        self.turn = self.asked = None  # ids: of our turn while it runs, of the permission that it waits for
        self.part, self.shown = None, 0  # id of the part that is being said, its bytes on the screen
        self.is_answer = False  # whether the model says it

    def hear(self, event):
        """Show what has happened."""
        kind, data = event["type"], event["data"]
        if kind == "message.created":
            self.is_answer = data["role"] == "assistant"
        elif kind == "message.part.updated":
            self.stream(data)
        elif kind in ("permission.asked", "permission.replied"):  # replied: by an abort, or another client, too
            self.ask()
        elif kind == "turn.finished" and data["turnId"] == self.turn:
            print(data.get("reason", ""), flush=True)
            self.turn = None
        elif kind == "gap":  # more has happened than is kept: this is how things stand
            running = data["observation"].get("turn", {}).get("turnId")
            self.turn = self.turn if running == self.turn else None
            self.ask()

    def stream(self, data):
        """Print what is new of a part; when it is whole all of it, in case some was lost."""
        if data.get("offset") == 0:
            self.part, self.shown = data["partId"], 0
        if data.get("partId") == self.part and data.get("offset") == self.shown:
            print(data["delta"], end="", flush=True)
            self.shown += len(data["delta"].encode())
        elif "part" in data and self.is_answer:
            part = data["part"]
            text = part.get("text", "").encode()[self.shown if part["id"] == self.part else 0 :]
            print(text.decode("utf-8", "replace") + part.get("tool", {}).get("name", ""), flush=True)

    def ask(self):
        """Ask for the permission that is waited for, if any is."""
        waiting = json.loads(take(plue, plue.plue_session_permissions(self.session)) or "[]")
        self.asked = waiting[0]["id"] if waiting else None
        if waiting:
            print(f"May it? {waiting[0]['action']} {waiting[0].get('title', '')} (once, always, reject)", flush=True)

    def say(self, text):
        """Begin a turn with what was typed, or let it be the answer to the permission."""
        if self.asked:
            if plue.plue_session_reply_permission(self.session, self.asked.encode(), text.encode()):
                print(plue.plue_get_last_error().decode(), flush=True)
            else:
                self.asked = None
        elif text:
            begun = plue.plue_session_run_turn(self.session, json.dumps({"text": text}).encode(), 0)  # 0: goes on
            if begun:
                self.turn = json.loads(take(plue, begun))["turnId"]
            else:
                print(plue.plue_get_last_error().decode(), flush=True)

    def interrupt(self):
        """End the turn; return whether there was one."""
        if self.turn and plue.plue_session_abort_turn(self.session, self.turn.encode()):
            print(plue.plue_get_last_error().decode(), flush=True)
        return self.turn is not None


def typed(keyboard):
    """Return the next line, without its end; None at the end of the input. Nothing is read ahead: poll() would not see
    it."""
    line = b""
    while (byte := os.read(keyboard, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8", "replace") if byte or line else None


def converse(chat, keyboard, interrupts):
    """Go on until the input ends, or Ctrl-C comes between two turns."""
    heard = plue.plue_session_observer_fd(chat.observer)
    while True:
        poll = select.poll()
        for place in (heard, interrupts, *([keyboard] if chat.asked or not chat.turn else [])):  # early input waits
            poll.register(place, select.POLLIN)
        ready = [place for place, _ in poll.poll()]
        while event := plue.plue_session_observer_next(chat.observer, 0):
            chat.hear(json.loads(take(plue, event)))
        if interrupts in ready:
            os.read(interrupts, 1)
            if not chat.interrupt():
                return
        elif keyboard in ready:
            line = typed(keyboard)
            if line is None and not chat.asked and not chat.turn:
                return
            chat.say("reject" if line is None else line)


def main():
    interrupts, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGINT, lambda *_: None)
    if plue.plue_init(None):
        fail()
    try:
        converse(Chat(sys.argv[1] if sys.argv[1:] else None), 0, interrupts)
    finally:
        plue.plue_shutdown()


main()
