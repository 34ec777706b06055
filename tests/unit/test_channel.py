"""The channel between processes on a store."""

import os
import queue
import stat
import time

import pytest

from plue_session.adapters.sqlite.channel import FOLDER, Channel


@pytest.fixture
def make(tmp_path):
    """Return a function that makes the channel of another process on the store: `make(number)`."""
    made = []

    def make(number):
        made.append(Channel(str(tmp_path), lambda: number))
        return made[-1]

    yield make
    for each in made:
        each.close()


def heard_by(channel):
    heard: queue.Queue = queue.Queue()
    assert channel.listen(heard.put)
    return heard


def test_a_message_comes_to_each_that_listens_as_it_was_sent(make):
    sender, one, other = make(1), make(2), make(3)
    assert sender.listeners() == []
    all_heard = [heard_by(one), heard_by(other)]
    names = sender.listeners()
    assert len(names) == 2
    for message in (b"\0", b"x" * sender.most):
        assert [sender.send(name, message) for name in names] == [True, True]
        assert [heard.get(timeout=20) for heard in all_heard] == [message, message]


def test_who_listens_does_not_hear_itself_and_has_another_name_the_next_time(make):
    sender, one = make(1), make(2)
    heard_by(one)
    assert one.listeners() == []
    (before,) = sender.listeners()
    one.leave()
    one.leave()
    assert sender.listeners() == [] and not sender.send(before, b"x")
    heard = heard_by(one)
    (now,) = sender.listeners()
    assert now != before and sender.send(now, b"y") and heard.get(timeout=20) == b"y"


def test_what_has_no_room_is_refused_and_nobody_waits(make):
    sender, one = make(1), make(2)
    heard: queue.Queue = queue.Queue()
    go: queue.Queue = queue.Queue()
    one.listen(lambda message: (heard.put(message), go.get(timeout=60)))
    (name,) = sender.listeners()
    taken = 0
    while sender.send(name, b"%d" % taken):
        taken += 1
        assert taken < 100_000
    for _ in range(taken):
        go.put(None)
    assert [int(heard.get(timeout=20)) for _ in range(taken)] == list(range(taken))


def test_what_a_dead_process_left_is_removed_by_who_finds_it(make, tmp_path):
    sender, one = make(1), make(2)
    heard_by(one)
    (name,) = sender.listeners()
    os.link(tmp_path / FOLDER / name, tmp_path / FOLDER / "dead")  # and its socket is closed
    one.leave()
    until = time.monotonic() + 20
    while sender.listeners() and time.monotonic() < until:  # its thread is about to close it
        assert sender.listeners() == ["dead"]
        sender.send("dead", b"x")
    assert sender.listeners() == [] and not sender.send("dead", b"x")
    assert not sender.send("nobody", b"x")


def test_the_folder_is_its_owner_s_alone(make, tmp_path):
    before = os.umask(0)
    try:
        heard_by(make(2))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / FOLDER).st_mode) == 0o700


def test_a_folder_of_any_name_will_do(tmp_path):
    folder = tmp_path / ("ü" * 100) / ("x" * 200)
    folder.mkdir(parents=True)
    sender, one = Channel(str(folder), lambda: 1), Channel(str(folder), lambda: 2)
    heard = heard_by(one)
    (name,) = sender.listeners()
    assert sender.send(name, b"x") and heard.get(timeout=20) == b"x"
    sender.close()
    one.close()


def test_where_no_socket_can_be_made_nothing_fails(tmp_path):
    (tmp_path / FOLDER).write_text("in the way")
    channel = Channel(str(tmp_path), lambda: 1)
    assert not channel.listen(print) and channel.listeners() == [] and not channel.send("x", b"x")
    channel.leave()
    channel.close()


def test_once_closed_nothing_is_heard_or_told(make):
    one = make(2)
    heard_by(one)
    one.close()
    one.close()
    assert not one.listen(print) and make(1).listeners() == []


def test_a_host_that_closes_descriptors_harms_nothing(make, tmp_path):
    sender, one = make(1), make(2)
    heard_by(one)
    (name,) = sender.listeners()
    assert sender.send(name, b"x")
    os.close(sender._sender.mark.fd)
    os.close(sender._folder.fd)
    taken = [os.open(tmp_path, os.O_RDONLY) for _ in range(4)]  # which get their numbers
    assert sender.listeners() == [name] and sender.send(name, b"y")
    sender.close()
    for fd in taken:
        os.close(fd)  # they are still there to be closed
