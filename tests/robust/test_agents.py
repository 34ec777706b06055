"""Agents under everything at once: calls that race, hosts that are killed, a host that inherits orphans; and what an
agent's session leaves of a worktree, which is all of it."""

import collections
import json
import os
import random
import signal
import sys
import threading
import time

import pytest

from tests import support
from tests.robust.conftest import TORTURE
from tests.robust.host import Host, eventually, outcome, processes_with

FAKE = support.ROOT / "tests" / "agents" / "fake_agent.py"
INIT = support.ROOT / "tests" / "robust" / "init.py"
THREADS = 64
ROUNDS = 20 if TORTURE else 4
#: Seconds between two of their calls, at most: an agent starts in some hundredths.
PAUSE = 0.008
#: Hosts that are killed.
KILLS = 100 if TORTURE else 10


def attachment(worktree, mark, *words, **options):
    """Return a fake agent as `relay_attach` takes it; all that it starts has the mark."""
    command, env = [sys.executable, "-S", str(FAKE), *words], dict([mark.split("=")])
    return json.dumps({"worktree": str(worktree), "agent": {"kind": "acp", "command": command, "env": env, **options}})


def spawn(host, role, **options):
    """Return a session whose agent is to be attached."""
    session = host.session_create_with(json.dumps({"role": role, **options}))
    host.session_relay_spawn(session)
    return session


def attached(host, role, *agent, **options):
    """Return a session with an agent, as `attachment` makes it."""
    session = spawn(host, role)
    host.session_relay_attach(session, attachment(*agent, **options))
    return session


@pytest.fixture(scope="module")
def plain():
    return support.library("plain")


@pytest.fixture
def host(folder, mark):
    with Host(folder, {"dataDir": str(folder)}) as made:
        yield made


# -- races -------------------------------------------------------------------------------------------------------------
#: What each call may end with, whatever the others have done before it.
MAY = {
    "session_relay_attach": {"OK", "INVALID_TRANSITION", "IN_USE"},
    "session_relay_terminate": {"OK"},
    "session_relay_clean": {"OK", "INVALID_TRANSITION"},
    "session_relay_heartbeat": {"OK"},
}


@pytest.mark.requirement("R-009", "R-010", "R-031", "R-034", "R-058", "R-060", "R-071", "R-073")
def test_attach_terminate_and_clean_race_over_64_threads(host, folder, tmp_path, mark):
    """Eight calls at a time on each of eight sessions; a ninth is in nobody's way."""
    random.seed(15)
    seen = collections.Counter()
    bystander = attached(host, "bystander", tmp_path, mark)
    for number in range(ROUNDS):
        sessions = {}
        for place in range(THREADS // 8):
            handle = spawn(host, f"role {number} {place}")
            sessions[host.session_get_id(handle)] = handle
        calls = []
        for session_id, handle in sessions.items():
            calls += [("session_relay_attach", handle, attachment(tmp_path, mark))] * 3
            calls += [("session_relay_terminate", session_id, "raced")] * 2
            calls += [("session_relay_clean", session_id)] * 2 + [("session_relay_heartbeat", handle)]
        random.shuffle(calls)
        answers = []
        for call in calls:
            answers.append((call[0], host.start(*call)))
            time.sleep(random.random() * PAUSE)
        assert len(answers) == THREADS
        for name, answer in answers:
            ended = outcome(answer)
            seen[name, ended] += 1
            assert ended in MAY[name], (name, ended)
        for session_id, handle in sessions.items():
            assert host.session_relay_terminate(session_id, "at last") == 0
            assert host.session_relay_clean(session_id) == 0
            assert host.info(handle)["relay"]["state"] == "CLEANED"
        again = json.loads(host.session_run_turn(bystander, '{"text":"[words=2]"}', 20000))
        assert again["outcome"] == "finished"
    assert {name for name, ended in seen if ended == "OK"} == MAY.keys(), seen
    host.session_delete(bystander)
    assert eventually(lambda: not processes_with(mark), 1), "an agent is left"


@pytest.mark.requirement("R-073")
def test_of_twenty_agents_those_that_die_harm_no_other(host, tmp_path, mark):
    """A host's descriptors and threads are enough for many."""
    sessions = [attached(host, f"agent {number}", tmp_path, mark) for number in range(20)]
    ends = {0: "[half=7]", 1: "[exit=3]", 2: "[garbage][exit=0]", 3: "[flood=20000]", 4: "[wait]"}
    answers = [
        host.start("session_run_turn", session, json.dumps({"text": ends.get(number, "[words=50][pause=0.01]")}), 20000)
        for number, session in enumerate(sessions)
    ]
    assert eventually(lambda: "turn" in host.info(sessions[4]))
    host.session_delete(sessions[4])
    assert outcome(answers[4]) == "NOT_FOUND"
    told = [json.loads(answer.result())["outcome"] for number, answer in enumerate(answers) if number != 4]
    assert told == ["stopped"] * 3 + ["finished"] * 16
    for session in sessions[5:]:
        assert json.loads(host.session_run_turn(session, '{"text":"[words=1]"}', 20000))["outcome"] == "finished"
    assert len(json.loads(host.session_metrics("json"))["agents"]["sessions"]) == 19


@pytest.mark.requirement("R-058", "R-071", "R-072")
def test_sessions_deleted_while_their_agents_start_leave_none(host, tmp_path, mark):
    handles = [spawn(host, f"role {number}") for number in range(8)]
    attaching = [
        host.start("session_relay_attach", handle, attachment(tmp_path, mark, "slow=0.3")) for handle in handles
    ]
    assert eventually(lambda: processes_with(mark))
    deleting = [host.start("session_delete", handle) for handle in handles]
    assert {outcome(answer) for answer in deleting} == {"OK"}
    assert {outcome(answer) for answer in attaching} <= {"OK", "NOT_FOUND", "INVALID_TRANSITION", "BAD_HANDLE"}
    assert eventually(lambda: not processes_with(mark)), "an agent is left"


# -- kills -------------------------------------------------------------------------------------------------------------
TEXTS = "[wait]", "[grandchild=away][wait]", "[flood=1000000]"


def kill_one(folder, mark, number):
    """Start a host with three agents, kill it in the middle of whatever they do, and return how long something of it
    lived on."""
    chance = random.Random(number)
    words = ["stubborn"] if number % 2 else []
    with Host(folder, {"dataDir": str(folder)}) as host:
        sessions = [spawn(host, f"agent {place}") for place in range(3)]
        given = [attachment(folder, mark, *(words if place == 0 else [])) for place in range(3)]
        starts = [host.start("session_relay_attach", *each) for each in zip(sessions, given, strict=True)]
        if chance.random() < 0.7:  # else in the middle of the starts
            for session, started, text in zip(sessions, starts, TEXTS, strict=True):
                started.result()
                host.start("session_run_turn", session, json.dumps({"text": text}), 0)
        else:
            assert eventually(lambda: processes_with(mark))
        time.sleep(chance.random() * 0.3)
        host.signal(signal.SIGKILL)
        host.wait()
    killed = time.monotonic()
    assert eventually(lambda: not processes_with(mark), 15), "processes are left"
    return time.monotonic() - killed


@pytest.mark.requirement("R-072", "T-04")
def test_no_agent_outlives_a_killed_host(tmp_path, mark):
    took, failures, numbers = [], [], iter(range(KILLS))

    def work():
        for number in numbers:
            folder = tmp_path / str(number)
            folder.mkdir(mode=0o700)
            try:
                took.append(kill_one(folder, f"{mark}-{number}-", number))
            except BaseException as error:
                failures.append((number, error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(KILLS * 30)
    assert not failures and len(took) == KILLS and max(took) < 10, (failures, took)


@pytest.mark.requirement("T-04")
def test_a_killed_host_leaves_neither_its_server_nor_its_agents(spawned, folder, tmp_path, mark):
    with Host(folder, {"dataDir": str(folder), "backend": spawned}) as host:
        session = attached(host, "one", tmp_path, mark, "stubborn")
        host.session_run_turn(session, '{"text":"[words=1][wait]"}', 0)
        assert eventually(lambda: "turn" in host.info(session))
        assert len(processes_with(mark)) >= 5  # the server, the agent, its grandchild, and two guards
        host.signal(signal.SIGKILL)
        host.wait()
    assert eventually(lambda: not processes_with(mark), 10), "processes are left"


@pytest.mark.requirement("R-072", "T-04")
def test_a_host_that_inherits_orphans_meets_no_zombie_of_an_agent(plain, tmp_path):
    command = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", sys.executable, INIT]
    words = [plain.path, plain.package / "prototypes.py", tmp_path, FAKE]
    environment = support.environment(tmp_path, watched=False, PATH=os.environ["PATH"])
    said = json.loads(support.run([*command, *words], env=environment).out)
    assert said == {"met": [], "left": [], "zombies": []}


# -- worktrees ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def worktree(tmp_path):
    """A folder with what is easily changed: modes, times, links, names that are no UTF-8."""
    made = tmp_path / "around" / "worktree"
    made.mkdir(parents=True)
    (made / "a.txt").write_text("one\ntwo\n")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o750)
    (made / "empty").mkdir()
    (made / ".git").mkdir()
    (made / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    os.mkdir(os.fsencode(made) + b"/\xff")
    (made / "out").symlink_to("../outside.txt")
    (made / "away").symlink_to("..")
    (made.parent / "outside.txt").write_text("the outside\n")
    return made


def state_of(folder):
    """Return everything of a folder that may change, but for when it was read."""
    found = {}
    for path, folders, files in os.walk(os.fsencode(folder)):
        for name in [b"", *folders, *files]:
            full = os.path.join(path, name) if name else path
            told = os.lstat(full)
            content = None
            if os.path.islink(full):
                content = os.readlink(full)
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    content = file.read()
            found[full] = told.st_mode, told.st_ino, told.st_mtime_ns, told.st_ctime_ns, content
    return found


@pytest.mark.requirement("R-072", "T-10")
def test_nothing_of_the_library_touches_the_worktree(host, worktree, mark):
    """Attached, a turn, an abort, a fork, clean, attached anew, delete."""
    before = state_of(worktree.parent)
    session = attached(host, "one", worktree, mark)
    session_id = host.session_get_id(session)
    done = json.loads(host.session_run_turn(session, '{"text":"[think=2][tool=bash][words=3]"}', 20000))
    assert done["outcome"] == "finished"
    host.session_run_turn(session, '{"text":"[say=on][wait]"}', 0)
    assert eventually(lambda: host.info(session).get("turn"))
    host.session_abort(session)
    assert host.start("session_fork", session, None).failure().code == "UNSUPPORTED"
    host.session_relay_terminate(session_id, "done")
    host.session_relay_clean(session_id)
    assert state_of(worktree.parent) == before and not processes_with(mark)
    other = attached(host, "two", worktree, mark)
    host.session_run_turn(other, '{"text":"[words=1]"}', 20000)
    host.session_delete(session)
    host.session_delete(other)
    assert eventually(lambda: not processes_with(mark))
    assert state_of(worktree.parent) == before


OUTSIDE = ("out", "away/outside.txt", "../outside.txt", "/etc/passwd", "")


@pytest.mark.requirement("T-10")
@pytest.mark.parametrize("files", ["none", "read", "write"])
def test_no_file_outside_the_worktree_is_read_or_written_for_an_agent(host, worktree, mark, files):
    session = attached(host, "one", worktree, mark, files=files)
    before = state_of(worktree.parent)
    for path in OUTSIDE:
        full = path if path.startswith("/") else str(worktree / path)
        for order in (f"[read={full}]", f"[write={full}:taken]"):
            said = answered(host, session, order)
            assert int(said) < 0, (order, said)  # the error that the agent got
    assert state_of(worktree.parent) == before
    inside = answered(host, session, f"[read={worktree / 'a.txt'}]")
    assert inside == "one\ntwo\n" if files != "none" else inside == "-32601"
    answered(host, session, f"[write={worktree / 'b.txt'}:three]")
    assert (worktree / "b.txt").exists() == (files == "write")
    host.session_delete(session)


def answered(host, session, order):
    """Have the agent do this, and return what it says."""
    done = json.loads(host.session_run_turn(session, json.dumps({"text": order}), 20000))
    assert done["outcome"] == "finished", done
    page = json.loads(host.session_messages(session, '{"limit":2}'))
    parts = [part for message in page["messages"] if message["role"] == "assistant" for part in message["parts"]]
    return "".join(part["text"] for part in parts if part["type"] == "text")
