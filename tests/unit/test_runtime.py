"""The runtime: what a configuration builds, and that a failure leaves nothing open."""

import json
import os

import pytest

from plue_session import config, runtime
from plue_session.errors import Connection, InvalidParam, StoreIo, Unsupported
from plue_session.model import EVENT_NUMBER
from plue_session.runtime import Runtime
from tests.recording import RecordingPublisher


def run(config, environment=None):
    return Runtime(json.dumps(config), (environment or {}).get, RecordingPublisher(), "/lib/libplue_session.so")


def open_files(folder):
    links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return [link for link in links if link.startswith(str(folder))]


def test_what_this_version_does_not_have_is_refused_by_name(tmp_path):
    with pytest.raises(Unsupported, match="is not part of version"):
        run({"dataDir": str(tmp_path / "data"), "store": "postgresql://host/db"})
    assert not (tmp_path / "data").exists()


def test_the_environment_can_ask_for_a_server(tmp_path):
    with pytest.raises(Connection, match="cannot be reached"):
        run(
            {"dataDir": str(tmp_path), "offline": "fail", "requestTimeoutMs": 300},
            {"PLUE_OPENCODE_URL": "http://127.0.0.1:1"},
        )
    assert open_files(tmp_path) == []


@pytest.mark.requirement("X-007")
def test_a_start_that_fails_late_closes_what_it_had_opened(tmp_path):
    with pytest.raises(StoreIo, match="log file"):
        run({"dataDir": str(tmp_path / "data"), "log": {"file": str(tmp_path / "nowhere" / "log")}})
    assert open_files(tmp_path) == []


def test_a_configuration_error_comes_before_anything_is_made(tmp_path):
    with pytest.raises(InvalidParam, match="retry.attemps"):
        run({"dataDir": str(tmp_path / "data"), "retry": {"attemps": 1}})
    assert not (tmp_path / "data").exists()


def test_the_library_describes_itself(tmp_path):
    runtime = run({"dataDir": str(tmp_path / "data")})
    info = json.loads(runtime.app_info())
    assert (
        info["paths"]["dataDir"] == str(tmp_path / "data")
        and info["paths"]["dataDirRule"] == "config"
        and info["store"] == "sqlite"
        and info["backend"] == "embedded"
    )
    assert info["server"] == {"running": False} and info["uptimeMs"] >= 0
    assert runtime.watched() == (str(tmp_path / "data"), "sessions.lock")
    runtime.close()
    runtime.close()
    assert open_files(tmp_path) == []


def test_a_store_in_memory_is_watched_for_nobody():
    runtime = run({"store": "memory"})
    assert runtime.watched() is None
    runtime.close()


def test_coming_going_and_warnings_are_told_but_not_stored():
    runtime = run({"store": "memory"})
    runtime.greet()
    runtime.log.write("warning", "look out")
    runtime.farewell()
    kinds = [call[1] for call in runtime.publisher.calls if call[0] == "transient"]
    assert kinds == [EVENT_NUMBER[name] for name in ("library.initialized", "log", "library.shutdown")]
    assert runtime.store.events_after(0, 10) == []
    runtime.close()


def test_a_gap_says_from_where_to_where_and_how_things_stand():
    runtime = run({"store": "memory"})
    session = runtime.writer.run(runtime.sessions.create().preview)
    row = runtime.observations.gap(None, 0, "trimmed")
    gap = json.loads('{"x":0' + row.tail)["data"]
    assert gap["reason"] == "trimmed" and gap["latestRevision"] == row.id == 1
    assert gap["requestedCursor"] != gap["latestCursor"]
    assert [info["id"] for info in gap["sessions"]] == [session.id]
    runtime.close()


def scope(environ=None, **backend):
    given = json.dumps({"backend": {"kind": "opencode", **backend}})
    return runtime.scope_of(config.load(given, {}).backend, environ or {})


def test_sessions_belong_to_a_server_and_a_directory_however_these_are_spelled(tmp_path):
    there = str(tmp_path)
    (tmp_path / "link").symlink_to(there)
    assert scope(url="http://LOCALHOST:4096/", directory=there) == scope(
        url="http://localhost:4096", directory=there + "/link/."
    )
    assert scope(url="http://localhost:4096/A", directory=there) != scope(
        url="http://localhost:4096/a", directory=there
    )
    assert scope(url="http://localhost:4096", directory=there) != scope(url="http://localhost:4096", directory="/")


def test_a_place_that_is_not_utf8_can_be_stored(tmp_path):
    odd = scope(
        environ={"XDG_DATA_HOME": b"/tmp/\xff".decode("utf-8", "surrogateescape")}, spawn={"directory": str(tmp_path)}
    )
    assert odd.encode() and odd != scope(
        environ={"XDG_DATA_HOME": b"/tmp/\xfe".decode("utf-8", "surrogateescape")}, spawn={"directory": str(tmp_path)}
    )


def test_what_a_spawned_server_has_depends_on_where_it_keeps_it(tmp_path):
    def spawned(environ=None, **env):
        return scope(environ, spawn={"directory": str(tmp_path), "env": env})

    assert spawned({"HOME": "/h"}) == spawned({"XDG_DATA_HOME": "/h/.local/share"}) == spawned(HOME="/h")
    assert (
        len(
            {
                spawned({"HOME": "/h"}),
                spawned({"HOME": "/h"}, XDG_DATA_HOME="/x"),
                spawned({"HOME": "/h"}, OPENCODE_DB="/db"),
            }
        )
        == 3
    )
