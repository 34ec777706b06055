"""The services as one call of a host's sees them."""

from plue_session.services.remote_sessions import RemoteSessions
from plue_session.services.remote_sharing import RemoteSharing


class CallContext:
    """What stands in the place of the runtime while one call is carried out with the server; as a context manager, that
    long."""

    def __init__(self, remote, name, session, deadline, made=None):
        self._calls = remote.calls
        self._call = call = remote.calls.begin(name, session, deadline, made)
        self.sessions, self.sharing = RemoteSessions(remote, call), RemoteSharing(remote, call)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._calls.end(self._call)
