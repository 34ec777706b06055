"""What is sent for a turn: its inputs as the server's parts, the model that answers, and the message's id."""

import itertools
import os

from plue_session import named_files
from plue_session.rules.jsontext import loads

#: The command that shortens the context.
COMPACT = "compact"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_count = itertools.count()


def message_id(now):
    """Return a new id for a message of the user's: in the order of time, as the server's own (ms)."""
    return stamped("msg", now * 0x1000 + next(_count) % 0x1000)


def stamped(kind, stamp):
    """Return a new id that comes after those with a lower stamp: a time in ms, times 0x1000."""
    tail = "".join(_ALPHABET[byte % 62] for byte in os.urandom(14))
    return f"{kind}_{stamp & 0xFFFFFFFFFFFF:012x}{tail}"


class Prompt:
    """What the inputs of one turn, dicts, say together. `command` is None, or the command's name; its `arguments`."""

    def __init__(self, says):
        self._says, first = says, says[0]
        self.command, self.arguments = first.get("command"), first.get("arguments", "")
        self.agent = first.get("agent")

    @property
    def is_compaction(self):
        """Whether the context is to be shortened: the server has no command for that."""
        return self.command == COMPACT

    def parts(self, message_id, call):
        """Return the server's parts. They have ids, so that what is sent twice is stored once. A file that cannot be
        read is `INVALID_PARAM`."""
        parts = []
        for says in self._says:
            for part in says.get("parts") or [{"type": "text", "text": says["text"]}]:
                parts.append({"id": part_id(message_id, len(parts)), **_part(part, call)})
        return parts


def of(inputs):
    """Return the `Prompt` of stored inputs."""
    return Prompt([loads(each.content) for each in inputs])


def part_id(message_id, place):
    """Return the id of a part of a message of the user's."""
    return f"prt_{(int(message_id[4:16], 16) + place) & 0xFFFFFFFFFFFF:012x}{message_id[16:]}"


def _part(part, call):
    if part["type"] == "text":
        return part
    file = part["file"]
    mime = file["mimeType"]
    made = {"type": "file", "mime": mime, "url": file.get("url") or f"data:{mime};base64,{_data(file, call)}"}
    name = file.get("name") or os.path.basename(file.get("path", ""))
    return {**made, "filename": name} if name else made


def _data(file, call):
    """Return the bytes of a file in base64; the server may be on another machine."""
    return file["data"] if "data" in file else named_files.encoded(file["path"], call)
