"""What an agent says, made the messages and parts of its session: recorded by the merge that records a server's, and
told while it grows."""

from collections import namedtuple

from plue_session import errors
from plue_session.rules import outcomes, transcripts
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.turns import prompt

#: Characters that an agent may say in one turn, parts that it may make of them, and characters of all that it may tell
#: of its tools and plans: the turn of one that says more is ended, and what it goes on to say is left out.
MOST, MOST_PARTS, MOST_TOLD = 16 << 20, 20_000, 128 << 20

#: Pieces that a text is kept in.
MOST_PIECES = 4096

#: As `Recorder.record` takes what it is told.
Change = namedtuple("Change", "kind value")
Spoken = namedtuple("Spoken", "id role parent_id created completed failure ended model tokens cost")
Piece = namedtuple("Piece", "id message_id source body finished")
#: What a message has whose tokens nobody has told, and that has a cost.
_NO_TOKENS = (0,) * len(transcripts.TOKENS)


class _Text:
    """A part that grows: `pieces` of its text, of which `told` is whether they are told as they come, and the `half` of
    a character whose other half is to come."""

    __slots__ = ("id", "message_id", "kind", "body", "pieces", "half", "told")

    def __init__(self, id, message_id, kind):
        self.id, self.message_id, self.kind, self.pieces, self.half, self.told = id, message_id, kind, [], "", False
        self.body = {"id": id, "type": kind, "text": ""}


class Recording:
    """Of one session, by one thread. `name` is the agent's. `on` has the store's `writer`, and the `recorder` and the
    `streams` that all of this process's share."""

    def __init__(self, on, session_id):
        self._on, self.session_id, self.name = on, session_id, None
        self.model = "default"
        self.turn_id = self.message_id = None  # of the turn that runs; the user's message
        self._message = self._text = None  # what is being said
        self._messages = {}  # by the agent's own ids
        self._tools = {}  # by their call's id: `Piece`
        self._running = set()
        self._changes, self._begun, self._active = [], [], []  # to be recorded; to be told once that is
        self._places: dict = {}  # where among the changes a tool's part is
        self._size = self._parts = self._told = self._last = self._stamp = 0
        self._named = set()  # "text", "reasoning": of which the agent has told an id in this message
        #: of the conversation so far, how much of it messages have, and will have when `over`
        self._cost = self.told_cost = self.counted = 0.0
        #: something was left out
        self.is_cut = False

    # -- turns ---------------------------------------------------------------------------------------------------------
    @staticmethod
    def asked(inputs, message_id, now):
        """Return the user's message of a turn, as `record` takes it."""
        told = [Change("message", Spoken(message_id, "user", None, now, None, None, True, None, None, None))]
        for place, part in enumerate(parts_of(inputs)):
            id = prompt.part_id(message_id, place)
            told.append(Change("part", Piece(id, message_id, part["type"], {"id": id, **part}, True)))
        return told

    def begin(self, turn_id, message_id, now):
        """A turn has begun: what is said from now on answers this message, which was made just `now` (ms)."""
        self.turn_id, self.message_id = turn_id, message_id
        self._last = max(self._last, now)
        self._tools.clear()
        self._running.clear()
        self._clear_sizes()

    def pause(self):
        """End what was said outside a turn."""
        if self._message is not None and self.turn_id is None:
            self._close_message()
        self.flush()

    @property
    def is_open(self):
        """Whether a message is being said."""
        return self._message is not None

    @property
    def is_too_much(self):
        """Whether the turn, or what is said outside of one, has said more than one may."""
        return self._size > MOST or self._parts > MOST_PARTS or self._told > MOST_TOLD

    def end(self, is_whole, tokens):
        """Return the changes with which the turn ends: its text and its tools do, and its newest message has what was
        used; with `is_whole` that ends, too. The caller records them, and calls `over`."""
        self._close_text()
        for call_id, tool in list(self._tools.items()):
            if not tool.finished:
                state = {**tool.body["tool"], "state": "error"}
                self._keep_tool(call_id, tool._replace(body={**tool.body, "tool": state}, finished=True))
        cost = max(self._cost - self.told_cost, 0.0)
        if self._message is not None and (tokens or cost):
            self.counted = self._cost
            self._message = self._message._replace(tokens=tokens or _NO_TOKENS, cost=cost)
            if not is_whole:
                self._changes.append(Change("message", self._message))
        if is_whole:
            self._close_message()
        return self._changes

    def over(self):
        """Note that what `end` has returned is recorded."""
        self._changes, self._places, self._begun, self._active = [], {}, [], []
        self._message = self._text = self.turn_id = self.message_id = None
        self._messages.clear()
        self.told_cost = self.counted
        self._clear_sizes()

    def _clear_sizes(self):
        self._size = self._parts = self._told = 0
        self.is_cut = False

    def _leaves_out(self):
        """Return whether what comes now is left out, and note it."""
        self.is_cut |= self.is_too_much
        return self.is_cut

    def takes(self, size):
        """Count so many characters of what is no part; return whether they are not too many."""
        if not self._leaves_out():
            self._told += size
        return not self.is_cut

    # -- what is said --------------------------------------------------------------------------------------------------
    def metered(self, said):
        """Hear what the conversation has cost so far."""
        if said.cost is not None:
            self._cost = said.cost

    def restored(self, cost):
        """Note what the messages of a conversation that is taken up again have cost."""
        self._cost = self.told_cost = self.counted = cost

    def say(self, said):
        """Take a piece of text."""
        text = self._text
        if not said.text or self._leaves_out():
            return
        message_id = self._message_id(said.message_id, said.kind)
        if text is None or text.kind != said.kind or text.message_id != message_id:
            self._close_text()
            self._text = text = _Text(self._new_part(), message_id, said.kind)
            self._begun.append(text)
        self._size += len(said.text)
        piece, text.half = transcripts.joined(text.half + said.text)
        if piece:
            text.pieces.append(piece)
            if len(text.pieces) > MOST_PIECES:
                text.pieces = ["".join(text.pieces)]
            if text.told:
                self._on.streams.grow(text.id, piece)

    def show(self, said):
        """Take a file."""
        if self._leaves_out():
            return
        message_id = self._message_id(said.message_id)
        self._close_text()
        id = self._new_part()
        self._size += len(said.file.get("data", ""))
        body = {"id": id, "type": "file", "file": said.file}
        self._changes.append(Change("part", Piece(id, message_id, "file", body, True)))

    def use(self, said):
        """Take what is new of a tool's call. One that was not seen before begins with it."""
        known, new = self._tools.get(said.call_id), said.changes
        if self._leaves_out():
            if known is None or "state" not in new:
                return
            new = {"state": new["state"]}
        if known is None:
            message_id = self._message_id(None)
            self._close_text()
            id = self._new_part()
            tool = {"callId": said.call_id, "name": "tool", "state": "pending", "input": {}}
            known = Piece(id, message_id, "tool", {"id": id, "type": "tool", "tool": tool}, False)
        tool = dict(known.body["tool"])
        if tool["name"] == "tool":  # what it is called by first: titles become what it does
            tool["name"] = new.get("name") or new.get("title") or "tool"
        for key in ("state", "input", "output"):
            if key in new:
                tool[key] = new[key]
        body = {**known.body, "tool": tool}
        if new.get("raw"):
            body["raw"] = {**body.get("raw", {}), **new["raw"]}
        self._size += max(_length(tool) - _length(known.body["tool"]), 0)  # it comes whole each time
        self._told += max(len(dumps(body)) - len(dumps(known.body)), 0)
        self._keep_tool(said.call_id, known._replace(body=body, finished=tool["state"] in ("completed", "error")))
        if tool["state"] == "running" and said.call_id not in self._running and self.turn_id is not None:
            self._running.add(said.call_id)
            self._active.append({"turnId": self.turn_id, "kind": "tool", "text": tool["name"]})

    def place_of(self, call_id):
        """Return the message that a tool's call is in, or the one that is being said, or None."""
        tool = self._tools.get(call_id)
        if tool is not None:
            return tool.message_id
        return self._message and self._message.id

    def flush(self):
        """Record what is to be, and tell what waits for that. What cannot be recorded now is by the next call."""
        if self._changes:
            changes = list(self._changes)
            self._on.writer.run(lambda transaction: self.record(transaction, changes))
            self._changes, self._places = [], {}
        active, self._active = self._active, []
        for data in active:
            self._on.streams.active(self.session_id, data)
        begun, self._begun = self._begun, []
        for text in begun:
            if text is self._text:  # the others are whole, and were told so
                piece = Piece(text.id, text.message_id, text.kind, text.body, False)
                self._on.streams.begin(self.session_id, self.turn_id, piece)
                text.told = True
                self._on.streams.grow(text.id, "".join(text.pieces))

    def record(self, transaction, changes):
        """Record changes, as a change of their session."""
        session, told, is_changed = transaction.load(self.session_id), [], False
        for each in changes:
            found = self._on.recorder.record(transaction, session, each)
            is_changed |= found is not None
            told += found or ()
        if told:
            transaction.save_told(session, told)
        elif is_changed:
            transaction.store.save(session)

    def events(self, transaction, session, changes):
        """Record changes within one that is under way; return the events, for the session to be saved with."""
        return [event for each in changes for event in self._on.recorder.record(transaction, session, each) or ()]

    # -- what is open --------------------------------------------------------------------------------------------------
    def _message_id(self, given, kind="text"):
        """Return the id of the message that is being said; `given` is the agent's own id of it, or None. That of
        thoughts may be another one than that of the answer which they belong to."""
        known = self._messages.get(given) if given is not None else self._message
        if known is None and self._message is not None and kind not in self._named:
            known = self._messages[given] = self._message
        if known is not None:
            if given is not None:
                self._named.add(kind)
            return known.id
        self._close_message()
        now = max(self._on.writer.clock(), self._last + 1)
        self._last = now
        self._message = message = Spoken(
            prompt.message_id(now),
            "assistant",
            self.message_id,
            now,
            None,
            None,
            False,
            (self.name, self.model),
            None,
            None,
        )
        self._named = set() if given is None else {kind}
        if given is not None:
            self._messages[given] = message
        self._changes.append(Change("message", message))
        if self.turn_id is not None:
            self._active.append({"turnId": self.turn_id, "kind": "step"})
        return message.id

    def _close_message(self):
        self._close_text()
        if self._message is not None:
            now = max(self._on.writer.clock(), self._message.created)
            self._changes.append(Change("message", self._message._replace(completed=now, ended=True)))
        self._message = None
        if self.turn_id is None:
            self._messages.clear()
            self._clear_sizes()

    def _close_text(self):
        text, self._text = self._text, None
        if text is not None:
            body = {**text.body, "text": "".join(text.pieces)}
            self._changes.append(Change("part", Piece(text.id, text.message_id, text.kind, body, True)))

    def _keep_tool(self, call_id, piece):
        if self._tools.get(call_id) == piece:
            return
        self._tools[call_id] = piece
        place = self._places.setdefault(piece.id, len(self._changes))
        self._changes[place : place + 1] = [Change("part", piece)]  # in place of what it was meanwhile

    def _new_part(self):
        """Return the id of a part that comes after all others."""
        self._parts += 1
        self._stamp = max(self._on.writer.clock() << 12, self._stamp + 1)
        return prompt.stamped("prt", self._stamp)


def _length(tool):
    """Return how many characters a tool has answered, about."""
    output = tool.get("output")
    return len(output) if type(output) is str else 0


def parts_of(inputs):
    """Return what the inputs of one turn say together, as callers give parts; a command as what its user would type."""
    parts = []
    for says in (loads(each.content) for each in inputs):
        if "command" in says:
            text = f"/{says['command']} {says.get('arguments', '')}".rstrip()
            parts.append({"type": "text", "text": text})
        else:
            parts += says.get("parts") or [{"type": "text", "text": says["text"]}]
    return parts


def outcome_of(reason):
    """Return `(outcome, reason, error)` of a turn whose prompt was answered with this reason."""
    if reason == "cancelled":
        return outcomes.STOPPED, outcomes.CANCELLED, None
    if reason == "max_tokens":
        return outcomes.STOPPED, outcomes.INCOMPLETE, None
    if reason == "max_turn_requests":
        return outcomes.STOPPED, "max_turns", None
    if reason == "refusal":
        error = errors.Server("the agent refuses to answer", "Say it in other words, or begin a new session.")
        return outcomes.STOPPED, outcomes.PROVIDER_ERROR, told(error)
    return outcomes.FINISHED, None, None


def told(error):
    """Return an error of ours as a turn's."""
    return {"code": error.name, "message": error.cause, "remedy": error.remedy}
