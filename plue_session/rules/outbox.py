"""What a session shows while changes of it wait in the outbox: what the server has, with them on top.

The record's `outbox` says how many changes wait and how many are in conflict, as "<waiting> <conflicts>", and `beneath`
what the server has of what they change, as JSON; both are None as soon as there are none.
"""

from plue_session import errors
from plue_session.model.outgoing import CONFLICT, PENDING
from plue_session.rules import patches
from plue_session.rules.jsontext import dumps, loads

#: What a session has on the server, too, and a patch can change.
KEPT = ("title", "metadata", "archived")
#: Fields that are ours alone, and the keys of a patch that change them.
OWN = {"description": ("description",), "tags": ("tags", "addTags", "removeTags")}
#: Failures that say that the server will never take a change. Others are those of a server that is away or sick.
REFUSALS = (
    errors.AlreadyExists,
    errors.Conflict,
    errors.InvalidParam,
    errors.JsonParse,
    errors.NotFound,
    errors.ProviderInit,
    errors.Unsupported,
)
#: Changes that wait at most; one more is refused.
MOST = 10_000


def counts(outbox):
    """Return how many changes wait, and how many are in conflict; None: none."""
    if outbox is None:
        return 0, 0
    waiting, conflicts = outbox.split()
    return int(waiting), int(conflicts)


def is_waiting(session):
    """Return whether changes of the session wait to be sent."""
    return session.outbox is not None and counts(session.outbox)[0] > 0


def kept(session):
    """Return what the record shows of what the server has, too."""
    return {name: getattr(session, name) for name in KEPT}


def beneath(session):
    """Return what the server has of the session, as far as is known; what waits is not in it."""
    return kept(session) if session.outbox is None else loads(session.beneath)


def uncover(session):
    """Have the record show what the server has."""
    for name, value in beneath(session).items():
        setattr(session, name, value)


def cover(session, rows):
    """Have a record that shows what the server has show what waits as well: `rows` are all changes of it."""
    shown = [row for row in rows if is_shown(row)]
    if not shown:
        session.outbox = session.beneath = None
        return
    conflicts = sum(row.state == CONFLICT for row in shown)
    session.outbox, session.beneath = f"{len(shown) - conflicts} {conflicts}", dumps(kept(session))
    for row in shown:
        if row.op == "update":
            put(session, loads(row.arguments))


def add(session, row):
    """Have a record show one change more, put behind all others. It is as with `cover`, however many those are."""
    if not is_shown(row):
        return
    waiting, conflicts = counts(session.outbox)
    if session.outbox is None:
        session.beneath = dumps(kept(session))
    session.outbox = f"{waiting + 1} {conflicts}"
    if row.op == "update":
        put(session, loads(row.arguments))


def is_shown(row):
    """Return whether a session says that this change of it waits. A share that the server is just being told to
    withdraw is none of anybody's business."""
    return row.op != "unshare" or loads(row.arguments).get("away", False)


def put(session, arguments):
    """Set what an update has asked for, of what the server has, too."""
    patch = arguments["patch"]
    for name in ("title", "metadata"):
        if name in patch:
            setattr(session, name, patch[name])
    if "archived" in patch:
        session.archived = arguments["at"] if patch["archived"] else None


def has_conflicts(session):
    """Return whether changes of the session are in conflict."""
    return counts(session.outbox)[1] > 0


def before(session, patch, rows=()):
    """Return what the fields hold that a patch will change, once what waits of `rows` was sent: what is in conflict
    never is. `rows` are all changes of the session; without a conflict none is looked at."""
    there = session
    if has_conflicts(session):
        there = session.copy()
        uncover(there)
        for row in rows:
            if row.op == "update" and row.state == PENDING:
                put(there, loads(row.arguments))
    names = [name for name in KEPT if name in patch]
    names += [name for name, keys in OWN.items() if any(key in patch for key in keys)]
    return {name: getattr(there, name) for name in names}


def differences(arguments, base, remote):
    """Return what the server has got meanwhile of what an update changes: `[(field, ours, theirs), …]`. `base` is what
    was there before, `remote` a record that shows what the server has now."""
    ours, found = remote.copy(), []
    put(ours, arguments)
    for name in KEPT:
        if name in base:
            was, wanted, there = (
                _value(name, each) for each in (base[name], getattr(ours, name), getattr(remote, name))
            )
            if not patches.same(there, was) and not patches.same(there, wanted):
                found.append((name, wanted, there))
    return found


def broken(arguments, remote):
    """Return what the server has got meanwhile of what the caller's `base` names, likewise. What it is set to is there
    already when this was sent before, and the answer was lost."""
    base, ours, found = arguments["patch"].get("base", {}), remote.copy(), []
    put(ours, arguments)
    for name in KEPT:
        if name in base and not patches.holds(remote, name, base[name]):
            there = _value(name, getattr(remote, name))
            wanted = _value(name, getattr(ours, name)) if name in arguments["patch"] else base[name]
            if not patches.same(there, wanted):
                found.append((name, wanted, there))
    return found


def _value(name, value):
    """Return a field as JSON has it; when it was archived does not matter, but whether."""
    if name == "metadata":
        return loads(value)
    return value is not None if name == "archived" else value


def settle(patch, row):
    """Note in a change in conflict that an update was done; return whether it settles that one: it names all that is
    left of it."""
    asked = loads(row.arguments)
    theirs = asked["patch"]
    left = {name: value for name, value in theirs.items() if name not in patch}
    row.arguments = dumps({**asked, "patch": left})
    return not left.keys() - {"base"} - patch.get("base", {}).keys()


def rebased(row, base, rows):
    """Return those of a session's changes that are to be kept anew when an update, whose base was this one, is undone:
    those that came next begin with what that one has begun with."""
    left, kept = {name: value for name, value in base.items() if name in (*KEPT, *OWN)}, []
    for each in rows:
        begins = loads(each.base) if each.op == "update" and each.id > row.id else {}
        if left.keys() & begins.keys():
            each.base = dumps({name: left.pop(name, value) for name, value in begins.items()})
            kept.append(each)
    return kept


def take_back(session, base, arguments):
    """Undo what an update has set of the fields that are ours alone, unless they were changed since."""
    for name, keys in OWN.items():
        if (
            name in base
            and any(key in arguments["patch"] for key in keys)
            and getattr(session, name) == arguments["own"][name]
        ):
            setattr(session, name, base[name])


def listed(rows, is_sending=lambda id: False):
    """Return changes as callers see them: `{"operations","conflicts"}`."""

    def told(row):
        state = "sending" if row.state == PENDING and is_sending(row.id) else row.state
        shown = {"id": row.name, "session": row.session_id, "op": row.op, "state": state, "since": row.since}
        return shown if row.error is None else {**shown, "error": row.error}

    return {
        "operations": [told(row) for row in rows if row.state == PENDING],
        "conflicts": [
            {**told(row), "fields": loads(row.base).get("conflict", [])} for row in rows if row.state == CONFLICT
        ],
    }
