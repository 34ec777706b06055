"""An agent that does as it is told, over the Agent Client Protocol: a script, with the standard library only.

    fake_agent.py [WORD…]          or  FAKE_AGENT="WORD …"

The words say what it is, from its start on:

    banner          noise before its first answer: a banner, `42`, an empty line, `{"level":"info"}`
    name=NAME       what it calls itself; `nameless`: nothing
    version=N       the version of the protocol that it answers with (1)
    slow=S, slow-new=S   seconds until it answers `initialize`, `session/new`
    exit=N          it ends at once; stderr=TEXT: it says that there first (`_` is a space); stderr-flood=N: N lines
    die=METHOD      it ends, with 7, instead of answering this
    error=METHOD:CODE:TEXT   it answers this with an error; `_` in the text is a space
    caps=LIST       of load (the default), resume, list, delete, close, image, embedded; or none
    memory=FOLDER   it keeps its conversations there, for a later one of its kind; without: no conversation outlives it
    replay=N        how many updates `session/load` replays (3); `null-load`: its result is null; replay-after=S: it
                    tells more of the past, and a title, so many seconds after its answer
    forgets         it knows no conversation: -32002
    methods         it names authMethods without need
    auth=KIND       it wants a login, -32000 until `authenticate`. key: "fake-api-key", which FAKE_API_KEY in its
                    environment is enough for; var: the same as an `env_var` method; login: a user must come;
                    bare: no methods at all; silent: as claude does, -32603 "Query closed before response received"
    models, modes, options, commands   it offers them ("options" are models and modes as config options); model ids
                    fake/small (chosen) and fake/large, mode ids ask (chosen) and code
    early           an update of the conversation comes before the `session/new` answer
    stubborn        it ignores TERM and the end of its standard input, and so does a grandchild in a session of its own
    trace=FILE      each line that it reads or writes is appended there, as {"in":…} or {"out":…}
    pids=FILE       its process id is appended there, and those of its grandchildren

A prompt's words are in brackets, and done in their order: `[think=2][tool=bash][ask][say=done]`. Without: [words=3].

    [words=N] [think=N]      so many chunks "word0 ", "thought0 "; [say=TEXT] [thought=TEXT]: one
    [pause=S]                seconds between chunks, from here on; [sleep=S]: once
    [message=ID]             the messageId of what follows
    [empty] [image] [link]   a chunk of that content; [size=N]: one of N bytes
    [flood=N] [flood=N:SIZE] N chunks of 100 bytes, or so many, as fast as it can, with no look for a cancel
    [tool=NAME]              a tool call pending, in progress; it is ended by what follows:
    [ask] [ask=N] [ask=KIND,KIND]   asks for leave, once, N times, or with these options (else all four kinds, whose ids
                             are the kinds with "-"); a call that is not allowed fails
    [leave] [retract]        asks, and goes on at once; takes that back (`$/cancel_request`)
    [done] [fail]            the call ends (with its answers in rawOutput); [open] leaves it open
    [unseen]                 a `tool_call_update` of a call that was never told
    [plan=N]                 a plan of N entries, then again with its first one completed
    [usage=USED/SIZE] [cost=DOLLARS/USED/SIZE]   a `usage_update`; [tokens=claude] [tokens=gemini]: in the answer
    [title=TEXT] [mode=ID] [commands=A,B]    it says so; [strange]: an update of an unknown kind
    [other] [child]          a chunk, a question for leave, of a session that nobody has
    [write=PATH:TEXT] [read=PATH:LINE:LIMIT]   asks for that, and says the answer (as does [terminal])
    [request=METHOD]         asks that, and says the code of the error
    [ids=strings] [ids=zero] its requests' ids are text; are 0 each time
    [env=NAME] [cwd] [prompt]   it says the variable, its directory, the prompt's blocks as JSON
    [wait]                   waits for the cancel; [late=N]: N chunks come after that
    [deaf]                   from here on it ignores a cancel; [stall]: it ignores all, for ever
    [unread]                 from here on it does not read its standard input
    [grandchild] [grandchild=away]   starts one that ignores TERM; in a session of its own
    [line=BASE64]            that line, of which SESSION becomes the session's id
    [garbage] [split] [binary]   lines that are no messages; a chunk "é€😀" in writes of a byte; one that is no UTF-8
    [invalid]                an update and a request with parameters that are not the protocol's
    [stderr=TEXT]            says that there
    [half=N] [exit=N]        ends with N after half a line, at once
    [after=S]                another chunk comes S seconds after the answer; [twice]: the answer comes twice
    [after-flood=N:SIZE]     a flood begins 0.2 s after the answer
    [stop=REASON] [error=CODE:TEXT]   how it answers, else end_turn or cancelled; [mute]: never
"""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid

KINDS = ["allow_once", "allow_always", "reject_once", "reject_always"]
MODELS = [{"modelId": f"fake/{name}", "name": name.title()} for name in ("small", "large")]
MODES = [{"id": name, "name": name.title()} for name in ("ask", "code")]


class Wire:
    """Its standard streams, as lines."""

    def __init__(self, trace):
        self._lock = threading.Lock()
        self._trace = open(trace, "a", buffering=1) if trace else None

    def send(self, **message):
        line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False)
        self.note("out", line)
        self.write(line.encode() + b"\n")

    def write(self, data):
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]

    def note(self, way, line):
        if self._trace:
            self._trace.write(f'{{"{way}":{line}}}\n')


class Refused(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data is not None else {})}


class Agent:
    def __init__(self, words):
        self.words = dict(word.partition("=")[::2] for word in words)
        self.wire = Wire(self.words.get("trace"))
        self.caps = self.words.get("caps", "load").split(",")
        self.known, self.cancelled = {}, {}
        self.logged_in, self.model, self.mode = False, "fake/small", "ask"
        self.waiting, self.answers, self.changed = 0, {}, threading.Condition()
        self.ids, self.reads, self.answers_twice = "numbers", True, False

    # -- what it is --------------------------------------------------------------------------------------------------
    def run(self):
        words = self.words
        self.tell_pid(os.getpid())
        if "stderr" in words:
            print(words["stderr"].replace("_", " "), file=sys.stderr, flush=True)
        for number in range(int(words.get("stderr-flood", 0))):
            print(f"line {number} " + "x" * 1000, file=sys.stderr, flush=True)
        if "exit" in words:
            os._exit(int(words["exit"]))
        if "stubborn" in words:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.grandchild(away=True)
        if "banner" in words:
            self.wire.write(b'Welcome to the fake agent\n42\n\n{"level":"info"}\n')
        for line in sys.stdin.buffer:
            while not self.reads:
                time.sleep(60)
            self.wire.note("in", line.decode().strip())
            message = json.loads(line)
            if "method" not in message:
                with self.changed:
                    self.answers.setdefault(json.dumps(message["id"]), []).append(message)
                    self.changed.notify_all()
            elif message["method"] == "session/cancel":
                if cancelled := self.cancelled.get(message["params"]["sessionId"]):
                    cancelled.set()
            elif message["method"] == "session/prompt":
                self.cancelled[message["params"]["sessionId"]] = threading.Event()
                threading.Thread(target=self.answer, args=[message], daemon=True).start()
            else:
                self.answer(message)
        while "stubborn" in words:
            time.sleep(60)

    def answer(self, message):
        method, id = message["method"], message.get("id")
        try:
            if self.words.get("die") == method:
                os._exit(7)
            refused = self.words.get("error", "").split(":", 2)
            if refused[0] == method:
                raise Refused(int(refused[1]), refused[2].replace("_", " "))
            handler = self.METHODS.get(method)
            if handler is None:
                raise Refused(-32601, f'"Method not found": {method}', {"method": method})
            result = handler(self, message["params"])
        except Refused as refused:
            self.wire.send(id=id, error=refused.error)
            return
        if result != "mute":
            for _ in range(1 + self.answers_twice):
                self.wire.send(id=id, result=result)
            self.answers_twice = False

    def initialize(self, params):
        time.sleep(float(self.words.get("slow", 0)))
        session = {name: {} for name in ("resume", "list", "delete", "close") if name in self.caps}
        answer = {
            "protocolVersion": int(self.words.get("version", 1)),
            "agentCapabilities": {
                "loadSession": "load" in self.caps,
                "promptCapabilities": {"image": "image" in self.caps, "embeddedContext": "embedded" in self.caps},
                "sessionCapabilities": session,
            },
            "authMethods": self.auth_methods(),
        }
        if "nameless" not in self.words:
            answer["agentInfo"] = {"name": self.words.get("name", "fake-agent"), "version": "1.0"}
        return answer

    def auth_methods(self):
        kind = self.words.get("auth") or ("login" if "methods" in self.words else "bare")
        login = {"id": "fake-login", "name": "Log in", "description": "Run `fake-agent login` in a terminal"}
        key = {"id": "fake-api-key", "name": "Use a key"}
        variable = {**key, "id": "by-variable", "type": "env_var", "vars": [{"name": "FAKE_API_KEY"}]}
        return {"login": [login], "key": [login, key], "var": [login, variable], "silent": [login]}.get(kind, [])

    def authenticate(self, params):
        if params["methodId"] not in ("fake-api-key", "by-variable") or not os.environ.get("FAKE_API_KEY"):
            raise Refused(-32000, "Authentication required", {"method": params["methodId"]})
        self.logged_in = True
        return {}

    def need_login(self):
        kind = self.words.get("auth")
        if kind == "silent":
            raise Refused(-32603, "Internal error", {"details": "Query closed before response received"})
        if kind and not self.logged_in:
            raise Refused(-32000, "Authentication required")

    # -- conversations -----------------------------------------------------------------------------------------------
    def new(self, params):
        time.sleep(float(self.words.get("slow-new", 0)))
        self.need_login()
        id = f"fake-{uuid.uuid4().hex}"
        self.keep(id, [])
        if "early" in self.words:
            self.chunk(id, "early")
        if "commands" in self.words:
            self.update(id, "available_commands_update", availableCommands=self.commands(["plan", "review"]))
        return {"sessionId": id, **self.offer()}

    def load(self, params):
        if "load" not in self.caps:
            raise Refused(-32601, "Method not found")
        id = self.find(params)
        for number in range(int(self.words.get("replay", 3))):
            kind = ("user_message_chunk", "agent_message_chunk")[number % 2]
            self.update(id, kind, content={"type": "text", "text": f"replayed{number} "})
        if "replay-after" in self.words:
            after = threading.Timer(float(self.words["replay-after"]), self.remember, (id,))
            after.daemon = True
            after.start()
        return None if "null-load" in self.words else self.offer()

    def remember(self, id):
        self.chunk(id, "long ago ")
        self.update(id, "session_info_update", title="Old")

    def resume(self, params):
        if "resume" not in self.caps:
            raise Refused(-32601, "Method not found")
        self.find(params)
        return self.offer()

    def find(self, params):
        self.need_login()
        id = params["sessionId"]
        if id not in self.conversations() or "forgets" in self.words:
            raise Refused(-32002, f"Resource not found: {id}", {"uri": id})
        self.cancelled.setdefault(id, threading.Event())
        return id

    def list(self, params):
        return {"sessions": [{"sessionId": id, "cwd": os.getcwd()} for id in self.conversations()]}

    def delete(self, params):
        self.find(params)
        self.known.pop(params["sessionId"], None)
        if "memory" in self.words:
            os.unlink(os.path.join(self.words["memory"], params["sessionId"]))
        return {}

    def close(self, params):
        return {}

    def conversations(self):
        return [*self.known, *(os.listdir(self.words["memory"]) if "memory" in self.words else [])]

    def keep(self, id, texts):
        self.known[id] = texts
        self.cancelled.setdefault(id, threading.Event())
        if "memory" in self.words:
            with open(os.path.join(self.words["memory"], id), "w") as file:
                json.dump(texts, file)

    # -- what it offers ----------------------------------------------------------------------------------------------
    def offer(self):
        offer = {}
        if "models" in self.words:
            offer["models"] = {"currentModelId": self.model, "availableModels": MODELS}
        if "modes" in self.words:
            offer["modes"] = {"currentModeId": self.mode, "availableModes": MODES}
        if "options" in self.words:
            offer["configOptions"] = self.options()
        return offer

    def options(self):
        models = [{"value": each["modelId"], "name": each["name"]} for each in MODELS]
        modes = [{"value": each["id"], "name": each["name"]} for each in MODES]
        return [
            {"type": "select", "id": "the-model", "name": "Model", "category": "model", "currentValue": self.model}
            | {"options": [{"group": "fake", "name": "Fake", "options": models}]},
            {"type": "select", "id": "the-mode", "name": "Mode", "category": "mode", "currentValue": self.mode}
            | {"options": modes},
        ]

    def commands(self, names):
        return [{"name": name, "description": f"Do {name}"} for name in names]

    def set_model(self, params):
        if params["modelId"] not in [each["modelId"] for each in MODELS]:
            raise Refused(-32602, "Invalid params", {"details": f"Unknown model: {params['modelId']}"})
        self.model = params["modelId"]
        return {}

    def set_mode(self, params):
        if params["modeId"] not in [each["id"] for each in MODES]:
            raise Refused(-32602, "Invalid params", {"details": f"Unknown mode: {params['modeId']}"})
        self.mode = params["modeId"]
        return {}

    def set_option(self, params):
        if params["configId"] == "the-model":
            self.set_model({"modelId": params["value"]})
        else:
            self.set_mode({"modeId": params["value"]})
        return {"configOptions": self.options()}

    def prompt(self, params):
        self.need_login()
        id = params["sessionId"]
        text = " ".join(block["text"] for block in params["prompt"] if block["type"] == "text")
        self.keep(id, [*self.known.get(id, []), text])
        return Turn(self, id, params["prompt"]).run(re.findall(r"\[([\w-]+)=?([^\]]*)\]", text) or [("words", "3")])

    METHODS = {
        "initialize": initialize,
        "authenticate": authenticate,
        "session/new": new,
        "session/load": load,
        "session/resume": resume,
        "session/list": list,
        "session/delete": delete,
        "session/close": close,
        "session/set_model": set_model,
        "session/set_mode": set_mode,
        "session/set_config_option": set_option,
        "session/prompt": prompt,
    }

    # -- what it says and asks ---------------------------------------------------------------------------------------
    def update(self, session, kind, /, **rest):
        self.wire.send(
            method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **rest}}
        )

    def chunk(self, session, text, kind="agent_message_chunk", **more):
        self.update(session, kind, content={"type": "text", "text": text}, **more)

    def ask(self, method, params):
        """Ask the client, and return its answer, a whole message."""
        return self.heard(self.put(method, params))

    def put(self, method, params):
        """Ask the client, and return the question's id."""
        with self.changed:
            self.waiting += 1
            id = {"numbers": self.waiting, "strings": f"ask-{self.waiting}", "zero": 0}[self.ids]
        self.wire.send(id=id, method=method, params=params)
        return id

    def heard(self, id):
        """Wait for the answer to a question, a whole message."""
        with self.changed:
            self.changed.wait_for(lambda: self.answers.get(json.dumps(id)))
            return self.answers[json.dumps(id)].pop(0)  # two that wait may have the id 0

    def grandchild(self, away):
        script = "trap '' TERM; echo; while :; do sleep 60; done"
        child = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=away
        )
        child.stdout.readline()  # from here on it ignores TERM
        self.tell_pid(child.pid)

    def tell_pid(self, pid):
        if "pids" in self.words:
            with open(self.words["pids"], "a") as file:
                file.write(f"{pid}\n")


class Turn:
    """A prompt: does its words."""

    def __init__(self, agent, id, blocks):
        self.agent, self.id, self.blocks = agent, id, blocks
        self.cancelled, self.deaf, self.pause, self.more = agent.cancelled[id], False, 0.0, {}
        self.call, self.calls, self.given, self.result = None, 0, [], {"stopReason": "end_turn"}

    def run(self, words):
        for word, value in words:
            getattr(self, "do_" + word.replace("-", "_"))(value)
            if self.cancelled.is_set() and not self.deaf:
                if word != "late":
                    late = dict(words).get("late")
                    self.do_late(late or 0)
                return {**self.result, "stopReason": "cancelled"} if self.result != "mute" else "mute"
        if self.call:
            self.end("completed")
        return self.result

    def chunk(self, text, kind="agent_message_chunk"):
        self.agent.chunk(self.id, text, kind, **self.more)

    def update(self, kind, /, **rest):
        self.agent.update(self.id, kind, **rest)

    def rest(self, seconds):
        if self.deaf:
            time.sleep(seconds)
        else:
            self.cancelled.wait(seconds)

    def stream(self, count, word, kind):
        for number in range(int(count)):
            if self.cancelled.is_set() and not self.deaf:
                return
            self.chunk(f"{word}{number} ", kind)
            if self.pause:
                self.rest(self.pause)

    # -- text --------------------------------------------------------------------------------------------------------
    def do_words(self, count):
        self.stream(count, "word", "agent_message_chunk")

    def do_think(self, count):
        self.stream(count, "thought", "agent_thought_chunk")

    def do_say(self, text):
        self.chunk(text)

    def do_thought(self, text):
        self.chunk(text, "agent_thought_chunk")

    def do_pause(self, seconds):
        self.pause = float(seconds)

    def do_sleep(self, seconds):
        self.rest(float(seconds))

    def do_message(self, id):
        self.more = {"messageId": id}

    def do_empty(self, _):
        self.chunk("")

    def do_image(self, _):
        self.update("agent_message_chunk", content={"type": "image", "mimeType": "image/png", "data": "aGk="})

    def do_link(self, _):
        self.update("agent_message_chunk", content={"type": "resource_link", "name": "a.txt", "uri": "file:///a.txt"})

    def do_size(self, count):
        self.chunk("x" * int(count))

    def do_flood(self, what):
        count, _, size = what.partition(":")
        for _ in range(int(count)):
            self.chunk("y" * int(size or 100))

    # -- tools -------------------------------------------------------------------------------------------------------
    def do_tool(self, name):
        if self.call:
            self.end("completed")
        self.calls += 1
        self.call, self.given = f"call-{self.calls}", []
        tool = {"toolCallId": self.call, "title": f"Run {name}", "kind": "execute", "status": "pending"}
        self.update("tool_call", **tool, rawInput={"command": name}, locations=[{"path": "/a", "line": 1}])
        self.update("tool_call_update", toolCallId=self.call, status="in_progress")

    def do_ask(self, how):
        kinds, times = (KINDS, int(how or 1)) if how.isdigit() or not how else (how.split(","), 1)
        question = self.question(kinds)
        asked = [self.agent.put("session/request_permission", question) for _ in range(times)]
        answers = [self.agent.heard(each)["result"]["outcome"] for each in asked]
        self.given += [answer.get("optionId", "cancelled") for answer in answers]
        if not all(answer.startswith("allow") for answer in self.given):
            self.end("failed")

    def question(self, kinds):
        return {
            "sessionId": self.id,
            "toolCall": {"toolCallId": self.call, "title": "Run it", "kind": "execute", "rawInput": {"command": "it"}},
            "options": [
                {"optionId": kind.replace("_", "-"), "name": kind.replace("_", " ").title(), "kind": kind}
                for kind in kinds
            ],
        }

    def do_leave(self, _):
        self.agent.wire.send(id="left", method="session/request_permission", params=self.question(KINDS))

    def do_retract(self, _):
        self.agent.wire.send(method="$/cancel_request", params={"requestId": "left"})

    def end(self, status):
        if not self.call:
            return
        text = {"type": "content", "content": {"type": "text", "text": "output"}}
        self.update(
            "tool_call_update",
            toolCallId=self.call,
            status=status,
            content=[text],
            rawOutput={"output": "output", "answers": self.given},
        )
        self.call = None

    def do_done(self, _):
        self.end("completed")

    def do_fail(self, _):
        self.end("failed")

    def do_open(self, _):
        self.call = None

    def do_unseen(self, _):
        self.update("tool_call_update", toolCallId="unseen", title="Unseen", status="completed", kind="read")

    # -- the rest of what it tells -----------------------------------------------------------------------------------
    def do_plan(self, count):
        for first in ("in_progress", "completed"):
            entries = [
                {"content": f"step {n}", "priority": "medium", "status": "pending" if n else first}
                for n in range(int(count))
            ]
            self.update("plan", entries=entries)

    def do_usage(self, what):
        used, size = map(int, what.split("/"))
        self.update("usage_update", used=used, size=size)

    def do_cost(self, what):
        amount, used, size = what.split("/")
        cost = {"amount": float(amount), "currency": "USD"}
        self.update("usage_update", used=int(used), size=int(size), cost=cost)

    def do_tokens(self, kind):
        if kind == "claude":
            usage = {"inputTokens": 10, "outputTokens": 5, "cachedReadTokens": 3, "cachedWriteTokens": 2}
            self.result["usage"] = {**usage, "totalTokens": 20}
        else:
            self.result["_meta"] = {"quota": {"token_count": {"input_tokens": 10, "output_tokens": 5}}}

    def do_title(self, text):
        self.update("session_info_update", title=text)

    def do_mode(self, id):
        self.update("current_mode_update", currentModeId=id)

    def do_commands(self, names):
        self.update("available_commands_update", availableCommands=self.agent.commands(names.split(",")))

    def do_strange(self, _):
        self.update("weather_update", weather={"rain": True})

    def do_other(self, _):
        self.agent.chunk("nobody", "not yours")

    def do_child(self, _):
        options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
        question = {"sessionId": "nobody", "toolCall": {"toolCallId": "c"}, "options": options}
        self.chunk(self.agent.ask("session/request_permission", question)["result"]["outcome"]["outcome"])

    # -- what it asks ------------------------------------------------------------------------------------------------
    def say_answer(self, method, **params):
        answer = self.agent.ask(method, {"sessionId": self.id, **params})
        said = answer["error"]["code"] if "error" in answer else (answer["result"] or {}).get("content", "fine")
        self.chunk(str(said))

    def do_write(self, what):
        path, _, text = what.partition(":")
        self.say_answer("fs/write_text_file", path=path, content=text)

    def do_read(self, what):
        path, line, limit = (what.split(":") + ["", ""])[:3]
        part = {name: int(value) for name, value in (("line", line), ("limit", limit)) if value}
        self.say_answer("fs/read_text_file", path=path, **part)

    def do_terminal(self, _):
        self.say_answer("terminal/create", command="true")

    def do_request(self, method):
        self.say_answer(method)

    def do_ids(self, kind):
        self.agent.ids = kind

    def do_env(self, name):
        self.chunk(os.environ.get(name, "not set"))

    def do_cwd(self, _):
        self.chunk(os.getcwd())

    def do_prompt(self, _):
        self.chunk(json.dumps(self.blocks))

    # -- what goes wrong ---------------------------------------------------------------------------------------------
    def do_wait(self, _):
        self.cancelled.wait()

    def do_late(self, count):
        for number in range(int(count)):
            self.chunk(f"late{number} ")
        self.end("failed")

    def do_deaf(self, _):
        self.deaf = True

    def do_stall(self, _):
        while True:
            time.sleep(60)

    def do_unread(self, _):
        self.agent.reads = False

    def do_grandchild(self, where):
        self.agent.grandchild(away=bool(where))

    def do_garbage(self, _):
        self.agent.wire.write(b'Loading...\n{"half":\n[1,2]\n"text"\nnull\n{"level":"warn","msg":"hot"}\n\xff\xfe\n')

    def do_line(self, text):
        self.agent.wire.write(base64.b64decode(text + "==").replace(b"SESSION", self.id.encode()) + b"\n")

    def do_split(self, _):
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "é€😀"}}
        message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": self.id, "update": update}}
        for byte in json.dumps(message, ensure_ascii=False).encode() + b"\n":
            self.agent.wire.write(bytes([byte]))
            time.sleep(0.0005)

    def do_binary(self, _):
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "<>"}}
        message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": self.id, "update": update}}
        self.agent.wire.write(json.dumps(message).encode().replace(b"<>", b"<\xff>") + b"\n")

    def do_invalid(self, _):
        self.agent.wire.send(method="session/update", params=[1])
        self.agent.wire.send(method="session/update", params={"sessionId": self.id, "update": 5})
        self.agent.wire.send(
            method="session/update", params={"sessionId": self.id, "update": {"sessionUpdate": "plan"}}
        )
        self.chunk(str(self.agent.ask("session/request_permission", {"sessionId": self.id})["error"]["code"]))

    def do_stderr(self, text):
        print(text, file=sys.stderr, flush=True)

    def do_half(self, code):
        self.agent.wire.write(b'{"jsonrpc":"2.0","method":"session/upd')
        os._exit(int(code))

    def do_exit(self, code):
        os._exit(int(code))

    # -- its answer --------------------------------------------------------------------------------------------------
    def do_after(self, seconds):
        threading.Timer(float(seconds), self.agent.chunk, [self.id, "after"]).start()

    def do_after_flood(self, what):
        threading.Timer(0.2, self.do_flood, [what]).start()

    def do_twice(self, _):
        self.agent.answers_twice = True

    def do_stop(self, reason):
        self.result["stopReason"] = reason

    def do_error(self, what):
        code, _, text = what.partition(":")
        raise Refused(int(code), text)

    def do_mute(self, _):
        self.result = "mute"


def fail(failure):
    """End with an exit of its own: a defect here must not look like an agent that waits."""
    traceback.print_exception(failure.exc_value)
    os._exit(70)


if __name__ == "__main__":
    threading.excepthook = fail
    Agent([*os.environ.get("FAKE_AGENT", "").split(), *sys.argv[1:]]).run()
