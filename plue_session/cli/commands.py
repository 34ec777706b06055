"""The command line: what can be asked, and how it ends.

Exit codes: 0 done; 1 it failed, or the doctor found a problem; 2 the command line is wrong; 130 interrupted by Ctrl-C;
141 nobody reads the output any more. Answers go to stdout, everything else to stderr.
"""

import argparse
import os
import shlex
import sys

from plue_session import __version__
from plue_session.cli import agents, change, chat, demo, doctor, show
from plue_session.cli.host import Failure

#: The largest number that an option takes; seconds, that is 31 years.
MOST = 10**9
EPILOG = (
    "Exit codes: 0 done; 1 failed, or a problem was found; 2 wrong command line; 130 interrupted (not in "
    "the first 20 ms, in which Python itself starts); 141 output closed."
)


def main(arguments=None):
    """Run the command; returns its exit code."""
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, "w")
    options = argparse.Namespace(prog="plue-session")
    try:
        try:
            parser().parse_args(arguments, options)
        except SystemExit as end:  # after --help, too
            code = end.code
        else:
            # Titles may hold what the terminal's encoding does not; JSON is UTF-8 wherever it goes.
            sys.stdout.reconfigure(encoding="utf-8" if options.json else None, errors="backslashreplace")  # type: ignore[union-attr]
            check_folder(options)
            code = options.run(options)
        sys.stdout.flush()
        return code
    except Failure as failure:
        return complain(options, failure)
    except BrokenPipeError:
        drop_output()
        return 141
    except OSError as error:
        drop_output()
        return complain(
            options,
            f"{error.strerror}{f': {error.filename}' if error.filename else ''}. "
            "Check the place, its permissions and the free space.",
        )


def check_folder(options):
    """Refuse a folder that is named and not there: a slip of the fingers would look like an empty store."""
    folder = options.data_dir
    if folder is None:
        return
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise Failure("--data-dir is not UTF-8. Name the folder by PLUE_SESSION_DATA_DIR instead.") from None
    if not options.makes_folder and not os.path.lexists(folder):
        raise Failure(
            f"there is no folder {folder}. Correct --data-dir; "
            f"`plue-session create --data-dir {shlex.quote(folder)}` makes a new one."
        )


def drop_output():
    """Let go of what could not be written: the flush at exit would complain about it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(options, what):
    print(f"{options.prog}: {show.printable(str(what))}", file=sys.stderr)
    return 1


def parser():
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="plue-session", description="Look at and change the sessions of plue_session.", epilog=EPILOG
    )
    top.add_argument("--version", action="version", version=f"plue-session {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, run, about, session=False, makes_folder=False):
        command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=EPILOG)
        command.set_defaults(run=run, prog=command.prog, makes_folder=makes_folder)
        if session:
            command.add_argument("session", metavar="ID_OR_KEY")
        command.add_argument("--data-dir", metavar="DIR", help="the store's folder; default as for plue_init(NULL)")
        command.add_argument("--json", action="store_true", help="print JSON")
        return command

    trial = add("demo", demo.run, "create, rename, query, share and delete a session, and tell what happens")
    trial.add_argument(
        "--keep", action="store_true", help="keep the session, and the store if it was made for the demo"
    )
    check = add(
        "doctor",
        doctor.run,
        "see whether a start works as configured, and how to mend what is in its way; it does start and stop",
        makes_folder=True,
    )
    check.add_argument(
        "--new-store",
        action="store_true",
        help="move a damaged store aside, so that the library begins a new one; refused while it is in use",
    )
    for reader in (
        add("list", show.list_sessions, "list all sessions, the last changed first"),
        add("info", show.info, "show one session", session=True),
        add("agents", agents.agents, "list the agents of sessions: state, memory, last activity, command"),
    ):
        reader.add_argument(
            "--fresh", action="store_true", help="if the library is to spawn the server, start it for this, and ask it"
        )
    create = add("create", change.create, "create a session and print its id", makes_folder=True)
    create.add_argument("title", nargs="?", metavar="TITLE")
    create.add_argument("--key", help="a name of your own for it, which no other session has")
    create.add_argument("--description", metavar="TEXT")
    create.add_argument("--tag", action="append", help="may be given several times")
    create.add_argument("--parent", metavar="ID", help="the session that it is a child of")
    rename = add("rename", change.rename, "give a session another title", session=True)
    rename.add_argument("title", metavar="TITLE")
    tag = add("tag", change.tag, "add tags to a session, or remove some", session=True)
    tag.add_argument("tags", nargs="*", default=[], metavar="TAG")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG", help="may be given several times")
    add("delete", change.delete, "delete a session and all that belongs to it", session=True)
    add("share", change.share, "share a session and print the link, secret included", session=True)
    add("unshare", change.unshare, "end the share of a session", session=True)
    talk = add(
        "chat", chat.chat, "talk to a session's model, or to an agent; Ctrl-C ends the turn, a second one leaves"
    )
    talk.add_argument(
        "place", nargs="?", metavar="ID_OR_KEY | FOLDER", help="the session; with --agent the folder to work in (here)"
    )
    talk.add_argument(
        "--agent",
        metavar="COMMAND",
        help="start this agent of the Agent Client Protocol for a new session, such as codex-acp or 'opencode acp'",
    )
    talk.add_argument(
        "--model", type=model, metavar="P/M", help="the provider and model to ask, such as anthropic/claude-sonnet-4"
    )
    talk.set_defaults(misused=talk.error)
    add("config", show.config, "show the configuration that a start would use, without its secrets")
    pending = add("pending", show.pending, "list the changes that the server is yet to be told, and those in conflict")
    pending.add_argument(
        "--fresh", action="store_true", help="if the library is to spawn the server, start it for this, and send them"
    )
    watch = add("watch", show.watch, "print events as they happen, one per line, until Ctrl-C; and where to go on")
    watch.add_argument(
        "--from", dest="cursor", metavar="CURSOR", help="begin after this one, as an earlier watch has named it"
    )
    watch.add_argument("--count", type=positive(int), metavar="N", help="end after N events")
    watch.add_argument(
        "--timeout",
        type=positive(float),
        metavar="S",
        help="end after S seconds; with --count, that is a failure (exit 1)",
    )
    return top


def model(text):
    """Return `PROVIDER/MODEL` as an input names it."""
    provider, _, name = text.partition("/")
    if not (provider and name):
        raise argparse.ArgumentTypeError(f"{text} does not name both, such as anthropic/claude-sonnet-4")
    return {"providerId": provider, "modelId": name}


def positive(kind):
    """Return a converter of an argument to a number greater than zero, and of seconds that a wait may take."""

    def convert(text):
        value = kind(text)
        if not 0 < value <= MOST:
            raise argparse.ArgumentTypeError(f"{text} is not greater than zero, or greater than {MOST}")
        return value

    convert.__name__ = "number"
    return convert
