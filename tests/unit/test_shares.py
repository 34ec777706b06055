"""Share links, and the key that their secrets come from."""

import base64
import fcntl
import hashlib
import hmac
import os
import stat
import subprocess
import sys

import pytest

from plue_session.adapters.share_key import ShareKeyFile, ShareKeyMemory
from plue_session.errors import Integrity, StoreIo
from plue_session.rules import shares

KEY = bytes(range(32))


@pytest.mark.requirement("P-090", "P-092", "P-097")
def test_the_secret_is_the_hmac_of_the_share_id():
    secret = shares.secret(KEY, "abc")
    assert base64.urlsafe_b64decode(secret + "=") == hmac.new(KEY, b"abc", hashlib.sha256).digest()
    assert len(secret) == 43 and set(secret) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.requirement("P-091")
def test_the_link_holds_the_secret_in_its_fragment_only():
    share = shares.share_id(b"\xff" * 16)
    url = shares.url("https://host/base//", share)
    assert share == "_" * 21 + "w" and url == "https://host/base/share/" + share
    assert shares.link(url, "s") == url + "#s"


@pytest.mark.requirement("P-094")
def test_a_share_opens_with_its_secret_until_the_very_moment_it_expires():
    secret = shares.secret(KEY, "abc")
    assert shares.is_open("abc", None, secret, KEY, 10**15)
    assert shares.is_open("abc", 100, secret, KEY, 99)
    assert not shares.is_open("abc", 100, secret, KEY, 100)
    for wrong in (
        "",
        secret[:-1],
        secret + "=",
        secret.swapcase(),
        "é",
        "\ud800",
        shares.secret(KEY, "abd"),
        shares.secret(bytes(32), "abc"),
    ):
        assert not shares.is_open("abc", None, wrong, KEY, 1)


@pytest.mark.requirement("P-096")
def test_secrets_are_compared_by_compare_digest(monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or False)
    assert not shares.is_open("abc", 1, "given", KEY, 5)
    assert compared == [(shares.secret(KEY, "abc").encode(), b"given")]


# -- the key file ------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-097")
def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    old = os.umask(0o277)
    try:
        key = ShareKeyFile(str(tmp_path)).load()
    finally:
        os.umask(old)
    assert len(key) == 32 and ShareKeyFile(str(tmp_path)).load() == key
    assert stat.S_IMODE((tmp_path / "share.key").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["share.key"]


def test_the_key_is_read_once(tmp_path):
    keys = ShareKeyFile(str(tmp_path))
    key = keys.load()
    (tmp_path / "share.key").unlink()
    assert keys.load() == key


def test_processes_that_race_to_make_the_key_get_the_same_one(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from plue_session.adapters.share_key import ShareKeyFile;"
        "keys = ShareKeyFile(sys.argv[2]); print('ready', flush=True); sys.stdin.readline(); print(keys.load().hex())"
    )
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    racers = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", program, here, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = {racer.communicate(timeout=10)[0] for racer in racers}
    assert len(answers) == 1 and [entry.name for entry in tmp_path.iterdir()] == ["share.key"]


def test_what_closes_a_key_to_others_can_be_typed_as_it_is_said(tmp_path):
    folder = tmp_path / "my store"
    folder.mkdir()
    key = ShareKeyFile(str(folder)).load()
    (folder / "share.key").chmod(0o644)
    with pytest.raises(StoreIo) as raised:
        ShareKeyFile(str(folder)).load()
    subprocess.run(["sh", "-c", raised.value.remedy.partition("Run: ")[2]], check=True)
    assert ShareKeyFile(str(folder)).load() == key


def test_the_loser_of_the_race_takes_the_winners_key(tmp_path, monkeypatch):
    keys = ShareKeyFile(str(tmp_path))
    lock = fcntl.flock

    def lose(fd, how):
        with open(tmp_path / "share.key", "xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(KEY)
        return lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", lose)
    assert keys.load() == KEY and [entry.name for entry in tmp_path.iterdir()] == ["share.key"]


def test_who_waited_for_a_key_that_failed_makes_one(tmp_path, monkeypatch):
    """The file that it had waited for is gone, and none has come of it."""
    keys, lock, waits = ShareKeyFile(str(tmp_path)), fcntl.flock, iter([True, False])

    def fail_first(fd, how):
        if next(waits):
            (tmp_path / "share.key.new").unlink()
        return lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", fail_first)
    assert keys.load() == ShareKeyFile(str(tmp_path)).load()
    assert [entry.name for entry in tmp_path.iterdir()] == ["share.key"]


def test_what_a_killed_process_has_left_of_a_key_is_made_a_whole_one(tmp_path):
    (tmp_path / "share.key.new").write_bytes(b"half a key")
    (tmp_path / "share.key.new").chmod(0o400)
    assert len(ShareKeyFile(str(tmp_path)).load()) == 32
    assert [entry.name for entry in tmp_path.iterdir()] == ["share.key"]
    assert stat.S_IMODE((tmp_path / "share.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_key_is_never_replaced(tmp_path, content):
    (tmp_path / "share.key").write_bytes(content)
    with pytest.raises(Integrity, match="share.key"):
        ShareKeyFile(str(tmp_path)).load()
    assert (tmp_path / "share.key").read_bytes() == content


def test_a_key_that_others_may_read_is_refused(tmp_path):
    (tmp_path / "share.key").write_bytes(KEY)
    (tmp_path / "share.key").chmod(0o640)
    with pytest.raises(StoreIo) as caught:
        ShareKeyFile(str(tmp_path)).load()
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_not_a_file_is_refused_without_waiting(tmp_path, make):
    make(tmp_path / "share.key")
    with pytest.raises((Integrity, StoreIo), match="share.key"):
        ShareKeyFile(str(tmp_path)).load()


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(StoreIo, match="No such file"):
        ShareKeyFile(str(tmp_path / "missing")).load()


def test_a_disk_that_fails_leaves_no_draft(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreIo, match="No space left"):
        ShareKeyFile(str(tmp_path)).load()
    assert list(tmp_path.iterdir()) == []


def test_the_share_key_in_memory_stays_the_same():
    keys = ShareKeyMemory()
    assert len(keys.load()) == 32 and keys.load() == keys.load() != ShareKeyMemory().load()
