"""doctor: what is found of library, Python, server, store, locks and share key; what is wrong with it, and how to mend
it.

It examines a store that does not open too, so it knows the store's files. What it finds well it starts and stops, as
configured: what a start makes or brings up to date is then there. It changes nothing else unless told to.
"""

import json
import os
import platform
import sys
import time

from plue_session import __version__, errors
from plue_session.adapters import remedies
from plue_session.adapters.share_key import NAME as SHARE_KEY
from plue_session.adapters.share_key import ShareKeyFile
from plue_session.adapters.sqlite import failures, files
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.cli import locks, server
from plue_session.cli import settings as configured
from plue_session.cli.findings import Finding, package, problem
from plue_session.cli.host import Failure, Host, library_path, open_library
from plue_session.cli.show import printable

#: Bytes of free space below which a store is about to fail.
LITTLE_SPACE = 16 << 20
#: How the names begin of what is in a data directory.
OURS = "sessions.", "store.", "share.", "server-"


def run(options):
    """Print the findings; 0 when none is a problem."""
    if options.new_store:
        return new_store(options)
    findings = list(examine(options.data_dir))
    problems = sum(finding.state == "problem" for finding in findings)
    if options.json:
        print(
            json.dumps(
                {"healthy": not problems, "findings": [vars(finding) for finding in findings]}, ensure_ascii=False
            )
        )
    else:
        for finding in findings:
            print(f"{finding.state:<9}{finding.check:<11}{printable(finding.text)}")
            if finding.remedy:
                print(f"{'':<20}{printable(finding.remedy)}")
        print("All is well." if not problems else f"{problems} problem{'s' if problems > 1 else ''} found.")
    return 1 if problems else 0


def examine(data_dir):
    """Yield the findings. The last is whether the library starts, tried only if nothing found before prevents it."""
    well = True
    for finding in parts(data_dir):
        well = well and finding.state != "problem"
        yield finding
    if well:
        yield start(data_dir)


def parts(data_dir):
    """Yield the findings, from the library to the share key."""
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield package("cffi", "_cffi_backend", "cffi>=2.0")
    found = library()
    yield found
    try:
        settings = configured.load(data_dir)
    except errors.PlueError as error:
        yield problem("config", error)
        return
    file = os.environ.get("PLUE_SESSION_CONFIG")
    store = settings.store.partition("://")[0]
    yield Finding("config", "ok", f"backend {settings.backend.kind}, store {store}{file and f', from {file}' or ''}")
    yield chosen(settings)
    if found.state == "ok":
        yield from server.examine(settings, os.environ)
    if settings.store == "sqlite":
        yield from at_rest(settings.data_dir)


def chosen(settings):
    """Say what chose the data directory."""
    rule = {"config": "the configuration", "environment": "PLUE_SESSION_DATA_DIR", "passwd": "the passwd database"}
    by = rule.get(settings.data_dir_rule, settings.data_dir_rule)
    return Finding("dataDir", "ok", f"{settings.data_dir}, by {by}")


# -- the library -------------------------------------------------------------------------------------------------------
def library():
    try:
        version = open_library().plue_get_version().decode()
    except Failure as failure:
        text, _, remedy = str(failure).partition(". ")
        return Finding("library", "problem", text, remedy)
    if version != __version__:
        return Finding(
            "library",
            "problem",
            f"{library_path()} has version {version}, the package around it {__version__}",
            "Build it again (make library) or install the package again (pip install --force-reinstall .).",
        )
    return Finding("library", "ok", f"{version} ({library_path()})")


def start(data_dir):
    """Start the library exactly as configured, and stop it."""
    began = time.monotonic()
    try:
        with Host(dataDir=data_dir):
            taken = time.monotonic() - began
    except Failure as failure:
        return Finding("start", "problem", str(failure), "Do what the message says, then run the doctor again.")
    return Finding("start", "ok", f"with this configuration the library was started, in {taken:.1f} s, and stopped")


# -- the store ---------------------------------------------------------------------------------------------------------
def at_rest(data_dir):
    """Yield the findings about the data directory and what is in it."""
    folder = directory(data_dir)
    yield folder
    if folder.state == "problem":
        return
    yield space(data_dir)
    yield store(data_dir)
    users = locks.holders(os.path.join(data_dir, files.HOLD))
    yield Finding("in use", "note" if users else "ok", ", ".join(users) if users else "by no other process")
    yield share_key(data_dir)


def directory(data_dir):
    was_there = os.path.isdir(data_dir)
    try:
        files.make_folder(data_dir)  # as a start does, which also lets the owner into it
    except errors.PlueError as error:
        return problem("data", error)
    if not was_there:
        return Finding("data", "note", f"{data_dir} was not there; it is made now, as a start makes it")
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        text = f"{data_dir} cannot be read and written by this user"
        return Finding("data", "problem", text, remedies.chmod("u+rwx", data_dir))
    if os.stat(data_dir).st_mode & 0o077:
        alone = all(name.startswith(OURS) for name in os.listdir(data_dir))
        remedy = remedies.chmod("700", data_dir) if alone else "Set dataDir to a folder that holds nothing else."
        return Finding("data", "note", f"{data_dir} is open to other users; that may be meant", remedy)
    return Finding("data", "ok", data_dir)


def space(data_dir):
    about = os.statvfs(data_dir)
    free = about.f_bavail * about.f_frsize
    few = free < LITTLE_SPACE
    return Finding("space", "note" if few else "ok", f"{free >> 20} MiB free", "Free some space." if few else "")


def store(data_dir):
    path = os.path.join(data_dir, files.DATABASE)
    try:
        problems, text = inspect(path)
    except errors.PlueError as error:
        return problem("store", error)
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        return Finding("store", "problem", f"{path} is damaged: {problems[0]}{more}", remedies.new_store(data_dir))
    if refused := failures.diagnose(path):  # reading may work where no change does
        reason, remedy = refused
        return Finding("store", "problem", f"the store {path} cannot be written: {reason}", remedy)
    return Finding("store", "ok", text)


def inspect(path):
    """Return `(problems, description)` of the store; raises what keeps it from being opened."""
    if files.is_new(path):
        return [], "none yet; a start makes it"
    version = files.inspect(path)
    if version < len(files.MIGRATIONS):
        return [], f"{path}, schema {version}: a start brings it up to {len(files.MIGRATIONS)}"
    opened = SqliteStore(os.path.dirname(path), "embedded")
    try:
        problems = opened.check()
        sessions = "?" if problems else opened.total()
        return problems, f"{path}: sessions {sessions}, schema {version}, {os.stat(path).st_size >> 10} KiB, sound"
    finally:
        opened.close()


def share_key(data_dir):
    if not os.path.lexists(os.path.join(data_dir, SHARE_KEY)):
        return Finding("share key", "ok", "none yet; made with the first share")
    try:
        ShareKeyFile(data_dir).load()
    except errors.PlueError as error:
        return problem("share key", error)
    return Finding("share key", "ok", "present, and nobody else can read it")


def new_store(options):
    """Move a damaged store aside, with nobody inside."""
    try:
        settings = configured.load(options.data_dir)
        if settings.store != "sqlite":
            raise errors.Unsupported(
                f"the configured store is {settings.store.partition('://')[0]}, not a file",
                "Name the folder: --data-dir.",
            )
        data_dir = os.path.realpath(settings.data_dir)
        damage = damage_of(os.path.join(data_dir, files.DATABASE))
        target = files.move_aside(data_dir)
    except errors.PlueError as error:
        raise Failure.of(error) from None
    if options.json:
        print(json.dumps({"movedTo": target, "damage": damage}, ensure_ascii=False))
    else:
        print(f"Moved the damaged store to {target} ({damage}). The library begins a new one when it starts.")
    return 0


def damage_of(path):
    """Say what is wrong with the store; `CONFLICT` when nothing is."""
    try:
        problems, _ = inspect(path)
    except errors.Integrity as error:
        return error.cause
    if problems:
        return problems[0]
    if files.is_new(path):
        raise errors.NotFound(f"there is no store in {os.path.dirname(path)}", "Nothing needs to be done.")
    raise errors.Conflict(
        f"the store {path} is sound; nothing was moved",
        "To begin anew all the same, end every program that uses it and rename the file.",
    )
