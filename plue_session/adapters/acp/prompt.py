"""What a prompt says, as the protocol's content blocks.

Text and links to files are what every agent takes. Pictures, sounds and what is not in a file are for those that say
that they take them; for others a prompt is refused, for nothing may be left out unsaid.
"""

import os

from plue_session import errors, named_files
from plue_session.call import Call


def blocks(parts, can, agent):
    """Return the blocks for `parts` of an input; `can` are the agent's `promptCapabilities`, `agent` is its name.
    `UNSUPPORTED`, `INVALID_PARAM` as of `Agent.prompt`."""
    return [
        {"type": "text", "text": part["text"]} if part["type"] == "text" else _file(part["file"], can, agent)
        for part in parts
    ]


def _file(file, can, agent):
    mime, path = file["mimeType"], file.get("path")
    name = file.get("name") or os.path.basename(path or file.get("url") or "") or "file"
    media = mime.partition("/")[0]
    if media in ("image", "audio") and can.get(media) is True and "url" not in file:
        data = file["data"] if path is None else named_files.encoded(path, Call())
        return {"type": media, "mimeType": mime, "data": data}
    if path is not None and media not in ("image", "audio"):
        named_files.check(path, Call())
        return {"type": "resource_link", "uri": _uri(path), "name": name, "mimeType": mime}
    if "url" in file:
        return {"type": "resource_link", "uri": file["url"], "name": name, "mimeType": mime}
    if media not in ("image", "audio") and can.get("embeddedContext") is True:
        return {"type": "resource", "resource": {"uri": f"attachment:{_quoted(name)}", **_inside(file["data"], mime)}}
    what = {"image": "pictures", "audio": "sounds"}.get(media, "files without a path")
    raise errors.Unsupported(
        f"the agent {agent} takes no {what}",
        "Leave it out, or use an agent that does." if path or media in ("image", "audio") else "Pass it as a path.",
    )


def _inside(data, mime):
    from binascii import a2b_base64

    if mime.startswith("text/"):
        try:
            return {"mimeType": mime, "text": a2b_base64(data).decode()}
        except UnicodeDecodeError:
            pass
    return {"mimeType": mime, "blob": data}


def _uri(path):
    return "file://" + _quoted(path)


def _quoted(text):
    from urllib.parse import quote

    return quote(text)
