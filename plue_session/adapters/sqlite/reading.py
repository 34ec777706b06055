"""Reading from one connection: the rows of a query, and several queries at one moment."""


def fetch(reader, sql, values, room=None):
    """Return the rows of a query; with `room`, up to the first after which there is no `room(row)`."""
    cursor = reader.execute(sql, values)
    if room is None:
        return cursor.fetchall()
    found = []
    for row in cursor:
        found.append(row)
        if not room(row):
            break
    cursor.close()  # a statement that is not at its end would keep the log from beginning anew
    return found


def at_one_moment(reader, use):
    """Return what `use(read)` returns, whose queries see the same commits."""
    reader.execute("BEGIN")
    try:
        return use(lambda sql, values: fetch(reader, sql, values))
    finally:
        reader.execute("ROLLBACK")
