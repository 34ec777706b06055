"""What an input may name, and which model it gets that names none."""

#: The command of ours that every session takes.
COMPACT = {"name": "compact", "description": "Shorten the context of the session."}


def offered(found, bound, default):
    """Return what callers are offered: what the server has `found`, and as the default the first there is of the
    session's own model (`bound`), the configured one and the server's. One that the server cannot run is none."""
    offer = {"models": found["models"], "agents": found["agents"], "commands": list(found["commands"])}
    if not any(each["name"] == COMPACT["name"] for each in offer["commands"]):
        offer["commands"].append(COMPACT)
    chosen = bound or default or found["default"]
    if chosen and any(
        (each["providerId"], each["modelId"]) == (chosen["providerId"], chosen["modelId"]) for each in offer["models"]
    ):
        offer["default"] = chosen
    return offer
