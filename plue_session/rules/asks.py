"""What turns ask for and wait for: permissions and questions; and how callers name what they changed."""

from plue_session.errors import Conflict, InvalidParam, NotFound
from plue_session.model.ask import PERMISSION
from plue_session.rules import fields
from plue_session.rules.jsontext import dumps, loads, parse, quote

#: Who ends what a turn asks: a host of ours, or what it has configured; the time; the end of the turn that somebody has
#: asked for; anything else, such as another client or the end of the server.
HOST, DEADLINE, ABORT, OTHER = "host", "deadline", "abort", "other"
#: The answers to a permission.
REPLIES = ONCE, ALWAYS, REJECT = "once", "always", "reject"
#: What `permissions.default` answers for the host.
BY_DEFAULT = {"allow": ONCE, "deny": REJECT}
#: Characters of an answer to a question.
MAX_ANSWER = 100_000


def parse_diff_query(json):
    """Parse a `query_json` of `diff`; returns ("turnId" or "messageId", id), or None: all turns'."""
    given = fields.parse_object(json, "the query", ("turnId", "messageId"))
    if len(given) > 1:
        raise InvalidParam("turnId and messageId exclude each other", "Pass one of them.")
    for key, value in given.items():
        return key, fields.text(value, key, 1)
    return None


def parse_answers(json):
    """Parse the answers to a question, a list of texts for each of its questions; None: it is rejected."""
    if json is None:
        return None
    answers = parse(json, "the answers")
    if type(answers) is not list or not all(type(labels) is list for labels in answers):
        raise InvalidParam(
            "the answers are not an array of arrays", 'Pass one list of labels for each question: [["yes"]].'
        )
    for place, labels in enumerate(answers):
        for label in labels:
            fields.text(label, f"answers[{place}]", 0, MAX_ANSWER)
    return answers


def parse_reply(text):
    """Return an answer to a permission."""
    if text not in REPLIES:
        raise InvalidParam(f"reply cannot be {quote(text[:80])}", f"It is one of {', '.join(REPLIES)}.")
    return text


def check_answers(questions, answers):
    """Check that answers are what the questions, as they are listed, allow: the server takes anything."""
    if len(answers) != len(questions):
        raise InvalidParam(
            f"there are {len(answers)} lists of answers to {len(questions)} questions", "Pass one for each, in order."
        )
    for place, (question, labels) in enumerate(zip(questions, answers, strict=True)):
        if len(labels) > 1 and not question["multiple"]:
            raise InvalidParam(
                f"answers[{place}] has {len(labels)} labels, and its question takes one", "Pass one label."
            )
        known = [option["label"] for option in question["options"]]
        for label in labels:
            if label not in known and not question["custom"]:
                raise InvalidParam(
                    f"answers[{place}] has {quote(label[:80])}, which is none of its options",
                    f"Its question takes no other text than {', '.join(map(quote, known))}.",
                )


# -- what an agent of ours asks ----------------------------------------------------------------------------------------
#: How its ids begin: it is asked here, and no server knows of it.
LOCAL = "ask_"
#: What answers a permission with one of its options, by their kinds: the first that there is.
_KINDS = {ONCE: ("allow_once",), ALWAYS: ("allow_always", "allow_once"), REJECT: ("reject_once", "reject_always")}


def is_local(id):
    """Return whether an agent of ours asks this."""
    return id.startswith(LOCAL)


def option_for(reply, options):
    """Return the id of the option, of `(id, kind)` each, that answers so, or None: there is none."""
    for kind in _KINDS[reply]:
        for id, of in options:
            if of == kind:
                return id
    return None


def replies_to(options):
    """Return the replies that these options allow: what is asked can be refused in any case."""
    return [reply for reply in REPLIES if reply == REJECT or option_for(reply, options) is not None]


def check_offered(ask, reply):
    """Check that a permission of an agent of ours can be answered so."""
    offered = loads(ask.body)["replies"]
    if reply not in offered:
        raise InvalidParam(
            f"the agent does not offer the reply {quote(reply)} to {ask.id}", f"It offers {', '.join(offered)}."
        )


# -- how one ends ------------------------------------------------------------------------------------------------------
def claim(by, given, until):
    """Write down who answers an ask, with what, and until when (ms) he may be about it: whoever hears meanwhile that it
    was answered leaves it to him."""
    return dumps({"by": by, "given": given, "until": until})


def is_claimed(ask, now):
    """Return whether somebody is about to answer."""
    return ask.answer is not None and loads(ask.answer)["until"] > now


def claimed_until(ask):
    """Return until when (ms) the answer of an ask that `is_claimed` is left to him who gives it."""
    return loads(ask.answer)["until"]


def ending(ask, *given):
    """Return `(by, given)` of an ask that nobody waits for any more, and that nobody of ours is about to answer; what
    it was answered with is `given`, if that is known. Who was about to, and has not come back, has done so."""
    (answer,) = given or (None,)
    claim = ask.answer and loads(ask.answer)
    if not claim or given and claim["given"] != answer:
        return OTHER, answer
    return claim["by"], claim["given"]


def refusal(ask):
    """Return how an ask is refused."""
    return REJECT if ask.kind == PERMISSION else None


def asked(ask):
    """Return the event that announces an ask."""
    return f"{ask.kind}.asked", loads(ask.body)


def replied(ask, given):
    """Return the event that tells how an ask has ended. A permission whose answer nobody knows counts as rejected."""
    data = {"id": ask.id}
    if ask.kind == PERMISSION:
        data["reply"] = given or REJECT
    elif given is not None:
        data["answers"] = given
    return f"{ask.kind}.replied", {**data, "by": ask.ended}


def is_of(ask, turn):
    """Return whether a turn asks this."""
    return ask.turn_id is None or ask.turn_id in (turn.id, turn.message_id)


def unknown(kind, id):
    """Return the error of an answer to what nobody waits for."""
    return NotFound(
        f"no {kind} {fields.printable(id)} waits for an answer here: there is none, or it was answered",
        f"See plue_session_{kind}s() for those that do.",
    )


def over(ask):
    """Return the error of an answer to what has ended."""
    if ask.ended not in (DEADLINE, ABORT):
        return unknown(ask.kind, ask.id)
    why = "its deadline has passed" if ask.ended == DEADLINE else "its turn was aborted"
    return Conflict(f"the {ask.kind} {ask.id} has ended: {why}", "Nothing waits for an answer any more.")
