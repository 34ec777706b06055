"""What the server's messages and its status prove of a turn."""

from collections import namedtuple

#: What is proven: the server does not have the prompt; it has it, and the model has not begun; the turn runs; it runs
#: in a circle; it is over; it was cut off, or its end is still to be written.
ABSENT, UNBEGUN, RUNNING, CIRCLING, OVER, CUT = "absent", "unbegun", "running", "circling", "over", "cut"
#: Answers in a row that ended without a reason: a dropped stream of the model's is called for again, for ever (O-047).
CIRCLE = 3


class Proof(namedtuple("Proof", "state answer prompt_id has_circled", defaults=(False,))):
    """`state` as above, the newest `answer` of the turn's or None, the id of the prompt that it answers, and whether
    the turn ran in a circle before that answer."""

    __slots__ = ()


def judge(page, prompt_id, is_busy):
    """Return the `Proof` for the turn of this prompt. `page` are the session's newest messages, oldest first, each with
    its parts, as read after the status that says whether it `is_busy`; they reach back to the prompt, or to what is
    older.

    Several prompts may be answered by one turn, whose parent is the last of them (O-039). A session that is busy with
    the answer to a later prompt has ended the earlier one. What the server says to the model itself, to shorten the
    context and go on, belongs to the turn.
    """
    if prompt_id is None:
        return Proof(ABSENT, None, None)
    place = next((place for place, (each, _) in enumerate(page) if each.id == prompt_id), None)
    prompts = {prompt_id}
    for each, parts in page[0 if place is None else place + 1 :]:
        if each.role == "user":
            if not is_own(parts):
                break
            prompts.add(each.id)
    said = [each for each, _ in page if each.role == "assistant"]
    answers = [each for each in said if each.parent_id in prompts]
    if place is None and not any(each.parent_id == prompt_id for each in answers):
        return Proof(ABSENT, None, prompt_id)
    if not answers:
        answers = [each for each, _ in page[place + 1 :] if each.role == "assistant"]
        answers = [each for each in answers if each.parent_id == answers[0].parent_id]
    if not answers:
        return Proof(UNBEGUN, None, prompt_id)
    answer = answers[-1]
    if is_busy and said[-1] is answer:
        return Proof(CIRCLING if circles(answers) else RUNNING, answer, answer.parent_id)
    return Proof(OVER if answer.ended else CUT, answer, answer.parent_id, circles(answers[:-1]))


def circles(answers):
    """Return whether the last of these that have ended say that the turn runs in a circle."""
    ended = [each for each in answers if each.ended][-CIRCLE:]
    return len(ended) == CIRCLE and all(each.finish == "unknown" for each in ended)


def is_own(parts):
    """Return whether a message of the user's is the server's own: by its parts."""
    return bool(parts) and all(part.source == "compaction" or part.body["type"] == "other" for part in parts)


def is_compaction(parts):
    """Return whether a message asks for the context to be shortened."""
    return any(part.source == "compaction" for part in parts)


def running(page):
    """Return the id of the prompt whose answer is open, or None."""
    newest = next((each for each, _ in reversed(page) if each.role == "assistant"), None)
    return newest.parent_id if newest is not None and not newest.ended else None
