"""The relay: the life of a session that has a role, and what is to be attached to it.

The states and events are one table, of which C (`plue_session_relay_next_state`) and the reference have theirs.
"""

from collections import namedtuple

from plue_session.errors import InvalidParam, InvalidTransition, LimitExceeded
from plue_session.rules import directories, fields
from plue_session.rules.jsontext import loads

STATES = CREATED, SPAWNING, ACTIVE, TERMINATING, CLEANED = "CREATED", "SPAWNING", "ACTIVE", "TERMINATING", "CLEANED"
EVENTS = SPAWN, ACTIVATE, TERMINATE, CLEAN = "SPAWN", "ACTIVATE", "TERMINATE", "CLEAN"
#: What follows a state by an event; what is not here is refused.
NEXT = {
    CREATED: {SPAWN: SPAWNING, TERMINATE: TERMINATING},
    SPAWNING: {ACTIVATE: ACTIVE, TERMINATE: TERMINATING},
    ACTIVE: {TERMINATE: TERMINATING},
    TERMINATING: {TERMINATE: TERMINATING, CLEAN: CLEANED},
    CLEANED: {},
}
#: Why all else is refused.
REASONS = {
    CREATED: "can only spawn or terminate from CREATED state",
    SPAWNING: "can only activate or terminate from SPAWNING state",
    ACTIVE: "can only terminate from ACTIVE state",
    TERMINATING: "can only clean from TERMINATING state",
    CLEANED: "CLEANED is terminal state, no transitions allowed",
}
UNKNOWN_STATE, UNKNOWN_EVENT = "unknown state", "unknown event"
#: How a refusal begins, with state, event and reason; and what to do, as C has it, too.
REFUSAL = "invalid transition: state=%s event=%s reason=%s"
REMEDY = "plue_session_relay_next_state() tells what is possible."

#: Bytes that a relayed message may have (R-074).
MOST_MESSAGE = 1 << 20
#: Words of a command, and variables of an environment, at most; bytes that one of them may have: the kernel's limit.
MOST_WORDS, LONGEST_WORD = 1_000, 131_071
#: ms: the longest time that an option may name.
LONGEST_MS = 7 * 24 * 3_600_000
KINDS = "host", "acp"
FILES = "none", "read", "write"

#: What is to be attached: `kind` of KINDS, `command` a list, `worktree` canonical, `env` a dict of variables to be set,
#: `options` a dict of what else was given.
Given = namedtuple("Given", "kind command worktree env options")


def next_state(state, event):
    """Return the state that follows, or fail with INVALID_TRANSITION (R-011, R-012)."""
    if (following := NEXT.get(state, {}).get(event)) is None:
        reason = UNKNOWN_STATE if state not in NEXT else UNKNOWN_EVENT if event not in EVENTS else REASONS[state]
        raise InvalidTransition(REFUSAL % (state, event, reason), REMEDY)
    return following


def is_terminal(state):
    """Return whether nothing follows this state."""
    return not NEXT[state]


def is_active(state):
    """Return whether an agent is attached in this state."""
    return state == ACTIVE


def check_message(size, session_id):
    """Refuse a message for an agent that has more bytes than one may have."""
    if size > MOST_MESSAGE:
        raise LimitExceeded(
            f"the message has {size:,} bytes, of the {MOST_MESSAGE:,} that one to an agent may have",
            "Shorten it, or put what is long into a file of the worktree.",
            session=session_id,
        )


def shown(session_id, attachment, is_lost):
    """Return what is attached to a session, as the metrics show it."""
    shown = {
        "session": session_id,
        "kind": attachment.kind,
        "command": attachment.command,
        "worktree": attachment.worktree,
        "isLost": is_lost,
    }
    if attachment.pid is not None:
        shown["pid"] = attachment.pid
    if is_lost and attachment.lost is not None:
        shown["error"] = loads(attachment.lost)
    return shown


# -- what is to be attached --------------------------------------------------------------------------------------------
def parse_agent(json):
    """Parse the `agent_json` of `plue_session_relay_attach` into a `Given`: {"worktree","agent":{…}}, both required."""
    given = fields.parse_object(json, "the agent", ("worktree", "agent"))
    if "worktree" not in given:
        raise InvalidParam("worktree is missing", "Name the directory that the agent works in.")
    if "agent" not in given:
        raise InvalidParam("agent is missing", 'Say what is attached, such as {"kind":"host"}.')
    worktree = _worktree(given["worktree"], "worktree")
    return _agent(given["agent"], "agent", worktree, OPTIONS)


def parse_agent_object(value, key="agent"):
    """Check the `agent` of `plue_session_create_with`, which has its `worktree` in it, and return it as a `Given`;
    without one its worktree is None: the session's directory is meant."""
    known = (*OPTIONS, "worktree")
    worktree = value.get("worktree") if type(value) is dict else None
    if worktree is not None:
        worktree = _worktree(worktree, f"{key}.worktree")
    return _agent(value, key, worktree, known)


def read_options(text):
    """Return the options of an attachment as they are stored, with defaults for what was not given."""
    return {**DEFAULTS, **loads(text)}


def _agent(value, key, worktree, known):
    prefix = f"{key}."
    agent = fields.members(value, key, known, prefix)
    if "kind" not in agent:
        raise InvalidParam(f"{prefix}kind is missing", f"It is one of {', '.join(KINDS)}.")
    kind = fields.choice(agent["kind"], f"{prefix}kind", KINDS)
    checked = {name: OPTIONS[name](agent[name], prefix + name) for name in agent if name in OPTIONS}
    command, env = checked.pop("command", None), checked.pop("env", {})
    del checked["kind"]
    if kind == "acp" and command is None:
        raise InvalidParam(f"{prefix}command is missing", 'An agent of kind "acp" has one, such as "codex-acp".')
    if kind == "host" and (foreign := [name for name in checked if name not in OF_HOST]):
        raise InvalidParam(
            f'{prefix}{foreign[0]} is not for an agent of kind "host"', "The host runs it: leave it out."
        )
    return Given(kind, command or [], worktree, env, checked)


def _worktree(value, key):
    return directories.canonical(fields.text(value, key, 1), key)


def _kind(value, key):
    return fields.choice(value, key, KINDS)


def _command(value, key):
    """Return a command as a list of words; a string is split as a shell would, and nothing in it expanded."""
    if type(value) is str:
        from shlex import split  # most programs attach no agent

        try:
            words = split(value)
        except ValueError as error:
            raise InvalidParam(
                f"{key} cannot be split into words: {error}", "Close the quotation, or pass an array."
            ) from None
    elif type(value) is list:
        words = [fields.text(word, f"{key}[{place}]") for place, word in enumerate(value)]
    else:
        raise fields.mismatch(value, key, "a string or an array of strings")
    if not words or not words[0]:
        raise InvalidParam(f"{key} names no program", "Its first word is the program's name or path.")
    _bounded(words, key)
    for word in words:
        _plain(word, key)
    return words


def _env(value, key):
    """Return variables to be set. Messages name no value: there may be secrets in it."""
    variables = fields.members(value, key, None, f"{key}.")
    _bounded(variables, key)
    for name, text in variables.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidParam(f"{key} has a variable whose name is empty or holds = or NUL", "Correct its name.")
        _plain(fields.text(text, f"{key}.{fields.printable(name)}"), f"{key}.{fields.printable(name)}")
    return dict(variables)


def _bounded(items, key):
    if len(items) > MOST_WORDS:
        raise InvalidParam(f"{key} has {len(items)} elements", f"It may have at most {MOST_WORDS}.")


def _plain(text, key):
    if "\0" in text:
        raise InvalidParam(f"{key} holds a NUL", "Remove it.")
    if len(text.encode()) > LONGEST_WORD:
        raise InvalidParam(f"{key} holds a text that is too long", f"Each may have at most {LONGEST_WORD} bytes.")


def _ms(least):
    return lambda value, key: fields.integer(value, key, least, LONGEST_MS)


#: What checks each key of an agent.
OPTIONS = {
    "kind": _kind,
    "command": _command,
    "env": _env,
    "files": lambda value, key: fields.choice(value, key, FILES),
    "startMs": _ms(1),
    "silenceMs": _ms(1),
    "idleMs": _ms(1),
    "messagesPerSecond": lambda value, key: fields.integer(value, key, 1, 1_000_000),
    "restore": fields.flag,
}
#: What holds for options that are not given; None: requestTimeoutMs for `startMs`, off for the others.
DEFAULTS = {
    "files": "none",
    "startMs": None,
    "silenceMs": 600_000,
    "idleMs": None,
    "messagesPerSecond": None,
    "restore": True,
}
#: Options that also an agent may have that the host runs.
OF_HOST = "idleMs", "messagesPerSecond"
