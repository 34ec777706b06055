"""What stands in for synchronisation where there is no server to be in step with."""

from plue_session.rules.jsontext import dumps


class NoServer:
    """The functions of `sync.Sync` that callers see."""

    def run(self, timeout_ms):
        """Return at once."""

    def status(self):
        """Return `{"connected","pending","operations","conflicts"}` as JSON."""
        return dumps({"connected": False, "pending": 0, "operations": [], "conflicts": []})

    def server(self):
        """Return what is known of the server."""
        return {"running": False}
