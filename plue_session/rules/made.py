"""What of a session that we have a server make is ours alone: no answer of the server's tells it."""

OURS = ("key", "description", "tags", "provider_id", "model_id", "role")


def kept(fields):
    """Return what of the fields of a create the record alone keeps."""
    return {name: fields[name] for name in OURS if name in fields}


def keep(session, fields, now):
    """Put it into the record of the session that was made."""
    for name, value in fields.items():
        setattr(session, name, value)
    if session.role is not None:
        session.relay_state, session.relay_active = "CREATED", now
