"""Pieces of text of agents that another process has: told from process to process, beside the store
(ports/channel.py).

Who has the agent hands each listener what that has not got yet of a part, as often as the part is told of here. So a
listener that comes late, or had no room, is given the rest with the next piece; should none come, the part itself does.
A process listens while an agent elsewhere runs a turn that it knows of.
"""

from collections import namedtuple

from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.primitives import allocate_lock
from plue_session.rules.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports.channel import Channel

#: Characters that a message has, which may take six bytes each, and how many messages a listener gets at a time.
LONGEST, MOST_AT_ONCE = 8_000, 8

Piece = namedtuple("Piece", "id message_id body")


class Echo:
    """Of one process. `load()` returns its `(channel, streams)`, when the first is needed. Thread-safe."""

    def __init__(self, store, writer, log, load):
        self._store, self._writer, self._log, self._load = store, writer, log, load
        self._lock, self._loading = allocate_lock(), allocate_lock()
        self._turns: set = set()  # sessions whose turns an agent elsewhere runs
        self._parts: tuple | None = None
        self._sent: dict = {}  # by listener: {part's id: characters that it has got}
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

    # -- telling: called by the streams, under their lock --------------------------------------------------------------
    def tell(self, growing, text):
        """Hand on what a part has grown by, which ends with `text`."""
        channel: Channel = self._loaded()[0]
        listeners = channel.listeners()
        if not listeners:
            return
        for gone in self._sent.keys() - listeners:
            del self._sent[gone]
        for listener in listeners:
            sent = self._sent.setdefault(listener, {})
            begin = sent.get(growing.id, 0)
            rest = text[len(text) - (growing.size - begin) :] if growing.size - begin <= len(text) else None
            if rest is None:
                rest = "".join(growing.text)[begin:]
            for place in range(0, min(len(rest), LONGEST * MOST_AT_ONCE), LONGEST):
                piece = rest[place : place + LONGEST]
                if not channel.send(listener, _message(growing, begin, piece)):
                    break
                begin += len(piece)
            sent[growing.id] = begin

    def active(self, session_id, data, after):
        """Hand on what a turn is about; who has no room misses it."""
        channel: Channel = self._loaded()[0]
        if listeners := channel.listeners():
            message = dumps({"session": session_id, "after": after, "active": data}).encode()
            for listener in listeners:
                channel.send(listener, message)

    def over(self, part_id):
        """Forget a part."""
        for sent in self._sent.values():
            sent.pop(part_id, None)

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
        if self._turns and row is not None:
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
        except (ValueError, KeyError, TypeError, StopIteration) as error:  # none of ours, or of another version
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
