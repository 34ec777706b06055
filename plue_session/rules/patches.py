"""What a caller wants a session to be: the patches of `update` and the options of `create_with`.

Parsing checks everything that can be checked without the session, so that a bad call never begins a transaction.
"""

from functools import partial

from plue_session.errors import Conflict, InvalidParam
from plue_session.rules import fields, ids, relay
from plue_session.rules.jsontext import dumps, parse

MAX_TAG = 64

BASE_KEYS = ("title", "description", "tags", "metadata", "archived")


def parse_patch(json):
    """Parse the patch of `update` into a dict of checked values; metadata becomes compact JSON text.

    `tags` and `metadata` replace, `addTags` and then `removeTags` change what is there (or what `tags` put there).
    null removes the description and is refused for every other key.
    """
    patch = fields.parse_object(json, "the patch", _PATCH)
    for key, value in patch.items():
        if key != "description" or value is not None:
            patch[key] = _PATCH[key](value, key)
    return patch


def apply_patch(session, patch, now):
    """Apply a parsed patch to `session` at `now` (ms); return whether it set anything.

    `CONFLICT` when a field of `base` no longer is as the caller saw it; the session is untouched then. A patch that
    is empty, or holds nothing but a `base` that still is true, sets nothing. Setting a value again counts.
    """
    if "base" in patch:
        _check_base(session, patch["base"])
    for name in ("title", "description", "metadata"):
        if name in patch:
            setattr(session, name, patch[name])
    if "tags" in patch:
        session.tags = list(patch["tags"])
    if "addTags" in patch:
        session.tags = list(dict.fromkeys(session.tags + patch["addTags"]))
    if "removeTags" in patch:
        session.tags = [tag for tag in session.tags if tag not in patch["removeTags"]]

    if "archived" in patch:
        session.archived = now if patch["archived"] else None
    return bool(patch.keys() - {"base"})


def parse_options(json):
    """Parse the options of `create_with` into a dict of checked values; all are optional, null is refused.

    Metadata becomes compact JSON text, `parentId` "" means none as it does in `create`. The directory is only known
    to be a string: rules/directories.py asks the disk.
    """
    options = fields.parse_object(json, "the options", _OPTIONS)
    return {key: _OPTIONS[key](value, key) for key, value in options.items()}


# -- values ------------------------------------------------------------------------------------------------------------
def _tags(value, key):
    return fields.texts(value, key, 1, MAX_TAG)


#: A name in metadata that is the library's: what carries the token of a create to a server.
RESERVED = "plue_session"


def _metadata(value, key):
    if type(value) is not dict:
        raise fields.mismatch(value, key, "an object")
    if RESERVED in value:
        raise InvalidParam(f'metadata."{RESERVED}" is the library\'s own', "Choose another name.")
    return dumps(value)


def _parent(value, key):
    return ids.session_id(value, key) if fields.text(value, key) else None


def _provider(value, key):
    pair = fields.model(value, key)
    return pair["providerId"], pair["modelId"]


def _base(value, key):
    base = fields.members(value, key, BASE_KEYS, f"{key}.")
    for name, seen in base.items():
        if seen is None or name == "archived" and type(seen) is int:
            continue
        check = {"tags": fields.texts, "metadata": _metadata, "archived": fields.flag}.get(name, fields.text)
        check(seen, f"{key}.{name}")
    return base


_PATCH = {
    "title": fields.text,
    "description": fields.text,
    "tags": _tags,
    "addTags": _tags,
    "removeTags": _tags,
    "metadata": _metadata,
    "archived": fields.flag,
    "base": _base,
}
_OPTIONS = {
    "title": fields.text,
    "parentId": _parent,
    "key": fields.checked(ids.key),
    "tags": _tags,
    "metadata": _metadata,
    "description": fields.text,
    "role": fields.checked(ids.role),
    "agent": relay.parse_agent_object,
    "template": partial(fields.text, least=1),
    "provider": _provider,
    "directory": partial(fields.text, least=1),
}


# -- base --------------------------------------------------------------------------------------------------------------
def _check_base(session, base):
    changed = [name for name, seen in base.items() if not holds(session, name, seen)]
    if changed:
        raise Conflict(
            f"{', '.join(changed)} changed since you read the session",
            "Read it again and repeat the update on what it is now.",
            session=session.id,
            details={"fields": changed},
        )


def holds(session, name, seen):
    """Return whether the field is as the caller saw it; null stands for "was absent", tags are compared as a set."""
    if name == "archived" and type(seen) is bool:
        return seen == (session.archived is not None)
    if name == "metadata":
        return same(seen, parse(session.metadata, "the stored metadata"))
    if name == "tags":
        return seen is not None and set(seen) == set(session.tags)
    return seen == getattr(session, name)


def _equal(one, other):
    """Unlike Python's ==: true is not 1 (but 1 is 1.0)."""
    return one == other and (type(one) is bool) == (type(other) is bool)


def same(one, other, equal=_equal):
    """Return whether two parsed JSON values are the same; `equal` compares those that are no arrays and no objects."""
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(same(value, other[key], equal) for key, value in one.items())
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(same(*pair, equal) for pair in zip(one, other, strict=True))
    return equal(one, other)
