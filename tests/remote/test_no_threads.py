"""No thread can be started any more: what serves a call says so, what ends something needs none, and no server is
blamed."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests import support
from tests.opencode.stub import Stub, reply

FOLDER = Path(__file__).parent
SESSION = {"id": "ses_a", "title": "T", "directory": "/", "version": "1", "time": {"created": 1, "updated": 2}}


def answer(method, target):
    path = target.partition("?")[0]
    known = {
        "/session": SESSION if method == "POST" else [],
        "/session/status": {},
        "/session/ses_a": SESSION,
        "/permission": [],
        "/session/ses_a/message": [],
        "/session/ses_a/abort": True,
    }
    return reply(200, known[path]) if path in known else reply(404)


@pytest.fixture
def threadless(plain, no_threads, tmp_path):
    """`threadless(walk)` runs threadless.py with a server of its own, which it spawns."""
    with Stub(answer) as stub:

        def run(walk):
            serve = f"echo opencode server listening on {shlex.quote(stub.url)}; exec sleep 600"
            config = {
                "dataDir": str(tmp_path / "store"),
                "requestTimeoutMs": 5000,
                "backend": {
                    "kind": "opencode",
                    "spawn": {"command": ["sh", "-c", serve, "sh"], "directory": str(tmp_path)},
                },
            }
            done = support.run(
                [
                    sys.executable,
                    FOLDER / "threadless.py",
                    plain.path,
                    plain.package / "prototypes.py",
                    json.dumps(config),
                    walk,
                ],
                env=support.environment(tmp_path, watched=False, LD_PRELOAD=no_threads, PATH="/usr/bin:/bin"),
            )
            assert done.err == ""
            return json.loads(done.out)

        yield run


def test_whichever_thread_cannot_be_started_at_init_the_reason_is_told_and_nothing_is_left(threadless):
    said = threadless("init")
    assert len(said["refused"]) > 5 and said["refused"].pop() is None
    for problem in said["refused"]:
        code, _, text = problem.partition(" ")
        assert code in ("-7", "-26") and "thread" in text and "-u)" in text, (
            problem
        )  # of the watch: "no descriptor, thread or memory is left"
    assert (said["shutdown"], said["left"], said["again"]) == ("ok", False, "ok")


@pytest.mark.requirement("P-112")
@pytest.mark.parametrize("walk", ["cold", "warm"])
def test_without_threads_calls_go_on_and_the_shutdown_ends_server_and_store_all_the_same(threadless, walk):
    """Neither a kept connection nor a new one needs a thread; only a name is looked up on one."""
    said = threadless(walk)
    assert said["calls"] == {"create": "ok", "sync": "ok", "abort": "ok"}
    assert (said["shutdown"], said["left"], said["again"]) == ("ok", False, "ok")
