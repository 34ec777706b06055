"""The calls to OpenCode, in our words: sessions in, `RemoteSession`s out, every failure one of ours.

Each takes the `call.Call` that it is for, and ends with it: `TIMEOUT`, `CONNECTION` or the error that it is cancelled
with. Whatever the server refuses keeps its status and text
(`shapes.refusal`). Only the `/session` family is used: `/api/session` can neither rename nor delete (O-010).
"""

import contextlib
import time

from plue_session import errors
from plue_session.adapters.opencode import asking, parts, shapes
from plue_session.adapters.opencode.api_call import ApiCall, is_garbled
from plue_session.adapters.opencode.survey import Survey
from plue_session.rules import directories, ids

#: More than any server has: a list without a limit ends after 100, with 0 it is empty (O-021).
EVERYTHING = 1_000_000
#: Seconds between two searches for a session whose creation was not answered.
SEARCH_AGAIN = 0.25
#: Seconds kept for that, of those that a create may take.
FINDING = 2.0


class Client(ApiCall):
    """What one server can be asked and told, of one directory. Thread-safe."""

    # -- reading -------------------------------------------------------------------------------------------------------
    def get(self, session_id, call, directory=None):
        """Return the session, wherever its directory is (O-023). `NOT_FOUND` only if the server says so of this id.

        OpenCode: GET /session/{id}; where that route is missing (an old server), the list (P-116).
        """
        path = _path(session_id)
        reply = self._get(path, directory, call)
        # A missing route is a web page, or an error that is not JSON; a missing session is a 404 in JSON.
        if reply.type != "application/json" and (
            reply.status in (200, 404, 405, 501) or reply.status == 500 and not reply.body
        ):
            survey = self.survey(None, call, directory)
            for session in survey.changed:
                if session.id == session_id:
                    return session
            if session_id in survey.ids:
                raise shapes.malformed("a session", "what the list says of it cannot be read")
            raise errors.NotFound(
                f"the server has no session {session_id}",
                "List the sessions to see what there is.",
                session=session_id,
                details={"status": 404},
            )
        return _the(session_id, self._read(f"GET {path}", reply, session_id))

    def list(self, call, directory=None, roots=False):
        """Return every session of the directory that can be read, children and archived ones included, in no order that
        means anything.

        OpenCode: GET /session. It has no cursor, and neither its search nor `start` is of use (O-022, O-024).
        """
        return self.survey(None, call, directory, roots).changed

    def survey(self, before, call, directory=None, roots=False):
        """Return a `Survey` of every session of the directory, told apart from the one `before` (None: the first).

        As `list`, for those who list again and again: only what has changed is mapped, and an answer that is the same
        to the byte is not even parsed.
        """
        reply = self._get("/session", directory, call, limit=EVERYTHING, roots="true" if roots else None)
        return Survey(self._accept("GET /session", reply, None), before)

    def children(self, session_id, call, directory=None):
        """Return a `Survey` of the direct children. OpenCode: GET /session/{id}/children."""
        path = _path(session_id, "/children")
        reply = self._get(path, directory, call)
        return Survey(self._accept(f"GET {path}", reply, session_id))

    def status(self, call, directory=None):
        """Return `{id: {"type": "busy"|"retry", …}}` of one directory's sessions; idle ones are absent (O-057).

        OpenCode: GET /session/status.
        """
        data = shapes.expect(dict, self._call("GET", "/session/status", directory, call), "a status")
        return {
            name: shapes.clean(value)
            for name, value in data.items()
            if type(value) is dict and value.get("type") in ("busy", "retry") and shapes.nameable(name)
        }

    def messages(self, session_id, call, directory=None, limit=100, before=None):
        """Return `(page, cursor)`: the newest `limit` messages (before a cursor), oldest first; cursor None on the last
        page.

        Page: `[(RemoteMessage, [RemotePart, …]), …]`; of large messages there are fewer, as many as one answer may
        hold. OpenCode: GET /session/{id}/message; 0 would mean all (O-056).
        """
        path, limit = _path(session_id, "/message"), max(limit, 1)
        while True:
            try:
                reply = self._get(path, directory, call, limit=limit, before=before)
                break
            except errors.LimitExceeded:
                if limit == 1:
                    raise
                limit = max(limit // 4, 1)
        page = parts.messages(self._read(f"GET {path}", reply, session_id))
        return page, reply.headers.get("x-next-cursor") or None

    def message(self, session_id, message_id, call, directory=None):
        """Return one `RemoteMessage`. OpenCode: GET /session/{id}/message/{messageID}."""
        path = "/message/" + ids.message_id(message_id)
        return shapes.message(shapes.inner(self._about("GET", session_id, path, directory, call), "info"))

    def check_provider(self, provider_id, model_id, call):
        """Fail with `PROVIDER_INIT` unless the server can run this model of this provider.

        OpenCode: GET /config/providers, the configured ones; `/provider` lists thousands and takes seconds (O-008).
        """
        data = self._call("GET", "/config/providers", None, call)
        providers = data.get("providers") if type(data) is dict else None
        known = {
            each["id"]: each.get("models")
            for each in shapes.expect(list, providers, "a list of providers")
            if type(each) is dict and type(each.get("id")) is str
        }
        if provider_id not in known:
            raise errors.ProviderInit(
                f"the server has no provider {provider_id}",
                f"It has {_names(known)}. Add the provider to OpenCode's configuration, or log in to it.",
            )
        models = shapes.inner(known, provider_id)
        if model_id not in models:
            raise errors.ProviderInit(
                f"the server's provider {provider_id} has no model {model_id}", f"It has {_names(models)}."
            )

    # -- changing ------------------------------------------------------------------------------------------------------
    def create(self, token, call, directory=None, title=None, parent_id=None, metadata=None):
        """Create a session and return it. `token` is the caller's, unique: it lies in the session's metadata beside the
        caller's own, and if the reply is lost the session is found by it instead of being made twice (P-176).

        An unknown parent is `NOT_FOUND`: the server would take any (O-018). After `CONNECTION` or `TIMEOUT` whose
        details say `sent`, `find_created` tells later what became of it. OpenCode: POST /session.
        """
        if directory is not None:
            directory = directories.canonical(directory)
        body = {"metadata": {**(metadata or {}), shapes.TOKEN: token}}
        if title is not None:
            body["title"] = title
        if parent_id is not None:
            body["parentID"] = ids.session_id(parent_id, "the parent's id")
            try:
                self.get(parent_id, call, directory)
            except errors.NotFound as error:
                raise errors.NotFound(
                    f"the parent session {parent_id} does not exist",
                    "Pass the id of an existing session, or none.",
                    details=error.details,
                ) from None
        # So much of the time is kept for finding it if the answer does not come.
        reserve = min(FINDING, (call.deadline - time.monotonic()) / 4)
        try:
            return shapes.session(
                self._call("POST", "/session", directory, call.until(call.deadline - reserve), body=body, resend=False)
            )
        except (errors.Connection, errors.Timeout, errors.Server) as error:
            answered = type(error) is errors.Server  # so it has heard of it; what it answers is of no use
            if not answered and not error.details.get("sent"):
                raise
            lost = error
        if answered or "status" in lost.details:  # or something on the way answers for it: it may be away for long
            call = call.within(FINDING)
        while time.monotonic() < call.deadline:
            try:
                found = self.find_created(token, call, directory, title)
            except (errors.Connection, errors.Timeout, errors.Server, errors.LimitExceeded, errors.AccessDenied):
                self._pause(SEARCH_AGAIN, call)
            else:
                if found:
                    return found
                break
        raise lost

    def find_created(self, token, call, directory=None, title=None):
        """Return the session that was created with `token`, or None. A fork has its source's, and is none; by its title
        it is known, unless that is the very `title` that was asked for."""
        return next(
            (
                session
                for session in self.list(call, directory)
                if session.token == token and (session.title == title or not session.is_fork)
            ),
            None,
        )

    def update(self, session_id, call, directory=None, token=None, **changes):
        """Change what is given, and only that (P-121); return the session as the server answers: proof of receipt, not
        of the final value (O-025). What can be changed: `title`; `archived`, a time in ms, or None to take it back;
        `metadata`, which replaces all of it, but for the session's `token`, which the caller passes along.

        OpenCode: PATCH /session/{id}. Null means nothing there: un-archiving is 0 (O-019).
        """
        body = dict(changes)
        if token is not None and "metadata" in body:
            body["metadata"] = {**body["metadata"], shapes.TOKEN: token}
        if "archived" in body:
            body["time"] = {"archived": body.pop("archived") or 0}
        if not body:
            return self.get(session_id, call, directory)
        try:
            return _the(session_id, self._about("PATCH", session_id, "", directory, call, body=body))
        except errors.Server as error:
            if not is_garbled(error):
                raise
            with contextlib.suppress(errors.PlueError):
                found = self.get(session_id, call, directory)
                if all((getattr(found, name) or None) == (value or None) for name, value in changes.items()):
                    return found
            raise

    def fork(self, session_id, call, directory=None, message_id=None):
        """Copy the session up to `message_id` (all of it when None) and return the copy, which is a root (O-054).

        An unknown message is `NOT_FOUND`: the server would copy everything. OpenCode: POST /session/{id}/fork.
        """
        body = {}
        if message_id is not None:
            self.message(session_id, message_id, call, directory)
            body["messageID"] = message_id
        return shapes.session(self._about("POST", session_id, "/fork", directory, call, body=body, resend=False))

    def share(self, session_id, call, directory=None):
        """Share the session on the server and return it, with its `share_url`.

        `UNSUPPORTED` when the server will not or cannot: a caller with links of its own makes one (O-055).
        OpenCode: POST /session/{id}/share.
        """
        try:
            data = self._about("POST", session_id, "/share", directory, call)
        except errors.Server as error:
            raise errors.Unsupported(
                f"the server does not share sessions: {error.cause}",
                "Enable sharing in OpenCode's configuration.",
                session=session_id,
                details=error.details,
            ) from None
        session = _the(session_id, data)
        if session.share_url is None:
            raise errors.Unsupported(
                "the server gave no link for its share",
                "Enable sharing in OpenCode's configuration.",
                session=session_id,
            )
        return session

    def unshare(self, session_id, call, directory=None):
        """Withdraw the server's share; none there is success. OpenCode: DELETE /session/{id}/share."""
        return _the(session_id, self._about("DELETE", session_id, "/share", directory, call))

    def delete(self, session_id, call, directory=None):
        """Delete the session and its descendants. What runs in them must have been ended (`Turns.delete`).

        A 404 is `NOT_FOUND`, and success if the request was sent before (O-031). OpenCode: DELETE /session/{id}.
        """
        sent = False
        while True:
            try:
                self._about("DELETE", session_id, "", directory, call, resend=False, empty=True)
                return
            except errors.NotFound:
                if not sent:
                    raise
                return
            except errors.Connection as error:
                if sent or not error.details.get("sent"):
                    raise
                sent = True
            except errors.Server as error:
                if is_garbled(error) and self._is_gone(session_id, call, directory):
                    return
                raise

    def _is_gone(self, session_id, call, directory):
        """Return whether the server says that it does not have the session; no word of it says nothing."""
        try:
            self.get(session_id, call, directory)
        except errors.PlueError as error:
            return isinstance(error, errors.NotFound)
        return False

    def prompt(self, session_id, message_id, said, model, call, directory=None, agent=None):
        """Have the server run a turn. `message_id` ("msg…") is chosen by the caller: sending again runs no second turn
        if the first one has not failed (O-038); parts with ids are stored once. `model` is `(provider id, model id)`,
        always named (O-040).

        OpenCode: POST /session/{id}/prompt_async.
        """
        if not said:  # the server would run the model on nothing (O-042)
            raise errors.InvalidParam("a prompt has no parts", "Pass at least one.", session=session_id)
        body = {"messageID": message_id, "parts": said, "model": {"providerID": model[0], "modelID": model[1]}}
        if agent is not None:
            body["agent"] = agent
        self._about("POST", session_id, "/prompt_async", directory, call, body=body, resend=False, empty=True)

    def command(self, session_id, message_id, name, arguments, model, call, directory=None, agent=None):
        """Have the server run a command of its own as a turn. It answers after the whole turn, which goes on if the
        call ends before (O-053).

        OpenCode: POST /session/{id}/command.
        """
        body = {"messageID": message_id, "command": name, "arguments": arguments, "model": "/".join(model)}
        if agent is not None:
            body["agent"] = agent
        self._about("POST", session_id, "/command", directory, call, body=body, resend=False, empty=True, lasts=True)

    def summarize(self, session_id, model, call, directory=None):
        """Have the server shorten the context. It answers after the whole turn, and gives the message of the user's an
        id of its own.

        OpenCode: POST /session/{id}/summarize.
        """
        body = {"providerID": model[0], "modelID": model[1]}
        self._about("POST", session_id, "/summarize", directory, call, body=body, resend=False, empty=True, lasts=True)

    def default_model(self, call):
        """Return the model that the server takes where none is named, `(provider id, model id)`.

        OpenCode: GET /config, GET /config/providers.
        """
        provider_id, slash, model_id = str(self._call("GET", "/config", None, call).get("model") or "").partition("/")
        if slash and provider_id and model_id:
            return provider_id, model_id
        data = self._call("GET", "/config/providers", None, call)
        for provider_id, model_id in shapes.inner(data, "default").items():
            if type(model_id) is str:
                return provider_id, model_id
        raise errors.ProviderInit(
            "the server has no model", "Log in to a provider where OpenCode runs, or configure one there."
        )

    def stop_turn(self, session_id, call, directory=None):
        """Tell the server to abort what the session runs. Its answer proves nothing (O-016, O-033): see `Turns.abort`.

        OpenCode: POST /session/{id}/abort.
        """
        self._about("POST", session_id, "/abort", directory, call, resend=False, empty=True)

    def refuse_permissions(self, session_id, is_over, call, directory=None):
        """Refuse what a turn that was ended has asked for: it asks no more, but the server keeps its question (O-037).
        `is_over(message_id)` tells the messages of turns that have ended from those of one that runs by now. While that
        one asks, nothing is refused: the server takes a refusal for all that the session asks (measured), and a
        question too many harms nobody.

        OpenCode: GET /permission, POST /permission/{id}/reply.
        """
        asked = shapes.expect(list, self._call("GET", "/permission", directory, call), "a list of permissions")
        asked = [each for each in asked if type(each) is dict and each.get("sessionID") == session_id]
        if not all(is_over(_asking(each)) for each in asked):
            return
        for each in asked:
            if shapes.is_permission(each.get("id")):
                path, refusal = f"/permission/{each['id']}/reply", {"reply": "reject"}
                # NOT_FOUND: answered meanwhile, by the refusal of another one, or ended with its turn after all
                with contextlib.suppress(errors.NotFound):
                    self._call("POST", path, directory, call, body=refusal, resend=False, empty=True)

    def refuse_questions(self, session_id, is_over, call, directory=None):
        """Reject the questions of a turn that was ended: the server keeps them, too (O-075).

        OpenCode: GET /question, POST /question/{id}/reject.
        """
        for each in shapes.expect(list, self._call("GET", "/question", directory, call), "a list of questions"):
            if (
                type(each) is not dict
                or each.get("sessionID") != session_id
                or not asking.is_request(each.get("id"), asking.QUESTION)
            ):
                continue
            if is_over(_asking(each)):
                with contextlib.suppress(errors.NotFound):
                    path = f"/question/{each['id']}/reject"
                    self._call("POST", path, directory, call, resend=False, empty=True)

    def _about(self, method, session_id, rest, directory, call, **more):
        """Make a call about one session."""
        return self._call(method, _path(session_id, rest), directory, call, session=session_id, **more)

    def _get(self, path, directory, call, **query):
        return self._exchange("GET", path, directory, query, None, call, True)


def _asking(permission):
    """Return the id of the message that asks for a permission; "" where it does not say."""
    message_id = shapes.inner(permission, "tool").get("messageID")
    return message_id if type(message_id) is str else ""


def _path(session_id, rest=""):
    """Return the path of a session, whose id is checked here: odd ones give 500, or another route (O-015)."""
    if not shapes.nameable(ids.session_id(session_id)):
        raise errors.NotFound(
            "the server has no session with an id of this form",
            "List the sessions to see what there is.",
            session=session_id,
        )
    return f"/session/{session_id}{rest}"


def _the(session_id, data):
    """Return the session that the server has answered with, if it is the one that was asked for."""
    session = shapes.session(data)
    if session.id != session_id:
        raise shapes.malformed("a session", f"it is {session.id}, not the one that was asked for")
    return session


def _names(known):
    return ", ".join(shapes.clean(name) for name in sorted(known)[:8]) or "none"
