"""The doctor's check of the OpenCode server that is configured: is it there, does it let us in, does it tell what
happens."""

import os
import shlex
import time
from urllib.parse import urlsplit

from plue_session import errors
from plue_session.adapters.opencode import health
from plue_session.adapters.opencode.api_call import headers
from plue_session.adapters.opencode.process import running, share_of
from plue_session.cli.findings import Finding, package, problem
from plue_session.cli.host import Failure, Host

#: The versions of OpenCode that the library was made for and is tested with.
KNOWN = "1.18."
#: Seconds that a server may take to answer, and its first event to come.
ANSWER, EVENTS = 5.0, 5.0

POINT = (
    "none: sessions live in the store. To use an OpenCode server, name it: PLUE_OPENCODE_URL=http://127.0.0.1:4096, "
    "or backend in the file that PLUE_SESSION_CONFIG names"
)


def examine(settings, environ):
    """Yield the findings about the configured server; `environ` is the environment that one of our own would get."""
    backend = settings.backend
    if backend.kind == "embedded":
        yield Finding("server", "ok", POINT)
        return
    yield package("requests", "requests", "requests>=2.31")
    if not backend.spawn:
        yield from attached(backend)
    elif told := shared(settings, environ):
        yield from joined(backend.spawn.directory, told)
    else:
        yield from own(backend.spawn, environ)


# -- attached by URL ---------------------------------------------------------------------------------------------------
def attached(backend):
    """Yield the findings about a server that somebody else has started."""
    try:
        version = health.probe(backend.url, headers(backend.username, backend.password), ANSWER)
    except errors.AccessDenied:
        given = (
            "the configured username and password"
            if backend.password
            else "us: it wants a password, and none is configured"
        )
        yield Finding(
            "server",
            "problem",
            f"{backend.url} refuses {given}",
            "Set backend.username and backend.password, or OPENCODE_SERVER_USERNAME and OPENCODE_SERVER_PASSWORD.",
        )
        return
    except errors.PlueError as error:
        if isinstance(error, errors.Connection):
            remedy = f"Start it there ({serve(backend.url)}), or correct"
        else:
            remedy = "See what it is that answers there, or does not, and end it; or correct"
        remedy += " backend.url (PLUE_OPENCODE_URL). Until then lists show what was last known, and changes fail."
        yield Finding("server", "problem", f"{backend.url}: {error.cause}", remedy)
        return
    yield known(version, backend.url)
    yield access(backend)
    yield from use(
        backend.directory, "Correct what the message says; the server's own log may tell more.", offline="fail"
    )


def serve(url):
    """Return the command that starts a server where the URL says."""
    parts = urlsplit(url)
    return f"opencode serve --hostname {parts.hostname} --port {parts.port or (443 if parts.scheme == 'https' else 80)}"


def known(version, place):
    text = f"OpenCode {version or 'of an unknown version'} at {place}"
    if version.startswith(KNOWN):
        return Finding("server", "ok", text)
    return Finding(
        "server",
        "note",
        f"{text}; this library knows {KNOWN}x",
        "Should something look odd, try a server of that version.",
    )


def access(backend):
    """Tell whether a password is wanted: OpenCode runs commands for whoever may talk to it."""
    try:
        health.probe(backend.url, headers(None, None), ANSWER)
    except errors.AccessDenied:
        return Finding("access", "ok", f"with a password, as {backend.username or 'opencode'}")
    except errors.PlueError as error:
        return problem("access", error)
    return Finding(
        "access",
        "note",
        "without a password: whoever reaches its port can have it run commands",
        "Start it with OPENCODE_SERVER_PASSWORD set, and give the library the same.",
    )


# -- one of our own ----------------------------------------------------------------------------------------------------
def own(spawn, environ):
    """Yield the findings about a server that the library spawns; it is started, checked and stopped."""
    # The library would choose a password and tell nobody; this one we know.
    given = {**environ, **spawn.env}
    password = given.get("OPENCODE_SERVER_PASSWORD") or os.urandom(24).hex()
    username = given.get("OPENCODE_SERVER_USERNAME")
    env = {**spawn.env, "OPENCODE_SERVER_PASSWORD": password}
    backend = {"kind": "opencode", "spawn": {**vars(spawn), "env": env}}
    words = [*spawn.command, *([] if "serve" in spawn.command[1:] else ["serve"])]
    by_hand = f"See what it says by hand: cd {shlex.quote(spawn.directory)} && {shlex.join(words)}"
    if spawn.env:  # their values may be secret
        by_hand += f", with backend.spawn.env in the environment ({', '.join(spawn.env)})"
    yield from use(spawn.directory, by_hand, headers(username, password), backend=backend)


# -- one of our own that runs already ----------------------------------------------------------------------------------
def shared(settings, environ):
    """Return what is known of the server that another program has spawned and would share, see `process.running`."""
    return running(share_of(settings.data_dir, settings.backend.spawn, environ)) if settings.store == "sqlite" else None


def joined(directory, told):
    """Yield the findings about a server that another program of this configuration runs: it is used, and goes on."""
    try:
        version = health.probe(told["url"], headers(told["username"], told["password"]), ANSWER)
    except errors.PlueError as error:
        yield problem("server", error)
        return
    yield known(version, f"{told['url']}, which another program with this configuration runs")
    yield from use(
        directory,
        "End the programs that use it: the next one starts it anew.",
        backend={"kind": "opencode", "directory": directory, **{k: v for k, v in told.items() if v}},
        offline="fail",
    )


# -- through the library -----------------------------------------------------------------------------------------------
def use(directory, remedy, credentials=None, **config):
    """Yield what the library itself makes of the server: with a store in memory, so that nothing is left of it."""
    began = time.monotonic()
    try:
        with Host(store="memory", **config) as host:
            if credentials is not None:
                yield started(host, credentials, time.monotonic() - began)
            yield Finding("sessions", "ok", f"{len(host.json('plue_session_list'))} of {directory}")
            yield events(host)
    except Failure as failure:
        yield Finding("server", "problem", str(failure), remedy)


def started(host, credentials, seconds):
    url = host.json("plue_get_app_info")["server"].get("url", "")
    try:
        return known(health.probe(url, credentials, ANSWER), f"{url}, started in {seconds:.1f} s")
    except errors.PlueError as error:
        return problem("server", error)


def events(host):
    """Wait for the event stream's beginning."""
    deadline = time.monotonic() + EVENTS
    while time.monotonic() < deadline:
        if host.json("plue_session_sync_status")["server"]["events"]:
            return Finding("events", "ok", "they arrive: what other clients do is seen at once")
        time.sleep(0.05)
    return Finding(
        "events",
        "note",
        f"none within {EVENTS:g} s: what other clients do is seen every syncIntervalMs",
        "See whether a proxy between here and the server holds back /event.",
    )
