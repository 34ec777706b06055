"""Parameters of the C surface, one rule for each kind: it takes the text and returns what the services work with.

A rule needs neither store nor server, so a bad parameter is refused also while the one is held, or the other stalls.
Only `options` and `agent` ask the disk, about a directory. `name` is the parameter's, for the message. Text that may be
absent is None then.
"""

from plue_session.errors import InvalidParam, NotFound
from plue_session.rules import asks, cursors, directories, fields, ids, inputs, patches, queries, relay, transcripts
from plue_session.rules.jsontext import quote

#: Characters that a reason may have.
MOST_REASON = 1_000


def plain(text, name):
    """Return any text as it is."""
    return text


def parent(text, name):
    """Return the id of a session to be a parent; None also for ""."""
    return ids.session_id(text, "the parent's id") if text else None


def session_id(text, name):
    """Return the id of a session."""
    return ids.session_id(text)


def key(text, name):
    """Return a caller's own name for a session."""
    return ids.key(text)


def id_or_key(text, name):
    """Return what names a session. What begins like an id is an id."""
    return ids.session_id(text) if ids.is_id(text) else ids.key(text)


def message(text, name):
    """Return the id of a message, or None."""
    if text == "":
        raise InvalidParam("the message's id is empty", "Pass the id of a message, or NULL.")
    return None if text is None else ids.message_id(text)


def turn(text, name):
    """Return the id of a turn: any that the library could have given."""
    if not text or len(text) > ids.MAX_ID or not text.isascii() or not text.replace("_", "").replace("-", "").isalnum():
        raise InvalidParam("the turn's id is malformed", "Pass an id as the library gave it.")
    return text


def filled(text, name):
    """Return the name of a provider or model: any but an empty one."""
    if not text:
        raise InvalidParam(f"{name} is empty", "Pass both the provider's and the model's id.")
    return text


def query(text, name):
    """Return a `Query`."""
    return queries.parse_query(text)


def patch(text, name):
    """Return a patch as patches.py takes it."""
    return patches.parse_patch(text)


def options(text, name):
    """Return the fields of the session that the options of `create_with` ask for; the directory is canonical."""
    given = patches.parse_options(text)
    if "template" in given:
        raise NotFound(f"no template {quote(given['template'][:80])} is defined", "Leave template out.")
    fields = {
        name: given[name]
        for name in ("title", "description", "tags", "metadata", "key", "role", "agent")
        if name in given
    }
    if given.get("parentId") is not None:
        fields["parent_id"] = given["parentId"]
    if "provider" in given:
        fields["provider_id"], fields["model_id"] = given["provider"]
    if "directory" in given:
        fields["directory"] = directories.canonical(given["directory"])
    return fields


def cursor(text, name):
    """Return a cursor as cursors.py reads it, or None."""
    return None if text is None else cursors.parse(text)


def input(text, name):
    """Return an input as inputs.py reads it."""
    return inputs.parse_input(text)


def targets(text, name):
    """Return the inputs that are meant, as inputs.py reads them."""
    return inputs.parse_targets(text)


def target(text, name):
    """Return the one input that is meant."""
    return inputs.parse_target(text)


def message_query(text, name):
    """Return which page of messages is asked for."""
    return transcripts.parse_query(text)


def diff_query(text, name):
    """Return whose changes are asked for: (name, id), or None: all turns'."""
    return asks.parse_diff_query(text)


def ask(text, name):
    """Return the id of a permission or question: any but an empty one."""
    if not text:
        raise InvalidParam(f"{name} is empty", "Pass an id as the library gave it.")
    return text


def reply(text, name):
    """Return an answer to a permission."""
    return asks.parse_reply(text)


def answers(text, name):
    """Return the answers to a question, a list of lists of labels, or None: it is rejected."""
    return asks.parse_answers(text)


def agent(text, name):
    """Return what is to be attached, as relay.py reads it."""
    return relay.parse_agent(text)


def role(text, name):
    """Return the name of an agent's role."""
    return ids.role(text, "role")


def reason(text, name):
    """Return why something is done, or None; None also for ""."""
    return fields.text(text, name, 0, MOST_REASON) if text else None


def metrics_format(text, name):
    """Return one of the formats that metrics have."""
    return fields.choice(text, name, ("json", "prometheus"))
