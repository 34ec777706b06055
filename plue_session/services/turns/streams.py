"""What the model writes, while it writes it: pieces of text of parts, told at once and kept as far as they were heard.

Every process follows the server's stream itself, so pieces reach all processes on a store without passing through it. A
piece is told if its part was heard from its beginning, after what it belongs to was told, and never after its part was
told whole, whichever process has written that.
"""

import os
import re
import threading
import time

from plue_session import errors, threads
from plue_session.model import EVENT_NUMBER, Part
from plue_session.rules import cursors, transcripts
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.services.queued import Queued
from plue_session.services.sync.memory import remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Store

#: Seconds between two events of one part.
PACE = 0.04
#: Seconds between two times that text is stored that still grows.
KEEPING = 1.0
#: Seconds between two looks for whether what a piece belongs to has come, which was heard of by another way.
LOOK = 0.005
#: What turns elsewhere are about, at most, until what it belongs to has come.
MOST_PENDING = 63
#: Parts that may grow at a time, and characters that they may have together: of more nothing is told until it is whole.
MOST_PARTS, MOST_TEXT = 1024, 64 << 20

_PART, _ACTIVITY = EVENT_NUMBER["message.part.updated"], EVENT_NUMBER["turn.activity"]
_DELETED = EVENT_NUMBER["session.deleted"]
#: How the data of an event begins that tells a part whole.
_WHOLE = re.compile(r'"data":\{"messageId":"[^"]*",(?:"turnId":"[^"]*",)?"part":\{"id":"([^"]*)"')


class _Growing:
    """A part that was heard to begin. `text` is what it has, in pieces; those from `told` on are to be told, beginning
    at `offset` bytes."""

    __slots__ = (
        *("id", "kind", "message_id", "session_id", "turn_id"),
        *("text", "half", "told", "offset", "due", "kept", "size", "ready", "broken", "after", "is_own", "is_foreign"),
    )

    def __init__(self, part, session_id):
        text = part.body["text"]
        self.id, self.kind, self.message_id = part.id, part.body["type"], part.message_id
        self.session_id, self.turn_id = session_id, None
        self.text, self.told, self.offset, self.size = [text], 1, len(text.encode()), len(text)
        self.half = ""  # of a character whose other half is to come
        self.due = 0.0  # until when (monotonic seconds) nothing is told
        self.kept, self.ready = self.size, False  # how much is stored; whether what it belongs to was told
        self.broken = False  # something was missed of it
        #: whether an agent of this process's says it, or one of another's; and the log's id of what it belongs to
        self.is_own, self.is_foreign, self.after = False, False, 0


class Streams:
    """Thread-safe. `follow` is called once, with who tells of changes; the rest happens by itself."""

    def __init__(self, store: "Store", writer, publisher: "Publisher", clock):
        self._store, self._writer, self._publisher, self._clock = store, writer, publisher, clock
        self._changed = threading.Condition()
        self._growing, self._whole = {}, {}  # by the parts' ids; `_whole`: they were told whole
        self._running = {}  # tools that were told to run
        self._size, self._saved = 0, 0.0  # characters of all; when text was stored the last time
        self._thread, self._closed = None, False
        self._pending = []  # what turns elsewhere are about: `(log's id of what it comes after, session id, data)`
        #: hears of pieces of this process's agents (services/agents/echo.py); None: nobody does
        self.echo = None

    def follow(self, inbox, transcript):
        """Begin to hear."""
        inbox.arriving.update({"part": self._arrives, "part.delta": self._grows})
        inbox.hearers["part"] = self._recorded
        inbox.hearers["part.delta"] = lambda change: self._tell_soon(change.value.part_id)
        inbox.arriving["part.removed"] = lambda change: self._drop(change.value[1])
        inbox.arriving["message.removed"] = lambda change: self._drop_all(change.session_id, change.value)
        self.record_with(transcript)

    def record_with(self, recorder):
        """Have what grows be known to who records it, and end with what is told."""
        recorder.heard, self._writer.telling = self.heard, self._told

    def end(self):
        """Stop. Returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def heard(self, message_id):
        """Return what was heard of a message's parts that grow, by their ids."""
        with self._changed:
            return {
                each.id: {"id": each.id, "type": each.kind, "text": "".join(each.text)}
                for each in self._growing.values()
                if each.message_id == message_id
            }

    def missed(self):
        """Hear that the stream begins anew, or has a gap: of what grew until then nothing more is told until it is
        whole."""
        with self._changed:
            for each in self._growing.values():
                each.broken = True

    # -- of an agent of this process -----------------------------------------------------------------------------------
    def begin(self, session_id, turn_id, part):
        """Hear that a part begins, without text, of a message that was told."""
        growing = _Growing(part, session_id)
        growing.turn_id, growing.ready, growing.is_own, growing.after = turn_id, True, True, self._writer.published
        with self._changed:
            self._add_part(growing)

    def grow(self, part_id, text):
        """Hear that such a part has grown."""
        with self._changed:
            growing = self._growing.get(part_id)
            if growing is not None:
                self._add(growing, text)
        self._tell_soon(part_id)

    def active(self, session_id, data):
        """Tell what a turn is about."""
        self._send(_ACTIVITY, session_id, dumps(data))
        if self.echo is not None:
            self.echo.active(session_id, data, self._writer.published)

    # -- of an agent of another process --------------------------------------------------------------------------------
    def overhear(self, part, session_id, turn_id, after, offset, text):
        """Hear a piece of a part from that many characters on; what it belongs to has the log's id `after`. What is
        heard twice is dropped; of what was missed the rest is told when it is whole."""
        with self._changed:
            growing = self._growing.get(part.id)
            if growing is None:
                if offset or part.id in self._whole:
                    return
                growing = _Growing(part, session_id)
                growing.turn_id, growing.is_foreign, growing.after = turn_id, True, after
                self._add_part(growing)
            if not growing.is_foreign or offset > growing.size:
                return
            self._add(growing, text[growing.size - offset :])
        self._tell_soon(part.id)

    def overhear_activity(self, session_id, data, after):
        """Hear what a turn is about."""
        with self._changed:
            self._pending = [*self._pending[-MOST_PENDING:], (after, session_id, data)]
            self._tell_pending()
            self._wake()

    def _tell_pending(self):
        published = self._writer.published
        for after, session_id, data in self._pending:
            if after <= published:
                self._send(_ACTIVITY, session_id, dumps(data))
        self._pending = [each for each in self._pending if each[0] > published]

    # -- as it comes ---------------------------------------------------------------------------------------------------
    def _arrives(self, change):
        """A part has begun, or grown otherwise than by pieces."""
        part = change.value
        if part.finished or "text" not in part.body:
            return
        with self._changed:
            known = self._growing.get(part.id)
            if known is not None:
                text = "".join(known.text)
                if part.body["text"].startswith(text):
                    known.half = ""
                    self._add(known, part.body["text"][len(text) :])
                elif not text.startswith(part.body["text"]):  # another text: it is told when it is whole
                    self._forget(part.id)
            elif part.id not in self._whole:
                self._add_part(_Growing(part, change.session_id))

    def _add_part(self, growing):
        if len(self._growing) == MOST_PARTS:  # of which the oldest most likely grows no more
            self._forget(next(iter(self._growing)))
        self._growing[growing.id] = growing
        self._size += growing.size

    def _grows(self, change):
        delta = change.value
        with self._changed:
            growing = self._growing.get(delta.part_id)
            if growing is not None and delta.field == "text":
                self._add(growing, delta.text)

    def _add(self, growing, text):
        if text and not growing.broken:
            text, growing.half = transcripts.joined(growing.half + text)
            if not text:
                return
            growing.text.append(text)
            growing.size += len(text)
            self._size += len(text)
            if self._size > MOST_TEXT:
                self._forget(growing.id)

    def _forget(self, part_id):
        growing = self._growing.pop(part_id, None)
        if growing is not None:
            self._size -= growing.size
            if growing.is_own and self.echo is not None:
                self.echo.over(part_id)

    # -- once it is recorded -------------------------------------------------------------------------------------------
    def _recorded(self, change):
        """What a part belongs to was told by now."""
        part = change.value
        if part.finished:
            self._drop(part.id)
            self._running.pop(part.id, None)
        with self._changed:
            growing = self._growing.get(part.id)
        if growing is not None:
            if not growing.ready:
                message = self._store.read_message(change.session_id, part.message_id)
                if message is None:  # of no session of ours, or not to be recorded
                    self._drop(part.id)
                    return
                growing.turn_id, growing.ready = message.turn_id, True
            self._tell_soon(part.id)
        elif "tool" in part.body or part.source == "step-start":
            self._active(change.session_id, part)

    def _active(self, session_id, part):
        """Tell that the turn has taken a step, or runs a tool."""
        tool = part.body.get("tool")
        if tool is not None and (tool["state"] != "running" or part.id in self._running):
            return
        message = self._store.read_message(session_id, part.message_id)
        if message is None:
            return
        if tool is not None:
            remember(self._running, part.id, True)
        turn = {} if message.turn_id is None else {"turnId": message.turn_id}
        what = {"kind": "step"} if tool is None else {"kind": "tool", "text": tool["name"]}
        self._send(_ACTIVITY, session_id, dumps({**turn, **what}))

    def _drop(self, part_id):
        with self._changed:
            self._forget(part_id)

    def _drop_all(self, session_id, message_id=None):
        """Forget what grows of a message, or (None) of a session."""
        with self._changed:
            for each in list(self._growing.values()):
                if each.session_id == session_id and message_id in (None, each.message_id):
                    self._forget(each.id)

    def _told(self, rows):
        """Hear of events before they are told: of a part that is told whole no piece follows, nor of what is deleted,
        though a server runs a turn on whose session another client deletes (O-030)."""
        for row in rows:
            if row.kind == _DELETED:
                self._drop_all(row.session_id)
            elif row.kind == _PART:
                found = _WHOLE.search(row.tail)
                if found is not None:
                    with self._changed:
                        self._forget(found[1])
                        remember(self._whole, found[1], True)

    # -- telling -------------------------------------------------------------------------------------------------------
    def _tell_soon(self, part_id):
        """Tell what a part has grown by: at once, or as soon as its pace allows."""
        with self._changed:
            growing = self._growing.get(part_id)
            if growing is None or growing.told == len(growing.text) or not (growing.ready or growing.is_foreign):
                return
            if self._is_ready(growing) and time.monotonic() >= growing.due:
                self._tell(growing)
            self._wake()

    def _is_ready(self, growing):
        """Return whether what it belongs to was told, here."""
        if growing.is_foreign and not growing.ready:
            growing.ready = growing.after <= self._writer.published
        return growing.ready

    def _wake(self):
        """Have the thread look, if it is there or can be."""
        if self._thread is None and not self._closed:
            try:
                self._thread = threads.start(self._run, "plue-deltas")
            except errors.StoreIo:  # the next piece tries again, and brings what is to be told
                return
        self._changed.notify()

    def _tell(self, growing):
        text = "".join(growing.text[growing.told :])
        if growing.is_own and self.echo is not None:
            self.echo.tell(growing, text)
        turn = "" if growing.turn_id is None else f'"turnId":{quote(growing.turn_id)},'
        if self._send(
            _PART,
            growing.session_id,
            f'{{"messageId":{quote(growing.message_id)},{turn}"partId":{quote(growing.id)},"offset":{growing.offset},'
            f'"delta":{quote(text)}}}',
        ):
            growing.offset += len(text.encode())
            growing.text = ["".join(growing.text)] if len(growing.text) > 256 else growing.text
            growing.told = len(growing.text)
        growing.due = time.monotonic() + PACE

    def _send(self, kind, session_id, data):
        return self._publisher.transient(
            kind,
            session_id,
            f',"timestamp":{self._clock()},"correlationId":{quote(os.urandom(6).hex())},"data":{data}}}',
            cursors.render(self._store.store_id, self._writer.published, session_id),
        )

    # -- later ---------------------------------------------------------------------------------------------------------
    def _run(self):
        self._publisher.adopt()
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                untold = [each for each in self._growing.values() if each.told < len(each.text)]
                waiting = [each for each in untold if self._is_ready(each)]
                for each in waiting:
                    if each.due <= now:
                        self._tell(each)
                self._tell_pending()
                unkept = any(self._is_unkept(each) for each in self._growing.values())
                if unkept and now - self._saved >= KEEPING:
                    self._saved = now
                    self._keep()
                waits = [each.due - now for each in waiting if each.due > now]
                if self._pending or any(each.is_foreign and not each.ready for each in untold):
                    waits.append(LOOK)
                if unkept:
                    waits.append(max(self._saved + KEEPING - now, PACE))
                self._changed.wait(min(waits, default=None))

    @staticmethod
    def _is_unkept(growing):
        """Return whether more of it is to be stored, by this process."""
        return growing.ready and growing.size > growing.kept and not growing.is_foreign

    def _keep(self):
        """Have the text stored that was heard so far, by whoever writes next."""
        heard: dict = {}
        for each in self._growing.values():
            if self._is_unkept(each):
                each.kept = each.size
                body = {"id": each.id, "type": each.kind, "text": "".join(each.text)}
                heard.setdefault(each.session_id, []).append((each.message_id, body))
        for session_id, parts in heard.items():
            self._writer.run_beside(
                Queued(lambda transaction, of=session_id, parts=parts: keep(transaction, of, parts))
            )


def keep(transaction, session_id, parts):
    """Store text that still grows, where the row has less; nobody is told of it."""
    store, session = transaction.store, transaction.store.load(session_id)
    for message_id, body in parts if session is not None else ():
        number, message = session.number, store.message(session.number, message_id)
        part = store.part(number, message_id, body["id"])
        if message is None or transcripts.has_ended(message) or part is not None and part.finished:
            continue
        if part is None or len(loads(part.body)["text"]) < len(body["text"]):
            store.keep_part(Part(number, message_id, body["id"], False, dumps(body)))
