"""How plue-session ends when it is interrupted, or when nobody reads what it prints."""

import contextlib
import os
import select
import signal
import subprocess

import pytest

from tests.integration.shell import answering, attach, configure, demonstrated, kept, project, shell  # noqa: F401
from tests.opencode.stub import Stub

#: Seconds within which a command that is interrupted ends, on a machine that is busy.
SOON = 10


@pytest.fixture
def begin(shell):
    """Return what starts a command that goes on."""

    def start(*arguments, before="", data_dir=True, **options):
        command = shell.command(*arguments, before=before)
        process = subprocess.Popen(
            command if data_dir else command[:-2],
            env=shell.env,
            cwd=shell.root,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        shell.started.append(process)
        return process

    return start


def interrupt(process):
    """Interrupt a command; it ends with 130, soon and without a word."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SOON)
    assert process.returncode == 130 and "Traceback" not in err
    return out, err


@contextlib.contextmanager
def ends(pid):
    """See that a process which lives now has ended soon after what is done meanwhile."""
    poll, living = select.poll(), os.pidfd_open(pid)
    try:
        poll.register(living, select.POLLIN)
        yield
        assert poll.poll(SOON * 1000)
    finally:
        os.close(living)


@pytest.fixture
def pipe(tmp_path):
    """A FIFO that somebody tells something by, and what reads a line of it."""
    path = tmp_path / "told"
    os.mkfifo(path)
    with open(os.open(path, os.O_RDWR)) as file:  # so that neither side waits for the other
        yield path, file.readline


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("module", ["plue_session.cli.commands", "argparse", "ctypes"])
def test_an_interrupt_while_the_command_is_loaded(shell, module):
    before = f"""
import importlib.abc, os, signal
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
for name in [name for name in sys.modules if name.startswith(("plue_session", "argparse", "ctypes", "_ctypes"))]:
    del sys.modules[name]
sys.meta_path.insert(0, Interrupts())"""
    done = shell("watch", code=130, before=before)
    assert (done.out, done.err) == ("", "")


@pytest.mark.parametrize("command", [("create",), ("list", "--fresh"), ("demo",), ("doctor",)])
def test_an_interrupt_while_a_server_is_started(shell, begin, project, tmp_path, pipe, command):
    path, line = pipe
    spawn = {"command": ["sh", "-c", f'echo $$ > "{path}"; exec sleep 1000'], "directory": project}
    configure(shell, tmp_path, backend={"kind": "opencode", "spawn": spawn})
    process = begin(*command)
    with ends(int(line())):
        assert interrupt(process) == ("", "")


def test_an_interrupt_while_a_server_is_asked(shell, begin, project, tmp_path):
    with Stub(answering({})) as stub:
        attach(shell, tmp_path, stub.url, project)
        stub.default = lambda method, target: stub.stall()
        process = begin("create", "Never")
        while stub.asked.get(timeout=SOON)[0] != "POST":
            pass
        assert interrupt(process) == ("", "")


def test_an_interrupt_while_nothing_happens(shell):
    for _ in range(2):
        watching = shell.start("watch")
        out, err = interrupt(watching)
        assert out == "" and err.startswith("To go on from here: plue-session watch --from 1.") and err.count("\n") == 1


def test_an_interrupted_demo_leaves_nothing(shell, begin, tmp_path, pipe):
    path, line = pipe
    before = f"demo.share = lambda *_: [print(1, file=open({str(path)!r}, 'w')), __import__('time').sleep(100)]"
    process = begin("demo", before=before, data_dir=False)
    line()
    assert list(tmp_path.glob("plue-session-demo-*/sessions.db"))
    out, err = interrupt(process)
    assert "Renamed it" in out and err == "" and not list(tmp_path.glob("plue-session-demo-*"))


def test_a_background_job_of_a_shell_ignores_interrupts(shell, begin):
    process = begin("watch", "--count", "1", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert process.stderr.readline().startswith("Watching ")
    process.send_signal(signal.SIGINT)
    shell("create")
    assert process.wait(SOON) == 0 and "session.created" in process.stdout.read()


# -- nobody reads ------------------------------------------------------------------------------------------------------
def test_a_watch_ends_when_its_reader_does_although_nothing_happens(shell):
    watching = shell.start("watch")
    watching.stdout.close()
    assert watching.wait(SOON) == 141 and watching.stderr.read() == ""


def test_a_watch_into_head_ends_with_the_first_line(shell, begin):
    reading, writing = os.pipe()
    head = subprocess.Popen(["head", "-1"], stdin=reading, stdout=subprocess.PIPE, text=True)
    os.close(reading)
    watching = begin("watch", stdout=writing)
    os.close(writing)
    assert watching.stderr.readline().startswith("Watching ")
    shell("create")
    assert "session.created" in head.communicate(timeout=SOON)[0]
    assert watching.wait(SOON) == 141 and watching.stderr.read() == ""


def test_a_watch_into_a_file_goes_on(shell, begin, tmp_path):
    with open(tmp_path / "events", "w") as file:
        watching = begin("watch", "--count", "1", "--timeout", "60", stdout=file)
    assert watching.stderr.readline().startswith("Watching ")
    shell("create")
    assert watching.wait(SOON) == 0 and "session.created" in (tmp_path / "events").read_text()


def test_a_change_is_made_although_nobody_reads_of_it(shell, begin):
    reading, writing = os.pipe()
    os.close(reading)
    process = begin("create", "Made", stdout=writing)
    os.close(writing)
    assert process.wait(SOON) == 141 and process.stderr.read() == ""
    assert [info["title"] for info in shell.json("list")] == ["Made"]
