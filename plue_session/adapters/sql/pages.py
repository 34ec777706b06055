"""Build the SQL of `page` and `count` from a `Query`: fixed pieces of text joined, values always bound."""

#: The column of a sort order, and the index that yields it.
SORTS = {
    "updated": ("updated", "session_updated"),
    "created": ("created", "session_created"),
    "title": ("title_fold", "session_title"),
    "artifactCount": ("artifact_count", "session_artifacts"),
}
_SETS = ("status", "relay_state", "residency")
_VALUES = {
    "role": "role = ?",
    "key": "key = ?",
    "parent_id": "parent_id = ?",
    "created_after": "created >= ?",
    "created_before": "created < ?",
    "updated_after": "updated >= ?",
    "updated_before": "updated < ?",
}
_TAGGED = "EXISTS (SELECT 1 FROM session_tag WHERE tag = ? AND session_tag.number = session.number)"


class Pages:
    """Builds them for one database, whose words these are: `table` to read by an index, `aside` for a term that the
    choice of an index should not count on, `contains` for a column in which a text occurs."""

    def __init__(self, table, aside, contains):
        self._table, self._aside = table.format, aside.format
        self._text = f"({contains.format('title_fold')} OR {contains.format('search')})"

    def page(self, query, scope):
        """Return `(sql, values)` for rows `(sort value, number, info)`, one more than `query.limit` if there is one.

        The index of the sort order is named, so a page reads its own rows and no others: left alone, SQLite may prefer
        the index of a filter and sort all that it finds. Only a parent's children are few, and sorted.
        """
        column, index = SORTS[query.sort]
        if query.key is not None:
            index = "session_key"
        elif query.parent_id is not None:
            index = "session_parent"
        select = f"SELECT {column}, number, info FROM {self._table(index)} WHERE "
        above, below = f"{query.sort}_after", f"{query.sort}_before"
        terms, values = self._filter(query, scope)
        if query.after is None:
            sql = select + self._join(terms, above, below)
        else:
            # Not `(column, number) > (?, ?)`: SQLite seeks by the first part only and walks through all ties.
            way, far = ("<", above) if query.descending else (">", below)
            value, number = query.after
            sql = (
                f"{select}{self._join(terms)} AND {column} = ? AND number {way} ? "
                f"UNION ALL {select}{self._join(terms, far)} AND {column} {way} ?"
            )
            values = [*values, value, number, *values, value]
        way = " DESC" if query.descending else ""
        return f"{sql} ORDER BY {column}{way}, number{way} LIMIT ?", [*values, query.limit + 1]

    def count(self, query, scope):
        """Return `(sql, values)` for how many sessions match."""
        terms, values = self._filter(query, scope)
        return "SELECT count(*) FROM session WHERE " + " AND ".join(term for _, term in terms), values

    def _join(self, terms, *bounds):
        """Join terms so that an index is sought by scope, key, parent and the named `bounds` only.

        The others are put aside: SQLite would guess that so many filters leave next to nothing, and sort that rather
        than walk in order.
        """
        plain = ("scope", "key", "parent_id", *bounds)
        return " AND ".join(term if name in plain else self._aside(term) for name, term in terms)

    def _filter(self, query, scope):
        """Return the terms that a session must meet, as (name, SQL), and their values."""
        terms, values = [("scope", "scope = ?")], [scope]
        for name in _SETS:
            accepted = getattr(query, name)
            if accepted is not None:
                terms.append((name, f"{name} IN ({','.join('?' * len(accepted))})"))
                values += accepted
        for name, term in _VALUES.items():
            value = getattr(query, name)
            if value is not None:
                terms.append((name, term))
                values.append(value)
        if query.text is not None:
            terms.append(("text", self._text))
            values += [query.text, query.text]
        if query.archived is not None:
            terms.append(("archived", "archived IS NOT NULL" if query.archived else "archived IS NULL"))
        for tag in query.tags:
            terms.append(("tag", _TAGGED))
            values.append(tag)
        return terms, values
