"""What turns ask for and wait for: permissions and questions; and how callers name what they changed."""

from plue_session.errors import InvalidParam
from plue_session.rules import fields
from plue_session.rules.jsontext import parse

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
