"""What the server's messages and its status prove of a turn."""

from collections import namedtuple

#: What is proven: the server does not have the prompt; it has it, and the model has not begun; the turn runs; it runs
#: in a circle; it is over; it was cut off, or its end is still to be written.
ABSENT, UNBEGUN, RUNNING, CIRCLING, OVER, CUT = "absent", "unbegun", "running", "circling", "over", "cut"
#: Answers in a row that ended without a reason: a dropped stream of the model's is called for again, for ever (O-047).
CIRCLE = 3


class Proof(namedtuple("Proof", "state answer prompt_id")):
    """`state` as above, the newest `answer` of the turn's or None, and the id of the prompt that it answers."""

    __slots__ = ()


def judge(messages, prompt_id, is_busy):
    """Return the `Proof` for the turn of this prompt. `messages` are the session's newest ones, oldest first, as read
    after the status that says whether it `is_busy`; they reach back to the prompt, or to what is older.

    Several prompts may be answered by one turn, whose parent is the last of them (O-039). A session that is busy with
    the answer to a later prompt has ended the earlier one.
    """
    place = next((place for place, each in enumerate(messages) if each.id == prompt_id), None)
    said = [each for each in messages if each.role == "assistant"]
    answers = [each for each in said if each.parent_id == prompt_id]
    if not answers and place is not None:
        answers = [each for each in messages[place + 1 :] if each.role == "assistant"]
        answers = [each for each in answers if each.parent_id == answers[0].parent_id]
    if not answers:
        return Proof(ABSENT if place is None else UNBEGUN, None, prompt_id)
    answer = answers[-1]
    if is_busy and said[-1] is answer:
        circles = len(answers) >= CIRCLE and all(
            each.ended and each.finish == "unknown" for each in answers[-CIRCLE:] if each is not answer or each.ended
        )
        return Proof(CIRCLING if circles else RUNNING, answer, answer.parent_id)
    return Proof(OVER if answer.ended else CUT, answer, answer.parent_id)


def running(messages):
    """Return the id of the prompt whose answer is open, or None."""
    newest = next((each for each in reversed(messages) if each.role == "assistant"), None)
    return newest.parent_id if newest is not None and not newest.ended else None
