"""A process dies after it has committed and before it could say so."""

import shutil
import time

import pytest

from tests import support
from tests.peers import Peer


@pytest.mark.requirement("P-061", "P-144")
def test_change_of_a_process_that_was_killed_before_it_could_tell_is_seen_all_the_same(folder):
    """Between COMMIT and the write to sessions.lock that wakes the others: they look by themselves every five
    seconds."""
    library, strace = support.library(), shutil.which("strace")
    assert strace, "install strace: apt-get install strace"
    with Peer(library, folder) as one:
        session = one.session_create(None)
        one.session_update_title(session, "before")
        one.subscribe()
        told = (folder / "sessions.lock").read_bytes()
        killed = [
            strace,
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            folder / "sessions.lock",
            "-e",
            "trace=pwrite64",
            "-e",
            "inject=pwrite64:signal=SIGKILL:when=1",
        ]
        with Peer(library, folder, under=killed) as other:
            theirs = other.session_open(one.session_get_id(session))
            last_word = other.start("session_update_title", theirs, "from the killed one")
            with pytest.raises(AssertionError, match="the process died"):
                last_word.result()
            died = time.monotonic()
        assert (folder / "sessions.lock").read_bytes() == told, "it was killed too late to show anything"
        assert one.list()[0]["title"] == "from the killed one"
        event, at = one.event(timeout=10)
        while event["type"] != "session.updated" or event["data"]["title"] == "before":
            event, at = one.event(timeout=10)
        assert event["data"]["title"] == "from the killed one" == one.info(session)["title"]
        assert at - died < 7  # five, on a machine that is shared
