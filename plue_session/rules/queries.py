"""The queries of `query` and `count`, and the cursors of their pages."""

from functools import partial

from plue_session.errors import BadCursor, InvalidParam
from plue_session.model import Query
from plue_session.rules import fields, ids, relay
from plue_session.rules.jsontext import dumps

STATUS = ("active", "suspended", "completed", "failed")
RESIDENCY = ("open", "parked", "closed")
SORT = ("updated", "created", "title", "artifactCount")
MAX_LIMIT = 10_000
DEFAULT_LIMIT = 100
#: Tags that a query may name, each of which must match: each is a term of the SQL, whose depth is bounded.
MAX_TAGS = 100

_VERSION = "q1"
_HEX = frozenset("0123456789abcdef")
_ROWS = 1 << 63


def parse_query(json):
    """Parse a `query_json` (None: everything) into a `Query`.

    `status`, `relayState` and `residency` take one value or a non-empty array of them; of `tags` all must match;
    `…After` is inclusive and `…Before` exclusive, in ms, so that adjoining spans neither overlap nor leave a gap;
    `text` is sought in title and description, whatever the case. Default: by `updated`, ascending, 100 at a time.
    """
    given = fields.parse_object(json, "the query", _KEYS)
    query = Query(limit=DEFAULT_LIMIT)
    for key, value in given.items():
        if check := _KEYS[key]:
            setattr(query, fields.snake(key), check(value, key))
    query.descending = fields.choice(given.get("order", "asc"), "order", ("asc", "desc")) == "desc"
    if "cursor" in given:
        query.after = _parse_cursor(fields.text(given["cursor"], "cursor"), query)
    return query


def render_cursor(query, after):
    """Write where the next page of `query` begins: after the row with this `(sort value, number)`.

    The cursor carries a fingerprint of filters and sort, because a place in one order means nothing in another.
    """
    value, number = after
    if query.sort == "title":
        from base64 import urlsafe_b64encode  # here and below: most programs never get to a second page

        value = urlsafe_b64encode(value.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    return f"{_VERSION}.{_fingerprint(query)}.{number:x}.{value}"


def _parse_cursor(text, query):
    version, _, rest = text.partition(".")
    fingerprint, _, place = rest.partition(".")
    if (
        version == _VERSION
        and fingerprint != _fingerprint(query)
        and len(fingerprint) == 8
        and _HEX.issuperset(fingerprint)
    ):
        raise BadCursor(
            "the cursor belongs to another query",
            "Keep filters, sort and order from page to page; only the limit may change.",
        )
    try:
        number, value = place.split(".")
        after = _parse_value(value, query.sort), int(number, 16)
        intact = 0 <= after[1] < _ROWS and render_cursor(query, after) == text
    except ValueError:
        intact = False
    if not intact:
        raise BadCursor("the cursor is malformed", "Pass nextCursor exactly as it was received.")
    return after


def _parse_value(text, sort):
    if sort == "title":
        from base64 import urlsafe_b64decode

        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "surrogatepass")
    if len(text) > 20 or abs(int(text)) >= _ROWS:  # more than a row can hold
        raise ValueError(text)
    return int(text)


def _fingerprint(query):
    from binascii import crc32

    filters = [getattr(query, name) for name in Query.__slots__ if name not in ("limit", "after")]
    return f"{crc32(dumps(filters).encode()):08x}"


# -- values ------------------------------------------------------------------------------------------------------------
def _one_or_more(choices):
    def check(value, key):
        if type(value) is not list:
            return (fields.choice(value, key, choices),)
        if not value:
            raise InvalidParam(
                f"{key} is an empty array, which nothing matches",
                f"Name some of {', '.join(choices)}, or leave the key out.",
            )
        return tuple(dict.fromkeys(fields.choice(item, f"{key}[{place}]", choices) for place, item in enumerate(value)))

    return check


def _tags(value, key):
    tags = tuple(fields.texts(value, key))
    if len(tags) > MAX_TAGS:
        raise InvalidParam(f"{key} names {len(tags)} tags", f"A query may name {MAX_TAGS}, all of which must match.")
    return tags


def _text(value, key):
    return fields.text(value, key).casefold() or None


#: What checks each key of the JSON; None: it is read apart.
_KEYS = {
    "status": _one_or_more(STATUS),
    "relayState": _one_or_more(relay.STATES),
    "residency": _one_or_more(RESIDENCY),
    "role": fields.checked(ids.role),
    "key": fields.checked(ids.key),
    "parentId": fields.checked(ids.session_id),
    "tags": _tags,
    "createdAfter": fields.integer,
    "createdBefore": fields.integer,
    "updatedAfter": fields.integer,
    "updatedBefore": fields.integer,
    "archived": fields.flag,
    "text": _text,
    "sort": partial(fields.choice, choices=SORT),
    "order": None,
    "limit": partial(fields.integer, least=1, most=MAX_LIMIT),
    "cursor": None,
}
