"""One agent spoken to by hand: requests, what it tells, what it asks. No line of it is the library's."""

import json
import os
import signal
import subprocess
import threading

#: An answer that takes longer is none.
PATIENCE = 60.0


class Refused(Exception):
    """The agent answered with an error: `code`, `message`, `data`."""

    def __init__(self, error):
        super().__init__(json.dumps(error))
        self.code, self.message, self.data = error["code"], error["message"], error.get("data")


class Raw:
    """A process of an agent's, in a group of its own. `notes`: (session id, update); `asked`: its requests."""

    def __init__(self, command, environment, folder, errors):
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(errors, "ab"),
            start_new_session=True,
        )
        self.pid, self.folder = self._process.pid, str(folder)
        self.notes, self.asked, self.noise = [], [], []
        self._answers, self._count = {}, 0
        self._changed, self._gone = threading.Condition(), False
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """End its whole group at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    # -- requests ------------------------------------------------------------------------------------------------------
    def start(self, method, **params):
        with self._changed:
            self._count += 1
            number = self._count
        self._send(id=number, method=method, params=params)
        return number

    def result(self, number):
        self.until(lambda: number in self._answers or self._gone)
        assert number in self._answers, "the agent is gone"
        answer = self._answers.pop(number)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def call(self, method, **params):
        return self.result(self.start(method, **params))

    def notify(self, method, **params):
        self._send(method=method, params=params)

    def reply(self, request, **result):
        self._send(id=request["id"], result=result)

    def initialize(self):
        return self.call(
            "initialize",
            protocolVersion=1,
            clientCapabilities={"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
            clientInfo={"name": "plue-session-tests", "version": "0"},
        )

    def new(self):
        return self.call("session/new", cwd=self.folder, mcpServers=[])

    def begin(self, session, text):
        return self.start("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def prompt(self, session, text):
        return self.result(self.begin(session, text))

    def cancel(self, session):
        self.notify("session/cancel", sessionId=session)

    # -- what it tells -------------------------------------------------------------------------------------------------
    def until(self, condition, seconds=PATIENCE):
        with self._changed:
            assert self._changed.wait_for(condition, seconds), (self.notes[-5:], self.asked)

    def said(self, session=None, mark=0, kind="agent_message_chunk"):
        return "".join(
            update["content"]["text"]
            for each, update in self.notes[mark:]
            if session in (None, each) and update["sessionUpdate"] == kind
        )

    def updates(self, kind, mark=0):
        return [update for _, update in self.notes[mark:] if update["sessionUpdate"] == kind]

    def _send(self, **message):
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self):
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                said = {"noise": line}
            with self._changed:
                if "noise" in said:
                    self.noise.append(said["noise"])
                elif "method" not in said:
                    self._answers[said["id"]] = said
                elif "id" in said:
                    self.asked.append(said)
                else:
                    self.notes.append((said["params"].get("sessionId"), said["params"].get("update", said)))
                self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()
