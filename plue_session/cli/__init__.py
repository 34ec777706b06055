"""plue-session: look at sessions, watch them, see that all is well. A host of the C library like any other."""

from plue_session.cli.commands import main  # noqa: F401 (the entry point)
