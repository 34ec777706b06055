"""An agent of the Agent Client Protocol as the port's `Agent`: one process, one conversation.

What it tells of other conversations than ours, be it of its own subagents, is not mixed in; what those ask is answered
as cancelled. What comes between turns is told as it comes.
"""

import os
import threading
import time

from plue_session import __version__, errors
from plue_session.adapters.acp import failures, login, renewal, updates
from plue_session.adapters.acp.files import Files
from plue_session.adapters.acp.offers import Offers
from plue_session.adapters.acp.permissions import Permissions, line
from plue_session.adapters.acp.pipe import Pipe
from plue_session.adapters.acp.prompt import blocks
from plue_session.adapters.acp.rpc import BAD_PARAMS, Refused, Rpc
from plue_session.adapters.child.guard import PROGRAM, Command
from plue_session.model.said import Answered, Finish, Gone, Noise, Withdrawn

#: The version of the protocol that is spoken here.
VERSION = 1
#: Bytes of the updates that may come before the conversation has an id.
EARLY = 4 << 20
#: Seconds without more of the past after which all of it was told, and seconds at most.
QUIET, MOST_PAST = 0.3, 30.0
#: The updates that tell of what is offered.
_OFFERS = ("available_commands_update", "config_option_update", "current_mode_update")


class AcpAgent:
    """See ports/agent.py. `command` are words, run without a shell in `worktree`, an absolute path, with `env` over the
    host's `environment`. `files`: "none", "read" or "write": what it may have us do in the worktree. `children`,
    `on_lifeline` and `program` as for `Guarded` and `Pipe`."""

    def __init__(
        self,
        command,
        worktree,
        env,
        ear,
        *,
        files="none",
        environment,
        children=None,
        on_lifeline=None,
        program=PROGRAM,
    ):
        self.name = os.path.basename(command[0])
        self._worktree, self._environment = os.path.abspath(worktree), {**environment, **(env or {})}
        self._ear, self._files = ear, files
        self._place = Files(self._worktree)  # as it is now: it may become a link to elsewhere
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._can, self._ways = {}, []  # its capabilities, and how to log in
        self._id, self._restoring, self._early = None, False, []
        self._told = 0.0  # when it last told of the past
        self._prompting = self._cancelling = False
        self._retells = False  # until the first prompt, what a loaded conversation tells is its past
        self._room = True
        self._offers, self._halves = Offers(self.name), updates.Halves()
        guarded = Command(
            list(command),
            self._worktree,
            self._environment,
            name=f"the agent {self.name}",
            does="start",
            key="agent",
            install=f"Install {self.name}",
            place="worktree",
        )
        self._pipe = Pipe(
            guarded,
            self._on_line,
            self._on_exit,
            self._on_gone,
            on_news=self._notify,
            on_lifeline=on_lifeline,
            children=children,
            program=program,
        )
        requests = {"session/request_permission": self._ask_leave}
        if files != "none":
            requests["fs/read_text_file"] = self._read_file
        if files == "write":
            requests["fs/write_text_file"] = self._write_file
        notices = {"session/update": self._on_update, "$/cancel_request": self._withdraw}
        self._rpc = Rpc(self._pipe.send, requests, notices, lambda text, size: self._hear(Noise(text), size))
        self._permissions = Permissions(self._rpc)
        self._gate = renewal.Gate(self._rpc)

    @property
    def pid(self):
        return self._pipe.pid

    @property
    def is_over(self):
        return self._pipe.is_over

    def start(self, call, running=None):
        """Start and greet it (ports.Agent)."""
        self._pipe.start()
        if running is not None:
            call.wait(self._changed, lambda: self._pipe.pid or self._pipe.is_over or None)
            if self._pipe.pid is not None:
                running()
        self._greet(call)

    def _greet(self, call):
        fs = {"readTextFile": self._files != "none", "writeTextFile": self._files == "write"}
        hello = {
            "protocolVersion": VERSION,
            "clientCapabilities": {"fs": fs, "terminal": False},
            "clientInfo": {"name": "plue_session", "title": "plue_session", "version": __version__},
        }
        answer = self._wait("initialize", hello, call, "start")
        if type(answer) is not dict or type(answer.get("protocolVersion")) is not int:
            raise errors.Server(
                f"the agent {self.name} does not speak the Agent Client Protocol", "Correct agent.command."
            )
        if answer["protocolVersion"] != VERSION:
            raise errors.Unsupported(
                f"the agent {self.name} speaks version {answer['protocolVersion']} of the Agent Client Protocol, "
                f"not {VERSION}",
                "Install a version of it that speaks both, or update plue_session.",
            )
        self._can, self._ways = _inner(answer, "agentCapabilities"), login.methods(answer)
        name = _inner(answer, "agentInfo").get("name")
        if type(name) is str and name:
            self.name = line(name)
            self._offers = Offers(self.name)

    def open(self, conversation, call):
        """Begin or restore a conversation (ports.Agent)."""
        try:
            return self._open(conversation, call)
        except errors.ProviderAuth:
            if not self._log_in(call):
                raise
        return self._open(conversation, call)

    def _open(self, conversation, call):
        if conversation is None:
            about = {"cwd": self._worktree, "mcpServers": []}
            self._wait("session/new", about, call, "begin a conversation", self._begun)
            return self._id
        if _offered(_inner(self._can, "sessionCapabilities").get("resume")):
            method = "session/resume"
        elif self._can.get("loadSession") is True:
            method = "session/load"
        else:
            raise errors.Unsupported(
                f"the agent {self.name} restores no conversation",
                'Attach it with "restore":false to begin a new conversation.',
            )
        self._id, self._restoring, self._retells = conversation, True, method == "session/load"
        self._wait(method, self._conversation(), call, f"restore the conversation {conversation}", self._restored)
        if self._retells:
            self._await_quiet(call)
        self._restoring = False
        return conversation

    def _conversation(self):
        return {"sessionId": self._id, "cwd": self._worktree, "mcpServers": []}

    def _await_quiet(self, call):
        """Wait until it seems to tell no more of the past, for a prompt may follow: Gemini does so after it has
        answered."""
        end = time.monotonic() + MOST_PAST
        while (left := min(self._told + QUIET, end) - time.monotonic()) > 0:
            call.within(left).wait(self._changed, lambda: None)
            call.check()

    def _log_in(self, call):
        """Log in as far as that needs nobody; returns whether that was possible."""
        for way in login.without_user(self._ways, self._environment):
            try:
                self._wait("authenticate", {"methodId": way}, call, "log in")
            except (errors.Timeout, errors.Aborted, errors.Closed):
                raise
            except errors.PlueError:  # there may be another way; else the first error says more
                call.check()
            else:
                return True
        return False

    def offer(self):
        """Return the newest `Offer`."""
        return self._offers.offer()

    def prompt(self, parts):
        """Say this (ports.Agent)."""
        said = blocks(parts, _inner(self._can, "promptCapabilities"), self.name)
        with self._lock:
            if self._prompting:
                raise errors.Busy(f"the agent {self.name} is in the middle of a turn", "Wait for its end.")
            self._prompting, self._cancelling, self._retells = True, False, False
        self._permissions.begin()
        try:
            return self._gate.ask("session/prompt", {"sessionId": self._id, "prompt": said}, self._prompted)
        except errors.PlueError:
            self._permissions.end()
            self._prompting = False
            raise

    def choose(self, kind, id):
        """Have "model" or "mode" be this one (ports.Agent). `UNSUPPORTED` when it offers no choice of that."""
        request = self._offers.request(kind, id)
        if request is None:
            raise errors.Unsupported(f"the agent {self.name} offers no choice of a {kind}", f"Name no {kind}.")
        method, params = request

        def chosen(ticket, result, error):
            if error is None:
                was = self.offer()
                self._offers.choose(kind, id)
                self._offers.configure(_inner(result, "configOptions", list))
                self._tell_offer(was)
            self._hear(Answered(ticket, None, self._error(error, f"take the {kind} {id}")))

        return self._gate.ask(method, {"sessionId": self._id, **params}, chosen)

    def cancel(self):
        """Ask for the end of the prompt, and take back what it waits for (ports.Agent)."""
        with self._lock:
            if not self._prompting or self._cancelling:
                return
            self._cancelling = True
        try:
            if not self._gate.is_shut:  # else it knows nothing of the prompt yet
                self._rpc.tell("session/cancel", {"sessionId": self._id})
            self._permissions.end()
        except errors.QueueFull as error:
            self._pipe.give_up(error)

    def answer(self, request, option):
        """Answer what it has `Asked` (ports.Agent)."""
        try:
            self._permissions.answer(request, option)
        except errors.QueueFull as error:  # it does not read, and waits for this
            self._pipe.give_up(error)

    def forget(self, call):
        """Have it delete the conversation (ports.Agent)."""
        if self._id is not None and _offered(_inner(self._can, "sessionCapabilities").get("delete")):
            try:
                self._wait("session/delete", {"sessionId": self._id}, call, "delete the conversation")
            except errors.NotFound:
                pass

    def go_on(self):
        """Read on (ports.Agent)."""
        self._pipe.go_on()

    def close(self):
        """Begin to end it (ports.Agent)."""
        self._pipe.close()

    def join(self, seconds):
        """Wait for its end (ports.Agent)."""
        return self._pipe.join(seconds)

    def _wait(self, method, params, call, doing, take=None):
        """Ask, and return the answer once `take(answer, error)`, on the agent's thread, has taken it."""
        found = []

        def answered(_, result, error):
            if take is not None:
                error = take(result, error) or error
            with self._changed:
                found.append((result, error))
                self._changed.notify_all()

        self._rpc.ask(method, params, answered)
        answer = call.wait(self._changed, lambda: found[0] if found else None)
        if answer is None:
            said = f"; its last words: {self._pipe.words[-1000:]}" if self._pipe.words else ""
            raise errors.Timeout(
                f"the agent {self.name} does not {doing} in time{said}", "See what it waits for, or give it more time."
            )
        result, error = answer
        if error is not None:
            raise self._error(error, doing)
        return result

    def _error(self, error, doing):
        if error is None or isinstance(error, errors.PlueError):
            return error
        return failures.failure(error, doing, f"the agent {self.name}", self._ways)

    # -- its thread --------------------------------------------------------------------------------------------------
    def _hear(self, said, size=100):
        if not self._ear.hear(said, size):
            self._room = False

    def _on_line(self, line):
        self._room = True
        self._rpc.feed(line)
        return self._room

    def _notify(self):
        with self._changed:
            self._changed.notify_all()

    def _on_exit(self, error):
        self._permissions.end()
        self._rpc.end(error)
        self._notify()

    def _on_gone(self, error):
        self._hear(Gone(error))

    def _begun(self, result, error):
        """The conversation has begun, or not: then return why, if that is not said."""
        if error is not None:
            return None
        id = _inner(result, "sessionId", str)
        if not id:
            return errors.Server(f"the agent {self.name} begins a conversation without an id", "Update it.")
        self._id = id
        self._offers.begin(result)
        early, self._early = self._early, []
        for params, size in early:
            try:
                self._on_update(params, size)
            except ValueError:
                self._hear(Noise("an update that cannot be read"), size)
        return None

    def _restored(self, result, error):
        self._told = time.monotonic()
        if error is not None:
            self._id, self._restoring = None, False
        else:
            self._offers.begin(result)

    def _on_update(self, params, size):
        id, update = params.get("sessionId"), params.get("update")
        if type(id) is not str or type(update) is not dict:
            raise ValueError("no update")
        if self._id is None:
            if sum(before for _, before in self._early) + size <= EARLY:
                self._early.append((params, size))
        elif id == self._id and self._restoring:
            self._told = time.monotonic()
            self._takes_offer(update, size)
        elif id == self._id and not self._takes_offer(update, size):
            for said in updates.read(update, self._halves):
                if not (self._retells and isinstance(said, updates.TOLD)):
                    self._hear(said, size)

    def _takes_offer(self, update, size):
        """Take what an update tells of what is offered; returns whether it is of that kind."""
        kind = update.get("sessionUpdate")
        if kind not in _OFFERS:
            return False
        was = self.offer()
        if kind == "available_commands_update":
            self._offers.command(update.get("availableCommands"))
        elif kind == "config_option_update":
            self._offers.configure(update.get("configOptions"))
        else:
            self._offers.choose("mode", _inner(update, "currentModeId", str) or was.mode)
        if not self._restoring:
            self._tell_offer(was, size)
        return True

    def _tell_offer(self, was, size=1000):
        offer = self.offer()
        if offer != was:
            self._hear(offer, size)

    def _prompted(self, ticket, result, error):
        with self._lock:
            self._prompting, cancelling = False, self._cancelling
        for request in self._permissions.end():
            self._hear(Withdrawn(request))
        finish = None
        if type(error) is dict and cancelling and failures.is_cancelled(error):
            finish, error = Finish("cancelled", None), None
        elif error is None:
            try:
                finish = updates.finish(result)
            except ValueError as wrong:
                error = errors.Server(f"the agent {self.name} ends a turn with {wrong}", "Update it.")
        if self.name in renewal.NAMES and (finish is None or finish.reason == "cancelled"):
            self._renew()
        self._hear(Answered(ticket, finish, self._error(error, "answer")))

    def _renew(self):
        """Have the conversation be taken up anew; what is asked meanwhile waits."""
        was = self.offer()

        def ask(method, params, answered):
            try:
                self._rpc.ask(method, {"sessionId": self._id, **params}, answered)
            except errors.PlueError as error:  # the line has ended
                answered(None, None, error)

        def done(error):
            self._restoring = False
            if error is not None:
                self._pipe.give_up(self._error(error, "take up its conversation again"))
            self._tell_offer(was)
            self._gate.open(lambda method: self._cancelled if method == "session/prompt" else None)

        self._gate.shut()
        self._restoring = True
        renewal.renew(ask, self._offers, self._conversation(), done)

    @property
    def _cancelled(self):
        """The answer to a prompt that was cancelled before it was sent, or None."""
        return {"stopReason": "cancelled"} if self._cancelling else None

    def _ask_leave(self, params, id):
        answer, heard = self._permissions.ask(params, id, self._id)
        for said in heard:
            self._hear(said, 1000)
        return answer

    def _withdraw(self, params, size):
        request = self._permissions.take_back(params.get("requestId"))
        if request is not None:
            self._hear(Withdrawn(request), size)

    def _read_file(self, params, _):
        return {"content": self._files_for(params).read(params.get("path"), params.get("line"), params.get("limit"))}

    def _write_file(self, params, _):
        self._files_for(params).write(params.get("path"), params.get("content"))
        return {}

    def _files_for(self, params):
        if self._id is None or params.get("sessionId") != self._id:
            raise Refused(BAD_PARAMS, "the session is not known")
        return self._place


def _inner(data, key, kind=dict):
    """Return what a dict has there, if it is of that kind; else an empty one."""
    value = data.get(key) if type(data) is dict else None
    return value if type(value) is kind else kind()


def _offered(capability):
    return capability is not None and capability is not False
