"""The models of four agents on one port of the loopback: OpenCode's, and those behind Anthropic's Messages (Claude),
OpenAI's Responses (Codex) and Gemini's generateContent.

They do as they are told, in the words of tests/opencode/fake_llm.py; `[bash=command]` calls whatever tool the agent has
for a shell. What an agent asks beside the user's turns (a title, who speaks next) is answered, and neither listed nor
awaited.
"""

import base64
import json
import re
import time

from tests.opencode.fake_llm import FakeModel, _Handler

#: What is used of tokens, whatever is said: a turn's sum is known.
INPUT, OUTPUT = 11, 6


class FakeModels(FakeModel):
    """Listens on a port of its own, in threads."""

    def __init__(self):
        super().__init__(_Models)

    @property
    def root(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Models(_Handler):
    """Chooses the way to speak by the path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_json({"object": "list", "data": [{"id": "fake-model", "object": "model"}]})

    def do_HEAD(self):
        self.send_json({})

    def do_POST(self):
        path = self.path.partition("?")[0]
        if path.endswith("/chat/completions"):
            return super().do_POST()
        request = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        if path.endswith("/messages"):
            self.answer(_Messages(self, request))
        elif path.endswith("/responses"):
            self.answer(_Responses(self, request))
        elif "enerateContent" in path:
            self.answer(_Gemini(self, request, "stream" in path))
        elif path.endswith("/messages/count_tokens"):
            self.send_json({"input_tokens": INPUT})
        elif path.endswith(":countTokens"):
            self.send_json({"totalTokens": INPUT})
        else:
            self.send_json({"error": {"type": "not_found_error", "message": path}}, 404)
        return None

    def answer(self, model):
        texts = model.user_texts()
        text = texts[-1] if texts else ""
        order = dict(re.findall(r"\[(\w+)=?([^\]]*)\]", self.server.orders.get(text, text)))
        if model.is_beside():
            model.whole("A title")
            return
        self.server.asked.append(text)
        self.server.remembered[text] = texts
        if "status" in order:
            status = int(order["status"])
            self.send_json(model.error(status, f"refused with {status}"), status)
        elif "hang" in order:
            self.hang(text)
        elif "bash" in order and not model.has_result():
            self.begin()
            model.call(*model.shell(order["bash"]))
        elif "tool64" in order and not model.has_result():
            name, _, arguments = order["tool64"].partition(":")
            self.begin()
            model.call(name, json.loads(base64.b64decode(arguments)))
        else:
            words = [f"word{number} " for number in range(int(order.get("words", 3)))]
            self.speak(model, re.findall(r"\S+\s*", order["say"]) if "say" in order else words, order, text)

    def speak(self, model, words, order, text):
        how = "done"
        try:
            self.begin()
            model.begin()
            if "think" in order:
                model.think([f"thought{number} " for number in range(int(order["think"]))])
            for number, word in enumerate(words):
                model.say(word)
                if number == 0:
                    self.server.started.put(text)
                    if "drop" in order:
                        return
                    if "wait" in order:
                        self.await_leaving()
                time.sleep(float(order.get("pause", 0)))
            model.end("".join(words))
        except OSError:
            how = "left"
        self.server.ended.put((text, how))

    # -- what the ways share -------------------------------------------------------------------------------------------
    def await_leaving(self):
        self.connection.settimeout(60)
        if self.connection.recv(1) == b"":
            raise ConnectionResetError

    def begin(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

    def event(self, data, name=None):
        self.wfile.write(
            (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"
        )
        self.wfile.flush()

    def send_json(self, data, status=200):
        body = b"" if self.command == "HEAD" else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Messages:
    """Anthropic's Messages."""

    def __init__(self, answering, request):
        self._to, self._request = answering, request
        self._index = -1

    def user_texts(self):
        return [
            block["text"]
            for message in self._request["messages"]
            if message["role"] == "user"
            for block in _blocks(message["content"])
            if block.get("type") == "text" and not block["text"].startswith("<")
        ]

    def has_result(self):
        return any(block.get("type") == "tool_result" for block in _blocks(self._request["messages"][-1]["content"]))

    def is_beside(self):
        return not self._request.get("tools")

    def error(self, status, message):
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return {"type": "error", "error": {"type": kind.get(status, "invalid_request_error"), "message": message}}

    def whole(self, text):
        if not self._request.get("stream"):
            message = self._message([{"type": "text", "text": text}])
            self._to.send_json({**message, "stop_reason": "end_turn", "usage": self._usage()})
            return
        self._to.begin()
        self.begin()
        self.say(text)
        self.end(text)

    def begin(self):
        self._event("message_start", message=self._message([]))

    def think(self, words):
        self._open({"type": "thinking", "thinking": "", "signature": ""})
        for word in words:
            self._delta({"type": "thinking_delta", "thinking": word})
        self._delta({"type": "signature_delta", "signature": "c2lnbmVk"})
        self._close()

    def say(self, word):
        if self._index < 0 or not self._is_open:
            self._open({"type": "text", "text": ""})
        self._delta({"type": "text_delta", "text": word})

    def end(self, text, reason="end_turn"):
        self._close()
        self._event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=self._usage())
        self._event("message_stop")

    def shell(self, command):
        return "Bash", {"command": command, "description": "As told"}

    def call(self, name, arguments):
        self.begin()
        self._open({"type": "tool_use", "id": f"toolu_{_number()}", "name": name, "input": {}})
        self._delta({"type": "input_json_delta", "partial_json": json.dumps(arguments)})
        self.end("", "tool_use")

    def _message(self, content):
        return {
            "id": f"msg_{_number()}",
            "type": "message",
            "role": "assistant",
            "model": self._request.get("model"),
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": INPUT, "output_tokens": 1},
        }

    def _usage(self):
        return {"input_tokens": INPUT, "output_tokens": OUTPUT}

    def _open(self, block):
        self._index, self._is_open = self._index + 1, True
        self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta):
        self._event("content_block_delta", index=self._index, delta=delta)

    def _close(self):
        self._is_open = False
        self._event("content_block_stop", index=self._index)

    def _event(self, kind, **data):
        self._to.event({"type": kind, **data}, kind)


class _Responses:
    """OpenAI's Responses."""

    def __init__(self, answering, request):
        self._to, self._request = answering, request
        self._response = {
            "id": f"resp_{_number()}",
            "object": "response",
            "status": "in_progress",
            "model": request.get("model"),
            "output": [],
        }
        self._item = {
            "id": f"msg_{_number()}",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }

    def user_texts(self):
        return [
            part["text"]
            for item in self._request["input"]
            if item.get("role") == "user"
            for part in _blocks(item["content"])
            if part.get("type") == "input_text" and not part["text"].startswith("<")
        ]

    def has_result(self):
        return self._request["input"][-1].get("type", "").endswith("_output")

    def is_beside(self):
        return not self._request.get("tools")

    def error(self, status, message):
        return {"error": {"message": message, "type": "fake", "code": "fake"}}

    def whole(self, text):
        self._to.begin()
        self.begin()
        self.say(text)
        self.end(text)

    def begin(self):
        self._event("response.created", response=self._response)

    def think(self, words):
        item = {"id": f"rs_{_number()}", "type": "reasoning", "summary": []}
        self._event("response.output_item.added", output_index=0, item=item)
        self._event(
            "response.reasoning_summary_part.added",
            item_id=item["id"],
            output_index=0,
            summary_index=0,
            part={"type": "summary_text", "text": ""},
        )
        for word in words:
            self._event(
                "response.reasoning_summary_text.delta",
                item_id=item["id"],
                output_index=0,
                summary_index=0,
                delta=word,
            )
        item["summary"] = [{"type": "summary_text", "text": "".join(words)}]
        self._event("response.output_item.done", output_index=0, item=item)

    def say(self, word):
        if self._item["status"] == "in_progress":
            self._event("response.output_item.added", output_index=0, item={**self._item})
            self._item["status"] = "completed"
        self._event("response.output_text.delta", item_id=self._item["id"], output_index=0, content_index=0, delta=word)

    def end(self, text):
        self._item["content"] = [{"type": "output_text", "text": text, "annotations": []}]
        self._done(self._item)

    def shell(self, command):
        more = {"sandbox_permissions": "require_escalated", "justification": "As told"}
        return "exec_command", {"cmd": command, **more}

    def call(self, name, arguments):
        self.begin()
        item = {
            "id": f"fc_{_number()}",
            "type": "function_call",
            "call_id": f"call_{_number()}",
            "name": name,
            "arguments": json.dumps(arguments),
        }
        self._done(item)

    def _done(self, item):
        self._event("response.output_item.done", output_index=0, item=item)
        usage = {
            "input_tokens": INPUT,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT + OUTPUT,
        }
        self._event(
            "response.completed", response={**self._response, "status": "completed", "output": [item], "usage": usage}
        )

    def _event(self, kind, **data):
        self._to.event({"type": kind, **data}, kind)


class _Gemini:
    """Gemini's generateContent."""

    def __init__(self, answering, request, is_stream):
        self._to, self._request, self._is_stream = answering, request, is_stream
        self._last = None

    def user_texts(self):
        return [
            part["text"]
            for content in self._request["contents"]
            if content.get("role") == "user"
            for part in content["parts"]
            if "text" in part and not part["text"].startswith("<")
        ]

    def has_result(self):
        return any("functionResponse" in part for part in self._request["contents"][-1]["parts"])

    def is_beside(self):
        return not self._is_stream

    def error(self, status, message):
        kind = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
        return {"error": {"code": status, "message": message, "status": kind.get(status, "INVALID_ARGUMENT")}}

    def whole(self, text):
        self._to.send_json(self._chunk({"text": text}, "STOP"))

    def begin(self):
        pass

    def think(self, words):
        for word in words:
            self._to.event(self._chunk({"text": word, "thought": True}))

    def say(self, word):
        self._to.event(self._chunk({"text": word}))

    def end(self, text):
        self._to.event(self._chunk({"text": ""}, "STOP"))

    def shell(self, command):
        return "run_shell_command", {"command": command, "description": "As told"}

    def call(self, name, arguments):
        self._to.event(self._chunk({"functionCall": {"name": name, "args": arguments}}, "STOP"))

    def _chunk(self, part, finish=None):
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        usage = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake-model"}


def _blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _number():
    return f"{time.monotonic_ns():x}"
