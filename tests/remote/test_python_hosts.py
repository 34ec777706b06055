"""Hosts that are Python themselves: what the backend needs is there before plue_init returns, or it says what lacks."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from plue_session import errors
from plue_session.adapters.opencode import needs
from tests import support
from tests.opencode.stub import Stub, reply

HOST = Path(__file__).parent / "python_host.py"
SESSION = {"id": "ses_a", "title": "T", "directory": "/", "version": "1", "time": {"created": 1, "updated": 2}}


def answer(method, target):
    path = target.partition("?")[0]
    known = {
        "/session": {**SESSION, "id": f"ses_{len(made)}"} if method == "POST" and not made.append(1) else [SESSION],
        "/session/status": {},
        "/permission": [],
        "/config/providers": {"providers": [{"id": "fake", "models": {"fake-model": {}}}]},
    }
    if path in known:
        return reply(200, known[path])
    _, _, name, *rest = path.split("/") + [""]
    here = {**SESSION, "id": name}
    if path.startswith("/session/"):
        return reply(
            200,
            {"": here, "message": [], "abort": True, "share": here, "fork": {**SESSION, "id": "ses_fork"}}.get(
                "".join(rest), here
            )
            if method != "DELETE" or rest[0]
            else True,
        )
    return reply(404)


made = []


@pytest.fixture
def run(plain, tmp_path):
    """`run(prelude, after)` runs tests/remote/python_host.py and returns what it says; with `backend` "embedded"
    without a server."""
    with Stub(answer) as stub:

        def run(prelude="", after="", backend="opencode", options=("-I", "-S"), library=plain.path, **more):
            place = (
                {"kind": "opencode", "url": stub.url, "directory": str(tmp_path)}
                if backend == "opencode"
                else {"kind": backend}
            )
            config = json.dumps(
                {"dataDir": str(tmp_path / "store"), "backend": place, "requestTimeoutMs": 5000, **more}
            )
            done = support.run(
                [sys.executable, *options, HOST, library, config, prelude, after],
                env=support.environment(tmp_path, watched=False),
                code=None,
            )
            assert (done.returncode, done.err) == (0, ""), done.err[-3000:]
            return json.loads(done.out.splitlines()[-1])

        yield run


def all_work(said):
    return said["init"] == "ok" and {outcome for name, outcome in said["calls"].items() if name != "abort_turn"} == {
        "ok"
    }


def test_a_python_without_requests_uses_ours_and_its_path_is_as_before(run):
    """plue_init said 0, and each call was UNKNOWN."""
    said = run()
    assert all_work(said) and said["path is kept"], said


@pytest.mark.parametrize("backend", ["opencode", "embedded"])
def test_after_the_start_the_package_may_be_replaced(run, plain, tmp_path, backend):
    copy = tmp_path / "copy"
    shutil.copytree(plain.package, copy / "plue_session")
    said = run(
        after=f"import shutil; shutil.rmtree({str(copy)!r})",
        backend=backend,
        library=copy / "plue_session" / "lib" / "libplue_session.so",
    )
    if backend == "embedded":  # it takes from Python's own library what it needs when it does
        assert said["calls"].pop("fork").startswith("-25 ") and not [
            name for name in said["imported later"] if name.startswith("plue_session")
        ]
    else:
        assert said["imported later"] == []
    assert all_work(said), said


def test_the_embedded_backend_imports_none_of_it(run):
    said = run(backend="embedded")
    assert said["init"] == "ok" and said["has"] == [] and said["calls"]["create"] == "ok"


@pytest.mark.parametrize("lacking", ["requests", "urllib3", "certifi", "ssl"])
def test_what_lacks_is_named_with_the_way_to_install_it(run, lacking):
    said = run(prelude=f"import sys; sys.modules[{lacking!r}] = None")
    code, _, text = said["init"].partition(" ")
    assert code == "-26" and lacking in text and "pip install 'requests>=2.31'" in text and said["path is kept"], said


def test_our_folders_leave_the_path_by_value_whatever_the_host_does_with_it_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "meddling.py").write_text("import sys; sys.path.insert(0, '/added'); sys.path.append('/appended')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(needs, "MODULES", ("meddling",))
    before, places = list(sys.path), [str(tmp_path), "/site"]
    needs.load(places)
    assert sys.path == ["/added", *before, "/appended"]
    (tmp_path / "clearing.py").write_text("import sys; sys.path = ['/x']; raise ValueError('odd')\n")
    monkeypatch.setattr(needs, "MODULES", ("clearing",))
    with pytest.raises(errors.Runtime, match="ValueError: odd"):
        needs.load(places)
    assert sys.path == ["/x"]


PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
#: Eight threads of the system's that make the library's own wait for each other.
CROWD = """
if "gevent.monkey" in sys.modules:
    names = "start_new_thread", "allocate_lock"
    start, lock = (sys.modules["gevent.monkey"].get_original("_thread", name) for name in names)
else:
    thread = sys.modules["eventlet.patcher"].original("_thread")
    start, lock = thread.start_new_thread, thread.allocate_lock
sys.setswitchinterval(1e-6)
ends, said["failed"] = [], []
def work(end):
    for _ in range(60):
        session = plue.plue_session_create(None)
        titled = session and plue.plue_session_update_title(session, b"x") == 0
        if not (titled and texts["query"](b"{}") and texts["create_share"](session)):
            said["failed"].append(plue.plue_get_last_error().decode())
    end.release()
for _ in range(8):
    ends.append(lock())
    ends[-1].acquire()
    start(work, (ends[-1],))
for end in ends:
    end.acquire()
"""


@pytest.mark.parametrize("name", PATCHES)
def test_a_patched_host_is_refused_with_the_reason_where_there_is_a_server(run, name):
    """Calls failed with "Cannot switch to a different thread", and tracebacks were on the host's stderr."""
    said = run(prelude=PATCHES[name], options=("-I", "-W", "ignore"))
    code, _, text = said["init"].partition(" ")
    assert code == "-26" and name in text and "monkey patching" in text, said


@pytest.mark.parametrize("store", ["sqlite", "memory"])
@pytest.mark.parametrize("name", PATCHES)
def test_a_patched_host_may_use_the_embedded_backend_from_many_threads(run, name, store):
    """It waited for ever, or failed, as soon as two threads of the library's met at one lock."""
    said = run(prelude=PATCHES[name], options=("-I", "-W", "ignore"), backend="embedded", after=CROWD, store=store)
    assert said["failed"] == [] and said["calls"].pop("fork").startswith("-25 ") and all_work(said), said


def test_gevent_that_is_only_imported_is_no_reason(run):
    said = run(prelude="import gevent, gevent.monkey, eventlet, eventlet.patcher", options=("-I", "-W", "ignore"))
    assert all_work(said), said
