"""Transcripts: what callers ask for of them."""

from plue_session.rules import fields

#: Messages of a page, at most and by default.
MAX_LIMIT = 100


def parse_query(json):
    """Parse a `query_json` of `messages`; returns `(limit, cursor text or None, whether parts are wanted)`."""
    given = fields.parse_object(json, "the query", ("limit", "cursor", "parts"))
    limit, cursor = given.get("limit", MAX_LIMIT), given.get("cursor")
    fields.integer(limit, "limit", 1, MAX_LIMIT)
    if "cursor" in given:
        fields.text(cursor, "cursor", 1)
    return limit, cursor, fields.flag(given.get("parts", True), "parts")
