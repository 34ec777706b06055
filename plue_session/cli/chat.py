"""chat: a conversation in a terminal, with a session's model or with an agent that is started for it. What is said is
shown as it comes; permissions and questions are asked.

Input is read when it is its turn: a line typed, or piped, before that waits. So lines of a pipe are turns one after the
other, and a line after a question is its answer.
"""

import contextlib
import json
import os
import select
import sys

from plue_session.cli import interrupt
from plue_session.cli.ask import Permission, Question
from plue_session.cli.host import Failure, Host
from plue_session.cli.show import printable

INPUT = 0
#: Bytes of one line of input.
LINE = 1 << 20
#: Characters of a tool's input that its line shows.
SHORT = 100


#: Where sessions are whose agent the library itself runs.
OURS = {"kind": "embedded"}


def chat(options):
    """Converse until the input ends or Ctrl-C comes between two turns."""
    if options.agent is None and options.place is None:
        options.misused("name the session (ID_OR_KEY), or an agent by --agent")
    backend = None if options.agent is None else OURS
    with Host(dataDir=options.data_dir, backend=backend) as host, session_of(host, options) as (session, revive):
        conversation = Conversation(host, session, options.model, Screen(options.json), revive)
        interrupt.instead(conversation.abort)
        if not options.json and os.isatty(INPUT):
            print("Ctrl-C ends a turn, a second one leaves; so does Ctrl-D.", file=sys.stderr, flush=True)
        return conversation.run(Keyboard())


@contextlib.contextmanager
def session_of(host, options):
    """The session that is named, or a new one with the agent, which ends with the conversation; and what is to be
    called before a turn: it attaches an agent anew that has died."""
    if options.agent is None:
        yield host.session("plue_session_open", options.place), lambda: None
        return
    agent, worktree = {"kind": "acp", "command": options.agent}, os.path.abspath(options.place or ".")
    session = host.session("plue_session_create_with", json.dumps({"agent": {**agent, "worktree": worktree}}))
    session_id = host.text("plue_session_get_id", session)

    def revive():
        (found,) = [each for each in host.attached() if each["session"] == session_id]
        if found["isLost"] or not runs(found["pid"]):
            host.number("plue_session_relay_attach", session, json.dumps({"worktree": worktree, "agent": agent}))

    try:
        yield session, revive
    finally:
        host.number("plue_session_relay_terminate", session_id, "the conversation has ended")
        host.number("plue_session_relay_clean", session_id)


def runs(pid):
    """Return whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Keyboard:
    """Lines of the standard input; never read before they are asked for, so poll() sees what there is."""

    def __init__(self):
        self.fd, self._read = INPUT, b""

    @property
    def has_line(self):
        return b"\n" in self._read

    def line(self):
        """Return the next line, None at the end of the input. The descriptor is readable."""
        while not self.has_line and len(self._read) < LINE:
            more = os.read(self.fd, 65536)
            if not more:
                rest, self._read = self._read, b""
                return rest.decode("utf-8", "surrogateescape") if rest else None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode("utf-8", "surrogateescape").removesuffix("\r")

    def forget(self):
        """Drop what a person has typed ahead: it was no answer to what is asked only now."""
        if os.isatty(self.fd):
            import termios

            termios.tcflush(self.fd, termios.TCIFLUSH)
            self._read = b""


class Screen:
    """What is printed: text as it comes, or (JSON) the events, a line each."""

    def __init__(self, as_json):
        self.as_json, self._within = as_json, False

    def stream(self, text):
        if text and not self.as_json:
            print("".join(printable(char) if char not in "\n\t" else char for char in text), end="", flush=True)
            self._within = not text.endswith("\n")

    def line(self, text):
        if not self.as_json:
            print(f"{self._break()}{printable(text)}", flush=True)

    def ask(self, text):
        """Say what is asked; with JSON beside it."""
        print(f"{self._break()}{text}", end=" ", flush=True, file=sys.stderr if self.as_json else sys.stdout)

    def event(self, text):
        if self.as_json:
            print(text, flush=True)

    def _break(self):
        within, self._within = self._within, False
        return "\n" if within else ""


class Conversation:
    """One session, and how its conversation stands."""

    def __init__(self, host, session, model, screen, revive):
        self._host, self._session, self._model, self._screen, self._revive = host, session, model, screen, revive
        self._id = host.text("plue_session_get_id", session)
        self._turn = None  # id of our turn, while it runs
        self._aborting = False
        self._asks = {}  # id -> what our turn waits for, in the order in which it was asked
        self._answers = set()  # ids of the model's messages
        self._shown = {}  # id of a part -> its bytes that were printed
        self._ended = 0  # how the last turn was

    # -- the loop ------------------------------------------------------------------------------------------------------
    def run(self, keyboard):
        """Read and listen until the end; returns the exit code: 1 if the last turn did not finish."""
        events = self._host.observe(None, self._session)
        heard = events.descriptor()
        while True:
            wants = not self._turn or bool(self._asks)
            if wants and not keyboard.has_line and not self._turn and not self._asks:
                self._prompt()
            poll = select.poll()
            poll.register(heard, select.POLLIN)
            if wants:
                poll.register(keyboard.fd, select.POLLIN)
            ready = [place for place, _ in poll.poll(0 if wants and keyboard.has_line else None)]
            before = next(iter(self._asks), None)
            while (text := events.next(0)) is not None:
                self._hear(text)
            asked = next(iter(self._asks), None)
            if asked != before and asked is not None:
                keyboard.forget()
                self._screen.ask(self._asks[asked].text())
            elif wants and (keyboard.has_line or keyboard.fd in ready):
                line = keyboard.line()
                if line is None and not self._asks and not self._turn:
                    return self._ended
                self._take(line)

    def _prompt(self):
        if os.isatty(INPUT):
            self._screen.ask(">")

    def _take(self, line):
        """Use a line: as the answer to the oldest ask, else as a new turn. None: the input has ended."""
        asked = next(iter(self._asks.values()), None)
        if asked is not None:
            try:
                done = asked.answer(self._host, self._session, line)
            except Failure as failure:
                if failure.code not in ("NOT_FOUND", "CONFLICT", "INVALID_PARAM"):
                    raise
                done = failure.code != "INVALID_PARAM"
                self._screen.line(f"! {failure}")
            if done:
                self._asks.pop(asked.id, None)
                asked = next(iter(self._asks.values()), None)
            if asked is not None:
                self._screen.ask(asked.text())
        elif line and not self._turn:
            self._begin({"text": line, **({"model": self._model} if self._model else {})})

    def _begin(self, given):
        """Begin a turn; what is wrong with this one, or may be better later, does not end the conversation."""
        self._revive()
        try:
            begun = self._host.json("plue_session_run_turn", self._session, json.dumps(given, ensure_ascii=False), 0)
        except Failure as failure:
            if failure.code not in ("INVALID_PARAM", "CONNECTION", "TIMEOUT", "BUSY", "QUEUE_FULL"):
                raise
            self._ended = 1
            self._screen.line(f"! {failure}")
        else:
            self._aborting, self._turn = False, begun["turnId"]

    # -- Ctrl-C, on a thread of its own --------------------------------------------------------------------------------
    def abort(self):
        """Ask for the end of the turn; returns whether that is all: no turn, or the second time, the program ends."""
        if self._turn is None or self._aborting:
            return False
        self._aborting = True
        operation = {"op": "abort_turn", "session": self._id, "turn_id": self._turn}
        return bool(self._host.library.plue_session_submit(json.dumps([operation]).encode()))

    # -- what happens --------------------------------------------------------------------------------------------------
    def _hear(self, text):
        self._screen.event(text)
        event = json.loads(text)
        kind, data = event["type"], event["data"]
        if kind == "message.created" and data["role"] == "assistant":
            self._answers.add(data["id"])
        elif kind == "message.part.updated" and data["messageId"] in self._answers:
            self._part(data)
        elif kind == "permission.asked":
            self._asks[data["id"]] = Permission(data)
        elif kind == "question.asked":
            self._asks[data["id"]] = Question(data)
        elif kind in ("permission.replied", "question.replied"):
            self._asks.pop(data["id"], None)
        elif kind == "turn.activity" and data["kind"] == "retry":
            self._screen.line(f"… {data.get('text', 'the model is tried again')}")
        elif kind == "turn.finished" and data["turnId"] == self._turn:
            self._finish(data)
        elif kind == "session.deleted":
            raise Failure("the session was deleted.")
        elif kind == "gap":
            self._resume(data["observation"])

    def _part(self, data):
        """Print what is new of a part: a delta, or all of it, in case some was lost."""
        if "delta" in data:
            if data["offset"] == self._shown.get(data["partId"], 0):
                self._screen.stream(data["delta"])
                self._shown[data["partId"]] = data["offset"] + len(data["delta"].encode())
            return
        part = data["part"]
        if part["type"] in ("text", "reasoning"):
            shown = self._shown.pop(part["id"], 0)
            self._screen.stream(part.get("text", "").encode()[shown:].decode("utf-8", "replace"))
            self._screen.stream("\n")
        elif part["type"] == "tool":
            tool = part["tool"]
            given = json.dumps(tool.get("input", {}), ensure_ascii=False)
            self._screen.line(f"[{tool['name']} {tool['state']}] {given[:SHORT]}{'…' if len(given) > SHORT else ''}")

    def _finish(self, data):
        """Our turn has ended: say how, if not well."""
        self._turn, self._aborting, self._ended = None, False, int(data["outcome"] != "finished")
        self._asks.clear()
        self._shown.clear()
        if self._ended:
            error = data.get("error", {})
            said = " ".join(error[key] for key in ("message", "remedy") if key in error)
            self._screen.line(f"! stopped, {data.get('reason', 'unknown')}{f': {said}' if said else ''}")

    def _resume(self, observation):
        """Go on after a gap, from how things stand."""
        running = observation.get("turn", {}).get("turnId")
        self._asks = {each["id"]: Permission(each) for each in observation["permissions"]}
        self._asks.update((each["id"], Question(each)) for each in observation["questions"])
        if self._turn and running != self._turn:
            self._finish({"outcome": "stopped", "reason": "unknown"})
