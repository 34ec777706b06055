"""Reading JSON: what the library returns, and any other.

These functions work at any time: without plue_init(), and after plue_shutdown(). `json` is one value (RFC 8259) of at
most 64 MiB, nested as deep as it likes. The time grows with its length, about a millisecond per MB. `pointer` names a
value in it (RFC 6901): "" is the whole, "/sessions/0/title" the title of the first of "sessions"; in a key, ~1 stands
for a slash and ~0 for a tilde.

The whole of `json` is checked. Of equal keys the last one counts. An escape for half a surrogate pair means U+FFFD.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="instant")
def plue_json_text(json: Json, pointer: Json) -> OwnedText:
    """Return a string's text, without quotes and escapes; any other value as the JSON text that it is.

    :returns: free it with plue_free_string().
    :errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; a string with a NUL in
        it, which no C text can hold); LIMIT_EXCEEDED.
    """


@export(time="instant")
def plue_json_int(json: Json, pointer: Json, otherwise: Whole) -> Whole:
    """Return a number, cut towards zero; 1 for true and 0 for false.

    Never sets an error. Works in a forked child, too.

    :returns: `otherwise` in every other case: also for a number that does not fit, and where something is wrong.
    """


@export(time="instant")
def plue_json_double(json: Json, pointer: Json, otherwise: Ratio) -> Ratio:
    """Return a number, whatever the locale is.

    Never sets an error. Works in a forked child, too.

    :returns: `otherwise` in every other case: also for a number beyond all doubles, and where something is wrong.
    """


@export(time="instant")
def plue_json_count(json: Json, pointer: Json) -> Count:
    """Count the elements of an array, or the members of an object, equal keys included.

    :returns: the count, or -1.
    :errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; neither array nor
        object); LIMIT_EXCEEDED.
    """


@export(time="instant")
def plue_json_each(json: Json, pointer: Json, visit: JsonVisit, user_data: UserData) -> Status:
    """Call `visit` with each element of an array, or each member of an object as {"key":…,"value":…}, in order.

    A visit may call any function of the library, and leaves `json` as it is. It must return, or the memory of one
    element is lost. With the pointer "" the text is checked as it is visited: where it turns out to be no JSON, some
    visits have been made.

    :param visit: gets the element's JSON text, which is valid until it returns; any result but 0 ends the visits.
    :param user_data: handed to `visit`.
    :returns: 0 after the last visit; what a visit ended with (let it be positive); or -1.
    :errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; neither array nor
        object); LIMIT_EXCEEDED.
    :takes: instant, but for the visits.
    """
