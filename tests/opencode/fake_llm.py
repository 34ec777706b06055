"""A model that does as it is told, behind the OpenAI chat-completions API that OpenCode speaks.

The user's text gives the orders: `[words=N]` how many to stream, or `[say=text]` which, `[think=N]` how many to reason
with before that, `[pause=S]` seconds between words, `[wait]` after the first word until the client leaves,
`[bash=command]` to call that tool first, `[tool64=NAME:ARGUMENTS]` any tool, its arguments as JSON in base64,
`[status=N]` to refuse, `[hang]` to answer nothing until the client leaves, `[drop]` to leave after the first word.
`orders` has other orders for some texts. What happens can be awaited: `started` gets the text of each turn whose first
word is out, `ended` the same text with "done" or "left" when it is over. `asked` lists the text of each request,
`remembered` has all that the user had said by then. The title of a session is always "A title".
"""

import base64
import json
import queue
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeModel(ThreadingHTTPServer):
    """Listens on a port of its own, in threads."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler=None):
        super().__init__(("127.0.0.1", 0), handler or _Handler)
        self.started, self.ended, self.asked = queue.Queue(), queue.Queue(), []
        self.orders, self.remembered = {}, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """Say nothing: clients that leave are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = [
            (message["role"], _text(message["content"])) for message in request["messages"] if message.get("content")
        ]
        is_title = any(role == "system" and "title generator" in text.lower() for role, text in said)
        text = next((text for role, text in reversed(said) if role == "user"), "")
        order = dict(re.findall(r"\[(\w+)=?([^\]]*)\]", self.server.orders.get(text, text)))
        if not is_title:
            self.server.asked.append(text)
            self.server.remembered[text] = [text for role, text in said if role == "user"]
        if is_title:
            self.stream(["A ", "title"], {}, None)
        elif "status" in order:
            self.refuse(int(order["status"]))
        elif "hang" in order:
            self.hang(text)
        elif "tool64" in order and request["messages"][-1]["role"] == "user":
            name, _, arguments = order["tool64"].partition(":")
            self.call(name, json.loads(base64.b64decode(arguments)))
        elif "bash" in order and request["messages"][-1]["role"] == "user":
            self.call("bash", {"command": order["bash"], "description": "As told"})
        else:
            words = [f"word{number} " for number in range(int(order.get("words", 3)))]
            self.stream(re.findall(r"\S+\s*", order["say"]) if "say" in order else words, order, text)

    def call(self, name, arguments):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.say(
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(arguments)},
                    }
                ],
            }
        )
        self.say({}, "tool_calls", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
        self.wfile.write(b"data: [DONE]\n\n")

    def refuse(self, status):
        body = json.dumps({"error": {"message": f"refused with {status}", "type": "fake", "code": "fake"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang(self, text):
        self.connection.settimeout(60)
        self.connection.recv(1)
        self.server.ended.put((text, "left"))

    def stream(self, words, order, text):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        how = "done"
        try:
            self.say({"role": "assistant", "content": ""})
            for number in range(int(order.get("think", 0))):
                self.say({"reasoning_content": f"thought{number} "})
            for number, word in enumerate(words):
                self.say({"content": word})
                if number == 0 and text is not None:
                    self.server.started.put(text)
                    if "drop" in order:
                        return
                    if "wait" in order:
                        self.connection.settimeout(60)
                        if self.connection.recv(1) == b"":
                            raise ConnectionResetError
                time.sleep(float(order.get("pause", 0)))
            self.say(
                {}, "stop", usage={"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
            )
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            how = "left"
        if text is not None:
            self.server.ended.put((text, how))

    def say(self, delta, finish=None, **more):
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": "fake-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()


def _text(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
