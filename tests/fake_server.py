"""The Server port in memory: for what no real server does on demand, such as an event that comes before the answer.

`tests/opencode/test_contract.py` holds it to what the real one does. `fail[name]` is an error, or a function that may
raise one, for the next call of `name`; `during[name]` is called between what the call does and its return; `asked`
lists the calls. While it is `numbered`, it keeps the sequences of its sessions.
"""

import itertools
import time

from plue_session import errors
from plue_session.adapters.opencode import asking, parts, shapes
from plue_session.adapters.opencode.events import Change

START = 1_767_225_600_000
#: A question with two options, of which one is to be chosen.
QUESTION = {
    "header": "H",
    "question": "Which?",
    "options": [{"label": "A", "description": "a"}, {"label": "B", "description": "b"}],
    "multiple": False,
    "custom": False,
}


class Survey:
    def __init__(self, sessions, before):
        known = before.known if before else {}
        self.known = {session.id: session for session in sessions}
        self.ids = set(self.known)
        self.changed = [session for session in sessions if known.get(session.id) != session]
        self.unreadable = []

    def forget(self, session_ids):
        for session_id in session_ids:
            self.known.pop(session_id, None)


class FakeServer:
    directory = "/work"

    def __init__(self):
        self.sessions, self.said, self.busy, self.shares = {}, {}, {}, False
        self.parts = {}  # message id: {part id: part}
        self.fail, self.during, self.asked = {}, {}, []
        self.clock = itertools.count(START)
        self.numbers = itertools.count(1)
        self.tell = lambda change: None
        self.numbered, self.most_asked, self.logged = False, 900, {}
        self.hurried = 0  # how often listening was to be tried at once
        self.models, self.clock_ahead = {("fake", "fake-model")}, 0
        self.waiting, self.replies = {}, []  # what turns ask, by id; how callers have answered
        self.plans, self.changes = {}, {}  # of sessions, and by the user's message what its turn has changed
        self.offer = {
            "models": [{"providerId": "fake", "modelId": "fake-model", "name": "Fake", "contextLimit": 128000}],
            "agents": [{"name": "build", "description": "The default"}],
            "commands": [{"name": "init", "description": "Set up"}],
            "default": {"providerId": "fake", "modelId": "fake-model"},
        }
        self.prompts, self.answering = [], True  # what turns were asked for; whether they end at once

    # -- what tests do -------------------------------------------------------------------------------------------------
    def put(self, session_id, **fields):
        """Change a session as another client would, and tell."""
        self.sessions[session_id] = changed = self.sessions[session_id]._replace(**fields)
        self._say(Change("session", session_id, changed))

    def message(self, session_id, message_id, ended=True, created=None, completed=None):
        """Add a message of the model's, or end it."""
        created = next(self.clock) if created is None else created
        completed = (created if completed is None else completed) if ended else None
        said = shapes.RemoteMessage(
            id=message_id,
            session_id=session_id,
            role="assistant",
            parent_id=None,
            created=created,
            completed=completed,
            failure=None,
            ended=ended,
        )
        self.said.setdefault(session_id, {})[message_id] = said
        self._say(Change("message", session_id, said))

    def ask(self, session_id, id, message_id=None, **body):
        """Have a turn ask for a permission ("per_…") or an answer ("que_…"), and tell."""
        kind = asking.PERMISSION if id.startswith("per") else asking.QUESTION
        body = body or ({"action": "bash"} if kind == asking.PERMISSION else {"questions": [QUESTION]})
        self.waiting[id] = asked = asking.Asked(id, kind, session_id, message_id, body)
        self.tell(Change(f"{kind}.asked", session_id, asked))

    def reply(self, id, given):
        """Answer as another client would, and tell."""
        asked = self.waiting.pop(id)
        self.tell(Change(f"{asked.kind}.replied", asked.session_id, asking.Replied(id, asked.kind, given)))

    def plan(self, session_id, *contents):
        """Have the agent's plan be this, and tell."""
        self.plans[session_id] = [{"content": each, "status": "pending", "priority": "high"} for each in contents]
        self.tell(Change("todo.updated", session_id, self.plans[session_id]))

    def say(self, session_id, message_id, role="assistant", parent_id=None, texts=(), ended=True, **more):
        """Add a message with parts of text, or change it, and tell of each."""
        known = self.said.get(session_id, {}).get(message_id)
        created = known.created if known else next(self.clock)
        said = shapes.RemoteMessage(
            message_id,
            session_id,
            role,
            parent_id,
            created,
            next(self.clock) if ended and role == "assistant" else None,
            None,
            ended and role == "assistant",
            **more,
        )
        self.said.setdefault(session_id, {})[message_id] = said
        if known is None:
            self._say(Change("message", session_id, said._replace(completed=None, ended=False)))
        for number, text in enumerate(texts):
            self.part(session_id, message_id, f"{message_id}_{number}", text)
        if ended and role == "assistant":
            self._say(Change("message", session_id, said))

    def part(self, session_id, message_id, part_id, text, finished=True):
        """Add a part of text to a message, or change it, and tell."""
        times = {"start": 1, "end": 2} if finished else {"start": 1}
        place = {"id": part_id, "sessionID": session_id, "messageID": message_id}
        said = parts.part({**place, "type": "text", "text": text, "time": times})
        self.parts.setdefault(message_id, {})[part_id] = said
        self._say(Change("part", session_id, said))

    def delta(self, session_id, message_id, part_id, text):
        """Tell of more text of a part, which is not kept until its end."""
        self.tell(Change("part.delta", session_id, parts.RemoteDelta(message_id, part_id, "text", text)))

    def _say(self, change):
        if self.numbered:
            logged = self.logged.setdefault(change.session_id, [])
            change.seq = len(logged)
            logged.append(change)
        self.tell(change)

    # -- the port ------------------------------------------------------------------------------------------------------
    def open(self, call, given_up=None):
        self._begin("open", call)

    def follow(self, listener):
        self.asked.append(("follow",))

    def hurry(self):
        self.hurried += 1

    def where(self):
        return {"url": "http://fake"}

    def begin(self):
        self.asked.append(("begin",))

    def end(self):
        self.asked.append(("end",))

    def close(self, seconds=7.0):
        self.asked.append(("close",))

    def is_automatic(self, title):
        return shapes.is_automatic(title)

    def ahead(self):
        return self.clock_ahead

    def get(self, session_id, call, directory=None):
        return self._end("get", self._begin("get", call, session_id) or self.sessions[session_id])

    def survey(self, before, call, directory=None):
        self._begin("survey", call)
        there = [each for each in self.sessions.values() if each.directory == (directory or self.directory)]
        return self._end("survey", Survey(there, before))

    def history(self, known, call):
        self._begin("history", call)
        if not self.numbered:
            return self._end("history", None)
        return self._end("history", {name: self.logged.get(name, [])[last + 1 :] for name, last in known.items()})

    def status(self, call, directory=None):
        self._begin("status", call)
        return self._end("status", dict(self.busy))

    def messages(self, session_id, call, directory=None, limit=100, before=None):
        self._begin("messages", call, session_id)
        said = sorted(self.said.get(session_id, {}).values(), key=lambda each: (each.created, each.id))
        said = said[: None if before is None else int(before)]
        page = [(message, list(self.parts.get(message.id, {}).values())) for message in said[-limit:]]
        return self._end("messages", (page, str(len(said) - limit) if len(said) > limit else None))

    def default_model(self, call):
        self._begin("default_model", call)
        return self._end("default_model", next(iter(sorted(self.models))))

    def read_message(self, session_id, message_id, call, directory=None):
        self._begin("read_message", call, session_id)
        if message_id not in self.said.get(session_id, {}):
            raise errors.NotFound("the server answered 404", session=session_id, details={"status": 404})
        return self._end("read_message", self.said[session_id][message_id])

    def pending(self, call, directory=None):
        self._begin("pending", call)
        return self._end("pending", list(self.waiting.values()))

    def reply_permission(self, request_id, reply, call, directory=None):
        self._reply("reply_permission", request_id, reply, call)

    def reply_question(self, request_id, answers, call, directory=None):
        self._reply("reply_question", request_id, answers, call)

    def _reply(self, name, id, given, call):
        self._begin(name, call)
        if id not in self.waiting:
            raise errors.NotFound("the server answered 404", details={"status": 404})
        self.replies.append((id, given))
        self.reply(id, given)
        self._end(name, None)

    def todos(self, session_id, call, directory=None):
        self._begin("todos", call, session_id)
        return self._end("todos", self.plans.get(session_id, []))

    def diff(self, session_id, message_id, call, directory=None):
        self._begin("diff", call, session_id)
        return self._end("diff", self.changes.get(message_id, []))

    def choices(self, call, directory=None):
        self._begin("choices", call)
        return self._end("choices", self.offer)

    def check_provider(self, provider_id, model_id, call):
        self._begin("check_provider", call)
        if (provider_id, model_id) not in self.models:
            raise errors.ProviderInit(f"the server has no provider {provider_id}")

    def create(self, token, call, directory=None, title=None, parent_id=None, metadata=None):
        self._begin("create", call, parent_id)
        return self._make("create", title, directory, parent_id, metadata or {}, token)

    def find_created(self, token, call, directory=None, title=None):
        self._begin("find_created", call)
        there = (
            each for each in self.sessions.values() if each.token == token and (each.title == title or not each.is_fork)
        )
        return self._end("find_created", next(there, None))

    def fork(self, session_id, call, directory=None, message_id=None):
        self._begin("fork", call, session_id)
        of = self.sessions[session_id]
        return self._make("fork", f"{of.title} (fork #1)", of.directory, None, of.metadata, of.token)

    def _make(self, call, title, directory, parent_id, metadata, token):
        now, session_id = next(self.clock), f"ses_{next(self.numbers):04d}"
        title = f"New session - 2026-01-01T00:00:00.{next(self.numbers) % 1000:03d}Z" if title is None else title
        self.sessions[session_id] = made = shapes.RemoteSession(
            id=session_id,
            title=title,
            parent_id=parent_id,
            directory=directory or self.directory,
            version="1.18.33",
            created=now,
            updated=now,
            archived=None,
            share_url=None,
            metadata=dict(metadata),
            token=token,
        )
        self._say(Change("created", session_id, made))
        return self._end(call, made)

    def update(self, session_id, call, directory=None, token=None, **changes):
        self._begin("update", call, session_id)
        for name, value in changes.items():  # told field by field, as the real one does
            later = {"updated": next(self.clock)} if name == "metadata" else {}
            self.put(session_id, **{name: value}, **later)
        return self._end("update", self.sessions[session_id])

    def share(self, session_id, call, directory=None):
        self._begin("share", call, session_id)
        if not self.shares:
            raise errors.Unsupported("the server does not share sessions")
        self.put(session_id, share_url=f"https://share.example/{session_id}")
        return self._end("share", self.sessions[session_id])

    def unshare(self, session_id, call, directory=None):
        self._begin("unshare", call, session_id)
        self.put(session_id, share_url=None)
        return self._end("unshare", self.sessions[session_id])

    def delete(self, session_id, call, directory=None, elsewhere=()):
        self._begin("delete", call, session_id)
        for child in [each.id for each in self.sessions.values() if each.parent_id == session_id]:
            self.delete(child, call)
        del self.sessions[session_id]
        self._say(Change("deleted", session_id))
        self.logged.pop(session_id, None)
        return self._end("delete", None)

    def abort(self, session_id, call, directory=None, turn_id=None, seen=None):
        self._begin("abort", call, session_id)
        if seen:
            seen(next(reversed(self.said.get(session_id, {})), ""))
        return self._end("abort", self.busy.pop(session_id, None) is not None)

    def stop(self, session_id, call, directory=None):
        self._begin("stop", call, session_id)
        self._end("stop", self.busy.pop(session_id, None))

    def prompt(self, session_id, message_id, said, model, call, directory=None, agent=None):
        self._begin("prompt", call, session_id)
        self.prompts.append((session_id, message_id, said, model, agent))
        self._ask(session_id, message_id)
        self._end("prompt", None)

    def command(self, session_id, message_id, name, arguments, model, call, directory=None, agent=None):
        self._begin("command", call, session_id)
        self.prompts.append((session_id, message_id, [name, arguments], model, agent))
        self._ask(session_id, message_id)
        self._end("command", None)

    def summarize(self, session_id, model, call, directory=None):
        self._begin("summarize", call, session_id)
        self._ask(session_id, f"msg_{next(self.numbers):04d}", "compaction")
        self._end("summarize", None)

    def _ask(self, session_id, message_id, source="text"):
        """Store a message of the user's, and answer it, with `answering`, at once."""
        self._put_message(session_id, message_id, "user", None, source)
        self.busy[session_id] = {"type": "busy"}
        answer_id = f"msg_{next(self.numbers):04d}"
        self._put_message(session_id, answer_id, "assistant", message_id)
        if self.answering:
            self.answer(session_id)

    def answer(self, session_id, failure=None, finish="stop"):
        """End the answer that is open."""
        open_id = next(name for name, each in reversed(self.said[session_id].items()) if not each.ended)
        ended = self.said[session_id][open_id]._replace(
            completed=next(self.clock), ended=True, failure=failure, finish=None if failure else finish
        )
        self.said[session_id][open_id] = ended
        self.busy.pop(session_id, None)
        self._say(Change("message", session_id, ended))
        self._say(Change("idle", session_id))

    def _put_message(self, session_id, message_id, role, parent_id, source="text"):
        said = shapes.RemoteMessage(
            id=message_id,
            session_id=session_id,
            role=role,
            parent_id=parent_id,
            created=next(self.clock),
            completed=None,
            failure=None,
            ended=role == "user",
        )
        part = parts.RemotePart(f"prt_{message_id}", session_id, message_id, source, {"type": source}, True)
        self.parts[message_id] = {part.id: part} if role == "user" else {}
        self.said.setdefault(session_id, {})[message_id] = said
        self._say(Change("message", session_id, said))

    def _begin(self, name, call, session_id=None):
        self.asked.append((name, session_id) if session_id else (name,))
        call.check()
        if call.deadline <= time.monotonic():
            raise errors.Timeout("the server did not answer in time")
        failure = self.fail.pop(name, None)
        if callable(failure):
            failure()
        elif failure is not None:
            raise failure
        if session_id is not None and session_id not in self.sessions:
            raise errors.NotFound("the server answered 404", session=session_id, details={"status": 404})

    def _end(self, name, value):
        during = self.during.pop(name, None)
        if during:
            during()
        return value
