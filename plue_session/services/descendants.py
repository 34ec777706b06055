"""A session and what descends from it: what goes when the session goes."""


def members(children, session_id):
    """Return the ids of the session and its descendants, parents before children; forks are their own masters and stay.

    `children(id)` tells those of one session: of the store's writer's side, or of its readers'.
    """
    family = {session_id: None}  # in order, each once: parents set elsewhere might form a cycle
    queue = [session_id]
    for parent in queue:
        fresh = [child for child in children(parent) if child not in family]
        family.update(dict.fromkeys(fresh))
        queue += fresh
    return queue


def erase(transaction, session_id):
    """Erase the session, if it is there, and its descendants, children before parents, with one `session.deleted`
    each."""
    if transaction.store.load(session_id) is None:
        return []
    family = members(transaction.store.children, session_id)
    for member in reversed(family):
        transaction.erase(member)
    return family
