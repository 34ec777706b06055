"""plue-session: look at sessions, change them, watch them, see that all is well. A host of the C library like any
other."""

from plue_session.cli import interrupt


def main(arguments=None):
    """Run the command; returns its exit code. The entry point."""
    interrupt.begin()
    from plue_session.cli import commands  # from here on Ctrl-C may come at any moment

    return commands.main(arguments)
