"""What ports.Store promises of what is attached to sessions, of processes that live, and of roles."""

import os
import subprocess
import sys

import pytest

from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.errors import AlreadyExists
from plue_session.model import Attachment
from tests import support
from tests.contract.stored import put, session, transaction, values

WHOLE = {
    "number": 10,
    "kind": "acp",
    "command": ["agent", "--flag", "ü\n", ""],
    "worktree": "/träe",
    "options": '{"files":"read"}',
    "owner": (1 << 48) - 1,
    "pid": 77,
    "conversation": "c-1",
    "lost": '{"code":"SERVER"}',
    "closing": True,
    "attached": 5,
}


def attachment(number=10, **fields):
    return Attachment(**{**WHOLE, "number": number, **fields})


def keep(store, *rows):
    with transaction(store):
        for row in rows:
            store.keep_attachment(row)


@pytest.mark.requirement("R-050", "R-076")
def test_an_attachment_comes_back_whole_to_writer_and_readers(store):
    put(store, session(10))
    with transaction(store):
        store.keep_attachment(attachment())
        assert store.read_attachment("session_10") is None and store.read_attachments() == []
        assert values(store.attachment(10)) == WHOLE
    assert values(store.read_attachment("session_10")) == WHOLE
    ((session_id, row),) = store.read_attachments()
    assert session_id == "session_10" and values(row) == WHOLE


def test_what_may_be_absent_comes_back_absent(store):
    put(store, session(10))
    absent = dict.fromkeys(("owner", "pid", "conversation", "lost"))
    keep(store, attachment(command=[], closing=False, **absent))
    row = store.read_attachment("session_10")
    assert {name: getattr(row, name) for name in absent} == absent and row.command == [] and not row.closing


def test_another_attachment_takes_the_place_of_the_one_before(store):
    put(store, session(10), session(11))
    keep(store, attachment(), attachment(11, kind="host"), attachment(pid=78))
    assert store.read_attachment("session_10").pid == 78
    assert [(session_id, row.kind) for session_id, row in store.read_attachments()] == [
        ("session_10", "acp"),
        ("session_11", "host"),
    ]


def test_what_was_kept_or_read_is_not_what_is_stored(store):
    put(store, session(10))
    given = attachment()
    keep(store, given)
    for row in (given, store.read_attachment("session_10")):
        row.pid = 1
        row.command.append("x")
    assert values(store.read_attachment("session_10")) == WHOLE


@pytest.mark.requirement("R-052")
def test_what_is_dropped_is_gone_and_dropping_nothing_is_harmless(store):
    put(store, session(10))
    keep(store, attachment())
    with transaction(store):
        store.drop_attachment(10)
        store.drop_attachment(10)
        store.drop_attachment(12)
        assert store.attachment(10) is None
    assert store.read_attachment("session_10") is store.read_attachment("session_12") is None


@pytest.mark.requirement("R-010")
def test_a_rollback_leaves_what_was_attached(store):
    put(store, session(10), session(11))
    keep(store, attachment())
    store.begin()
    store.drop_attachment(10)
    store.keep_attachment(attachment(11))
    store.rollback()
    assert [session_id for session_id, _ in store.read_attachments()] == ["session_10"]


def test_with_the_session_goes_what_is_attached(store):
    put(store, session(10), session(11))
    keep(store, attachment(), attachment(11))
    with transaction(store):
        store.erase("session_10")
    assert [session_id for session_id, _ in store.read_attachments()] == ["session_11"]


def test_each_scope_has_its_own(scopes):
    one, other = scopes("embedded"), scopes("opencode http://x")
    if one.name == "memory":  # nothing is shared
        return
    put(one, session(10))
    put(other, session(11))
    keep(one, attachment())
    keep(other, attachment(11))
    assert [session_id for session_id, _ in one.read_attachments()] == ["session_10"]
    assert other.read_attachment("session_10") is None


@pytest.mark.requirement("R-050", "R-053")
def test_what_a_session_has_of_its_relay_is_stored_and_differences_are_named(store):
    given = session(10, role="r", relay_state="SPAWNING", relay_messages=0, relay_active=10)
    put(store, given)
    given.relay_state, given.relay_messages, given.relay_active = "ACTIVE", 3, 15
    given.relay_worktree, given.relay_agent, given.relay_lost = "/tree", "acp", True
    with transaction(store):
        changed = store.save(given)
    names = {"relay_state", "relay_messages", "relay_active", "relay_worktree", "relay_agent", "relay_lost"}
    assert changed == names
    found = store.read("session_10")
    assert {name: getattr(found, name) for name in names} == {name: getattr(given, name) for name in names}


@pytest.mark.requirement("R-051", "R-024")
def test_a_role_has_one_live_session(store):
    put(store, session(10, role="r", relay_state="TERMINATING"))
    with pytest.raises(AlreadyExists):
        put(store, session(11, role="r", relay_state="CREATED"))
    with transaction(store):
        found = store.load("session_10")
        found.relay_state = "CLEANED"
        store.save(found)
    put(store, session(11, role="r", relay_state="CREATED"))
    with transaction(store):
        assert store.load_by_role("r").id == "session_11"


@pytest.mark.requirement("R-051")
def test_an_id_is_taken_once(store):
    put(store, session(10))
    with pytest.raises(AlreadyExists):
        put(store, session(10))


# -- processes ---------------------------------------------------------------------------------------------------------
def test_this_process_has_one_number_and_lives(store):
    assert store.owner() == store.owner() > 0 and store.is_owner_alive(store.owner())


def test_two_stores_of_one_process_are_one_owner_which_lives_while_one_is_open(tmp_path):
    first, second = (SqliteStore(str(tmp_path / "data"), scope) for scope in ("embedded", "other"))
    assert first.owner() == second.owner()
    owner = first.owner()
    first.close()
    assert second.is_owner_alive(owner)
    second.close()
    third = SqliteStore(str(tmp_path / "data"), "embedded")
    assert not third.is_owner_alive(owner) or third.owner() == owner
    third.close()


def test_a_number_that_nobody_has_is_of_no_living_process(tmp_path):
    store = SqliteStore(str(tmp_path / "data"), "embedded")
    assert not store.is_owner_alive(store.owner() + 1)
    store.close()


#: Opens the store, has a child of its own, and says its number.
OTHER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from plue_session.adapters.sqlite.store import SqliteStore
store = SqliteStore(sys.argv[2], "embedded")
print(store.owner(), flush=True)
if not os.fork():  # it has the file, and no lock
    os.closerange(0, 3)
    os.read(int(sys.argv[3]), 1)
    os._exit(0)
sys.stdin.read()
"""


@pytest.mark.requirement("R-076", "R-077")
def test_a_process_lives_for_others_until_it_is_killed_whatever_becomes_of_its_children(tmp_path):
    folder = str(tmp_path / "data")
    store = SqliteStore(folder, "embedded")
    reading, writing = os.pipe()
    command = [sys.executable, "-c", OTHER, str(support.ROOT), folder, str(reading)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[reading])
    owner = int(other.stdout.readline())
    assert owner != store.owner() and store.is_owner_alive(owner)
    other.kill()
    other.wait()
    assert not store.is_owner_alive(owner)  # and its child goes on
    for end in (reading, writing, other.stdin, other.stdout):
        os.close(end) if type(end) is int else end.close()
    store.close()
