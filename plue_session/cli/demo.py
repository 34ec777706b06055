"""demo: the main job on the configured backend, in a store of its own, told in words.

With a server it makes a session there and deletes it again. It runs no turn, so no model is asked, and shares nothing:
a share of OpenCode's is a page on the internet.
"""

import json
import os
import queue
import shlex
import shutil
import tempfile

from plue_session.cli import interrupt
from plue_session.cli.host import Failure, Host
from plue_session.cli.show import describe

#: Seconds to wait for an event that must come.
PATIENCE = 10
TITLE = "My Coding Session"


def run(options):
    """Run the demo; the session goes again unless it is to be kept, and so does the store if it was made for this."""
    own = None if options.data_dir else tempfile.mkdtemp(prefix="plue-session-demo-")
    if own and not options.keep:
        interrupt.last(lambda: shutil.rmtree(own, ignore_errors=True))
    place = f"--data-dir {shlex.quote(os.path.abspath(options.data_dir or own))}"
    told = Told(options.json)
    try:
        with Host(dataDir=options.data_dir or own, share={"auto": False}) as host:
            play(host, told, place if options.keep else None)
    finally:
        if own and not options.keep:
            shutil.rmtree(own, ignore_errors=True)
    if own:
        told.say(
            "store",
            f"The store stays in {own}; `plue-session list {place}` shows it."
            if options.keep
            else "The store was made for this demo and is gone.",
        )
    told.finish()
    return 0


class Told:
    """What is said: at once as text, or at the end as one JSON object."""

    def __init__(self, as_json):
        self._as_json, self._steps, self.events = as_json, [], []

    def say(self, step, text, **facts):
        self._steps.append({"step": step, "text": text, **facts})
        if not self._as_json:
            print(text, flush=True)

    def show(self, text):
        if not self._as_json:
            print(text, end="", flush=True)

    def finish(self):
        if self._as_json:
            print(json.dumps({"steps": self._steps, "events": self.events}, ensure_ascii=False))


def play(host, told, keep):
    """Tell the story; `keep` is None, or the option that finds the store again."""
    app = host.json("plue_get_app_info")
    remote = app["backend"] != "embedded"
    place = (
        f"its sessions live on {app['server'].get('url', 'a server')}"
        if remote
        else f"its store is {app['paths']['dataDir']}"
    )
    told.say(
        "start",
        f"plue_session {app['version']} runs (Python {app['python']}, {app['backend']} backend); {place}.",
        appInfo=app,
    )
    heard = host.events()
    session = host.session("plue_session_create", None)
    info = host.json("plue_session_get_info", session)
    told.say("create", f'Created a session: {info["id"]}, titled "{info["title"]}".', info=info)

    host.number("plue_session_update_title", session, TITLE)
    host.number(
        "plue_session_update",
        session,
        json.dumps({"addTags": ["demo", "first"], "description": "made by plue-session demo"}),
    )
    info = host.json("plue_session_get_info", session)
    told.say("rename", f'Renamed it to "{info["title"]}" and tagged it {" and ".join(info["tags"])}.', info=info)

    query = json.dumps({"tags": ["demo"], "text": "coding"})
    found = host.json("plue_session_query", query)["sessions"]
    told.say(
        "query",
        f'Asked for sessions tagged demo with "coding" in their title: {len(found)} of '
        f"{host.number('plue_session_count', None)} in the store.",
        found=[each["id"] for each in found],
    )

    expected = ["session.created", "session.updated", "session.updated"]
    if remote:
        told.say("share", "Did not share it: the server would put it on the internet.")
    else:
        share(host, told, info["id"], session)
        expected.append("session.shared")
    if keep:
        told.say("keep", f"Kept the session; `plue-session info {info['id']} {keep}` shows it.")
    else:
        host.number("plue_session_delete", session)
        told.say("delete", "Deleted the session and all that belongs to it.")
        expected.append("session.deleted")
    host.library.plue_session_destroy(session)
    listen(heard, told, info["id"], expected)


def share(host, told, session_id, session):
    """Share the session, and see who gets in."""
    made = host.json("plue_session_create_share", session)
    told.say("share", f"Shared it: {made['url']} (the secret is only in the link that a person gets).", url=made["url"])
    host.number("plue_session_validate_share", session_id, made["secret"])
    try:
        host.number("plue_session_validate_share", session_id, "A" * 43)
        raise Failure("a wrong secret opened the share. Please report this.")
    except Failure as failure:
        if failure.code != "ACCESS_DENIED":
            raise
    told.say("validate", "The right secret opens the share; a wrong one is refused (ACCESS_DENIED).")


def listen(heard, told, session_id, expected):
    """Collect the events of the session until those that must come are there, and tell them."""
    try:
        while len(told.events) < len(expected) or told.events[-1]["type"] != expected[-1]:
            event = json.loads(heard.get(timeout=PATIENCE))
            if event.get("sessionId") == session_id:  # others may work on the same store
                told.events.append(event)
    except queue.Empty:
        raise Failure(f"{expected[-1]} was not heard within {PATIENCE} s. Please report this.") from None
    told.say("events", f"Heard {len(told.events)} events of it meanwhile:")
    told.show("".join(f"  {describe(event)}\n" for event in told.events))
