"""Turns: how a session's info shows the one that runs; and what messages say of them: whether one has begun since an
abort, whether one can have made a title."""

from plue_session.model.turn import ENDED, RETRYING, WAITING
from plue_session.rules.jsontext import dumps

#: Milliseconds by which the server's clock may differ from what is known of it.
SKEW_MS = 2_000
#: Milliseconds from the beginning of a turn in which a title that comes may be the server's, whatever came before it.
NAMING_MS = 10_000
#: Milliseconds after the end of a turn in which a title that the server made in it may still come.
TRAILING_MS = 10_000


def shown(turn):
    """Return a turn as the session's info shows it, `Session.turn`: None once it has ended."""
    if turn.state == ENDED:
        return None
    state = turn.state if turn.state in (WAITING, RETRYING) else "running"
    return dumps({"turnId": turn.id, "state": state, "since": turn.started})


def abort_mark(now):
    """Return the mark of an abort whose transcript is not known (yet): the time, ms."""
    return f"at {now}"


def message_mark(message):
    """Return the mark of an abort after which `message` (None: none) was the model's newest."""
    return message.id if message is not None else ""


def began_since(mark, newest, ahead=0):
    """Return whether `newest`, the model's newest message or None, is of a turn that began after the abort with this
    mark. The server's clock is so many ms `ahead` of ours."""
    if newest is None:
        return False
    if mark is None:
        return not newest.ended
    if mark.startswith("at "):
        return newest.created > int(mark[3:]) + ahead + SKEW_MS
    return newest.id != mark


def may_have_made_title(messages, title_defended_at, now):
    """Return whether a title that is known of by `now` can be one that the server made after ours was set at
    `title_defended_at` (all ms, by its clock).

    It makes one during the first turn of a session whose title is automatic when that begins, so ours must have come
    after the prompt; a cold server may take seconds from there to its answer. `messages` are the session's, oldest
    first.
    """
    if messages and messages[0].created > title_defended_at + SKEW_MS:
        return False
    answers = _answers(messages)
    if not answers:  # its prompt is there, and the title may come before the answer has begun
        return bool(messages) and now <= messages[0].created + NAMING_MS
    end = answers[0].completed
    return end is None or title_defended_at <= end + TRAILING_MS and now <= end + TRAILING_MS


def may_be_making_title(messages, now):
    """Return whether the first turn is so young `now`, by the server's clock, that its title may still be in the
    making."""
    begun = _answers(messages) or messages
    return bool(begun) and now <= begun[0].created + NAMING_MS


def _answers(messages):
    return [message for message in messages if message.role == "assistant"]
