"""An OpenCode server as the library's `Server`: attached by URL, or spawned and owned; called, and listened to."""

from plue_session import errors
from plue_session.adapters.child.guard import PROGRAM
from plue_session.adapters.opencode import health, shapes
from plue_session.adapters.opencode.api_call import headers
from plue_session.adapters.opencode.asking import Asking
from plue_session.adapters.opencode.client import Client
from plue_session.adapters.opencode.event_signal import EventSignal
from plue_session.adapters.opencode.history import NAMES, History
from plue_session.adapters.opencode.process import OwnServer, share_of
from plue_session.adapters.opencode.stream import Stream
from plue_session.adapters.opencode.turns import Turns
from plue_session.call import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports.server import Listener

#: Seconds that a health check of our own server may take: long lists alone take a quarter of one.
CHECK = 5.0


class Server:
    """What the services need of OpenCode, for one server and one directory. Thread-safe; all calls from library
    threads.

    `backend` has the keys of the configuration: `url`, `directory`, `username`, `password`, or `spawn` with `command`,
    `directory` and `env`; `environ` is the host's environment. The calls are `Client`'s and, where turns end, `Turns`';
    each takes its `call.Call`, and fails with the library's errors:

    reading   `get` `survey` `history` `status` `messages` `read_message` `check_provider` `find_created`
    changing  `create` `update` `fork` `share` `unshare` `delete` (what runs is ended first), `abort` (returns after the
              end)
    asking    `pending` `reply_permission` `reply_question` `todos` `diff` `choices`

    `on_lifeline(fd, open)` names descriptors that a forked child must close; `children` starts what is to be no child
    of the host's; `trace` hears of each request, see `Log.trace`. A server of our own is shared with the processes that
    want the same and have the same folder `shared_in`; None: it is ours alone.
    """

    _listener: "Listener" = None  # until `follow`

    def __init__(self, backend, environ, *, on_lifeline=None, guard=PROGRAM, children=None, trace=None, shared_in=None):
        self._owned, spawn = None, backend.spawn
        if spawn:
            self._owned = OwnServer(
                spawn.command,
                spawn.directory,
                environ,
                spawn.env,
                on_change=self._moved,
                on_lifeline=on_lifeline,
                check=lambda url: health.probe(url, self._headers, CHECK, trace),  # type: ignore[has-type]
                program=guard,
                children=children,
                share=share_of(shared_in, spawn, environ) if shared_in else None,
                on_credentials=self._admit,
            )
        self._locate = locate = self._owned.url if self._owned else lambda call: backend.url
        user = self._owned or backend
        self._headers = headers(user.username, user.password)
        self._waiting = health.Waiting(self._headers, trace)
        self._heard = heard = EventSignal()
        directory = (spawn or backend).directory
        self._client = client = Client(locate, directory, user.username, user.password, heard, trace)
        turns, history = Turns(client, heard), History(client)
        self.directory, self.is_automatic = client.directory, shapes.is_automatic
        self.get, self.survey, self.status, self.ahead = client.get, client.survey, client.status, client.ahead
        self.messages, self.check_provider = client.messages, client.check_provider
        self.create, self.find_created, self.update = client.create, client.find_created, client.update
        self.fork, self.share, self.unshare = client.fork, client.share, client.unshare
        self.abort, self.delete, self.stop = turns.abort, turns.delete, client.stop_turn
        self.prompt, self.command, self.read_message = client.prompt, client.command, client.message
        self.summarize, self.default_model = client.summarize, client.default_model
        asking = Asking(client)
        self.pending, self.reply_permission, self.reply_question = (
            asking.pending,
            asking.reply_permission,
            asking.reply_question,
        )
        self.todos, self.diff, self.choices = asking.todos, asking.diff, asking.choices
        self.history, self.most_asked = history.read, NAMES
        self._stream = Stream(
            locate,
            self.directory,
            self._headers,
            self._snapshot,
            self._hear,
            self._connected,
            sequences=history.is_there,
            knows=self._knows,
            trace=trace,
        )

    def begin(self):
        """Begin to spawn the server, if it is to be one of our own. Returns at once."""
        if self._owned:
            self._owned.begin()

    def open(self, call, given_up=None):
        """Wait for the server that is spawned, or see that one is there. One that is spawned is stopped again, and
        `CLOSED`, as soon as `given_up()`.

        Attached: `CONNECTION`, `TIMEOUT` and `SERVER` say that it is away, and it may be followed all the same;
        `ACCESS_DENIED` will not go away. Spawned: any failure is final, and nothing is left of it.
        """
        if self._owned:
            self._owned.start(call, given_up)
        else:
            self._waiting.wait(self._locate(call), call.deadline)

    def follow(self, listener):
        """Begin to listen; returns at once (ports.Server)."""
        self._listener = listener
        self._stream.start()

    def hurry(self):
        """Connect the event stream now, if it waits (ports.Server)."""
        if not self._stream.hears:
            self._stream.hurry()

    @property
    def numbered(self):
        """Whether the changes that come now carry numbers."""
        return self._stream.numbered

    def where(self):
        """Return `{"url"?, "pid"?}`: where the server is, and the process of one of our own; nothing while that is
        started anew."""
        if not self._owned:
            return {"url": self._locate(Call(0))}
        url, pid = self._owned.place
        return {"url": url, "pid": pid} if url and pid else {}

    def end(self):
        """Begin to end everything: the stream and calls under way within 200 ms, our own server within 5 s. Needs
        nothing that may be lacking. Twice is harmless."""
        if self._owned:
            self._owned.end()
        self._waiting.close()
        self._stream.stop()
        self._client.close()

    def close(self, seconds=7.0):
        """End everything, and wait for that, at most so long. Twice is harmless."""
        self.end()
        if self._owned:
            self._owned.stop(seconds)

    def _admit(self):
        """Use the credentials of a server that another process has started."""
        self._headers = headers(self._owned.username, self._owned.password)
        self._client.admit(self._headers)
        self._stream.admit(self._headers)

    def _moved(self, url):
        if url:
            self._stream.hurry()
        else:
            self._stream.lose(errors.Connection("the server ended and is being restarted", "Try again."))

    def _knows(self, session_id):
        return self._listener.knows(session_id)

    def _snapshot(self):
        self._listener.snapshot()

    def _hear(self, changes):
        for change in changes:
            if change.kind != "session":  # of which there are most
                self._heard.hear(change)
        self._listener.apply_all(changes)

    def _connected(self, error):
        self._heard.connected = error is None
        self._listener.on_state(error)
