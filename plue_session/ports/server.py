"""A server that sessions live on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from plue_session.call import Call

#: A session as the server tells it, see below.
RemoteSession = Any


class Listener(Protocol):
    """Who follows a server. Called on a thread of the server's, one at a time."""

    def snapshot(self) -> None:
        """Read again what is known, for it is out of date. Raises when it cannot."""

    def apply_all(self, changes: list) -> None:
        """Take in what was heard since, in this order: each has `kind`, `session_id`, `value` and `seq`."""

    def knows(self, session_id: str) -> bool:
        """Return whether what happens in this session is to be told, though it is in another directory."""

    def on_state(self, error: Exception | None) -> None:
        """Hear that the connection is lost (once), or back (None)."""


class Server(Protocol):
    """A server that sessions live on: for one server and one directory, called and listened to. Thread-safe.

    Each takes the `Call` that it is for and ends with it: with `errors.Timeout`, `errors.Connection` (away, or gone
    meanwhile; the details' `sent` says whether it may have been heard), the error that the call is cancelled with,
    `errors.Closed`, or what the refusal means; its status and text are in the details.
    `directory` is a session's own when it is not the server's. A session comes as an object with `id`, `title`,
    `parent_id`, `directory`, `version`, `created`, `updated`, `archived`, `share_url`, `metadata` (a dict) and `token`;
    times in ms, None for what is absent; equal by value.
    """

    #: the directory that its lists are of
    directory: str
    #: whether what is heard comes with numbers, `seq`, of its session's sequence
    numbered: bool
    #: sessions whose history may be asked for together
    most_asked: int

    def begin(self) -> None:
        """Begin to start one of our own; returns at once."""

    def open(self, call: Call, given_up: Callable[[], bool] | None = None) -> None:
        """See that it is there, or wait for one of our own."""

    def follow(self, listener: Listener) -> None:
        """Begin to listen; returns at once."""

    def hurry(self) -> None:
        """Have listening that waits to be tried again be tried now, and its state told whatever it is; returns at
        once. Harmless where it goes on."""

    def where(self) -> dict:
        """Return `{"url"?, "pid"?}`; nothing while one of our own is started anew."""

    def end(self) -> None:
        """Begin to end everything: calls under way within 200 ms, a server of our own within 5 s. It needs no thread.
        Twice is harmless."""

    def close(self, seconds: float = 7.0) -> None:
        """End everything, and wait for that, at most so long. Twice is harmless."""

    def is_automatic(self, title: str) -> bool:
        """Return whether the server may replace this title by itself."""

    def ahead(self) -> int:
        """Return by how many ms its clock is ahead of ours, as far as is known; what is less than a second counts as
        none."""

    # -- reading -------------------------------------------------------------------------------------------------------
    def get(self, session_id: str, call: Call, directory=None) -> RemoteSession:
        """Return the session. `NOT_FOUND` only if the server says so of this id."""

    def survey(self, before: Any, call: Call, directory=None) -> Any:
        """Return what a list of all sessions says: `ids` and, compared with the survey `before` (None: the first),
        `changed`, `unreadable` are ids that cannot be used; `forget(ids)` makes the next one tell those anew."""

    def history(self, known: dict, call: Call) -> dict | None:
        """Return `{session id: [change, …]}`: what came after the number that `known` has for each session (-1: all
        there is), in order, with numbers. None when that cannot be had."""

    def status(self, call: Call, directory=None) -> dict:
        """Return `{id: …}` of the sessions that run a turn."""

    def messages(
        self, session_id: str, call: Call, directory=None, limit: int = 100, before: str | None = None
    ) -> tuple[list, str | None]:
        """Return `([(message, parts), …], cursor)`, the newest ones, oldest first; a message has `id`, `role`,
        `created`, `completed`, `ended`."""

    def read_message(self, session_id: str, message_id: str, call: Call, directory=None) -> Any:
        """Return one message, as `messages` does, without its parts."""

    def pending(self, call: Call, directory=None) -> list:
        """Return what turns of one directory wait for: permissions and questions, each with `id`, `kind`, `session_id`,
        `message_id` (the model's message that asks, or None) and `body` (a dict, as callers get it)."""

    def todos(self, session_id: str, call: Call, directory=None) -> list:
        """Return the agent's plan, as callers get it."""

    def diff(self, session_id: str, message_id: str, call: Call, directory=None) -> list:
        """Return what the turn of a user's message has changed in files, as callers get it; nothing for an unknown
        one."""

    def choices(self, call: Call, directory=None) -> dict:
        """Return `models`, `agents` and `commands` that a prompt may name, as callers get them, and the `default`
        model, or None."""

    def default_model(self, call: Call) -> tuple[str, str]:
        """Return the `(provider id, model id)` that it takes where none is named."""

    def check_provider(self, provider_id: str, model_id: str, call: Call) -> None:
        """Fail with `PROVIDER_INIT` unless it can run this model of this provider."""

    # -- changing ------------------------------------------------------------------------------------------------------
    def create(
        self,
        token: str,
        call: Call,
        directory=None,
        title: str | None = None,
        parent_id: str | None = None,
        metadata: dict | None = None,
    ) -> RemoteSession:
        """Create a session and return it; made once, also when the answer is lost: `token` finds it again."""

    def find_created(self, token: str, call: Call, directory=None, title: str | None = None) -> RemoteSession | None:
        """Return the session that was created with this token, or None. A fork has its source's token: it counts only
        if it has this `title`."""

    def update(self, session_id: str, call: Call, directory=None, **changes: Any) -> RemoteSession:
        """Change `title`, `metadata` (a dict; with it `token`) or `archived` (ms or None), and return the session as it
        then is."""

    def fork(self, session_id: str, call: Call, directory=None, message_id: str | None = None) -> RemoteSession:
        """Copy the session up to a message, all of it when None, and return the copy."""

    def share(self, session_id: str, call: Call, directory=None) -> RemoteSession:
        """Share the session and return it with its `share_url`; `UNSUPPORTED` when the server gives no link."""

    def unshare(self, session_id: str, call: Call, directory=None) -> RemoteSession:
        """Withdraw the server's share, if there is one, and return the session."""

    def delete(self, session_id: str, call: Call, directory=None, elsewhere: Iterable[str] = ()) -> None:
        """End what runs in the session and its descendants, of which some are `elsewhere` (directories), and delete
        them."""

    def reply_permission(self, request_id: str, reply: str, call: Call, directory=None) -> None:
        """Answer a permission: "once", "always" or "reject". `NOT_FOUND` when nobody waits for it."""

    def reply_question(self, request_id: str, answers: list | None, call: Call, directory=None) -> None:
        """Answer a question, or (None) reject it. `NOT_FOUND` when nobody waits for it."""

    def abort(
        self,
        session_id: str,
        call: Call,
        directory=None,
        turn_id: str | None = None,
        seen: Callable[[str], None] | None = None,
    ) -> bool:
        """End the turn that runs, if it is the one named; return whether there was one, after its end.
        `seen(message_id)` is called with the model's newest message as of then, "" if there is none, where that is
        known."""

    def stop(self, session_id: str, call: Call, directory=None) -> None:
        """Tell it to end whatever runs; nothing is proven by its answer."""

    def prompt(
        self,
        session_id: str,
        message_id: str,
        said: list,
        model: tuple[str, str],
        call: Call,
        directory=None,
        agent: str | None = None,
    ) -> None:
        """Have a turn run that answers these parts, as a message of the user's with this id. Returns at once."""

    def command(
        self,
        session_id: str,
        message_id: str,
        name: str,
        arguments: str,
        model: tuple[str, str],
        call: Call,
        directory=None,
        agent: str | None = None,
    ) -> None:
        """Have a command run as a turn. Returns at the end of that, which comes whatever becomes of the call."""

    def summarize(self, session_id: str, model: tuple[str, str], call: Call, directory=None) -> None:
        """Have the context shortened, by a turn whose message gets an id of the server's; as `command`."""
