"""Build the SQL of `page` and `count` from a `Query`: fixed pieces of text joined, values always bound."""

# sort name -> (column, the index that yields its order)
_SORTS = {
    "updated": ("updated", "session_updated"),
    "created": ("created", "session_created"),
    "title": ("title_fold", "session_title"),
    "artifactCount": ("artifact_count", "session_artifacts"),
}
_SETS = ("status", "relay_state", "residency")
_EQUALS = ("role", "key", "parent_id")
_BOUNDS = (("created_after", "created >= ?"), ("created_before", "created < ?"),
           ("updated_after", "updated >= ?"), ("updated_before", "updated < ?"))
_TAGGED = "EXISTS (SELECT 1 FROM session_tag WHERE tag = ? AND session_tag.number = session.number)"


def page(query, scope):
    """Return `(sql, values)` for rows `(sort value, number, info)`, one more than `query.limit` if there is one.

    The index of the sort order is named, so a page reads its own rows and no others: left alone, SQLite may prefer
    the index of a filter and sort all that it finds. Only a parent's children are few, and sorted.
    """
    column, index = _SORTS[query.sort]
    if query.key is not None:
        index = "session_key"
    elif query.parent_id is not None:
        index = "session_parent"
    where, values = _where(query, scope)
    select = f"SELECT {column}, number, info FROM session INDEXED BY {index} WHERE "
    way, beyond = (" DESC", "<") if query.descending else ("", ">")
    if query.after is not None:
        # Not `(column, number) > (?, ?)`: with the rowid SQLite seeks by the first part only and walks through all ties.
        value, number = query.after
        # A + keeps SQLite from seeking by a filter's bound instead: never among ties, nor where the cursor is the nearer one.
        outer = "<" if query.descending else ">="
        ties = where.replace(f" {column} ", f" +{column} ")
        rest = where.replace(f" {column} {outer} ", f" +{column} {outer} ")
        where = f"{ties} AND {column} = ? AND number {beyond} ? UNION ALL {select}{rest} AND {column} {beyond} ?"
        values = [*values, value, number, *values, value]
    values.append(query.limit + 1)
    return f"{select}{where} ORDER BY {column}{way}, number{way} LIMIT ?", values


def count(query, scope):
    """Return `(sql, values)` for how many sessions match."""
    where, values = _where(query, scope)
    return f"SELECT count(*) FROM session WHERE {where}", values


def _where(query, scope):
    terms, values = ["scope = ?"], [scope]
    for name in _SETS:
        accepted = getattr(query, name)
        if accepted is not None:
            terms.append(f"{name} IN ({','.join('?' * len(accepted))})")
            values += accepted
    for name in _EQUALS:
        value = getattr(query, name)
        if value is not None:
            terms.append(f"{name} = ?")
            values.append(value)
    for name, term in _BOUNDS:
        value = getattr(query, name)
        if value is not None:
            terms.append(term)
            values.append(value)
    if query.archived is not None:
        terms.append("archived IS NOT NULL" if query.archived else "archived IS NULL")
    for tag in query.tags:
        terms.append(_TAGGED)
        values.append(tag)
    if query.text is not None:
        terms.append("instr(search, ?) > 0")
        values.append(query.text)
    return " AND ".join(terms), values
