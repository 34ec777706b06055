"""Hosts that make it hard (c_tests/hostile.c, c_tests/forks.c): the library works or says why not, prints nothing, and
the host lives on."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests import support
from tests.integration.mounts import mounted
from tests.peers import Peer

EVIL = "import os\nos.write(2, b'evil was imported\\n')\nos._exit(66)\n"
MODULES = (
    "json",
    "sqlite3",
    "threading",
    "encodings",
    "sitecustomize",
    "usercustomize",
    "_cffi_backend",
    "plue_session",
    "os",
    "signal",
    "site",
)


@pytest.fixture(scope="module")
def hostile(plain):
    return plain.compile(support.PROGRAMS / "hostile.c")


@pytest.fixture(scope="module")
def forking(plain):
    return plain.compile(support.PROGRAMS / "forks.c")


@pytest.fixture
def evil(tmp_path):
    """A folder with modules that end whoever imports them."""
    path = tmp_path / "evil"
    path.mkdir()
    for name in MODULES:
        (path / f"{name}.py").write_text(EVIL)
    return path


def host(program, how, folder, *arguments, code=0, **options):
    more = options.pop("env", {})
    return support.run(
        [program, how, *arguments],
        env=support.environment(folder, **more),
        code=code,
        silent=True,
        timeout=60,
        **options,
    )


@pytest.mark.requirement("X-014", "X-013")
def test_works_with_an_empty_environment_from_the_root(hostile, folder):
    host(hostile, "use", folder, cwd="/")


@pytest.mark.requirement("X-014", "T-09")
def test_ignores_what_the_environment_says_of_python(hostile, folder, evil):
    host(
        hostile,
        "use",
        folder,
        env={
            "PYTHONHOME": "/nonexistent",
            "PYTHONPATH": evil,
            "PYTHONSTARTUP": evil / "os.py",
            "PYTHONVERBOSE": "1",
            "PYTHONUSERBASE": evil,
            "PYTHONFAULTHANDLER": "1",
            "PYTHONDEVMODE": "1",
            "PYTHONINSPECT": "1",
            "HOME": evil,
            "PYTHONMALLOC": "debug",
            "PYTHONWARNINGS": "error",
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "tr_TR.ISO-8859-9",
        },
    )


@pytest.mark.requirement("X-014")
def test_ignores_modules_in_the_working_directory(hostile, folder, evil):
    host(hostile, "use", folder, cwd=evil)


@pytest.mark.requirement("X-014")
def test_works_without_dev_null(hostile, folder):
    """As in a bare container: there is a /dev, and nothing in it."""
    support.run(
        ["unshare", "--mount", "sh", "-euc", f'mount -t tmpfs none /dev && exec "{hostile}" use'],
        env=support.environment(folder),
        silent=True,
    )


@pytest.mark.requirement("X-014")
def test_works_from_a_working_directory_that_is_gone(hostile, folder, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    support.run(
        ["/bin/sh", "-c", f'cd "{gone}" && rmdir "{gone}" && exec "{hostile}" use'],
        env=support.environment(folder),
        silent=True,
    )


@pytest.mark.requirement("X-014")
def test_finds_its_own_libpython_whatever_the_linker_is_told(hostile, folder, tmp_path):
    """LD_LIBRARY_PATH with a libpython of that name that is not one: taking it would not even start."""
    name = sysconfig.get_config_var("INSTSONAME") or sysconfig.get_config_var("LDLIBRARY")
    (tmp_path / "c.c").write_text("int unused;\n")
    support.run(["gcc", "-shared", "-o", tmp_path / name, tmp_path / "c.c", f"-Wl,-soname,{name}"], env=os.environ)
    host(hostile, "use", folder, env={"LD_LIBRARY_PATH": tmp_path})


@pytest.mark.requirement("X-010", "X-014")
def test_works_when_loaded_privately_and_again(plain, folder):
    program = support.library().compile(support.PROGRAMS / "loader.c", "-Wl,--as-needed")
    assert (
        "plue_session"
        not in support.run(["readelf", "-d", program], env=os.environ)
        .out.replace("RPATH", "")
        .split("Shared library", 1)[0]
    )
    support.run([program, plain.path, f'{{"dataDir":"{folder}"}}'], env=support.environment(folder), silent=True)


@pytest.mark.requirement("X-014")
def test_takes_no_standard_descriptor_that_the_host_has_closed(hostile, folder):
    """What the host prints later must not end in a file of ours."""
    host(hostile, "closed_descriptors", folder, env={})


@pytest.mark.requirement("X-011")
def test_every_function_fits_the_smallest_stack(hostile, folder):
    host(hostile, "small_stacks", folder)


@pytest.mark.requirement("X-011")
def test_library_threads_do_not_take_over_a_tiny_stack_limit(hostile, folder):
    support.run(
        ["/bin/sh", "-c", f'ulimit -s 256 && exec "{hostile}" use'], env=support.environment(folder), silent=True
    )


@pytest.mark.requirement("T-09", "X-007")
def test_lack_of_descriptors_fails_cleanly_and_passes(hostile, folder):
    host(hostile, "few_descriptors", folder)


@pytest.mark.requirement("T-09", "X-007")
def test_lack_of_room_for_threads_fails_cleanly_and_passes(hostile, folder):
    host(hostile, "few_threads", folder)


def test_leaves_signals_locale_rounding_environment_and_limits_alone(hostile, folder):
    host(hostile, "untouched", folder, env={"LC_ALL": "C.UTF-8"})


def test_interrupt_still_ends_the_host(hostile, folder):
    host(hostile, "interrupted", folder, code=-signal.SIGINT)


def test_interrupted_system_calls_are_no_failures(hostile, folder):
    host(hostile, "storm", folder)


@pytest.mark.requirement("X-015")
def test_forked_children_are_refused_and_never_hang(forking, folder):
    host(forking, "forked", folder)


def lock(file):
    """Return whether the file could be locked."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.mark.requirement("X-015", "X-024")
def test_children_of_raw_fork_and_clone_are_refused_too(forking, folder):
    host(forking, "cloned", folder)


@pytest.mark.requirement("X-015")
def test_forked_child_does_not_keep_the_store_of_its_dead_parent(forking, folder):
    parent = subprocess.Popen([forking, "orphan"], env=support.environment(folder), stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # the child is there
        for name in ("store.lock", "sessions.lock"):
            with open(folder / name, "r+b") as file:
                until = time.monotonic() + 10  # a busy machine may not have let the child run yet
                while not lock(file):
                    assert time.monotonic() < until
                    time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("how", ["exit", "_exit", "return", "thread"])
def test_host_may_end_with_calls_in_flight(forking, folder, how):
    for _ in range(5):
        host(forking, "leave", folder, how)


@pytest.mark.requirement("T-09", "P-163")
def test_data_dir_that_is_a_file_is_named(hostile, tmp_path):
    (tmp_path / "store").write_text("a file")
    host(hostile, "fail", tmp_path / "store", "-7", str(tmp_path / "store"))
    assert (tmp_path / "store").read_text() == "a file"


@pytest.mark.requirement("T-09")
def test_data_dir_that_cannot_be_written_is_named(hostile, folder):
    """Also for root: chattr would be needed for a folder of ours, /proc refuses everybody."""
    host(hostile, "fail", "/proc/self", "-7", "/proc/self")


def test_a_user_without_a_passwd_entry_has_a_data_dir_below_home(plain, tmp_path):
    start = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).plue_init(None) and 7)"
    command = ["unshare", "--user", "--map-user=54321", sys.executable, "-I", "-c", start, plain.path]
    support.run(command, env={"HOME": str(tmp_path)}, silent=True)
    assert (tmp_path / ".local/share/plue_session/sessions.db").exists()
    support.run(command, env={}, code=7, silent=True)


@pytest.mark.requirement("T-09")
def test_data_dir_of_a_read_only_file_system_is_named(hostile, tmp_path):
    with mounted(tmp_path, "ro") as disk:
        host(hostile, "fail", disk, "-7", str(disk))


@pytest.mark.requirement("P-144")
def test_limit_on_file_size_fails_calls_and_does_not_kill_the_host(hostile, folder):
    """The signal that comes with it (SIGXFSZ) ends a process that has not asked for it: library threads block it."""
    host(hostile, "limited", folder)


@pytest.mark.requirement("P-144")
def test_full_disk_fails_calls_until_there_is_room(hostile, tmp_path):
    with mounted(tmp_path, "size=16m") as disk:
        (disk / "ballast").write_bytes(bytes(4 << 20))
        (disk / "store").mkdir()
        host(hostile, "full", disk / "store")


@pytest.mark.requirement("P-097", "P-144")
def test_share_key_that_does_not_fit_on_the_disk_is_an_error_that_says_so_and_leaves_nothing(plain, tmp_path):
    with mounted(tmp_path, "size=8m") as disk, Peer(plain, disk / "store") as peer:
        session = peer.session_create(None)
        before = peer.session_get_info(session)
        ballast = open(disk / "ballast", "wb", buffering=0)
        with pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(bytes(4096))
        ballast.close()
        for _ in range(2):
            error = peer.start("session_create_share", session).failure()
            assert (
                error.code == "IO"
                and "share.key" in error.message
                and "No space left" in error.message
                and "Free some space." in error.message
            )
            assert not list((disk / "store").glob("share.key*")) and peer.session_get_info(session) == before
        (disk / "ballast").unlink()
        share = json.loads(peer.session_create_share(session))
        peer.session_validate_share(peer.session_get_id(session), share["secret"])
        assert [file.name for file in (disk / "store").glob("share.key*")] == ["share.key"]


DAMAGE = {
    "no database": lambda data: b"this is no database" * 500,
    "header": lambda data: b"\xff" * 100 + data[100:],
    "pages": lambda data: data[:4096] + b"\xa5" * (len(data) - 4096),
    "half a page": lambda data: data[: len(data) // 2 + 100],
    "another's": lambda data: data[:68] + b"\0\0\0\1" + data[72:],
}


@pytest.mark.requirement("P-147", "T-09")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_store_is_refused_each_time_and_never_written(hostile, folder, damage):
    host(hostile, "use", folder)
    database = folder / "sessions.db"
    with sqlite3.connect(database) as connection:  # all of it into the one file
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    broken = DAMAGE[damage](database.read_bytes())
    database.write_bytes(broken)
    for _ in range(2):
        host(hostile, "fail", folder, "-23", "plue-session doctor")
        assert database.read_bytes() == broken


@pytest.mark.requirement("T-09")
def test_library_without_its_package_says_what_to_install(hostile, plain, folder, tmp_path):
    lone = tmp_path / "plue_session" / "lib"
    shutil.copytree(plain.lib, lone)
    host(
        hostile,
        "fail",
        folder,
        "-26",
        "pip install",
        "for ever",
        env={"LD_LIBRARY_PATH": lone, "LD_PRELOAD": lone / "libplue_session.so.0"},
    )


@pytest.mark.requirement("T-09")
def test_library_beside_a_package_of_another_build_is_refused(hostile, plain, folder, tmp_path):
    other = tmp_path / "plue_session"
    shutil.copytree(plain.package, other, ignore=shutil.ignore_patterns("__pycache__"))
    surface = other / "capi" / "surface" / "library.py"
    surface.write_text(
        surface.read_text()
        + '\n\n@export(time="local", executor="read")\ndef plue_more(runtime) -> OwnedText:\n    """More."""\n'
    )
    host(
        hostile,
        "fail",
        folder,
        "-26",
        "different builds",
        "for ever",
        env={"LD_PRELOAD": other / "lib" / "libplue_session.so.0"},
    )


@pytest.mark.requirement("T-09")
def test_package_that_raises_is_reported_with_its_cause(hostile, plain, folder, tmp_path):
    other = tmp_path / "plue_session"
    shutil.copytree(plain.package, other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "errors.py").write_text("raise ImportError('gone: \U0001f4a5')\n")
    host(
        hostile,
        "fail",
        folder,
        "-26",
        "gone: \U0001f4a5",
        "for ever",
        env={"LD_PRELOAD": other / "lib" / "libplue_session.so.0"},
    )


@pytest.mark.requirement("X-013", "X-014")
def test_environment_that_talks_while_python_starts_is_not_heard(hostile, plain, folder, tmp_path):
    """A .pth file that fails, or prints: `site` reports it on the standard error stream, which is the host's."""
    venv = tmp_path / "venv"
    site = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}").symlink_to(Path(sys.executable).resolve())
    (venv / "pyvenv.cfg").write_text(
        f"home = {Path(sys.executable).resolve().parent}\ninclude-system-site-packages = false\n"
    )
    (site / "broken.pth").write_text("import a_module_that_is_not_there\n")
    (site / "chatty.pth").write_text(
        "import sys; print('hello'); print('hello', file=sys.stderr); sys.stderr.write('hello')\n"
    )
    (site / "sitecustomize.py").write_text("raise RuntimeError('hello')\n")
    import _cffi_backend

    shutil.copy(_cffi_backend.__file__, site)
    shutil.copytree(plain.package, site / "plue_session", ignore=shutil.ignore_patterns("__pycache__"))
    host(hostile, "use", folder, env={"LD_PRELOAD": site / "plue_session" / "lib" / "libplue_session.so.0"})


def test_host_with_an_interrupt_handler_keeps_it_while_python_starts(plain, folder):
    program = plain.compile(support.ROOT / "tests" / "integration" / "hosts" / "interrupted.c")
    support.run([program], env=support.environment(folder), silent=True, timeout=60)
