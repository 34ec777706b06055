"""Pieces of text of agents that another process has: told from process to process, beside the store
(ports/channel.py).

Who has the agent hands each listener what that has not got yet of a part, as often as the part is told of here. So a
listener that comes late, or had no room, is given the rest with the next piece; should none come, or too much be
missing, the part itself does. A process listens while an agent elsewhere runs a turn that it knows of.
"""

from collections import deque, namedtuple

from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.primitives import allocate_lock
from plue_session.rules.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports.channel import Channel

#: Characters that a message has, which may take six bytes each, and how many messages a listener gets at a time.
LONGEST, MOST_AT_ONCE = 8_000, 8
#: What turns that run are about, at most, for who comes late.
MOST_ACTIVE = 32
#: Characters that a listener may be behind: of more it hears when the part is whole.
MOST_BEHIND = 256_000

Piece = namedtuple("Piece", "id message_id body")


class Echo:
    """Of one process. `load()` returns its `(channel, streams)`, when the first is needed. Thread-safe."""

    def __init__(self, store, writer, log, load):
        self._store, self._writer, self._log, self._load = store, writer, log, load
        self._lock, self._loading = allocate_lock(), allocate_lock()
        self._turns: set = set()  # sessions whose turns an agent elsewhere runs
        self._parts: tuple | None = None
        self._telling = allocate_lock()  # guards what follows
        self._sent: dict = {}  # by listener: {part's id: characters that it has; None: how much of `_active`}
        self._active, self._told = deque(maxlen=MOST_ACTIVE), 0  # `(number, session id, message)`; the newest number
        writer.hear(EVENT_NUMBER["turn.started"], self._started)
        for kind in ("turn.finished", "session.deleted"):
            writer.hear(EVENT_NUMBER[kind], self._over)

    def _loaded(self):
        if self._parts is None:
            with self._loading:
                if self._parts is None:
                    self._parts = self._load()
        return self._parts

    def close(self):
        """Neither tell nor hear any more. Twice is harmless."""
        if self._parts is not None:
            self._parts[0].close()

    # -- telling: called by the streams, which may have their lock -----------------------------------------------------
    def tell(self, growing, text):
        """Hand on what a part has grown by, which ends with `text`."""
        channel: Channel = self._loaded()[0]
        with self._telling:
            for listener, sent in self._listening(channel):
                begin = sent.get(growing.id, 0)
                behind = growing.size - begin
                if behind > MOST_BEHIND:
                    continue
                rest = text[len(text) - behind :] if behind <= len(text) else "".join(growing.text)[begin:]
                for place in range(0, min(len(rest), LONGEST * MOST_AT_ONCE), LONGEST):
                    piece = rest[place : place + LONGEST]
                    if not channel.send(listener, _message(growing, begin, piece)):
                        break
                    begin += len(piece)
                sent[growing.id] = begin

    def active(self, session_id, data, after):
        """Hand on what a turn is about."""
        channel: Channel = self._loaded()[0]
        message = dumps({"session": session_id, "after": after, "active": data}).encode()
        with self._telling:
            self._told += 1
            self._active.append((self._told, session_id, message))
            self._listening(channel)

    def over(self, part_id):
        """Forget a part."""
        with self._telling:
            for sent in self._sent.values():
                sent.pop(part_id, None)

    def _listening(self, channel):
        """Return `(listener, what it has got)` of all; each gets what turns are about that it has not got yet."""
        listeners = channel.listeners()
        for gone in self._sent.keys() - listeners:
            del self._sent[gone]
        for listener in listeners:
            sent = self._sent.setdefault(listener, {None: 0})
            for number, _, message in self._active:
                if number > sent[None]:
                    if not channel.send(listener, message):
                        break
                    sent[None] = number
        return list(self._sent.items())

    # -- hearing -------------------------------------------------------------------------------------------------------
    def look(self):
        """Listen if an agent elsewhere runs a turn: the process starts in the midst of it."""
        for session_id, row in self._store.read_attachments():
            if self._is_elsewhere(row) and self._runs(session_id):
                self._add(session_id)

    def _started(self, row):
        if row is None:  # not all was told
            self._compare()
        elif not self._writer.is_ours(row) and self._is_elsewhere(self._store.read_attachment(row.session_id)):
            self._add(row.session_id)

    def _over(self, row):
        if row is None:
            return
        if self._active:
            with self._telling:
                kept = [each for each in self._active if each[1] != row.session_id]
                self._active = deque(kept, MOST_ACTIVE)
        if self._turns:
            self._remove({row.session_id})

    def _is_elsewhere(self, row):
        return row is not None and row.kind == ACP and row.owner not in (None, self._store.owner())

    def _runs(self, session_id):
        session = self._store.read(session_id)
        return session is not None and session.turn is not None

    def _compare(self):
        with self._lock:
            turns = set(self._turns)
        self._remove({each for each in turns if not self._runs(each)})

    def _add(self, session_id):
        with self._lock:
            self._turns.add(session_id)
            channel, _ = self._loaded()
            if not channel.listen(self._hear):
                self._log.write("warning", "what agents elsewhere say is told when it is whole: no socket can be made")

    def _remove(self, sessions):
        with self._lock:
            self._turns -= sessions
            if not self._turns and self._parts is not None:
                self._parts[0].leave()

    def _hear(self, message):
        try:
            said = loads(message.decode())
            streams = self._loaded()[1]
            if "active" in said:
                streams.overhear_activity(said["session"], said["active"], said["after"])
            else:
                part = Piece(said["part"], said["message"], {"id": said["part"], "type": said["kind"], "text": ""})
                streams.overhear(part, said["session"], said["turn"], said["after"], said["offset"], said["text"])
        except (ValueError, KeyError, TypeError, StopIteration, SystemError) as error:  # of another version, perhaps
            self._log.write("warning", f"a message of another process is malformed: {type(error).__name__}")


def _message(growing, offset, text):
    told = {
        "session": growing.session_id,
        "turn": growing.turn_id,
        "message": growing.message_id,
        "part": growing.id,
        "kind": growing.kind,
        "after": growing.after,
        "offset": offset,
        "text": text,
    }
    return dumps(told).encode()
