"""list, info, pending, config, watch: what there is, and what happens to it."""

import json
import sys
import time

from plue_session import errors
from plue_session.cli import interrupt, settings
from plue_session.cli.host import Failure, Host

PAGE = 500
#: Milliseconds that a list waits for the server's.
PATIENCE = 30_000


def list_sessions(options):
    """Print all sessions, page by page; those of a server that runs as they are there now."""
    with reading(options) as sessions:
        if isinstance(sessions, Host):
            bring(sessions)
        opening, count = "[", 0
        for info in pages(sessions):
            count += 1
            if options.json:
                print(opening + json.dumps(info, ensure_ascii=False), end="")
                opening = ",\n "
            else:
                print(line(info))
        if options.json:
            print("[]" if not count else "]")
        elif not count:
            print("There are no sessions.", file=sys.stderr)
    return 0


def reading(options):
    """Return what sessions are read from: the library, but the store alone if the library would start a server and
    nobody has asked for that. One that another program runs is used."""
    spawned = None if options.fresh else settings.spawning(options.data_dir)
    if spawned is None or settings.is_served(spawned) or spawned.store.startswith("postgresql:"):
        return Host(dataDir=options.data_dir)
    from plue_session.cli.known import known

    print("The server is not started: this is what was last known. With --fresh it is.", file=sys.stderr, flush=True)
    return known(spawned)


def line(info):
    """Return a session as one line of text."""
    tags = "".join(f" #{tag}" for tag in info["tags"])
    return f"{info['id']}  {clock(info['time']['updated'])}  {printable(info['title'] + tags)}"


def bring(host):
    """Have the library ask its server, if it has one; away, what was last known will do."""
    try:
        host.number("plue_session_sync", PATIENCE)
    except Failure as failure:
        if failure.code not in ("CONNECTION", "TIMEOUT"):
            raise
        print(f"{failure} This is what was last known.", file=sys.stderr, flush=True)


def pages(sessions, **query):
    """Yield the infos of all sessions, or of those that the query finds, the last changed first."""
    cursor = {}
    while True:
        page = sessions.page(json.dumps({"order": "desc", "limit": PAGE, **query, **cursor}))
        yield from page["sessions"]
        if "nextCursor" not in page:
            return
        cursor = {"cursor": page["nextCursor"]}


def info(options):
    """Print one session."""
    with reading(options) as sessions:
        text = sessions.info(options.session)
    show(text, options.json)
    return 0


def pending(options):
    """Print what waits for the server, and what is in conflict with it."""
    with reading(options) as sessions:
        told = sessions.json("plue_session_sync_status") if isinstance(sessions, Host) else sessions.pending()
    if options.json:
        print(json.dumps({name: told[name] for name in ("operations", "conflicts")}, ensure_ascii=False))
        return 0
    for each in told["operations"] + told["conflicts"]:
        print(waiting(each))
    if not told["operations"] and not told["conflicts"]:
        print("Nothing is pending.", file=sys.stderr)
    return 0


def waiting(operation):
    """Return a pending operation as one line of text."""
    said = "".join(
        f"  {each['field']}: ours {json.dumps(each['ours'], ensure_ascii=False)}, "
        f"theirs {json.dumps(each['theirs'], ensure_ascii=False)}"
        for each in operation.get("fields", ())
    )
    error = f"  {operation['error']}" if "error" in operation and not said else ""
    return printable(
        f"{operation['id']}  {clock(operation['since'])}  {operation['state']:<8}  {operation['op']:<7} "
        f"{operation['session']}{said}{error}"
    )


def config(options):
    """Print the configuration that a start would use."""
    try:
        told = settings.shown(settings.load(options.data_dir))
    except errors.PlueError as error:
        raise Failure.of(error) from None
    show(json.dumps(told, ensure_ascii=False), options.json)
    return 0


def show(text, as_json):
    """Print JSON as it is, or a line per value."""
    if as_json:
        print(text)
        return
    for key, value in _flat(json.loads(text)):
        print(f"{key:<{max(15, len(key))}} {value}")


def _flat(value, path=""):
    """Yield key and text of each value, times as a person reads them."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and key != "metadata":
            yield from _flat(inner, f"{path}{key}.")
        elif path == "time." or key == "expiresAt":
            yield path + key, clock(inner)
        elif isinstance(inner, str):
            yield path + key, printable(inner)
        else:
            yield path + key, json.dumps(inner, ensure_ascii=False)


def watch(options):
    """Print events until Ctrl-C (130, as of every command), until there were enough, or until the time is up; and from
    where to go on."""
    deadline = time.monotonic() + options.timeout if options.timeout else None
    with Host(dataDir=options.data_dir) as host:
        events, count = host.observe(options.cursor), 0
        place = _Place(events.cursor())
        interrupt.last(place.tell)
        interrupt.end_when_unread(sys.stdout.fileno())
        print(f"Watching {_watched(host)}; Ctrl-C ends.", file=sys.stderr, flush=True)
        while count != options.count:
            text = events.next(None if deadline is None else max(0, deadline - time.monotonic()))
            if text is None:
                break
            event = json.loads(text)
            print(text if options.json else describe(event), flush=True)
            place.cursor = event["cursor"]
            count += 1
        place.tell()
        if options.count and count != options.count:
            raise Failure(
                f"{count} of {options.count} events came within {options.timeout:g} s. Wait longer (--timeout)."
            )
    return 0


class _Place:
    """How far events were printed."""

    def __init__(self, cursor):
        self.cursor = cursor

    def tell(self):
        print(f"To go on from here: plue-session watch --from {self.cursor}", file=sys.stderr, flush=True)


def _watched(host):
    """Say what the events are of: the store, and the server if there is one."""
    app = host.json("plue_get_app_info")
    if app["backend"] == "embedded":
        return app["paths"]["dataDir"]
    server = host.json("plue_session_sync_status")["server"]
    away = f" (away: {printable(server['error'])})" if "error" in server else ""
    return f"{server.get('url', 'a server that is being started')}{away} and {app['paths']['dataDir']}"


def describe(event):
    """Return an event as one line of text."""
    subject = f"  {event['sessionId']}" if "sessionId" in event else ""
    data = {key: value for key, value in event["data"].items() if key != "id"}
    if event["type"] == "gap":
        data = {"reason": data["reason"], "sessions": len(data["sessions"])}
    said = f"  {json.dumps(data, ensure_ascii=False)}" if data else ""
    return f"{clock(event['timestamp'])}  {event['type']:<18}{subject}{printable(said)}"


def clock(ms):
    """Return a time as a person reads it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def printable(text):
    """Return text that moves no cursor and rings no bell: titles come from anywhere."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
